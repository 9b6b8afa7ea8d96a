"""The audit of a calibration set before a technique finds its ranges on it: one idea a module."""
