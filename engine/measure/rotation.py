"""Which real inputs are timed: a few batches, spread over the data set."""

from __future__ import annotations

from collections.abc import Sequence

from ...contract.measures import TensorInfo
from ..data.dataset import Dataset
from ..problems import JobProblem
from ..runtimes.fitting import shape_text
from .inputs import Feeds

MOST_BATCHES = 8
MOST_BYTES = 32 * 2**20


def rotation(dataset: Dataset, inputs: Sequence[TensorInfo], batch_size: int) -> list[Feeds]:
    """Up to 8 batches of `batch_size` samples by input name, evenly spread over the set, together under 32 MB (or one).

    Raises JobProblem INVALID_ARGUMENT where the model's batch axis is fixed at another size or the set is smaller.
    """
    for info in inputs:
        if info.shape and info.shape[0] not in (None, batch_size):
            raise JobProblem(
                "INVALID_ARGUMENT",
                f"The model's input {info.name!r} has the shape {shape_text(info.shape)}: its batch axis is fixed at"
                f" {info.shape[0]}, so batch_size={batch_size} cannot be timed. Call again with batch_size={info.shape[0]}.",
            )
    last = len(dataset) - batch_size
    if last < 0:
        raise JobProblem(
            "INVALID_ARGUMENT",
            f"The evaluation set has {len(dataset)} samples, fewer than batch_size={batch_size}."
            f" Call again with a batch_size of at most {len(dataset)}.",
        )
    first = dataset.feeds(0, batch_size)
    fitting = MOST_BYTES // max(1, sum(array.nbytes for array in first.values()))
    count = max(1, min(MOST_BATCHES, fitting, last + 1))
    starts = [round(index * last / (count - 1)) for index in range(1, count)]
    return [first] + [dataset.feeds(start, start + batch_size) for start in starts]
