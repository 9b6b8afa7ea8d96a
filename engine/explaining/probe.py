"""What this machine can do at best, by small models of known work: its 8-bit products against those in float32, the
arithmetic of a matrix product, and how fast it moves memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..measure.cores import cores_for
from ..runtimes.onnxruntime import session_options

TRIES = 12
LAYERS = 4
# A matrix product of 64 x 512 by 512 x 512, and a 3x3 convolution of 64 channels on 28 x 28: sizes of real layers.
ROWS, WIDTH = 64, 512
CHANNELS, SIDE = 64, 28
# 64 MB of float32: more than the caches of an edge device hold.
MOVED = 16 * 2**20


class Gains(NamedTuple):
    """How many times as fast as in float32 8-bit layers (uint8 x int8, Q/DQ fused) run on this machine."""

    matmul: float
    convolution: float


class Balance(NamedTuple):
    """The rates that a layer is held against: of float32 arithmetic in a matrix product, of reading and writing memory."""

    gflops: float
    gb_per_s: float


def gains(threads: int) -> Gains:
    """The best of 12 tries of each, about 0.2 seconds altogether."""
    with cores_for(threads) as cores:

        def best_us(make: Callable[[bool], ModelProto], integer: bool) -> float:
            return _best_us(make(integer), threads, cores)

        return Gains(
            matmul=best_us(_matmuls, False) / best_us(_matmuls, True),
            convolution=best_us(_convolutions, False) / best_us(_convolutions, True),
        )


def balance(threads: int) -> Balance:
    """The best of 12 tries of each, about half a second altogether."""
    with cores_for(threads) as cores:
        products_us = _best_us(_matmuls(False), threads, cores)
        moved_us = _best_us(_negation(), threads, cores)
    return Balance(gflops=LAYERS * 2 * ROWS * WIDTH**2 / products_us / 1e3, gb_per_s=2 * 4 * MOVED / moved_us / 1e3)


def _best_us(model: ModelProto, threads: int, cores: list[int]) -> float:
    """The least, as other work only ever adds. The output is written to one place: fresh pages would cost more."""
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(threads, cores), providers=providers
    )
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    binding = session.io_binding()
    random = np.random.default_rng(0)
    binding.bind_cpu_input(given.name, random.standard_normal(given.shape, dtype=np.float32))
    binding.bind_ortvalue_output(made.name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(made.shape, np.float32))
    times = []
    for _ in range(TRIES):
        start = time.perf_counter_ns()
        session.run_with_iobinding(binding)
        times.append((time.perf_counter_ns() - start) / 1e3)
    return min(times)


def _matmuls(integer: bool) -> ModelProto:
    return _layers([ROWS, WIDTH], (WIDTH, WIDTH), lambda x, w, y: helper.make_node("MatMul", [x, w], [y]), integer)


def _convolutions(integer: bool) -> ModelProto:
    def layer(x: str, w: str, y: str) -> NodeProto:
        return helper.make_node("Conv", [x, w], [y], pads=[1, 1, 1, 1])

    return _layers([1, CHANNELS, SIDE, SIDE], (CHANNELS, CHANNELS, 3, 3), layer, integer)


def _layers(
    shape: list[int], weights: tuple[int, ...], layer: Callable[[str, str, str], NodeProto], integer: bool
) -> ModelProto:
    """Four equal layers, in float32 or with Q/DQ around each."""
    values = np.random.default_rng(0).standard_normal(weights)
    constants = {"w": (0.05 * values).astype(np.float32)}
    if integer:
        constants = {
            "w": np.clip(np.round(30 * values), -127, 127).astype(np.int8),
            "w_scale": np.array(0.002, np.float32),
            "w_zero": np.array(0, np.int8),
            "scale": np.array(0.05, np.float32),
            "zero": np.array(128, np.uint8),
        }
    nodes: list[NodeProto] = []
    for index in range(LAYERS):
        before, after = f"x{index}", f"x{index + 1}"
        if integer:
            nodes += [
                helper.make_node("DequantizeLinear", [f"{before}_q", "scale", "zero"], [before]),
                helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], [f"w{index}"]),
                layer(before, f"w{index}", f"{after}_p"),
                helper.make_node("QuantizeLinear", [f"{after}_p", "scale", "zero"], [f"{after}_q"]),
            ]
        else:
            nodes.append(layer(before, "w", after))
    if not integer:
        return _model(nodes, shape, "x0", f"x{LAYERS}", constants)
    first = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["x0_q"])
    last = helper.make_node("DequantizeLinear", [f"x{LAYERS}_q", "scale", "zero"], ["y"])
    return _model([first, *nodes, last], shape, "x", "y", constants)


def _negation() -> ModelProto:
    return _model([helper.make_node("Neg", ["x"], ["y"])], [MOVED], "x", "y", {})


def _model(
    nodes: list[NodeProto], shape: list[int], given: str, made: str, constants: dict[str, np.ndarray]
) -> ModelProto:
    """From the input `given` to the output `made`, both of one shape."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in (given, made)]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "probe", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
