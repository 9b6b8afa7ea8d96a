"""Packages: a folder with a model, what it takes to run it, and what was measured of it."""
