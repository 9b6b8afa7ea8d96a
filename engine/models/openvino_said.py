"""What an .xml of ours says of itself, below `rt_info`: OpenVINO keeps it and asks nothing of it."""

from __future__ import annotations

# Which .bin is its own.
COMMITMENT = ("edgeopt", "weights_sha256")
# What its layers in float are to compute in, where that is bfloat16.
FLOAT_LAYERS = ("edgeopt", "float_layers")
