"""Runs in the toolchain litert-torch alone: an exported PyTorch program to a float32 .tflite file.

`python convert_litert_torch.py TASK ANSWER`. The task: {model, out, shapes: one a tensor input, outputs: their names}.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import litert_torch  # pyright: ignore[reportMissingImports]
import torch
from torch.utils import _pytree as pytree

# A step of a recurrent layer becomes operators of its own: about 0.1 s of converting and 3 KB of the file each.
MOST_STEPS = 1000
RECURRENT = ("aten.gru.input", "aten.lstm.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")


class Unrolled(Exception):
    """The file would hold thousands of copies of a layer."""


class Named(torch.nn.Module):
    """The program with named inputs and outputs: the converter calls tensors by their place otherwise."""

    def __init__(self, program: Any, inputs: list[str], outputs: list[str]):
        super().__init__()
        self.program = program.module()
        self._structure = program.call_spec.in_spec
        self._inputs, self._outputs = inputs, outputs
        self.training = False  # by eval() it would ask the program, which has no modes

    def forward(self, **named: torch.Tensor) -> dict[str, torch.Tensor]:
        args, kwargs = pytree.tree_unflatten([named[name] for name in self._inputs], self._structure)
        values = pytree.tree_leaves(self.program(*args, **kwargs))
        return dict(zip(self._outputs, values, strict=True))


def convert(task: dict[str, Any]) -> None:
    program: Any = torch.export.load(task["model"])
    metas = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    inputs = [str(name) for name in program.graph_signature.user_inputs]
    if (steps := recurrent_steps(program)) > MOST_STEPS:
        raise Unrolled(
            f"its recurrent layers take {steps} steps, and litert-torch writes each step out as a layer: convert it by way of"
            " ONNX, where they become loops (export_onnx, then tflite of what that makes)"
        )
    sample = {
        name: torch.ones(shape, dtype=metas[name].dtype) for name, shape in zip(inputs, task["shapes"], strict=True)
    }
    module = Named(program, inputs, task["outputs"])
    litert_torch.convert(module, sample_kwargs=sample).export(task["out"])


def recurrent_steps(program: Any) -> int:
    """Of all recurrent layers, as far as their lengths are fixed."""
    steps = 0
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) in RECURRENT:
            layers, bidirectional, batch_first = node.args[4], node.args[7], node.args[8]
            length = node.args[0].meta["val"].shape[1 if batch_first else 0]
            steps += length * layers * (2 if bidirectional else 1) if isinstance(length, int) else 0
    return steps


def main(given: Path, answer: Path) -> int:
    try:
        convert(json.loads(given.read_bytes()))
    except Unrolled as reason:
        answer.write_text(json.dumps({"unavailable": str(reason)}), encoding="utf-8")
        return 1
    except Exception as error:  # noqa: BLE001 (whatever the converter throws is its answer)
        traceback.print_exc()
        answer.write_text(json.dumps({"problem": f"{type(error).__name__}: {error}"}), encoding="utf-8")
        return 1
    answer.write_text("{}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
