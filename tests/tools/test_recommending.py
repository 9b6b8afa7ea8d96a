"""The decision trees: what is recommended on each device, from each format, with what is installed; and never what a
guardrail would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, get_args

import pytest
from edgeopt.contract.devices import DEVICES
from edgeopt.contract.instead import deployable
from edgeopt.contract.measures import Artifact, LayerScore
from edgeopt.contract.steps import MAKES, Step, precision_asked, takes
from edgeopt.state.events import Event, JobFailed, SensitivityAnalyzed, VariantCreated
from edgeopt.state.guardrails import judge
from edgeopt.state.request import Facts, Request
from edgeopt.state.session import BASELINE, Session
from edgeopt.tools.answers import Recommendation
from edgeopt.tools.recommending import not_here, recommendations
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ..state import worlds
from ..state.test_guardrails_exhaustively import explored

STEP: TypeAdapter[Step] = TypeAdapter(Step)
TECHNIQUES = frozenset(kind.model_fields["technique"].annotation.__args__[0] for kind in get_args(get_args(Step)[0]))
SOURCES = ("pytorch", "tensorflow", "onnx", "tflite", "tensorrt")
CONVOLUTIONS = {"pytorch": "aten.conv2d.default", "tensorflow": "Conv2D", "tflite": "CONV_2D", "onnx": "Conv"}
PRODUCTS = {"pytorch": "aten.linear.default", "tensorflow": "Dense", "tflite": "FULLY_CONNECTED", "onnx": "MatMul"}


def here(*techniques: str, architecture: str = "aarch64") -> Callable[[Session, Step, str], dict[str, Any]]:
    """The facts of a machine on which these techniques work."""

    def lookup(session: Session, step: Step, parent: str) -> dict[str, Any]:
        works = step.technique in techniques and takes(step.technique, session.format_of(parent))
        return {"architecture": architecture, "unavailable": None if works else f"{step.technique} is not here"}

    return lookup


EVERYTHING = here(*TECHNIQUES)
ONNX_ALONE = here("simplify", "graph_optimize", "float16", "int8_dynamic", "int8_static", "export_onnx")


def begun(device: str, source: str, operators: Iterable[str], calibrated: bool = True) -> Session:
    """A session whose baseline is measured."""
    model = worlds.opened().model.model_copy(update={"format": source, "operators": dict.fromkeys(operators, 3)})
    changes = {} if calibrated else {"calibration_path": None, "calibration_digest": None}
    return worlds.begun(*worlds.profiled(), target_device=device, source_format=source, model=model, **changes)


def agreeable(session: Session, called: Recommendation, lookup: Callable[..., dict[str, Any]]) -> bool:
    """Whether no guardrail refuses the call, on a machine where files are intact and a person can be asked."""
    arguments = dict(called.arguments)
    facts = Facts(owner=session.opened.owner, asking="chat")
    if called.tool == "optimize_model":
        step = STEP.validate_python(arguments["step"])
        parent = session.best if arguments["parent"] == "best" else arguments["parent"]
        facts = replace(facts, **lookup(session, step, parent))
        return judge(session, Request("optimize_model", variant_id=parent, step=step, identity="x"), facts) is None
    named = arguments.get("parent", arguments.get("variant_id"))
    request = Request(called.tool, variant_id=named, outcome=arguments.get("outcome"), identity="x")
    return judge(session, request, facts) is None


def follow(session: Session, lookup: Callable[..., dict[str, Any]], verdict: worlds.Verdict = "PASS") -> list[str]:
    """The steps that an agent takes who always does what is recommended first, until the report is all that is left."""
    taken: list[str] = []
    for _ in range(100):
        called = recommendations(session, lookup)[0]
        assert agreeable(session, called, lookup), called
        job = len(session.jobs) + 1
        variant = called.arguments.get("variant_id", "")
        match called.tool:
            case "optimize_model":
                step = STEP.validate_python(called.arguments["step"])
                parent = session.best if called.arguments["parent"] == "best" else called.arguments["parent"]
                taken.append(told(session, step, parent))
                session = worlds.grown(session, *made(session, job, step, parent))
            case "analyze_sensitivity":
                session = worlds.grown(session, *ranked(job, called.arguments["parent"]))
            case "benchmark_variant":
                session = worlds.grown(session, *worlds.benchmarked(job, variant, 1 + 0.4 * int(variant[1:])))
            case "validate_variant":
                session = worlds.grown(session, *worlds.validated(job, variant, verdict))
            case "decide_variant":
                session = worlds.grown(session, worlds.decided(session, variant, called.arguments["outcome"], False))
            case "package_variant":
                session = worlds.grown(session, *worlds.packaged(job, variant))
            case _:
                assert called.tool == "render_report"
                return taken
    raise AssertionError(f"no end: {taken}")


def ranked(job: int, parent: str, drop: float | None = 0.01) -> list[Event]:
    layers = [LayerScore(name=name, op="Conv", score=0.1, accuracy_drop=drop) for name in ("a", "b", "c")]
    found = SensitivityAnalyzed(
        job_id=f"j{job}", parent_id=parent, layers=layers, of=9, samples=24, confirmation="as drawn"
    )
    return [worlds.started(job, "analyze_sensitivity"), found]


def told(session: Session, step: Step, parent: str) -> str:
    choice = getattr(step, "quantization", getattr(step, "precision", ""))
    floats = " in bfloat16" if getattr(step, "float_layers", "") == "bfloat16" else ""
    return f"{step.technique}{f' {choice}' if choice else ''}{floats} of {session.format_of(parent)}"


def made(session: Session, job: int, step: Step, parent: str) -> list[Any]:
    number = len(session.variants) + 1
    started, event = worlds.created(job, number, parent)
    assert isinstance(event, VariantCreated)
    artifact: Artifact = event.artifact.model_copy(
        update={
            "technique": step.technique,
            "parameters": step.model_dump(exclude={"technique"}),
            "format": MAKES.get(step.technique, "onnx"),
            "precision": precision_asked(step.technique, step.model_dump()) or inherited(session, parent),
        }
    )
    return [started, event.model_copy(update={"artifact": artifact})]


def inherited(session: Session, parent: str) -> str:
    """What a step that keeps the precision gives."""
    if parent != BASELINE:
        return session.variants[parent].artifact.precision
    return "int8" if {"QLinearConv", "DEQUANTIZE"} & set(session.opened.model.operators) else "fp32"


@pytest.mark.parametrize(
    ("device", "source", "lookup", "operators", "steps"),
    [
        ("jetson-orin-nano", "onnx", EVERYTHING, CONVOLUTIONS, ["simplify of onnx", "tensorrt fp16 of onnx", "tensorrt int8 of onnx"]),
        ("jetson-orin-nano", "pytorch", EVERYTHING, CONVOLUTIONS, ["export_onnx of pytorch", "simplify of onnx", "tensorrt fp16 of onnx", "tensorrt int8 of onnx"]),
        ("jetson-orin-nano", "onnx", ONNX_ALONE, CONVOLUTIONS, ["simplify of onnx", "graph_optimize of onnx", "int8_static of onnx"]),
        ("raspberry-pi-5", "tensorflow", EVERYTHING, CONVOLUTIONS, ["tflite float16 of tensorflow", "tflite int8 of tensorflow"]),
        ("raspberry-pi-4", "onnx", EVERYTHING, CONVOLUTIONS, ["tflite float16 of onnx", "tflite int8 of onnx"]),
        ("raspberry-pi-4", "tflite", EVERYTHING, PRODUCTS, ["tflite float16 of tflite", "tflite dynamic of tflite"]),
        ("raspberry-pi-5", "pytorch", ONNX_ALONE, CONVOLUTIONS, ["export_onnx of pytorch", "graph_optimize of onnx", "int8_static of onnx"]),
        ("cpu-generic", "onnx", ONNX_ALONE, CONVOLUTIONS, ["graph_optimize of onnx", "int8_static of onnx"]),
        ("cpu-generic", "onnx", ONNX_ALONE, PRODUCTS, ["graph_optimize of onnx", "int8_dynamic of onnx"]),
        ("cpu-generic", "onnx", here("graph_optimize", "int8_dynamic", "session_options"), PRODUCTS, ["graph_optimize of onnx", "int8_dynamic of onnx", "session_options of onnx"]),
        ("cpu-generic", "onnx", here("graph_optimize", "session_options"), CONVOLUTIONS, ["graph_optimize of onnx"]),
        ("cpu-generic", "pytorch", EVERYTHING, CONVOLUTIONS, ["export_onnx of pytorch", "graph_optimize of onnx", "int8_static of onnx", "openvino int8 of onnx", "openvino int8 in bfloat16 of onnx", "tflite int8 of onnx", "tflite dynamic of onnx", "openvino fp32 of onnx", "openvino fp16 in bfloat16 of onnx", "float16 of onnx"]),
        ("cpu-generic", "tflite", here("tflite"), PRODUCTS, ["tflite dynamic of tflite"]),
        ("cpu-generic", "tflite", here("tflite"), CONVOLUTIONS, ["tflite int8 of tflite", "tflite dynamic of tflite"]),
        ("cpu-generic", "tensorrt", EVERYTHING, {}, []),
    ],
)  # fmt: skip
def test_who_follows_the_recommendations_walks_the_tree_of_the_device(
    device: str, source: str, lookup: Any, operators: dict[str, str], steps: list[str]
):
    session = begun(device, source, [operators[source]] if operators else [])
    assert follow(session, lookup) == steps


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "INCONCLUSIVE"])
@pytest.mark.parametrize("lookup", [EVERYTHING, ONNX_ALONE, here()])
def test_every_walk_ends_and_tries_nothing_twice(device: str, source: str, verdict: worlds.Verdict, lookup: Any):
    taken = follow(begun(device, source, [CONVOLUTIONS.get(source, "")]), lookup, verdict)
    assert len(taken) == len(set(taken))
    if lookup is EVERYTHING and source not in ("tensorrt", "tflite"):
        assert taken


def test_without_a_calibration_set_nothing_that_calibrates_is_recommended():
    for device in DEVICES:
        for source in SOURCES:
            taken = follow(begun(device, source, [CONVOLUTIONS.get(source, "")], calibrated=False), EVERYTHING, "FAIL")
            assert not [step for step in taken if "int8" in step and "dynamic" not in step]


def test_convolutions_are_never_quantized_dynamically_in_onnx_runtime():
    for device in DEVICES:
        for source, convolution in CONVOLUTIONS.items():
            session = begun(device, source, [convolution, PRODUCTS[source]])
            assert not [step for step in follow(session, EVERYTHING, "FAIL") if "int8_dynamic" in step]


def judged_int8(verdict: worlds.Verdict, **opened: Any) -> Session:
    """A session whose INT8 was made, measured, judged and, where it lost too much, given up."""
    session = begun("cpu-generic", "onnx", ["Conv"])
    session = replace(session, opened=session.opened.model_copy(update=opened))
    made_so = [*worlds.created(2, 1), *worlds.benchmarked(3, "v1"), *worlds.validated(4, "v1", verdict)]
    session = worlds.grown(session, *made_so)
    return worlds.grown(session, worlds.decided(session, "v1", "keep" if verdict == "PASS" else "revert", False))


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_after_int8_that_loses_too_much_come_the_layers_and_then_those_layers_in_float(verdict: worlds.Verdict):
    session = judged_int8(verdict)
    (first,) = recommendations(session, EVERYTHING)[:1]
    assert (first.tool, first.arguments["parent"]) == ("analyze_sensitivity", BASELINE)
    assert first.rule == "INT8 that loses too much: find the layers"
    second = recommendations(worlds.grown(session, *ranked(5, BASELINE)), EVERYTHING)[0]
    assert second.arguments["step"] == {"technique": "mixed_precision"}
    assert second.rule == "INT8 that loses too much: keep in float what hurts"
    assert "in a, b" in second.reason


def test_where_accuracy_cannot_be_searched_for_the_worst_layers_are_named():
    without_labels = worlds.grown(judged_int8("FAIL"), *ranked(5, BASELINE, drop=None))
    adapted = worlds.opened().evaluation.model_copy(update={"adapter": "file.py:function"})
    with_code = worlds.grown(judged_int8("FAIL", evaluation=adapted), *ranked(5, BASELINE))
    for session in (without_labels, with_code):
        step = recommendations(session, EVERYTHING)[0].arguments["step"]
        assert step["technique"] == "int8_static"
        assert step["keep_float"] == ["a", "b", "c"]


def test_int8_that_passes_needs_no_rescue():
    rules = {called.rule for called in recommendations(judged_int8("PASS"), EVERYTHING)}
    assert not any("loses too much" in rule for rule in rules)


def test_a_ranking_that_broke_is_not_recommended_again():
    session = judged_int8("FAIL")
    begun_so = worlds.started(5, "analyze_sensitivity").model_copy(update={"arguments": {"parent": BASELINE}})
    broken = worlds.grown(session, begun_so, JobFailed(job_id="j5", code="BAD_FILE", message=""))
    assert "analyze_sensitivity" not in {called.tool for called in recommendations(broken, EVERYTHING)}


def test_mixed_precision_that_fails_too_is_not_tried_twice():
    session = worlds.grown(judged_int8("FAIL"), *ranked(5, BASELINE))
    step = STEP.validate_python(recommendations(session, EVERYTHING)[0].arguments["step"])
    session = worlds.grown(session, *made(session, 6, step, BASELINE))
    session = worlds.grown(session, *worlds.benchmarked(7, "v2"), *worlds.validated(8, "v2", "FAIL"))
    session = worlds.grown(session, worlds.decided(session, "v2", "revert", False))
    assert {"technique": "mixed_precision"} not in [
        c.arguments.get("step") for c in recommendations(session, EVERYTHING)
    ]


STATES = st.deferred(lambda: st.sampled_from(explored()[0]))


@given(
    session=STATES,
    device=st.sampled_from(sorted(DEVICES)),
    source=st.sampled_from(SOURCES),
    made_as=st.sampled_from(["onnx", "tflite", "openvino", "tensorrt", "pytorch"]),
    operator=st.sampled_from(["Conv", "MatMul", "Relu"]),
    calibrated=st.booleans(),
    techniques=st.sets(st.sampled_from(sorted(TECHNIQUES))),
    architecture=st.sampled_from(["aarch64", "x86_64"]),
)
def test_nothing_is_recommended_that_a_guardrail_would_refuse(
    session: Session,
    device: str,
    source: str,
    made_as: str,
    operator: str,
    calibrated: bool,
    techniques: set[str],
    architecture: str,
):
    model = session.opened.model.model_copy(update={"operators": {operator: 1}})
    changes: dict[str, Any] = {"target_device": device, "source_format": source, "model": model}
    changes |= {} if calibrated else {"calibration_path": None}
    variants = {
        v: replace(r, artifact=r.artifact.model_copy(update={"format": made_as})) for v, r in session.variants.items()
    }
    session = replace(session, opened=session.opened.model_copy(update=changes), variants=variants)
    lookup = here(*techniques, architecture=architecture)
    found = recommendations(session, lookup)
    assert found
    for called in found:
        assert called.reason
        assert called.rule
        assert agreeable(session, called, lookup), called


def test_a_loss_is_decided_before_another_variant_is_kept():
    passed = [*worlds.created(2, 1), *worlds.benchmarked(3, "v1"), *worlds.validated(4, "v1", "PASS")]
    failed = [*worlds.created(5, 2), *worlds.benchmarked(6, "v2"), *worlds.validated(7, "v2", "FAIL")]
    found = recommendations(worlds.begun(*worlds.profiled(), *passed, *failed), EVERYTHING)
    assert {called.arguments["variant_id"] for called in found} == {"v2"}


def test_a_step_that_broke_is_not_recommended_again_and_one_that_was_cancelled_is():
    session = begun("cpu-generic", "onnx", ["Conv"])
    first = recommendations(session, ONNX_ALONE)[0].arguments["step"]
    started = worlds.started(9, "optimize_model", "v1").model_copy(update={"arguments": {"step": first}})
    for code, again in (("CANCELLED", True), ("TECHNIQUE_FAILED", False)):
        ended = worlds.grown(session, started, JobFailed(job_id="j9", code=code, message=""))
        assert (first in [r.arguments.get("step") for r in recommendations(ended, ONNX_ALONE)]) == again


def test_a_latency_target_that_is_met_ends_the_search():
    session = begun("raspberry-pi-5", "tflite", ["CONV_2D"])
    met = replace(session, opened=session.opened.model_copy(update={"latency_target_ms": 1.5}))
    assert follow(session, EVERYTHING) == ["tflite float16 of tflite", "tflite int8 of tflite"]
    assert follow(met, EVERYTHING) == ["tflite float16 of tflite"]


def test_what_comes_first_on_the_device_and_is_not_here_is_said_with_the_way_to_it():
    jetson = begun("jetson-orin-nano", "onnx", ["Conv"])
    said = not_here(jetson)
    assert said
    assert "--host-is jetson-orin-nano" in said
    assert not_here(jetson, EVERYTHING) is None
    elsewhere = not_here(jetson, here(*TECHNIQUES, architecture="x86_64"))
    assert elsewhere
    assert "aarch64" in elsewhere
    assert not_here(begun("cpu-generic", "onnx", ["Conv"]), here()) is None
    assert not_here(begun("jetson-orin-nano", "pytorch", [""]), EVERYTHING) is None
    over_onnx = not_here(begun("jetson-orin-nano", "pytorch", [""]), here("tensorrt"))
    assert over_onnx
    assert "export_onnx is not here" in over_onnx


@pytest.mark.parametrize("device", DEVICES)
def test_what_makes_a_format_deployable_makes_one_that_the_device_takes(device: str):
    for source in SOURCES:
        for step in deployable(device, source):
            assert DEVICES[device].takes(MAKES.get(step.technique, "onnx"))
            assert takes(step.technique, source)


def test_the_baseline_comes_first():
    (called,) = recommendations(worlds.begun(), EVERYTHING)
    assert (called.tool, called.rule) == ("profile_model", "baseline first")
    assert BASELINE not in worlds.begun().variants


@pytest.mark.parametrize(("source", "operator"), [("onnx", "QLinearConv"), ("tflite", "DEQUANTIZE")])
def test_a_quantized_original_is_not_quantized_again(source: str, operator: str):
    session = begun("cpu-generic", source, [CONVOLUTIONS[source], operator])
    for verdict in ("PASS", "FAIL"):
        taken = follow(session, EVERYTHING, verdict)
        assert taken
        assert set(taken) <= {"graph_optimize of onnx", "openvino fp32 of onnx", "openvino fp32 of tflite"}
