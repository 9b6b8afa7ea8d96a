"""The server as a process: light, quiet on the protocol's stdout, gone when its client goes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ..tools import planted

HEAVY = {
    "torch",
    "tensorflow",
    "onnx",
    "onnxruntime",
    "onnxsim",
    "numpy",
    "scipy",
    "PIL",
    "tensorrt",
    "openvino",
    "pandas",
}
# Everything that the server can do without a worker, on a session that stands before a decision.
BUSY_DAY = """
import sys
from pathlib import Path
import anyio
from mcp import Client
from edgeopt.server.app import build
from edgeopt.tools.workshop import Settings

async def main(folder, session):
    of = {"session_id": session}
    async with Client(build(Settings(workspace=folder / "workspace", allow_roots=(folder,)))) as client:
        await client.list_tools(), await client.list_prompts(), await client.list_resource_templates()
        for tool in ("list_sessions", "get_state", "recommend_next", "render_report"):
            answer = await client.call_tool(tool, of if tool != "list_sessions" else {})
            assert answer.structured_content["status"] == "ok", answer
        test = {"dataset_path": str(folder / "test.npz"), "metric": "top1"}
        model = {"model_path": str(folder / "net.onnx"), "target_device": "cpu-generic", "evaluation": test}
        answer = await client.call_tool("open_session", model)
        assert answer.structured_content["refusal"]["code"] == "BAD_FILE", answer
        answer = await client.call_tool("decide_variant", {**of, "variant_id": "v1", "outcome": "revert", "reason": ""})
        assert answer.structured_content["status"] == "ok", answer
        answer = await client.call_tool("package_variant", {**of, "variant_id": "v1"})
        assert answer.structured_content["refusal"]["code"] == "DECISION_REQUIRED", answer

anyio.run(main, Path(sys.argv[1]), sys.argv[2])
print(" ".join(sorted({name.partition(".")[0] for name in sys.modules})))
"""
# Imports that chatter, from the moment at which the server's own modules are imported.
NOISE = """
import os, sys
class Chatter:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("edgeopt.server", "mcp")):
            print("python says hello", name)
            os.write(1, b"C says hello\\n")
sys.meta_path.insert(0, Chatter())
"""
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}},
}


def serving(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "edgeopt", "serve", "--workspace", str(folder / "workspace")]
    command += ["--allow-root", str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **environment})


def said(process: subprocess.Popen[bytes], message: dict[str, Any]) -> dict[str, Any]:
    """What the server answers to a line: its next line."""
    assert process.stdin and process.stdout
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()
    line = process.stdout.readline()
    assert line[:1] == b"{", line
    return json.loads(line)


def test_the_server_imports_no_framework(tmp_path: Path):
    session = planted.failing(tmp_path)
    command = [sys.executable, "-P", "-c", BUSY_DAY, str(tmp_path), session]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert "edgeopt" in imported and "mcp" in imported
    assert not imported & HEAVY


def test_stdout_carries_the_protocol_alone(tmp_path: Path):
    (tmp_path / "noise").mkdir()
    (tmp_path / "noise" / "sitecustomize.py").write_text(NOISE)
    with serving(tmp_path, PYTHONPATH=str(tmp_path / "noise")) as process:
        assert said(process, HELLO)["result"]["serverInfo"]["name"] == "edgeopt"
        rest, errors = process.communicate(timeout=30)
    assert rest == b""
    assert b"python says hello" in errors
    assert b"C says hello" in errors


def test_the_server_ends_when_its_client_does(tmp_path: Path):
    with serving(tmp_path) as process:
        said(process, HELLO)
        assert process.stdin
        process.stdin.close()
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_server_ends_when_told_to(tmp_path: Path, number: signal.Signals):
    with serving(tmp_path) as process:
        said(process, HELLO)
        process.send_signal(number)
        assert process.wait(timeout=10) == 0


def test_secrets_of_the_workspace_are_the_users_alone(tmp_path: Path):
    with serving(tmp_path) as process:
        said(process, HELLO)
        process.communicate(timeout=30)
    workspace = tmp_path / "workspace"
    assert workspace.stat().st_mode & 0o077 == 0
    for name in ("question.key", "events.db"):
        assert (workspace / name).stat().st_mode & 0o077 == 0, name
