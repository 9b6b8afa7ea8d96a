"""Toolchains: converters whose packages cannot lie beside the server's, each in a locked environment of its own."""
