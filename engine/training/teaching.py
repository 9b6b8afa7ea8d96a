"""Learning from another model: its answers for the same samples are targets beside the labels.

Hinton et al. 2015, arXiv:1503.02531: the student's softened scores are drawn to the teacher's. Of values the teacher's answers
are targets as the labels are.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from .loop import Course, Loss
from .network import Network, Tensors, leaves

# Usual values: the share of the teacher in the loss, and how much its scores are softened.
_TEACHER, _TEMPERATURE = 0.7, 4.0


def taught_by(teacher: Network, course: Course) -> Loss:
    """The loss of a student; the teacher is left as it is. Scores: the divergence of the softened scores, times the
    temperature squared, which keeps its gradients as large as the labels'. Values: mean squared distance to both."""
    objective = course.objective
    teacher.module.requires_grad_(False).eval()

    def loss(output: torch.Tensor, fed: Tensors, labels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            theirs = objective.answers(objective.of(leaves(teacher.module(*fed))))
        ours = objective.answers(output)
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
