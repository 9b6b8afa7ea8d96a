"""`python -m edgeopt` and the `edgeopt` command."""

from __future__ import annotations

import importlib
import os
import sys


def main() -> None:
    """Runs the command line. For `serve` the protocol's stdout is set aside until everything that could print to it
    while it is imported has been."""
    wire = os.dup(1) if "serve" in sys.argv[1:2] else None
    if wire is not None:
        os.dup2(2, 1)
    from .server.cli import app

    if wire is not None:
        importlib.import_module(".server.transports", __package__)
        sys.stdout.flush()
        os.dup2(wire, 1)
        os.close(wire)
    app()


if __name__ == "__main__":
    main()
