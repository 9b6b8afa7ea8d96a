"""What belongs to an original outlives its sessions: the looks at its evaluation samples, a person's no, its descent."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import onnx
import pytest
from edgeopt.state.events import Event, LookTaken, PersonAnswered, VariantMade
from edgeopt.state.ledger import fold, look_alpha, stream
from edgeopt.state.store import START, Store
from edgeopt.tools.workshop import Policy
from onnx import helper

from ..engine.small_models import WEIGHTS, evaluation_set, save_model
from . import planted
from .agents import ERAS, Agent, Person, at, settings
from .finished import Finished, opened, small_world

pytestmark = pytest.mark.anyio
Era = Literal["auto", "legacy"]
V1, V2 = {"variant_id": "v1"}, {"variant_id": "v2"}
HERE: dict[str, Any] = {"session_id": planted.SESSION}
THERE: dict[str, Any] = {"session_id": planted.OTHER}


def benchmarked(folder: Path, number: int) -> list[Event]:
    """A variant that waits for its validation."""
    return [*planted.variant(folder, number, None), *planted.worlds.benchmarked(10 * number + 5, f"v{number}")]


def looked(folder: Path, variant: str, number: int = 1, samples: list[str] = planted.SAMPLES) -> None:
    """A look that some session took at a variant of the original in `folder`."""
    sha256, session = planted.identity(folder / "workspace" / f"{variant}.onnx").sha256, planted.worlds.opened()
    look = LookTaken(
        session_id="s_elsewhere",
        variant_sha256=sha256,
        data_digest=session.data.digest if samples is planted.SAMPLES else "another choice",
        samples=samples,
        count=2000,
        number=number,
        alpha=look_alpha(number),
    )
    store, name = Store(folder / "workspace"), stream(session.weights)
    _, tip = store.load(name, START)
    store.append(name, tip, [look])
    store.close()


async def test_the_look_budget_is_the_originals_and_old_looks_are_free(tmp_path: Path):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), *benchmarked(tmp_path, 2))
    planted.plant(tmp_path, *benchmarked(tmp_path, 2), **THERE)
    looked(tmp_path, "v1")
    async with at(settings(tmp_path, policy=Policy(look_budget=1))) as agent:
        again = (await agent.call("validate_variant", **HERE, **V1)).ok()
        assert again["validation"]["status"] == "PASS"
        for session in (HERE, THERE):
            (await agent.call("validate_variant", **session, **V2)).refused("LOOK_BUDGET")
        looked(tmp_path, "v2", 2)  # paid for by somebody else: the very same file costs nothing more
        (await agent.finish("validate_variant", **HERE, **V2)).refused("BAD_FILE")  # the worker finds no outcomes


async def test_looks_at_other_samples_are_not_counted(tmp_path: Path):
    planted.plant(tmp_path, *benchmarked(tmp_path, 1), *planted.variant(tmp_path, 2, "PASS"))
    looked(tmp_path, "v2", samples=[f"{sample}0" for sample in planted.SAMPLES])
    async with at(settings(tmp_path, policy=Policy(look_budget=1))) as agent:
        (await agent.finish("validate_variant", **HERE, **V1)).refused("BAD_FILE")


async def test_every_new_look_is_written_down_before_the_work(tmp_path: Path):
    planted.plant(tmp_path, *benchmarked(tmp_path, 1))
    async with at(settings(tmp_path)) as agent:
        for _ in range(2):  # the job breaks, and what it looked at it has looked at; again it costs nothing
            (await agent.finish("validate_variant", **HERE, **V1)).refused("BAD_FILE")
    store = Store(tmp_path / "workspace")
    (look,) = fold(store.load(stream(planted.worlds.opened().weights))[0]).looks
    store.close()
    assert (look.number, look.alpha, look.session_id) == (1, look_alpha(1), planted.SESSION)
    assert look.variant_sha256 == planted.identity(tmp_path / "workspace" / "v1.onnx").sha256


async def test_a_persons_no_holds_in_every_session_of_the_original(tmp_path: Path):
    planted.failing(tmp_path)
    planted.failing(tmp_path, **THERE)
    person = Person(["decline", "keep"])
    keep = {**V1, "outcome": "keep", "reason": ""}
    async with at(settings(tmp_path), person) as agent:
        (await agent.call("decide_variant", **HERE, **keep)).refused("HUMAN_DECLINED")
        (await agent.call("decide_variant", **THERE, **keep)).refused("HUMAN_DECLINED")
    assert len(person.asked) == 1


async def int8(agent: Agent, folder: Path) -> Path:
    """A real INT8 variant of the small model."""
    of: dict[str, Any] = {"session_id": await opened(agent, folder)}
    (await agent.finish("profile_model", **of, iterations=100)).ok()
    made = (await agent.finish("optimize_model", **of, step={"technique": "int8_dynamic"})).ok()
    return Path(made["variant"]["path"])


async def test_a_variant_is_not_opened_as_an_original_where_nobody_can_be_asked(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        variant = await int8(agent, tmp_path)
        copy, disguised = tmp_path / "copy.onnx", tmp_path / "disguised.onnx"
        copy.write_bytes(variant.read_bytes())
        model = onnx.load(variant)
        model.producer_name, model.graph.name = "somebody else", "another graph"
        onnx.save(model, disguised)
        assert disguised.read_bytes() != copy.read_bytes()
        for path in (variant, copy, disguised):
            world = small_world(tmp_path) | {"model_path": str(path)}
            refusal = (await agent.call("open_session", **world)).refused("DERIVED_MODEL")
            assert refusal["missing"] == ["a person's leave"]
            assert "v1 of net.onnx" in refusal["message"]
            assert "client that asks" in refusal["message"]
        await opened(agent, tmp_path)  # the original itself may be opened again


async def test_a_variant_of_the_same_weights_is_one_too(finished: Finished):
    """The file that simplify wrote is known by its digest."""
    variant = finished.answers["optimize_model"].data["variant"]["path"]
    evaluation = {"dataset_path": str(finished.folder / "test.npz"), "metric": "top1"}
    async with at(settings(finished.folder)) as agent:
        answer = await agent.call(
            "open_session", model_path=variant, target_device="cpu-generic", evaluation=evaluation
        )
    answer.refused("DERIVED_MODEL")


async def lossy(agent: Agent, folder: Path) -> dict[str, Any]:
    """The arguments that open a variant of the small model, made here, that is right about less."""
    variant = await int8(agent, folder)
    worse = folder / "worse.onnx"
    weights = WEIGHTS.copy()
    weights[:, :2] = 0.0
    save_model(worse, [helper.make_node("MatMul", ["x", "w"], ["y"])], {"w": weights})
    session_id = next(part for part in variant.parts if part.startswith("s_"))
    made = VariantMade(
        original_sha256=planted.identity(folder / "net.onnx").sha256,
        original_path=str(folder / "net.onnx"),
        session_id=session_id,
        variant_id="v1",
    )
    store = Store(folder / "workspace")
    store.append(f"made:{planted.identity(worse).sha256}", START, [made])
    store.close()
    return small_world(folder) | {"model_path": str(worse)}


@pytest.mark.parametrize("mode", ERAS)
async def test_by_a_persons_leave_a_variant_is_opened_and_held_against_the_first_original(tmp_path: Path, mode: Era):
    person = Person([{"outcome": "accept"}])
    async with at(settings(tmp_path), person, mode) as agent:
        world = await lossy(agent, tmp_path)
        answer = (await agent.call("open_session", **world, accuracy_tolerance=0.01)).ok()
        of = {"session_id": answer["session_id"]}
        assert any("by leave of a person, through test-client 7" in item["detail"] for item in answer["preflight"])
        baseline = (await agent.finish("profile_model", **of, iterations=100)).ok()["baseline"]["accuracy"]["value"]
        (await agent.finish("optimize_model", **of, step={"technique": "simplify"})).ok()
        judged = (await agent.finish("validate_variant", **of, **V1)).ok()["validation"]
        table = (await agent.call("render_report", **of)).ok()["markdown"]
        opened_again = await opened(agent, tmp_path)
    (question,) = person.asked
    origin = planted.recorded(tmp_path, of["session_id"]).opened.derived_from
    assert origin
    original = planted.recorded(tmp_path, origin.session_id)
    assert original.baseline and original.baseline.accuracy
    assert origin.accuracy == original.baseline.accuracy.value > baseline
    for words in ("worse.onnx", "v1 of net.onnx", "int8_dynamic", f"top1 {origin.accuracy:.4f}"):
        assert words in question
    # simplify changes nothing: against the variant it would pass by parity.
    assert (judged["status"], judged["baseline"]) == ("FAIL", origin.accuracy)
    assert judged["optimized"] == baseline
    assert "the first original" in judged["method"] and "net.onnx" in table
    store = Store(tmp_path / "workspace")
    looks = fold(store.load(stream(original.opened.weights))[0]).looks
    store.close()
    assert [look.session_id for look in looks] == [of["session_id"]]
    assert planted.recorded(tmp_path, opened_again).opened.derived_from is None


async def test_leave_is_for_the_same_samples_alone_and_a_no_to_it_is_final(tmp_path: Path):
    person = Person(["cancel", "cancel", {"outcome": "refuse"}, {"outcome": "accept"}])
    async with at(settings(tmp_path), person) as agent:
        world = await lossy(agent, tmp_path)
        evaluation_set(tmp_path / "other.npz", samples=61)
        others = (
            {"dataset_path": str(tmp_path / "other.npz")},
            {"metric": "f1_macro"},
            {"preprocessing": {"scale": 0.5}},
        )
        for other in others:
            asked = world | {"evaluation": world["evaluation"] | other}
            refusal = (await agent.call("open_session", **asked)).refused("DERIVED_MODEL")
            assert "test.npz" in refusal["message"]
        assert person.asked == []
        for code in ("DERIVED_MODEL", "DERIVED_MODEL", "HUMAN_DECLINED", "HUMAN_DECLINED"):
            (await agent.call("open_session", **world)).refused(code)
        assert len((await agent.call("list_sessions")).ok()["sessions"]) == 1
    assert len(person.asked) == 3
    assert "closed unanswered 2 times" in person.asked[2]


async def test_what_a_person_turned_down_as_a_variant_is_not_opened_either(tmp_path: Path):
    person = Person([{"outcome": "accept"}])
    async with at(settings(tmp_path), person) as agent:
        world = await lossy(agent, tmp_path)
        session = planted.recorded(tmp_path, (await agent.call("list_sessions")).ok()["sessions"][0]["session_id"])
        no = PersonAnswered(
            session_id=session.session_id,
            variant_sha256=session.variants["v1"].artifact.sha256,
            outcome="revert",
            decided_by="a person",
        )
        planted.append(tmp_path, no, session_id=stream(session.opened.weights))
        (await agent.call("open_session", **world)).refused("HUMAN_DECLINED")
    assert person.asked == []


async def test_a_question_closed_in_one_session_counts_in_every_other(tmp_path: Path):
    planted.failing(tmp_path)
    planted.failing(tmp_path, **THERE)
    person = Person(["cancel"] * 4)
    keep = {**V1, "outcome": "keep", "reason": ""}
    async with at(settings(tmp_path), person) as agent:
        for session in (HERE, THERE, HERE):
            (await agent.call("decide_variant", **session, **keep)).refused("DECISION_REQUIRED")
        for session in (HERE, THERE):
            refusal = (await agent.call("decide_variant", **session, **keep)).refused("HUMAN_UNAVAILABLE")
            assert "3 times" in refusal["message"]
    assert len(person.asked) == 3
    assert "closed unanswered 1 times" in person.asked[1]
