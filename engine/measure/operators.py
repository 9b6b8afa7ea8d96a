"""What ONNX Runtime makes of a model: the operators that it runs, and where their time goes."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import onnxruntime

from ...contract.text import untrusted
from .inputs import Feeds

PROFILED_RUNS = 20

FLOAT_COMPUTE = {"Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "Attention"}
INTEGER_COMPUTE = {
    *("QLinearConv", "QLinearMatMul", "QGemm", "QLinearGemm", "QAttention", "MatMulNBits"),
    *("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
}


def bottleneck(model: str | Path, batches: list[Feeds], threads: int, tmp: Path) -> str:
    """One sentence: the three operator types with most of the time, by ONNX Runtime's profiler over 20 runs."""
    times = time_by_operator(model, batches, threads, tmp)
    total = sum(times.values())
    slowest = sorted(times, key=times.__getitem__, reverse=True)[:3]
    shares = [f"{untrusted(operator, 40)} {100 * times[operator] / total:.0f} %" for operator in slowest]
    return f"Time in the operators, by ONNX Runtime's profiler over {PROFILED_RUNS} runs: {', '.join(shares)}."


def time_by_operator(model: str | Path, batches: list[Feeds], threads: int, tmp: Path) -> dict[str, float]:
    """Microseconds of one inference in each operator type: of every node the median over 20 runs, summed by type."""
    with TemporaryDirectory(dir=tmp) as folder:
        options = _options()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        for index in range(PROFILED_RUNS):
            session.run(None, batches[index % len(batches)])
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"])
    times: defaultdict[str, float] = defaultdict(float)
    for (operator, _), durations in nodes.items():
        times[operator] += statistics.median(durations)
    return dict(times)


def optimized_operators(model: str | Path, tmp: Path) -> Counter[str]:
    """How many of each operator type ONNX Runtime runs, after its own fusions and its choice of kernels."""
    with TemporaryDirectory(dir=tmp) as folder:
        optimized = Path(folder, "optimized.onnx")
        options = _options()
        options.optimized_model_filepath = str(optimized)
        onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        graph = onnx.load(optimized, load_external_data=False).graph
    return Counter(node.op_type for node in graph.node)


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    # Errors only: that an optimized graph suits this machine alone needs no warning where it is only counted.
    options.log_severity_level = 3
    return options


def why_not_faster(baseline: Counter[str], variant: Counter[str]) -> str | None:
    """One sentence of evidence from both graphs as they run, for a variant that is not faster; None where there is none."""
    convolutions = variant["ConvInteger"]
    if convolutions:
        return (
            f"{convolutions} convolutions run as ConvInteger (dynamic quantization of convolutions), for which ONNX Runtime"
            " has no fast CPU kernel; int8_static quantizes them to QLinearConv."
        )
    if variant == baseline:
        return "After ONNX Runtime's own optimizations both models run the same operators, in the same numbers."
    casts = variant["Cast"] - baseline["Cast"]
    if casts > 0 and _count(variant, INTEGER_COMPUTE) == 0:
        return (
            f"ONNX Runtime runs {casts} more Cast operators than in the baseline: float16 operators without a float16 kernel"
            " on this CPU are computed in float32, between conversions."
        )
    kept = _count(variant, FLOAT_COMPUTE)
    integer = _count(variant, INTEGER_COMPUTE)
    converted = variant["QuantizeLinear"] + variant["DequantizeLinear"] + variant["DynamicQuantizeLinear"]
    if converted and kept:
        return (
            f"{kept} of {kept + integer} convolutions and matrix products still run in float32, with {converted} conversions"
            " between integer and float: the quantized pattern was not fused into integer kernels there."
        )
    return None


def _count(operators: Counter[str], kinds: set[str]) -> int:
    return sum(operators[kind] for kind in kinds)
