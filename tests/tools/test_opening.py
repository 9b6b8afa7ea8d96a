"""Opening a session: what may be read, what is read, and who may loosen the bar."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import anyio
import numpy as np
import onnx
import pytest
from edgeopt.contract.evaluation import METRICS_OF, Evaluation, Metric, Task
from edgeopt.contract.measures import Accuracy
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.server import app
from edgeopt.state.block import state_block
from edgeopt.state.claims.facts import recorded_facts
from edgeopt.tools.answers import Refused
from edgeopt.tools.inputs import check_inputs
from edgeopt.tools.log import profile_log
from edgeopt.tools.provenance import metadata
from edgeopt.tools.workshop import Policy, Settings
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ..state import worlds
from . import planted
from .agents import ERAS, Person, at, settings
from .finished import opened, small_world

pytestmark = pytest.mark.anyio
Era = Literal["auto", "legacy"]
ACCEPT, REFUSE = {"outcome": "accept"}, {"outcome": "refuse"}
POINT = {"evidence": "point"}
LOOSE = {"accuracy_tolerance": 0.5}


# What may be read


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("/etc/hostname", "PATH_NOT_ALLOWED"),
        ("{inside}/../secret.onnx", "PATH_NOT_ALLOWED"),
        ("{inside}/link.onnx", "PATH_NOT_ALLOWED"),
        ("{inside}/folder-link/secret.onnx", "PATH_NOT_ALLOWED"),
        ("net.onnx", "PATH_NOT_ALLOWED"),
        ("", "PATH_NOT_ALLOWED"),
        ("{inside}/absent.onnx", "BAD_FILE"),
        ("{inside}/net.onnx/more", "BAD_FILE"),
        ("{inside}/loop", "BAD_FILE"),
        ("{inside}/" + "n" * 300, "BAD_FILE"),
        ("~nobody-of-this-name/net.onnx", "BAD_FILE"),
        ("{inside}/\0net.onnx", "INVALID_ARGUMENT"),
        ("/" + "n/" * 5000, "INVALID_ARGUMENT"),
    ],
)
async def test_files_are_read_below_the_roots_alone(tmp_path: Path, place: str, code: str):
    inside = tmp_path / "inside"
    inside.mkdir()
    world = small_world(inside)
    (tmp_path / "secret.onnx").write_bytes((inside / "net.onnx").read_bytes())
    (inside / "link.onnx").symlink_to(tmp_path / "secret.onnx")
    (inside / "folder-link").symlink_to(tmp_path)
    (inside / "loop").symlink_to(inside / "loop")
    path = place.replace("{inside}", str(inside))
    rules = Settings(workspace=tmp_path / "workspace", allow_roots=(inside,))
    async with at(rules) as agent:
        (await agent.call("open_session", **world | {"model_path": path})).refused(code)
        test = world["evaluation"] | {"dataset_path": path}
        (await agent.call("open_session", **world | {"evaluation": test})).refused(code)
        if path:  # an empty one is none
            (await agent.call("open_session", **world, calibration_path=path)).refused(code)
        assert (await agent.call("list_sessions")).ok()["sessions"] == []


async def test_a_link_that_stays_inside_is_followed_to_the_real_file(tmp_path: Path):
    world = small_world(tmp_path)
    (tmp_path / "link.onnx").symlink_to(tmp_path / "net.onnx")
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("open_session", **world | {"model_path": str(tmp_path / "link.onnx")})
        assert answer.ok()["state"]["original_model_path"] == str((tmp_path / "net.onnx").resolve())


@pytest.mark.parametrize("given", ["{folder}/code.py:load", "{folder}/code.py", "code:f", "/x\0.py:f", "x" * 100_000])
@pytest.mark.parametrize("argument", ["loader", "adapter", "metric_code"])
async def test_code_that_the_operator_did_not_name_does_not_run(tmp_path: Path, argument: str, given: str):
    world = small_world(tmp_path)
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    given = given.replace("{folder}", str(tmp_path))
    if argument == "loader":
        world |= {"loader": given}
    else:
        world["evaluation"] |= {argument: given}
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("open_session", **world)).refused("UNTRUSTED_CODE", "INVALID_ARGUMENT")
        assert refusal["code"] == ("INVALID_ARGUMENT" if "\0" in given or len(given) > 4096 else "UNTRUSTED_CODE")
    assert not (tmp_path / "ran").exists()


async def test_a_pickle_is_not_opened(tmp_path: Path):
    world = small_world(tmp_path)
    ran = tmp_path / "ran"
    async with at(settings(tmp_path)) as agent:
        for name in ("net.pt", "net.pth", "net.onnx"):
            bomb = tmp_path / "bomb" / name
            bomb.parent.mkdir(exist_ok=True)
            bomb.write_bytes(b"\x80\x04cos\nsystem\n(S'touch " + bytes(ran) + b"'\ntR.")
            (await agent.call("open_session", **world | {"model_path": str(bomb)})).refused("UNTRUSTED_CODE")
    assert not ran.exists()


# What is read


def arrays(path: Path, **changes: Any) -> dict[str, Any]:
    return dict(np.load(path)) | changes


Spoil = Callable[[Path, dict[str, Any]], None]


def data(**changes: Callable[[Any], Any]) -> Spoil:
    """Rewrites arrays of the evaluation set."""

    def spoil(folder: Path, _world: dict[str, Any]) -> None:
        was = dict(np.load(folder / "test.npz"))
        np.savez(folder / "test.npz", **was | {name: change(was[name]) for name, change in changes.items()})

    return spoil


def file(name: str, content: Callable[[bytes], bytes]) -> Spoil:
    def spoil(folder: Path, _world: dict[str, Any]) -> None:
        (folder / name).write_bytes(content((folder / name).read_bytes()))

    return spoil


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    def spoil(folder: Path, _world: dict[str, Any]) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


SPOILT: dict[str, tuple[Spoil, set[str]]] = {
    "an empty model": (file("net.onnx", lambda _: b""), {"BAD_FILE"}),
    "a cut model": (file("net.onnx", lambda whole: whole[: len(whole) // 2]), {"BAD_FILE"}),
    "a foreign model": (file("net.onnx", lambda _: b"no model" * 40), {"BAD_FILE"}),
    "a folder for a model": (instead("net.onnx", Path.mkdir), {"BAD_FILE"}),
    "a pipe for a model": (instead("net.onnx", os.mkfifo), {"BAD_FILE"}),
    "an empty data set": (file("test.npz", lambda _: b""), {"BAD_FILE"}),
    "a cut data set": (file("test.npz", lambda whole: whole[:-200]), {"BAD_FILE"}),
    "a pipe for data": (instead("test.npz", os.mkfifo), {"BAD_FILE"}),
    "no samples": (data(x=lambda x: x[:0], labels=lambda y: y[:0]), {"BAD_FILE"}),
    "labels for some samples": (data(labels=lambda y: y[:-1]), {"BAD_FILE"}),
    "labels out of range": (data(labels=lambda y: y + 4), {"BAD_FILE"}),
    "objects, which are pickles": (data(x=lambda x: x.astype(object)), {"BAD_FILE"}),
    "samples that are no numbers": (data(x=lambda x: x * np.nan), {"BAD_FILE"}),
    "samples of another shape": (data(x=lambda x: x[:, :7]), {"INVALID_ARGUMENT", "BAD_FILE"}),
}


@pytest.mark.parametrize("what", SPOILT)
async def test_spoilt_files_are_refused_with_the_reason(tmp_path: Path, what: str):
    spoil, codes = SPOILT[what]
    world = small_world(tmp_path)
    spoil(tmp_path, world)
    async with at(settings(tmp_path)) as agent:
        with anyio.fail_after(60):
            (await agent.call("open_session", **world)).refused(*codes)
        assert (await agent.call("list_sessions")).ok()["sessions"] == []
    assert list((tmp_path / "workspace" / "inspections").glob("*")) == []


async def test_a_model_without_inputs_is_said_to_have_none(tmp_path: Path):
    world = small_world(tmp_path)
    constant = helper.make_node("Constant", [], ["y"], value=numpy_helper.from_array(np.ones((1, 4), np.float32)))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    model = helper.make_model(helper.make_graph([constant], "g", [], [output]), ir_version=8)
    onnx.save(model, tmp_path / "net.onnx")
    async with at(settings(tmp_path)) as agent:
        assert "no inputs" in (await agent.call("open_session", **world)).refused("BAD_FILE")["message"]


@pytest.mark.parametrize(
    ("code", "end", "step"),
    [
        ("raise MemoryError('no more')", "MEMORY_LIMIT", "--job-memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "WORKER_CRASHED", "log_tail"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "WORKER_KILLED", "again"),
        ("raise RuntimeError('a fault of ours')", "WORKER_FAILED", "log_tail"),
    ],
)
async def test_what_breaks_while_files_are_read_is_not_said_to_be_their_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, end: str, step: str
):
    monkeypatch.setattr(app, "LocalExecutor", lambda: LocalExecutor([sys.executable, "-P", "-c", code]))
    async with at(settings(tmp_path)) as agent:
        answer = await agent.call("open_session", **small_world(tmp_path))
        assert answer.status == "failed"
        assert answer.data["message"].startswith(f"{end}: ")
        assert any(step in line for line in answer.data["playbook"])
        assert "RuntimeError" in answer.data["log_tail"] or end != "WORKER_FAILED"
        assert (await agent.call("list_sessions")).ok()["sessions"] == []


async def test_an_inspection_whose_supervisor_is_killed_starts_again(tmp_path: Path):
    world = small_world(tmp_path)
    killed: list[int] = []

    async def kill_one() -> None:
        while not killed:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    words = (process / "cmdline").read_bytes().split(b"\0")
                except OSError:  # it has ended meanwhile
                    continue
                ours = any(word.startswith(bytes(tmp_path / "workspace" / "inspections")) for word in words)
                if ours and b"edgeopt.engine.supervisor" in words:
                    killed.append(int(process.name))
                    os.kill(int(process.name), signal.SIGKILL)
                    return
            await anyio.sleep(0.01)

    async with at(settings(tmp_path)) as agent, anyio.create_task_group() as group:
        group.start_soon(kill_one)
        with anyio.fail_after(60):
            (await agent.call("open_session", **world)).ok()
        group.cancel_scope.cancel()
    assert killed


# What is measured


@pytest.mark.parametrize("metric", get_args(Metric))
def test_a_task_and_a_metric_of_another_are_refused_before_anything_is_read(metric: Metric, tmp_path: Path):
    for task in get_args(Task):
        evaluation = Evaluation(dataset_path="absent.npz", metric=metric, task=task)
        with pytest.raises(Refused) as caught:
            check_inputs(settings(tmp_path), str(tmp_path / "absent.onnx"), evaluation, None)
        fits = metric == "custom" or metric in METRICS_OF[task]
        assert caught.value.refusal.code == ("BAD_FILE" if fits else "INVALID_ARGUMENT")
        assert fits or f"task={task!r}" in caught.value.refusal.message


async def test_a_task_that_disagrees_with_the_metric_opens_nothing(tmp_path: Path):
    world = small_world(tmp_path)
    async with at(settings(tmp_path)) as agent:
        evaluation = world["evaluation"] | {"task": "detection"}
        refusal = (await agent.call("open_session", **world | {"evaluation": evaluation})).refused("INVALID_ARGUMENT")
        assert "task='classification'" in refusal["message"]
        (await agent.call("open_session", **world | {"evaluation": evaluation | {"task": "classification"}})).ok()


# Who may loosen the bar


@pytest.mark.parametrize("asked", [LOOSE, POINT, LOOSE | POINT])
async def test_without_somebody_to_ask_the_bar_is_not_loosened(tmp_path: Path, asked: dict[str, Any]):
    async with at(settings(tmp_path)) as agent:
        refusal = (await agent.call("open_session", **small_world(tmp_path), **asked)).refused("HUMAN_UNAVAILABLE")
        assert "--policy" in refusal["message"]
        assert (await agent.call("list_sessions")).ok()["sessions"] == []


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("answer", "code"), [("decline", "HUMAN_DECLINED"), ("cancel", "DECISION_REQUIRED"), (REFUSE, "HUMAN_DECLINED")]
)
async def test_anything_but_a_yes_leaves_the_bar_where_it_is(tmp_path: Path, mode: Era, answer: Any, code: str):
    person = Person([answer])
    async with at(settings(tmp_path), person, mode) as agent:
        refusal = (await agent.call("open_session", **small_world(tmp_path), **LOOSE)).refused(code)
        assert "accuracy_tolerance=0.02" in refusal["message"]
        assert (await agent.call("list_sessions")).ok()["sessions"] == []
    assert len(person.asked) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_a_persons_yes_loosens_one_session_and_is_recorded(tmp_path: Path, mode: Era):
    person = Person([ACCEPT])
    async with at(settings(tmp_path), person, mode) as agent:
        session_id = await opened(agent, tmp_path, **LOOSE, **POINT)
        await opened(agent, tmp_path)  # the policy's own bar: nobody is asked
    (question,) = person.asked
    for words in ("net.onnx", "0.5", "0.02", "point estimate"):
        assert words in question
    session = planted.recorded(tmp_path, session_id).opened
    assert session.loosened_by == "a person, accepted through test-client 7"
    assert (session.accuracy_tolerance, session.evidence) == (0.5, "point")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_no_to_a_bar_is_final_for_the_original_and_all_that_is_as_loose(tmp_path: Path, mode: Era):
    person = Person([REFUSE, REFUSE])
    world = small_world(tmp_path)
    async with at(settings(tmp_path), person, mode) as agent:
        (await agent.call("open_session", **world, accuracy_tolerance=0.1)).refused("HUMAN_DECLINED")
        renamed = tmp_path / "renamed.onnx"  # the same weights in another file are the same original
        model = onnx.load(world["model_path"])
        model.producer_name = "somebody else"
        onnx.save(model, renamed)
        for bar in ({"accuracy_tolerance": 0.1}, {"accuracy_tolerance": 0.2} | POINT):
            for path in (world["model_path"], str(renamed)):
                (await agent.call("open_session", **world | {"model_path": path}, **bar)).refused("HUMAN_DECLINED")
        assert len(person.asked) == 1
        (await agent.call("open_session", **world, accuracy_tolerance=0.05)).refused("HUMAN_DECLINED")
        await opened(agent, tmp_path)  # the policy's own bar stays open
    assert len(person.asked) == 2  # a tighter bar is another question, which says how often it was asked
    assert "turned down 1 times" in person.asked[1]


async def test_after_three_refusals_of_looser_bars_nobody_is_asked(tmp_path: Path):
    person = Person([REFUSE] * 9)
    async with at(settings(tmp_path), person) as agent:
        for tolerance in (0.5, 0.4, 0.3, 0.2, 0.1):
            asked = small_world(tmp_path) | {"accuracy_tolerance": tolerance}
            (await agent.call("open_session", **asked)).refused("HUMAN_DECLINED")
    assert len(person.asked) == 3


@pytest.mark.parametrize("mode", ERAS)
async def test_a_silence_about_a_bar_leaves_it_open_three_times_at_most(tmp_path: Path, mode: Era):
    person = Person(["cancel"] * 9)
    async with at(settings(tmp_path), person, mode) as agent:
        for number in range(5):
            bar = {"accuracy_tolerance": 0.5 - number / 10}  # any other bar counts too
            code = "DECISION_REQUIRED" if number < 3 else "HUMAN_UNAVAILABLE"
            (await agent.call("open_session", **small_world(tmp_path), **bar)).refused(code)
    assert len(person.asked) == 3
    assert "left unanswered 2 times" in person.asked[2]


async def test_a_restarted_server_remembers_a_no_to_a_bar(tmp_path: Path):
    person = Person([REFUSE, ACCEPT])
    for _ in range(2):
        async with at(settings(tmp_path), person) as agent:
            (await agent.call("open_session", **small_world(tmp_path), **POINT)).refused("HUMAN_DECLINED")
    assert len(person.asked) == 1


async def test_the_operators_policy_is_the_bar(tmp_path: Path):
    lenient = settings(tmp_path, policy=Policy(max_tolerance=0.5, evidence="point"))
    strict = settings(tmp_path, policy=Policy(max_tolerance=0.01))
    async with at(lenient) as agent:
        await opened(agent, tmp_path, **LOOSE, **POINT)
    async with at(strict) as agent:
        refusal = (await agent.call("open_session", **small_world(tmp_path))).refused("HUMAN_UNAVAILABLE")
        assert "accuracy_tolerance=0.01" in refusal["message"]
        await opened(agent, tmp_path, accuracy_tolerance=0.01)


@pytest.mark.parametrize("loosened_by", [None, "a person, who was asked about evidence='point'"])
@pytest.mark.parametrize(("asked", "counts"), [(0.9, 0.02 * 0.9), (0.001, 0.001)])
def test_an_absolute_tolerance_is_bounded_by_the_policys_share_of_the_baseline_wherever_it_is_used(
    tmp_path: Path, asked: float, counts: float, loosened_by: str | None
):
    bar = {"tolerance_kind": "absolute", "max_tolerance": 0.02, "loosened_by": loosened_by, "accuracy_tolerance": asked}
    assert worlds.begun(**bar).tolerance == asked  # of what, nobody knows yet
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"), **bar)
    session = planted.recorded(tmp_path)
    assert session.tolerance == session.allowed_loss == pytest.approx(counts)
    text = f"{counts:.6g} absolute"
    assert state_block(session).accuracy_tolerance == text
    assert metadata(session, "v1")["bar"]["tolerance"] == text
    assert [f.value for f in recorded_facts(session) if f.quantity == "tolerance"] == [pytest.approx(counts)]
    assert (text in profile_log(session, worlds.measurement())) == (asked > counts)


async def test_a_step_may_spend_no_more_than_the_tolerance_that_counts(tmp_path: Path):
    planted.plant(tmp_path, tolerance_kind="absolute", accuracy_tolerance=0.9, max_tolerance=0.02)
    async with at(settings(tmp_path)) as agent:
        step = {"technique": "simplify"}
        await agent.call("optimize_model", session_id=planted.SESSION, step=step, parent="baseline", wait_s=0)
    (job,) = [j for j in planted.recorded(tmp_path).jobs.values() if j.tool == "optimize_model"]
    assert job.spec["task"]["tolerance"] == pytest.approx(0.02 * 0.9)


@given(
    value=st.floats(0.01, 100),
    asked=st.floats(0, 1),
    allowed=st.floats(0, 1),
    kind=st.sampled_from(["relative", "absolute"]),
)
def test_no_absolute_tolerance_allows_more_than_the_policys_relative_one(
    value: float, asked: float, allowed: float, kind: str
):
    started, measured = worlds.profiled()
    accuracy = Accuracy(metric="rmse", value=value, n=100, ci95=(value, value))
    baseline = worlds.measurement().model_copy(update={"accuracy": accuracy})
    session = worlds.begun(
        started,
        measured.model_copy(update={"baseline": baseline}),
        accuracy_tolerance=asked,
        tolerance_kind=kind,
        max_tolerance=allowed,
    )
    assert session.allowed_loss is not None
    if kind == "absolute":
        assert session.allowed_loss <= allowed * value
        assert session.allowed_loss <= asked
    else:
        assert session.allowed_loss == asked * value
