"""Data sets: reading, preprocessing, and what they are made of. Only workers import it."""
