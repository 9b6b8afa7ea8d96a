"""What a task of training is given: samples, the objective, and the accuracy floor that the original sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ...contract.measures import Interface
from ..bench import Bench
from ..data.dataset import Dataset
from ..jobs import Optimize
from ..problems import JobProblem
from .examples import Rows, open_examples
from .loop import Course, train_mode
from .network import Network, leaves, open_network
from .objective import objective

_TRIED = 8


def open_course(task: Optimize, interface: Interface, evaluation: Dataset, bench: Bench) -> tuple[Course, list[str]]:
    """The training set and what is learned of it, with the sentences that a caller should read.

    Raises JobProblem: TRAINING_REQUIRED; TRAINING_UNFIT, also where the original does no better than chance on the set:
    its labels, then, mean something else; UNAVAILABLE for a metric that has no loss, or a model that cannot be trained.
    """
    examples, notes = open_examples(task, interface, evaluation, bench)
    rows = Rows(examples)
    original = open_network(Path(task.baseline_path or task.parent_path), task.step.technique)
    first = examples.learned[:_TRIED]
    outputs = _outputs(original, [torch.from_numpy(values) for values in rows(first).values()])
    learned = objective(task.evaluation, examples, outputs, first)
    course = Course(examples, rows, learned, 0.0, bench)
    found = course.outcomes(original.module, train_mode)
    if reason := found.implausible():
        raise JobProblem(
            "TRAINING_UNFIT",
            f"the original does not know the training set: of what was held out of it, {reason}. Do its labels number the"
            " classes as the evaluation set's do, and is it preprocessed alike?",
        )
    value = found.value()
    allowed = task.tolerance * (abs(value) if task.tolerance_kind == "relative" else 1.0)
    return Course(examples, rows, learned, value - learned.better_sign * allowed, bench), notes


def _outputs(network: Network, fed: list[torch.Tensor]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        given = leaves(network.module(*fed))
    return {info.name: tensor.float().numpy() for info, tensor in zip(network.outputs, given, strict=True)}
