"""A server over its bare pipe: the SDK's client costs more than what is measured, and minds being killed."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

PROTOCOL = "2025-11-25"


class ServerGone(Exception):
    """The server ended before it answered."""


def serve_command(workspace: Path, *roots: Path) -> list[str]:
    """The command that serves `workspace` over stdio."""
    command = [sys.executable, "-P", "-m", "edgeopt", "serve", "--workspace", str(workspace)]
    for root in roots:
        command += ["--allow-root", str(root)]
    return command


class RawServer:
    """One client's connection to one server process of its own."""

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._next = 0
        client = {"name": "bench", "version": "1"}
        self.request("initialize", protocolVersion=PROTOCOL, capabilities={}, clientInfo=client)
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    @property
    def pid(self) -> int:
        return self._process.pid

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the server has no pipes")
        return self._process.stdin, self._process.stdout

    def _send(self, message: dict[str, Any]) -> None:
        writer, _ = self._pipes()
        try:
            writer.write(json.dumps(message).encode() + b"\n")
            writer.flush()
        except BrokenPipeError as error:
            raise ServerGone(str(error)) from error

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of one request.

        Raises:
            ServerGone: the server ended first.
        """
        self._next += 1
        self._send({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params})
        _, reader = self._pipes()
        while True:
            if not select.select([reader], [], [], 120)[0]:
                raise TimeoutError(f"{method}: no answer in two minutes")
            line = reader.readline()
            if not line.endswith(b"\n"):
                raise ServerGone(method)
            answer = json.loads(line)
            if answer.get("id") == self._next:
                return answer["result"]

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured content of a tool's answer."""
        return self.request("tools/call", name=tool, arguments=arguments)["structuredContent"]

    def finish(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """As `call`, waiting for the job where there is one."""
        answer = self.call(tool, **arguments)
        while answer["status"] == "running":
            answer = self.call("wait_for_job", session_id=arguments["session_id"], job_id=answer["job_id"])
        return answer

    def kill(self) -> None:
        """kill -9, as a crash would."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        writer, _ = self._pipes()
        writer.close()
        self._process.wait(timeout=10)


def demo_session(server: RawServer) -> str:
    """A session on the bundled model, with a measured baseline."""
    from edgeopt.server.demo.run import CALIBRATION, EVALUATION, MODEL

    opened = server.call(
        "open_session",
        model_path=str(MODEL),
        target_device="cpu-generic",
        evaluation=EVALUATION,
        calibration_path=CALIBRATION,
    )
    answer = server.finish("profile_model", session_id=opened["session_id"], iterations=100)
    if answer["status"] != "ok":
        raise RuntimeError(f"the demo's baseline was not measured: {answer}")
    return opened["session_id"]
