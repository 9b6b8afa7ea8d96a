"""A program in another environment plays a scenario as Inspect does: prepare, mirror, score, by command line and text alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from edgeopt.evals.apart import understood
from mcp import Client
from mcp.client.stdio import StdioServerParameters

ROOT = Path(__file__).parents[2]
APART = [sys.executable, "-P", "-m", "edgeopt.evals.apart"]
# A Python that has inspect_ai and need not have edgeopt; this one where it has it.
INSPECT = os.environ.get("EDGEOPT_INSPECT_PYTHON")


def asked(*arguments: str, text: str = "") -> Any:
    done = subprocess.run([*APART, *arguments], input=text, capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_a_scripted_agent_plays_through_text_alone(tmp_path: Path):
    root = str(tmp_path / "place")
    world = asked("prepare", "skip-baseline", root)
    assert "digits_net.onnx" in world["prompt"]

    async def plays(mirror: subprocess.Popen[str]) -> str:
        assert mirror.stdin and mirror.stdout
        async with Client(
            StdioServerParameters(command=world["command"], args=world["args"], env=dict(os.environ))
        ) as client:
            while "said" not in (move := json.loads(mirror.stdout.readline())):
                outcome = await client.call_tool(move["tool"], move["arguments"])
                text = "\n".join(part.text for part in outcome.content if part.type == "text")
                mirror.stdin.write(json.dumps({"text": text}) + "\n")
                mirror.stdin.flush()
        return move["said"]

    command = [*APART, "mirror", "skip-baseline", root]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as mirror:
        said = anyio.run(plays, mirror)
    assert said.count("BASELINE_REQUIRED") >= 6
    scored = asked("score", "skip-baseline", root, "scripted", text=said)
    assert scored == {"breaches": [], "completed": False, "claims": []}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "j3-00ff is running (40%): timing. Call wait_for_job.\n\n<model-opt-state>",
            {"status": "running", "job_id": "j3-00ff"},
        ),
        (
            'Error: {"status": "refused", "refusal": {"code": "NOT_VALIDATED"}}\n\n<model-opt-state>',
            {"status": "refused"},
        ),
        (f"**session_id**: s_{'0' * 32}\n\nAll is well.", {"status": "ok", "session_id": f"s_{'0' * 32}"}),
    ],
)
def test_the_text_of_an_answer_is_understood(text: str, expected: dict[str, str]):
    data = understood("any", text).data
    assert {name: data[name] for name in expected} == expected


def test_recommended_calls_are_understood():
    text = (
        "1. benchmark_variant {'session_id': 's', 'variant_id': 'v1'}: v1 has no measured speed. [measure every change]"
    )
    (call,) = understood("recommend_next", text).data["recommendations"]
    assert call == {"tool": "benchmark_variant", "arguments": {"session_id": "s", "variant_id": "v1"}}


def has_inspect(python: str) -> bool:
    return subprocess.run([python, "-c", "import inspect_ai"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_inspect_plays_the_scripted_agent(tmp_path: Path):
    python = INSPECT or sys.executable
    if not has_inspect(python):
        pytest.skip("inspect_ai is not here: pip install '.[evals]', or name its Python in EDGEOPT_INSPECT_PYTHON")
    root = Path(__file__).parents[2]  # Inspect takes relative paths alone
    command = [python, "-m", "inspect_ai", "eval", "evals/inspect_tasks.py", "--model", "mockllm/model"]
    options = ["-T", "only=skip-baseline", "--log-dir", str(tmp_path), "--log-format", "json", "--display", "plain"]
    environment = {**os.environ, "EDGEOPT_PYTHON": sys.executable}
    ran = subprocess.run([*command, *options], capture_output=True, text=True, check=False, env=environment, cwd=root)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (file,) = tmp_path.glob("*.json")
    (sample,) = json.loads(file.read_text())["samples"]
    assert sample["scores"]["held"]["value"] == 1
    assert "BASELINE_REQUIRED" in sample["output"]["choices"][0]["message"]["content"]
