"""Floor 3: the MCP face: app, transports, settings, command line, the human's question."""
