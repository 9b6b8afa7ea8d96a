"""edgeopt: an MCP server that lets agents optimize trained models for edge devices, and measures, remembers and refuses."""

__version__ = "0.1.0"
