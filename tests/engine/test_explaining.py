"""What really runs, why a variant is not faster, and what a technique can gain at most: on models that ONNX Runtime runs,
and on operators with times of our own where a test must not depend on this machine's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeopt.contract.measures import Ceiling, Precision
from edgeopt.engine.explaining import ceilings, kernels, kinds, memory, operators, probe
from edgeopt.engine.explaining.causes import Cause, Evidence, Zeros, explain
from edgeopt.engine.explaining.comparison import explained
from edgeopt.engine.explaining.kernels import Kernels
from edgeopt.engine.explaining.operators import Operator, Tensor, Workload
from edgeopt.engine.explaining.probe import Balance, Gains
from edgeopt.engine.explaining.weights import zeros
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

DATA = Path(os.environ.get("EDGEOPT_DATA", Path(__file__).parents[3] / "shared" / "data"))
X86 = kernels.kernels("x86_64", frozenset({"avx512_vnni"}))
SLOW_MACHINE = Balance(gflops=100, gb_per_s=10)
CHANNELS, SIDE = 32, 24
# Zero points after a Relu: only with these is it part of the quantization.
ACTIVATIONS = {"uint8": 0, "int8": -128, "uint16": 0}


def convolutions(
    path: Path, activation: str = "float", weight: str = "int8", count: int = 3, half: bool = False
) -> Workload:
    """Equal 3x3 convolutions with Relu between, in float32, in float16, or with Q/DQ in these types around each."""
    rng = np.random.default_rng(3)
    values = rng.standard_normal((CHANNELS, CHANNELS, 3, 3))
    real = np.float16 if half else np.float32
    constants: dict[str, np.ndarray] = {"w": (0.05 * values).astype(real)}
    if activation != "float":
        zero = 128 if weight == "uint8" else 0
        constants = {
            "w": np.clip(np.round(30 * values) + zero, *((0, 255) if zero else (-127, 127))).astype(weight),
            "w_scale": np.array(0.002, np.float32),
            "w_zero": np.array(zero, weight),
            "scale": np.array(0.0002 if activation == "uint16" else 0.05, np.float32),
            "zero": np.array(ACTIVATIONS[activation], activation),
        }
    nodes = [helper.make_node("Cast", ["x"], ["x0"], to=TensorProto.FLOAT16 if half else TensorProto.FLOAT)]
    for n in range(count):
        source = f"x{n}"
        if activation != "float":
            nodes += [
                helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"q{n}"]),
                helper.make_node("DequantizeLinear", [f"q{n}", "scale", "zero"], [f"d{n}"]),
                helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], [f"w{n}"]),
            ]
        pair = [source, "w"] if activation == "float" else [f"d{n}", f"w{n}"]
        nodes.append(helper.make_node("Conv", pair, [f"c{n}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{n}"], [f"x{n + 1}"]))
    last = f"x{count}"
    if activation != "float":
        nodes.append(helper.make_node("QuantizeLinear", [last, "scale", "zero"], ["last_q"]))
        nodes.append(helper.make_node("DequantizeLinear", ["last_q", "scale", "zero"], ["y"]))
    else:
        nodes.append(helper.make_node("Cast", [last], ["y"], to=TensorProto.FLOAT))
    shape = [1, CHANNELS, SIDE, SIDE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return Workload(path, [{"x": rng.standard_normal(shape).astype(np.float32)}])


def ran(workload: Workload, tmp: Path) -> list[Operator]:
    (found,) = operators.profile([workload], 1, tmp, blocks=1)
    return found


def op(
    kind: str, us: float, *inputs: tuple[str, tuple[int, ...]], made: tuple[int, ...] = (8,), **sizes: int
) -> Operator:
    """An operator with a time of our own; float32 where nothing is said."""
    taken = tuple(Tensor(*one) for one in inputs) or (Tensor("float", (8,)),)
    named = {"activation_bytes": taken[0].bytes, "parameter_bytes": 0, "output_bytes": 4 * int(np.prod(made))} | sizes
    return Operator(kind, kind, taken, (Tensor("float", made),), us, **named)


def evidence(baseline: list[Operator], variant: list[Operator], **more: Any) -> Evidence:
    known: dict[str, Any] = {"asked": None, "kernels": X86, "balance": SLOW_MACHINE, "zeros": None, "call_us": 0.0}
    return Evidence(baseline, variant, **(known | more))


def test_operators_are_those_that_run_and_time_is_where_the_work_is(tmp_path: Path):
    model = convolutions(tmp_path / "net.onnx")
    one, other = operators.profile([model, model], 1, tmp_path, blocks=1)
    assert operators.count(one) == operators.count(other)
    # Relu is fused into the convolutions.
    assert operators.count(kinds.products(one)).total() == 3
    assert "Relu" not in operators.count(one)
    assert operators.slowest_types(one)[0] == "Conv"
    assert "Conv" in operators.bottleneck(one)
    assert kinds.execution(one).float32 > 0.9


@pytest.mark.parametrize(("activation", "runs"), [("uint8", "int8"), ("uint16", "fp32"), ("float", "fp32")])
def test_what_was_asked_for_need_not_be_what_runs(tmp_path: Path, activation: str, runs: str):
    found = kinds.runs_as("int8", ran(convolutions(tmp_path / "net.onnx", activation), tmp_path))
    assert found.runs == runs
    assert found.share == (1 if runs == "int8" else 0)
    assert ("asked for" in str(found)) == (runs != "int8")


def test_half_precision_runs_where_the_cpu_has_it(tmp_path: Path):
    found = kinds.runs_as("fp16", ran(convolutions(tmp_path / "half.onnx", half=True), tmp_path))
    if not kernels.of_this_machine().half:
        assert (found.runs, found.share) == ("fp32", 0)


def why(baseline: Workload, variant: Workload, tmp: Path, asked: Precision | None = None) -> str:
    return explained(baseline, variant, 1, tmp, faster=False, asked=asked).why_not_faster or ""


def test_a_model_beside_itself(tmp_path: Path):
    model = convolutions(tmp_path / "net.onnx")
    assert why(model, model, tmp_path).startswith("After ONNX Runtime's own optimizations both models run the same")
    assert explained(model, model, 1, tmp_path, faster=True, asked=None).why_not_faster is None


def test_activations_that_no_integer_kernel_takes(tmp_path: Path):
    said = why(convolutions(tmp_path / "net.onnx"), convolutions(tmp_path / "wide.onnx", "uint16"), tmp_path)
    assert "3 of 3 convolutions and matrix products still run in float32" in said
    assert "activations are uint16" in said
    assert "int8_static" in said


def test_half_precision_that_is_computed_in_float32(tmp_path: Path):
    if kernels.of_this_machine().half:
        pytest.skip("this CPU has half-precision kernels")
    said = why(convolutions(tmp_path / "net.onnx"), convolutions(tmp_path / "half.onnx", half=True), tmp_path)
    assert "3 of 3 convolutions and matrix products run in float32" in said
    assert "no float16 kernels" in said


def test_zeros_that_no_kernel_skips(tmp_path: Path):
    model = convolutions(tmp_path / "net.onnx")
    pruned = onnx.load(model.model)
    values = numpy_helper.to_array(pruned.graph.initializer[0]).copy()
    values.reshape(-1)[::2] = 0
    pruned.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    onnx.save(pruned, tmp_path / "pruned.onnx")
    assert zeros(Path(model.model)) == 0
    assert zeros(tmp_path / "pruned.onnx") == pytest.approx(0.5)
    said = why(model, Workload(tmp_path / "pruned.onnx", model.batches), tmp_path)
    assert "50% of the weights are exactly zero (0% in the baseline)" in said


CONV = op("Conv", 80, ("float", (1, 8, 8, 8)), ("float", (8, 8, 3, 3)))
DEPTHWISE = op("Conv", 80, ("float", (1, 8, 8, 8)), ("float", (8, 1, 3, 3)))
BYTE = ("uint8", (1, 8, 8, 8))
QLINEAR = op("QLinearConv", 90, BYTE, ("float", ()), ("uint8", ()), ("float", (8,)), ("int8", (8,)), ("float", ()))
QLINEAR_U8 = op("QLinearConv", 90, BYTE, ("float", ()), ("uint8", ()), ("float", (8,)), ("uint8", (8,)), ("float", ()))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            evidence([CONV], [op("ConvInteger", 480, BYTE, ("int8", (8, 8, 3, 3))), op("Mul", 20)], asked="int8"),
            "1 convolutions run as ConvInteger (quantized dynamically): 96% of the time in operators, 6.0 times",
        ),
        (evidence([CONV], [QLINEAR_U8], asked="int8"), "1 integer products are uint8 x uint8 (100% of"),
        (evidence([CONV], [QLINEAR], asked="int8", kernels=Kernels(frozenset(), (), frozenset(), False)), "no 8-bit dot-product"),
        (evidence([DEPTHWISE], [QLINEAR], asked="int8"), "1.1 times as long as the baseline's convolutions and matrix products in float32; 100% of these are depthwise"),
        (evidence([CONV], [QLINEAR, op("DequantizeLinear", 30)], asked="int8"), "1 conversions between number types take 25%"),
        (evidence([CONV], [CONV, op("DequantizeLinear", 20)], asked="int8"), "1 of 1 convolutions and matrix products still run in float32, with 1 quantizing"),
        (evidence([CONV], [CONV, op("Clip", 20), op("Clip", 20)]), "33% of the time is in operators that the baseline runs fewer of, or fused into others: 2 more Clip"),
        (evidence([CONV, op("Erf", 900)], [QLINEAR, op("Erf", 910)], asked="int8"), "Only 8% of the baseline's time in operators is in what int8_static changes: no kernels could make it more than 1.1"),
        (evidence([CONV], [CONV, op("Log", 1)], zeros=Zeros(0.0, 0.9)), "90% of the weights are exactly zero"),
        (evidence([CONV], [CONV, op("Log", 1)], call_us=400.0), "Of the 400 microseconds of a call only 81 are in operators"),
        (evidence([CONV], [CONV, op("Log", 1)]), "No single cause is evident"),
    ],
)  # fmt: skip
def test_each_cause_is_said_with_its_evidence(given: Evidence, expected: str):
    assert expected in explain(given)


def test_fast_integer_types_and_float_models_are_no_cause():
    assert "integer products are" not in explain(evidence([CONV], [QLINEAR], asked="int8"))
    unknown = evidence([CONV], [QLINEAR_U8], asked="int8", kernels=kernels.kernels("riscv64", frozenset()))
    assert "dot-product" not in explain(unknown)


def test_the_weightiest_cause_comes_first_and_three_are_enough():
    slow = [op("ConvInteger", 20, BYTE, ("int8", (8, 8, 3, 3))), op("Clip", 60), op("Cast", 15), CONV]
    said = explain(evidence([CONV], slow, zeros=Zeros(0.0, 0.9), call_us=10_000.0))
    assert said.index("microseconds of a call") < said.index("exactly zero") < said.index("1 more Clip")
    assert "ConvInteger" not in said
    assert Cause(0.9, "a") > Cause(0.1, "b")


def test_layers_that_move_memory_and_layers_that_compute():
    # 1 x 1000 by 1000 x 1000: 4 MB in 400 microseconds are 10 GB/s, 2 million operations 5 gigaflops.
    row = op("MatMul", 400, ("float", (1, 1000)), made=(1, 1000))
    assert memory.flops(row) == 2_000_000
    assert memory.moved_bytes(row) == 4_008_000
    assert memory.bound_by_memory([row], SLOW_MACHINE) == [row]
    # 1000 x 1000 by 1000 x 1000 in 40 ms: as many bytes a weight, a thousand times the work.
    square = op("MatMul", 40_000, ("float", (1000, 1000)), made=(1000, 1000))
    assert memory.bound_by_memory([square], SLOW_MACHINE) == []
    said = explain(evidence([row], [row, op("Log", 1)]))
    assert "100% of the time is in layers bound by memory (MatMul): they move 10 GB/s" in said
    assert "INT8 weights are a quarter" in said


def test_operations_are_counted_as_the_operator_defines_them():
    images, weights = ("float", (1, 8, 6, 6)), ("float", (16, 8, 3, 3))
    assert memory.flops(op("Conv", 1, images, weights, made=(1, 16, 4, 4))) == 2 * 16 * 4 * 4 * 8 * 9
    assert (
        memory.flops(op("ConvTranspose", 1, images, ("float", (8, 16, 3, 3)), made=(1, 16, 8, 8)))
        == 2 * 8 * 36 * 16 * 9
    )
    assert memory.flops(op("Gemm", 1, ("float", (5, 3)), made=(3, 7))) == 2 * 3 * 7 * 5
    assert memory.flops(op("Relu", 1, ("float", (3, 7)), made=(3, 7))) == 21


@pytest.mark.parametrize(
    ("machine", "flags", "fast", "fused"),
    [
        ("x86_64", {"avx2"}, set(), {"uint8"}),
        ("x86_64", {"avx512_vnni"}, {("uint8", "int8")}, {"uint8"}),
        ("x86_64", {"amx_int8", "avx512_vnni"}, {("uint8", "int8")}, {"uint8"}),
        ("aarch64", {"asimd"}, set(), {"uint8", "int8"}),
        ("aarch64", {"asimddp"}, {("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")}, {"uint8", "int8"}),
    ],
)
def test_kernels_by_the_flags_of_the_cpu(machine: str, flags: set[str], fast: set[tuple[str, str]], fused: set[str]):
    found = kernels.kernels(machine, frozenset(flags))
    assert found.fast == fast
    assert found.fused == fused


def test_an_unknown_cpu_is_unknown():
    assert kernels.kernels("riscv64", frozenset({"v"})).fused is None
    assert kernels.kernels("x86_64", frozenset({"avx_vnni_int8"})).fast >= {("uint8", "uint8"), ("int8", "int8")}
    assert kernels.kernels("aarch64", frozenset({"asimdhp"})).half
    assert not X86.half


def ceiling(found: list[Ceiling], technique: str) -> Ceiling:
    return next(c for c in found if c.technique == technique)


def test_the_ceiling_is_amdahls():
    dense = op("MatMul", 60, ("float", (1, 8)))
    attention = op("MatMul", 10, ("float", (8, 8)), ("float", (8, 8)), activation_bytes=512)
    rest = [op("Add", 20), op("Erf", 10)]
    found = ceilings.ceilings([dense, attention, *rest], X86, Gains(matmul=4, convolution=2))
    static, dynamic = ceiling(found, "int8_static"), ceiling(found, "int8_dynamic")
    assert (static.share, static.at_most) == (0.7, round(1 / (0.1 + 0.2 / 4), 2))
    assert static.realistic == round(1 / (0.3 + 0.7 / 4), 2)
    assert (dynamic.share, dynamic.at_most) == (0.6, 2.5)
    assert dynamic.warning is None
    assert str(ceiling(found, "float16")).startswith("float16: no gain.")
    assert "at most 2.5x, about 1.8x with this machine's 8-bit kernels (60% of the time is in MatMul)" in str(dynamic)


def test_convolutions_lose_by_dynamic_quantization_and_depthwise_ones_gain_nothing():
    found = ceilings.ceilings([CONV, DEPTHWISE], X86, Gains(matmul=4, convolution=2))
    dynamic = ceiling(found, "int8_dynamic")
    assert dynamic.at_most == 1
    assert "100% of the time" in str(dynamic)
    assert ceiling(found, "int8_static").realistic == round(1 / (0.5 + 0.5 / 2), 2)


def test_a_quantized_model_has_no_ceilings():
    assert ceilings.ceilings([QLINEAR, CONV], X86, None) == []


def test_half_precision_has_a_ceiling_where_the_cpu_has_it():
    arm = kernels.kernels("aarch64", frozenset({"asimdhp"}))
    assert ceiling(ceilings.ceilings([CONV], arm, None), "float16").at_most == 2


@given(
    st.lists(st.tuples(st.sampled_from(["Conv", "MatMul", "Add", "Erf", "Softmax"]), st.floats(0, 1e4)), min_size=1),
    st.floats(0.5, 50),
    st.floats(0.5, 50),
)
def test_no_estimate_is_above_its_ceiling(made: list[tuple[str, float]], matmul: float, convolution: float):
    found = ceilings.ceilings([op(kind, us) for kind, us in made], X86, Gains(matmul, convolution))
    for one in found:
        assert 1 <= one.at_most <= 100
        assert 0 <= one.share <= 1.0001
        assert one.realistic is None or one.realistic <= one.at_most + 0.01 or one.at_most == 100


def test_the_probes_measure_this_machine():
    assert all(gain > 0.1 for gain in probe.gains(1))
    assert all(rate > 0.1 for rate in probe.balance(1))


@pytest.mark.skipif(not (DATA / "cifar10").exists(), reason="developer data are not here")
def test_a_real_convolution_net_has_a_ceiling_and_says_where(tmp_path: Path):
    model = DATA / "cifar10/resnet20_cifar10.onnx"
    image = {"input": np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)}
    found = ceilings.ceilings(ran(Workload(model, [image]), tmp_path), kernels.of_this_machine(), None)
    static = ceiling(found, "int8_static")
    assert static.share > 0.6
    assert static.at_most > 3
    assert static.operators[0] == "Conv"
