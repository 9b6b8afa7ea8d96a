"""`python -m edgeopt` and the `edgeopt` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Runs the command line. For `serve` the protocol's stdout is set aside before anything can print to it."""
    if "serve" in sys.argv[1:2]:
        wire = os.dup(1)
        os.dup2(2, 1)
    from .server.cli import app

    if "serve" in sys.argv[1:2]:
        sys.stdout.flush()
        os.dup2(wire, 1)
        os.close(wire)
    app()


if __name__ == "__main__":
    main()
