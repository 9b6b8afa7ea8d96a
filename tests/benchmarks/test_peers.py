"""The benchmark against the peers: which peer counts, what the goals say, which comparisons are made. The measuring itself it
is run for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from edgeopt.autopilot.driver import Ended
from edgeopt.autopilot.history import History, Trial
from edgeopt.autopilot.policy import Call, Stop
from edgeopt.benchmarks.peers_accuracy import Behind, Judged
from edgeopt.benchmarks.peers_ours import TOLERANCE, Owner, how_made, packaged
from edgeopt.benchmarks.peers_speed import OUT_OF_THE_QUESTION, Compared, finalists
from edgeopt.benchmarks.peers_table import Peer, Row, geometric_mean, goals, table
from edgeopt.benchmarks.peers_tools import TOOLS, Making, make
from edgeopt.contract.measures import Artifact, Look, Package, Validation
from edgeopt.engine.problems import JobProblem
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.anyio
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def peer(tool: str, ratio: float, drop: float = 0.0, width: float = 0.01, behind: float = 0.0) -> Peer:
    interval = (ratio - width, ratio + width)
    return Peer(
        tool,
        judged=Judged(value=0.8, drop=drop, interval=(drop - 0.01, drop + 0.01), status="PASS"),
        behind=Behind(drop=behind, interval=(behind - 0.01, behind + 0.01)),
        compared=Compared(ratio=ratio, interval=interval, ours_ms=1.0, peer_ms=ratio),
    )


def row(*peers: Peer) -> Row:
    return Row("a model", "int8", peer("edgeopt", 1.0), peers)


def met(*rows: Row) -> list[bool]:
    return [goal.status == "met" for goal in goals(rows)]


def test_the_best_peer_is_the_fastest_within_the_tolerance():
    found = row(peer("fast and wrong", 0.5, drop=TOLERANCE + 0.001), peer("good", 1.2), peer("slow", 4.0))
    assert found.best and found.best.tool == "good"
    assert found.fastest and found.fastest.tool == "fast and wrong"


def test_a_peer_that_refused_or_was_not_timed_is_neither():
    refused, untimed = Peer("refused", "it does not take GRUs"), Peer("untimed", judged=Judged(value=1.0, drop=0.0))
    at_a_glance = replace(peer("at a glance", 0.1), compared=Compared(ratio=0.1, ours_ms=1.0, peer_ms=0.1, processes=1))
    none = row(refused, untimed, at_a_glance)
    assert none.best is None and none.fastest is None
    assert "about 0.10" in "\n".join(table([none]))
    assert "it does not take GRUs" in "\n".join(table([row(refused, untimed)]))


@given(st.lists(st.floats(0.2, 5), min_size=1, max_size=8))
def test_the_mean_is_geometric_and_of_the_best_peers(ratios: list[float]):
    rows = [row(peer("best", ratio), peer("slower", ratio + 0.1)) for ratio in ratios]
    assert geometric_mean(rows) == pytest.approx(math.prod(ratios) ** (1 / len(ratios)))


def test_no_mean_while_a_model_has_no_best_peer():
    assert geometric_mean([row(peer("best", 1.0)), row()]) is None


def test_each_goal_can_be_missed():
    assert met(row(peer("best", 1.02))) == [True, True, True]
    assert met(row(peer("best", 0.995))) == [False, True, True]
    assert met(row(peer("best", 0.9)), row(peer("best", 2.0))) == [True, False, True]
    assert met(row(peer("best", 1.1, behind=0.02))) == [True, True, False]


@given(st.dictionaries(st.sampled_from(list(TOOLS)), st.floats(0.1, 10), min_size=1), st.data())
def test_whatever_may_be_the_best_is_measured_at_length(ratios: dict[str, float], data: st.DataObject):
    accurate = set(data.draw(st.lists(st.sampled_from(list(ratios)), unique=True)))
    chosen = finalists({tool: Compared(ratio=ratio) for tool, ratio in ratios.items()}, accurate)
    assert min(ratios, key=lambda tool: ratios[tool]) in chosen
    least = min((ratios[tool] for tool in accurate), default=math.inf)
    for tool in accurate:
        assert tool in chosen or ratios[tool] > OUT_OF_THE_QUESTION * least


def test_a_peer_that_does_not_run_is_not_measured_again():
    assert finalists({"broken": Compared(problem="it does not load"), "runs": Compared(ratio=1.0)}, {"runs"}) == [
        "runs"
    ]


@pytest.mark.parametrize(("drop", "outcome"), [(TOLERANCE, "keep"), (TOLERANCE + 1e-6, "revert"), (-0.01, "keep")])
async def test_the_person_keeps_by_the_rule_of_the_peers(drop: float, outcome: str):
    owner, made = Owner(), artifact("v_1")
    judged = validation(drop)
    owner.history = replace(nothing_known(), trials={"v_1": Trial(made, validation=judged)})
    owner.begins(Call("decide_variant", {"session_id": "s", "variant_id": "v_1", "outcome": "keep"}))
    answer = await owner.decide(None, None)
    assert answer.content is not None and answer.content["outcome"] == outcome


async def test_the_person_keeps_nothing_that_was_not_judged():
    owner = Owner()
    owner.begins(Call("decide_variant", {"session_id": "s", "variant_id": "v_1", "outcome": "keep"}))
    answer = await owner.decide(None, None)
    assert answer.content is not None and answer.content["outcome"] == "revert"


@pytest.mark.skipif(not DATA.is_dir(), reason="the models are not here")
def test_a_tool_makes_its_model_in_a_process_of_its_own(tmp_path: Path):
    pytest.importorskip("ai_edge_litert", reason="the extras are not installed, which the peers need")
    made = make(making("onnxruntime dynamic", tmp_path), tmp_path)
    assert Path(made.file).stat().st_size > 0 and made.seconds > 0 and made.peak_mb > 50


@pytest.mark.skipif(not DATA.is_dir(), reason="the models are not here")
def test_a_tool_that_refuses_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("ai_edge_litert", reason="the extras are not installed, which the peers need")
    monkeypatch.setenv("EDGEOPT_TOOLCHAINS", str(tmp_path / "none"))
    with pytest.raises(JobProblem, match="onnx2tf"):
        make(making("LiteRT float32", tmp_path), tmp_path)


def test_ours_is_the_model_in_the_package_and_how_it_was_made(tmp_path: Path):
    made, package = artifact("v_1"), Package(path=str(tmp_path / "package"), files=[], verified=True, verification="")
    history = replace(nothing_known(), trials={"v_1": Trial(made)}, packages={"v_1": package})
    assert packaged(Ended(Stop("done"), history, "v_1")) == tmp_path / "package" / "v.onnx"
    assert packaged(Ended(Stop("done"), nothing_known(), None)) is None
    assert how_made(history, "v_1") == "int8_static" and how_made(history, None) == "the original"
    with pytest.raises(RuntimeError, match="disk full"):
        packaged(Ended(Stop("done"), replace(history, packages={}), "v_1", problem="disk full"))


def nothing_known() -> History:
    return History("s", "m", "cpu-generic", "top1", None, TOLERANCE, "relative")


def making(tool: str, folder: Path) -> Making:
    return Making(tool=tool, model="ResNet-20", data=str(DATA), scratch=str(folder), folder=str(folder / "out"))


def artifact(variant: str) -> Artifact:
    made = {"technique": "int8_static", "parameters": {}, "path": "/v.onnx", "format": "onnx", "precision": "int8"}
    return Artifact(variant_id=variant, parent_id=None, size_bytes=1, sha256="0", **made)


def validation(drop: float) -> Validation:
    return Validation(
        metric="top1",
        baseline=0.8,
        optimized=0.8 * (1 - drop),
        delta=0.8 * drop,
        relative_drop=drop,
        ci95_relative_drop=(drop - 0.01, drop + 0.01),
        tolerance="2%",
        evidence="proven",
        method="",
        samples=100,
        status="INCONCLUSIVE",
        more_samples_needed=None,
        look=Look(number=1, alpha=0.05),
        decision_required=True,
        alternatives=[],
        flips=[],
        changed_decisions=None,
        classes=[],
    )
