"""Distillation: a smaller student learns from the labels and from what the teacher makes of the same samples."""

from __future__ import annotations

from pathlib import Path

import torch

from ...contract.measures import Interface
from ...contract.steps import Distill
from ..bench import Bench
from ..problems import JobProblem
from ..training.channels import prune_channels
from ..training.loop import Course, Recipe, fit
from ..training.network import Network, Tensors, leaves, open_network
from ..training.teaching import taught_by
from .base import Made

LEARNING_RATE = 1e-3


def train(parent: Path, step: Distill, out: Path, course: Course | None, interface: Interface, bench: Bench) -> Made:
    """Trains the student given, or one that is the teacher with fewer channels, and writes an exported program.

    Raises JobProblem UNAVAILABLE where teacher or student cannot be trained, INVALID_ARGUMENT where the student is fed or
    answers otherwise than the teacher.
    """
    assert course is not None, "distillation always trains"
    teacher = open_network(parent, step.technique)
    student = open_network(Path(step.student_path or parent), step.technique)
    notes = []
    if step.student_path is None:
        bench.report(0.05, "deriving a student: removing channels")
        pruned = prune_channels(student, course.example(), step.ratio)
        notes = ["the student is the teacher with fewer channels", *pruned.notes(step.ratio)]
    _check_alike(teacher, student, course.example())
    fitted = fit(student.module, course, Recipe(step.epochs, LEARNING_RATE), loss=taught_by(teacher, course))
    student.saved(out, course.example())
    return Made("fp32", [*notes, *fitted.notes(step.epochs)])


def _check_alike(teacher: Network, student: Network, example: Tensors) -> None:
    """What the student is fed and answers must be what the teacher is and does: applications call it alike."""
    fed = [[(i.dtype, i.shape[1:]) for i in network.inputs] for network in (teacher, student)]
    names = [[o.name for o in network.outputs] for network in (teacher, student)]
    if fed[0] == fed[1] and names[0] == names[1]:
        with torch.no_grad():
            shapes = [[leaf.shape for leaf in leaves(network.module(*example))] for network in (teacher, student)]
        if shapes[0] == shapes[1]:
            return
        names = [[str(list(shape[1:])) for shape in found] for found in shapes]
    raise JobProblem(
        "INVALID_ARGUMENT",
        f"the student is fed or answers otherwise than its teacher: it takes {fed[1]} and gives {', '.join(names[1])}; the"
        f" teacher takes {fed[0]} and gives {', '.join(names[0])}. Wrap it in a module that does the same",
    )
