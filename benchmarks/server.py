"""What the server costs, as ratios within one run: start, a call, memory. Exits 1 where a goal is missed.

python benchmarks/server.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgeopt.server.demo.run import HERE
from raw_server import RawServer, demo_session, serve_command

TRIVIAL = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("trivial", log_level="WARNING")
@server.tool()
async def nothing() -> dict[str, int]:
    "Nothing."
    return {"n": 1}
server.run("stdio")
"""
START_GOAL, CALL_GOAL_MS, MEMORY_GOAL_MB = 1.5, 1.5, 90
CALLS, STARTS = 400, 7


def memory_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def import_seconds() -> float:
    """The floor: a Python that imports the SDK's server and ends."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import mcp.server.mcpserver"], check=True)
    return time.perf_counter() - begin


def start_seconds(command: list[str]) -> float:
    """From the start of the process to the answer to tools/list."""
    begin = time.perf_counter()
    server = RawServer(command)
    server.request("tools/list")
    took = time.perf_counter() - begin
    server.close()
    return took


def call_ms(server: RawServer, tool: str, **arguments: Any) -> float:
    begin = time.perf_counter()
    server.request("tools/call", name=tool, arguments=arguments)
    return (time.perf_counter() - begin) * 1000


def start_ratio(command: list[str]) -> float:
    """Ours over the floor, each the median of starts in alternation: these machines drift."""
    pairs = [(start_seconds(command), import_seconds()) for _ in range(STARTS)]
    return statistics.median(ours for ours, _ in pairs) / statistics.median(floor for _, floor in pairs)


def calls(command: list[str]) -> tuple[float, float]:
    """get_state over a trivial tool of a trivial server (ms, difference of medians), and the server's memory (MB)."""
    server, trivial = RawServer(command), RawServer([sys.executable, "-c", TRIVIAL])
    session = demo_session(server)
    pairs = [(call_ms(server, "get_state", session_id=session), call_ms(trivial, "nothing")) for _ in range(CALLS)]
    resident = memory_mb(server.pid)
    server.close()
    trivial.close()
    return statistics.median(s for s, _ in pairs) - statistics.median(n for _, n in pairs), resident


def main() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        command = serve_command(Path(scratch) / "ws", HERE)
        start = start_ratio(command)
        over, resident = calls(command)
    rows = [
        ("start to tools/list / bare SDK import", start, START_GOAL),
        ("get_state over a trivial tool, ms (P50)", over, CALL_GOAL_MS),
        ("resident memory, MB", resident, MEMORY_GOAL_MB),
    ]
    print(f"edgeopt server on {os.cpu_count()} CPUs: {STARTS} starts, {CALLS} calls")
    for what, value, goal in rows:
        print(f"  {what:42} {value:8.2f}  goal <= {goal:<4} {'ok' if value <= goal else 'MISSED'}")
    return 0 if all(value <= goal for _, value, goal in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
