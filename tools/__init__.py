"""Floor 2: one module a phase, one function a tool; thin. Every call takes the one road in `road`."""
