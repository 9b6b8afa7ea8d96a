"""The protocol's official conformance suite, in both revisions that it knows, offline once it is installed.

Most scenarios call tools, prompts and resources by name; `fixtures.py` adds those to the product's own server. Those that
need none run against the product as users start it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from ..server.test_http import free_port, server
from .node import installed, run, script

pytestmark = [installed, pytest.mark.slow]
SUITE = ("@modelcontextprotocol", "conformance", "dist", "index.js")
RESULT = re.compile(r"^[✓✗] (\S+): (\d+) passed, (\d+) failed", re.MULTILINE)
UNSCORED = re.compile(r"^  [✓✗] (\S+) \((?:extension|pending|added-after-release)\)", re.MULTILINE)
# The scenarios that each revision demands of a server.
DEMANDED = {"2025-11-25": 30, "2026-07-28": 37}
BARE = {
    "2025-11-25": (
        *("server-initialize", "ping", "tools-list", "resources-list", "prompts-list", "dns-rebinding-protection"),
        *("server-session-lifecycle", "server-sse-multiple-streams", "completion-complete"),
    ),
    "2026-07-28": (
        *("tools-list", "resources-list", "prompts-list", "sep-2164-resource-not-found", "caching"),
        *("http-header-validation", "dns-rebinding-protection", "input-required-result-unsupported-methods"),
        "input-required-result-ignore-extra-params",
    ),
}


@contextmanager
def dressed(folder: Path) -> Iterator[str]:
    """The product's server with the suite's fixtures; its address."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "edgeopt.tests.clients.fixtures", str(port)]
    with (folder / "server.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 90
            while not _listens(port):
                assert process.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield f"http://localhost:{port}/mcp"
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/mcp").status_code > 0
    except httpx2.TransportError:
        return False


@pytest.mark.parametrize("revision", DEMANDED)
def test_every_scored_scenario_passes(tmp_path: Path, revision: str):
    with dressed(tmp_path) as url:
        outcome = run(tmp_path, script(*SUITE), "server", "--url", url, "--requirements", revision, "-o", "results")
    unscored = set(UNSCORED.findall(outcome.stdout))
    scored = {n: (int(good), int(bad)) for n, good, bad in RESULT.findall(outcome.stdout) if n not in unscored}
    failing = [name for name, (good, bad) in scored.items() if bad or not good]
    assert outcome.returncode == 0 and not failing, f"{failing}\n{outcome.stdout[-6000:]}{outcome.stderr[-2000:]}"
    assert len(scored) == DEMANDED[revision], sorted(scored)


@pytest.mark.parametrize("revision", BARE)
def test_the_product_as_it_is_started_passes_what_needs_no_fixture(tmp_path: Path, revision: str):
    with server(tmp_path) as address:
        for scenario in BARE[revision]:
            asked = ("--scenario", scenario, "--spec-version", revision, "-o", "results")
            outcome = run(tmp_path, script(*SUITE), "server", "--url", f"{address}/mcp", *asked)
            assert outcome.returncode == 0, f"{scenario}\n{outcome.stdout[-4000:]}{outcome.stderr[-2000:]}"
