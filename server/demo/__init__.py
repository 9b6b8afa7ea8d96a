"""The demonstration: a bundled model that this project trained, and the whole guarded pipeline on it."""
