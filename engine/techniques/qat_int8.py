"""INT8 by quantization-aware training: the model learns to live with rounding, gently, and is written as ONNX Q/DQ.

Batch norm is folded first and its statistics stay what they are (Nagel et al. 2021, arXiv:2106.08295, call it static
folding); fake quantization and its conversion are torchao's (PT2E). A rate of 1e-5 and few epochs: more makes models
forget.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto
from torch import nn
from torchao.quantization.pt2e import disable_observer, enable_observer
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e

from ...contract.measures import Interface, TensorInfo
from ...contract.steps import QatInt8
from ..bench import Bench
from ..problems import JobProblem
from ..training.folding import fold_norms
from ..training.integer_graph import for_integer_kernels
from ..training.loop import Course, Recipe, fit
from ..training.network import Network, Tensors, open_network
from ..training.quantizer import WEIGHTED, OnnxRuntimeQuantizer
from .base import Made, write
from .export_onnx_pytorch import forget_author

# Samples that the first ranges are read off, before anything is trained.
_FIRST_SEEN = 256


def train(parent: Path, step: QatInt8, out: Path, course: Course | None, interface: Interface, bench: Bench) -> Made:
    """Trains with fake quantization and writes ONNX with Q/DQ.

    Raises JobProblem UNAVAILABLE where the model cannot be trained, or has nothing to quantize.
    """
    assert course is not None, "QAT always trains"
    network = open_network(parent, step.technique)
    folded = fold_norms(network.module)
    example = course.example()
    program: Any = network.exported(example)
    if not any(node.target in WEIGHTED for node in program.graph.nodes):
        raise JobProblem("UNAVAILABLE", "qat_int8 quantizes convolutions and linear layers, and this model has none")
    prepared = prepare_qat_pt2e(program.module(check_guards=False), OnnxRuntimeQuantizer())
    _see(prepared, course)
    fitted = fit(prepared, course, Recipe(step.epochs, step.learning_rate), mode=_observing)
    bench.report(0.86, "converting to Q/DQ")
    model = _exported(convert_pt2e(prepared), network, example)
    forget_author(model)
    write(for_integer_kernels(model), ModelProto(), out)
    notes = fitted.notes(step.epochs)
    if folded:
        notes.append(f"{folded} batch norms were folded before training, with the statistics that they had")
    return Made("int8", notes)


def _see(module: nn.Module, course: Course) -> None:
    """Ranges to begin with; what is trained later starts from ordinary static quantization."""
    _observing(module, True)
    seen = course.examples.learned[:: max(1, len(course.examples.learned) // _FIRST_SEEN)]
    with torch.no_grad():
        for start in range(0, len(seen), 32):
            module(*course.fed(seen[start : start + 32]))


def _observing(module: nn.Module, on: bool) -> None:
    """Ranges follow what is trained on, and not the samples that it is judged by."""
    module.apply(enable_observer if on else disable_observer)


def _exported(converted: nn.Module, network: Network, example: Tensors) -> ModelProto:
    program: Any = torch.onnx.export(
        converted,
        tuple(example),
        dynamo=True,
        input_names=_names(network.inputs),
        output_names=_names(network.outputs),
        dynamic_shapes=network.shapes(),
        external_data=False,
        verbose=False,
    )
    return program.model_proto


def _names(infos: list[TensorInfo]) -> list[str]:
    return [info.name for info in infos]
