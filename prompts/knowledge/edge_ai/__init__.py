"""Optimizing models for edge devices: methods, devices, measurement, recovery."""
