"""A session that judges by the point estimate: every place that shows a verdict says that it is not proven."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from edgeopt.contract.measures import BY_POINT, ClassDrop, Validation
from edgeopt.engine.packaging.readme import render
from edgeopt.state.events import Event, VariantValidated
from edgeopt.tools.provenance import metadata

from ..state import worlds
from . import planted
from .agents import Person, at, settings

pytestmark = pytest.mark.anyio
OF = {"session_id": planted.SESSION}
Verdict = Literal["PASS", "FAIL"]


def by_point(folder: Path, status: Verdict, *more: Event) -> None:
    """A session that a person has loosened, with a variant of this verdict."""
    *made, judged = planted.variant(folder, 1, status)
    assert isinstance(judged, VariantValidated)
    method = {"evidence": "point", "method": "point rule: not proven (paired score test)"}
    judged = judged.model_copy(update={"validation": judged.validation.model_copy(update=method)})
    planted.plant(folder, *made, judged, *more, evidence="point", loosened_by="a person")


def keep() -> Event:
    session = worlds.begun(*worlds.profiled(), *worlds.created(2, 1))
    return worlds.decided(session, "v1", "keep", by_person=False)


def test_parity_and_a_ruined_class_are_no_estimates():
    judged = worlds.validation("PASS")
    assert judged.verdict == "PASS"
    point = judged.model_copy(update={"evidence": "point"})
    assert point.verdict == f"PASS ({BY_POINT})"
    assert point.model_copy(update={"method": "parity: no decision differs"}).verdict == "PASS"
    ruin = ClassDrop(label=3, samples=50, baseline=0.9, optimized=0.1, drop=0.8, ruined=True)
    assert point.model_copy(update={"status": "FAIL", "classes": [ruin]}).verdict == "FAIL"


@pytest.mark.parametrize("status", ["PASS", "FAIL"])
async def test_every_answer_about_an_undecided_variant_says_so(tmp_path: Path, status: Verdict):
    by_point(tmp_path, status)
    said = f"{status} ({BY_POINT})"
    async with at(settings(tmp_path)) as agent:
        state = await agent.call("get_state", **OF)
        table = await agent.call("render_report", **OF, kind="tradeoff")
        again = await agent.call("validate_variant", **OF, variant_id="v1")
        advice = (await agent.call("recommend_next", **OF)).ok()["recommendations"]
    assert said in state.text
    assert [v["verdict"] for v in state.ok()["variants"]] == [None, said]
    assert table.ok()["markdown"].count(said) == 2  # the variant's title, and its loss
    assert "evidence='point'" in table.ok()["markdown"]
    assert said in again.text
    assert BY_POINT in advice[0]["reason"]


async def test_the_person_who_is_asked_is_told(tmp_path: Path):
    by_point(tmp_path, "FAIL")
    person = Person(["keep"])
    async with at(settings(tmp_path), person) as agent:
        blocked = (await agent.call("get_state", **OF)).ok()["state"]["blockers"]
        (await agent.call("decide_variant", **OF, variant_id="v1", outcome="keep", reason="")).ok()
    assert f"FAIL ({BY_POINT})" in blocked
    assert f"although it is FAIL ({BY_POINT})?" in person.asked[0]


async def test_what_was_kept_says_so_in_the_reports_and_in_the_package(tmp_path: Path):
    decision = keep().model_copy(update={"variant_sha256": planted.identity(_variant(tmp_path)).sha256})
    by_point(tmp_path, "PASS", decision)
    said = f"PASS ({BY_POINT})"
    async with at(settings(tmp_path)) as agent:
        summary = (await agent.call("render_report", **OF, kind="summary")).ok()
        state = await agent.call("get_state", **OF)
    assert summary["markdown"].count(said) == 2  # the accuracy's row, and the verdict
    pages = [Path(f) for f in summary["files"] if str(f).endswith(".html")]
    assert pages and all(said in page.read_text() for page in pages)
    assert f"kept, {said}" in state.text
    about: dict[str, Any] = json.loads(json.dumps(metadata(planted.recorded(tmp_path), "v1")))
    assert f"{said}." in render("net.onnx", "onnx", "onnxruntime", ["onnxruntime"], about)


def _variant(folder: Path) -> Path:
    return planted.file(folder / "workspace" / "v1.onnx")


async def test_a_session_that_proves_says_nothing_of_the_kind(tmp_path: Path):
    planted.failing(tmp_path)
    async with at(settings(tmp_path)) as agent:
        for tool, more in (("get_state", {}), ("render_report", {"kind": "tradeoff"}), ("recommend_next", {})):
            assert "point estimate" not in (await agent.call(tool, **OF, **more)).text


def test_an_old_record_of_a_validation_is_read():
    body = worlds.validation("PASS").model_dump_json()
    assert Validation.model_validate_json(body).verdict == "PASS"
