"""Structured pruning: fewer channels, so a smaller dense model, trained back to accuracy."""

from __future__ import annotations

from pathlib import Path

from ...contract.measures import Interface
from ...contract.steps import PruneStructured
from ..bench import Bench
from ..training.channels import prune_channels
from ..training.loop import Course, Recipe, fit
from ..training.network import open_network
from ..training.teaching import taught_by
from .base import Made

# Weights that were cut must find new values: a hundred times QAT's rate, a tenth of what models are trained with at first.
LEARNING_RATE = 1e-3
# The seeds' ladder: each rung is its own step, from the original, and only while the accuracy holds.
LADDER = (0.2, 0.3, 0.4)
_TAUGHT = "fine-tuned towards the answers of the model before pruning, beside the labels"


def train(
    parent: Path, step: PruneStructured, out: Path, course: Course | None, interface: Interface, bench: Bench
) -> Made:
    """Prunes every group of layers by the step's ratio, trains with the whole model as the teacher, and writes an exported
    program.

    Raises JobProblem UNAVAILABLE where the model cannot be trained, or no layer can lose channels.
    """
    assert course is not None, "structured pruning is always trained after"
    network = open_network(parent, step.technique)
    bench.report(0.05, "removing channels")
    pruned = prune_channels(network, course.example(), step.ratio)
    whole = open_network(parent, step.technique)
    fitted = fit(network.module, course, Recipe(step.finetune_epochs, LEARNING_RATE), loss=taught_by(whole, course))
    network.saved(out, course.example())
    notes = [*pruned.notes(step.ratio), _TAUGHT, *fitted.notes(step.finetune_epochs)]
    return Made("fp32", [*notes, _next(step, below=fitted.below)])


def _next(step: PruneStructured, *, below: bool) -> str:
    if below:
        return "next: a lower ratio, more finetune_epochs, or prune_unstructured; quantization costs less accuracy as a rule"
    higher = next((rung for rung in LADDER if rung > step.ratio + 1e-9), None)
    if higher is None:
        return f"next: {LADDER[-1]:.0%} is the last rung of the ladder; if this passes, export_onnx and quantize it"
    return f"next, if this passes: ratio={higher} from the same parent, or export_onnx and quantization of this one"
