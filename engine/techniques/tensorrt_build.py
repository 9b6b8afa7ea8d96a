"""Building an engine, with the calls that TensorRT 10.16 and 11.4 both have. It has not been run (docs/tensorrt.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...contract.text import untrusted
from ..problems import JobProblem
from ..runtimes.nvidia import trt
from ..runtimes.tensorrt import Log
from .tensorrt_graph import Shapes


def build(model: bytes, workspace_mb: int, shapes: Mapping[str, Shapes]) -> bytes:
    """The engine of a serialized ONNX model, for this GPU. `shapes`: of the inputs with dynamic axes.

    Raises JobProblem: UNAVAILABLE where TensorRT does not start or has no such operator; TECHNIQUE_FAILED where it finds
    no way to build the network, with its own reason.
    """
    log = Log()
    builder = _builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model):
        raise _not_parsed(parser)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else nobody can say which precision runs
    if shapes:
        _add_profile(builder, config, shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise JobProblem(
            "TECHNIQUE_FAILED",
            f"TensorRT {trt.__version__} builds no engine of this model with a workspace of {workspace_mb} MB:"
            f" {untrusted(log.words, 600)}. More workspace_mb may help; else leave this model to ONNX Runtime",
        )
    return bytes(plan)


def _builder(log: Log) -> Any:
    try:
        return trt.Builder(log)
    except (TypeError, RuntimeError) as error:  # the bindings' way to say that TensorRT itself does not start
        raise JobProblem(
            "UNAVAILABLE", f"TensorRT {trt.__version__} does not start here: {untrusted(f'{error}; {log.words}', 400)}"
        ) from error


def _not_parsed(parser: Any) -> JobProblem:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    shown = [untrusted(f"{_place(parser_error)}: {parser_error.desc()}", 200) for parser_error in errors[:3]]
    return JobProblem(
        "UNAVAILABLE",
        f"TensorRT {trt.__version__} does not take this model, for {len(errors)} reasons: {'; '.join(shown)}. Export it with"
        " other operators, or leave it to ONNX Runtime",
    )


def _place(parser_error: Any) -> str:
    return f"{parser_error.node_name() or 'the graph'} ({parser_error.node_operator()})"


def _add_profile(builder: Any, config: Any, shapes: Mapping[str, Shapes]) -> None:
    profile = builder.create_optimization_profile()
    for name, (least, best, most) in shapes.items():
        profile.set_shape(name, least, best, most)
    config.add_optimization_profile(profile)
