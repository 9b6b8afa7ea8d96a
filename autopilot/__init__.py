"""The autopilot: an MCP client that drives the server as an agent would. It knows of the server what every client can see."""
