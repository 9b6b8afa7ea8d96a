"""Distillation: a smaller student learns from the labels and from what the teacher makes of the same samples.

Hinton et al. 2015, arXiv:1503.02531: the student's softened scores are drawn to the teacher's, beside the labels. Of values
the teacher's answers are targets as the labels are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from ...contract.measures import Interface
from ...contract.steps import Distill
from ..bench import Bench
from ..problems import JobProblem
from ..training.channels import prune_channels
from ..training.loop import Course, Loss, Recipe, fit
from ..training.network import Network, Tensors, leaves, open_network
from ..training.objective import Objective
from .base import Made

LEARNING_RATE = 1e-3
# Usual values: the share of the teacher in the loss, and how much its scores are softened.
_TEACHER, _TEMPERATURE = 0.7, 4.0


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
    teacher.module.requires_grad_(False)
    fitted = fit(
        student.module,
        course,
        Recipe(step.epochs, LEARNING_RATE),
        loss=taught(course.objective, _answers(teacher, course)),
    )
    student.saved(out, course.example())
    return Made("fp32", [*notes, *fitted.notes(step.epochs)])


def _answers(teacher: Network, course: Course) -> Callable[[Tensors], torch.Tensor]:
    def answer(fed: Tensors) -> torch.Tensor:
        with torch.no_grad():
            return course.objective.answers(course.objective.of(leaves(teacher.module(*fed))))

    return answer


def taught(objective: Objective, teacher: Callable[[Tensors], torch.Tensor]) -> Loss:
    """The loss of a student. Scores: the divergence of the softened scores, times the temperature squared, which keeps its
    gradients as large as the labels'. Values: mean squared distance to both."""

    def loss(output: torch.Tensor, fed: Tensors, labels: torch.Tensor) -> torch.Tensor:
        theirs, ours = teacher(fed), objective.answers(output)
        if objective.task == "classes":
            soft = functional.kl_div(
                functional.log_softmax(ours / _TEMPERATURE, dim=1),
                functional.log_softmax(theirs / _TEMPERATURE, dim=1),
                reduction="batchmean",
                log_target=True,
            )
            imitated = _TEMPERATURE**2 * soft
        else:
            imitated = functional.mse_loss(ours, theirs)
        return _TEACHER * imitated + (1 - _TEACHER) * objective.loss(output, labels)

    return loss


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
