"""Pictures of what was measured: pure functions from the words of `contract` to SVG and text."""
