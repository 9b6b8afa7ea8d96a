"""A custom metric through the whole server: by the operator's leave alone, as it was when that was given, and said."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from edgeopt.contract.measures import ClassDrop
from edgeopt.engine.packaging.readme import render
from edgeopt.tools.log import validation_log
from edgeopt.tools.provenance import metadata
from edgeopt.tools.question import question
from edgeopt.tools.workshop import Settings

from .state import worlds
from .tools import planted
from .tools.agents import at, settings
from .tools.finished import small_world

pytestmark = pytest.mark.anyio
CODE = "def score(outputs, labels):\n    return outputs['y'].argmax(axis=1) == labels\n"


def custom_world(folder: Path, code: str = CODE, **evaluation: Any) -> dict[str, Any]:
    (folder / "metric.py").write_text(code)
    world = small_world(folder)
    world["evaluation"] |= {"metric": "custom", "metric_code": f"{folder / 'metric.py'}:score"} | evaluation
    return world


def trusting(folder: Path) -> Settings:
    """A server whose operator allowed metric.py as it is now."""
    path = (folder / "metric.py").resolve()
    return settings(folder, user_code={path: hashlib.sha256(path.read_bytes()).hexdigest()})


async def test_answers_and_the_packages_texts_say_that_user_code_had_a_hand_in_it(tmp_path: Path):
    world = custom_world(tmp_path)
    said = f"metric.py:score, sha256 {hashlib.sha256(CODE.encode()).hexdigest()[:16]}"
    async with at(trusting(tmp_path)) as agent:
        opened = (await agent.call("open_session", **world)).ok()
        defined = next(i for i in opened["preflight"] if i["item"] == "Accuracy metric defined")
        assert defined["detail"] == f"custom, by user code: {said}"
        of = {"session_id": opened["session_id"]}
        profiled = await agent.finish("profile_model", **of, iterations=100)
        assert profiled.ok()["baseline"]["accuracy"]["user_code"] == said
        assert said in profiled.text
        (await agent.finish("optimize_model", **of, step={"technique": "simplify"})).ok()
        validated = await agent.finish("validate_variant", **of, variant_id="v1")
        assert validated.ok()["validation"]["user_code"] == said
        assert validated.data["validation"]["status"] == "PASS"
        assert said in validated.text
    written = metadata(planted.recorded(tmp_path, of["session_id"]), "v1")
    assert written["validations"][-1]["user_code"] == written["baseline"]["accuracy"]["user_code"] == said
    assert written["evaluation"]["metric_code"] == f"{tmp_path.resolve() / 'metric.py'}:score"
    assert said in render("v1.onnx", "onnx", "onnxruntime 1", [], written)


async def test_another_content_is_refused_and_the_same_is_taken_again(tmp_path: Path):
    world = custom_world(tmp_path)
    first = trusting(tmp_path)
    async with at(first) as agent:
        of = {"session_id": (await agent.call("open_session", **world)).ok()["session_id"]}
        (tmp_path / "metric.py").write_text("def score(outputs, labels):\n    return 1.0\n")
        refusal = (await agent.call("profile_model", **of)).refused("SAME_DATASET")
        assert "metric.py:score" in refusal["message"]
        (await agent.call("open_session", **world)).refused("UNTRUSTED_CODE")
    async with at(trusting(tmp_path)) as agent:  # the operator allows the new content: still not this session's metric
        (await agent.call("profile_model", **of)).refused("SAME_DATASET")
    (tmp_path / "metric.py").write_text(CODE)
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("profile_model", **of)).refused("UNTRUSTED_CODE")
        assert "--allow-user-code" in refusal["message"]
    async with at(first) as agent:
        (await agent.finish("profile_model", **of, iterations=100)).ok()


@pytest.mark.parametrize(
    ("evaluation", "code"),
    [
        ({"metric": "top1"}, "INVALID_ARGUMENT"),
        ({"metric_code": None}, "INVALID_ARGUMENT"),
        ({"metric_code": "{folder}/metric.py"}, "INVALID_ARGUMENT"),
        ({"metric_code": "{folder}/metric.py:"}, "INVALID_ARGUMENT"),
        ({"metric_code": "{folder}/metric.py:os.system"}, "INVALID_ARGUMENT"),
        ({"metric_code": "{folder}/metric.py:absent"}, "INVALID_ARGUMENT"),
        ({"metric_code": "{folder}/other.py:score"}, "UNTRUSTED_CODE"),
        ({"adapter": "{folder}/other.py:score"}, "UNTRUSTED_CODE"),
        ({"adapter": "{folder}/metric.py:absent"}, "INVALID_ARGUMENT"),
    ],
)
async def test_what_is_no_allowed_function_is_refused(tmp_path: Path, evaluation: dict[str, Any], code: str):
    given = {name: value and value.replace("{folder}", str(tmp_path)) for name, value in evaluation.items()}
    world = custom_world(tmp_path, **given)
    async with at(trusting(tmp_path)) as agent:
        (await agent.call("open_session", **world)).refused(code)


async def test_the_operators_file_runs_in_the_sandbox(tmp_path: Path):
    """It may read what it is given; it writes nowhere and asks nobody."""
    escape = (
        "import socket\n"
        "def attempt(what, *arguments):\n"
        "    try:\n        what(*arguments)\n"
        "    except OSError:\n        return\n"
        "    raise RuntimeError('escaped')\n"
        f"attempt(open, {str(tmp_path / 'escaped')!r}, 'w')\n"
        "attempt(socket.socket)\n"
    )
    world = custom_world(tmp_path, escape + CODE)
    async with at(trusting(tmp_path)) as agent:
        (await agent.call("open_session", **world)).ok()
    assert not (tmp_path / "escaped").exists()


async def test_an_error_of_the_file_is_a_refusal_with_its_last_line(tmp_path: Path):
    world = custom_world(tmp_path, "raise ValueError('no such\\ncolumn')\n")
    async with at(trusting(tmp_path)) as agent:
        refusal = (await agent.call("open_session", **world)).refused("INVALID_ARGUMENT")
        assert refusal["message"].endswith("does not load: ValueError: no such column")


def test_the_log_and_the_question_name_ruined_classes_and_user_code():
    ruin = ClassDrop(label=7, samples=57, baseline=0.93, optimized=0.41, drop=0.52, ruined=True)
    lesser = ruin.model_copy(update={"label": 3, "optimized": 0.9, "drop": 0.03, "ruined": False})
    changes = {"classes": [ruin, lesser], "user_code": "metric.py:score"}
    validation = worlds.validation("FAIL").model_copy(update=changes)
    *events, judged = [*worlds.profiled(), *worlds.created(10, 1), *worlds.validated(12, "v1", "FAIL")]
    session = worlds.begun(*events, judged.model_copy(update={"validation": validation}))
    asked, log = question(session, "v1"), validation_log(session, "v1", validation)
    assert "Class 7 is ruined: 0.93 -> 0.41 on 57 samples." in asked
    assert "class 3" not in asked.lower()
    assert "class 7 is ruined: 0.93 -> 0.41 on 57 samples" in log
    assert "class 3 loses: 0.93 -> 0.90 on 57 samples" in log
    assert "provably ruined" in log
    assert "metric.py:score" in asked and "metric.py:score" in log
