"""A model under measurement: its file, its inputs for timing, and the record that its figures make."""

from __future__ import annotations

from pathlib import Path

from ...contract.measures import Accuracy, Latency, MachineCondition, Measurement
from ..data.dataset import Dataset
from ..jobs import Benchmark, Profile
from ..models.formats import sniff
from ..models.model_file import open_file
from ..runtimes.runner import Runner
from . import inputs
from .memory import peak_memory_mb
from .rotation import rotation


class Subject:
    """Holds neither runner nor inputs: while it is timed, in processes of its own, this one should hold little.

    `inputs`: the file, written below `tmp`, of the batches that are timed (`inputs.save`),
    as the runtime itself takes them: preparing inputs is not timed. `source`: the caller's file, where the model was made of
    it (`Bench.source_of`): that is the one whose size counts.
    """

    def __init__(
        self,
        path: str,
        runner: Runner,
        dataset: Dataset,
        batch_size: int,
        inputs_file: Path,
        source: Path | None = None,
    ):
        batches = rotation(dataset, runner.inputs, batch_size)
        # One inference with the checks that timed calls go without.
        runner.run(batches[0])
        inputs.save([runner.native(batch) for batch in batches], inputs_file)
        self.path = path
        self.source = source or Path(path)
        self.format = sniff(Path(path)).format
        self.inputs = inputs_file
        self.runtime = runner.name

    def measurement(
        self,
        task: Profile | Benchmark,
        measurement_id: str,
        latency: Latency,
        runtime_memory_mb: float,
        tmp: Path,
        accuracy: Accuracy | None = None,
        machine: MachineCondition | None = None,
    ) -> Measurement:
        """The record of this model: what was given, and its sizes on disk and, measured now, in memory.

        For whoever has the machine to itself (`lock`): what is weighed disturbs what others time.
        """
        return Measurement(
            **task.stamp.model_dump(),
            measurement_id=measurement_id,
            runtime=self.runtime,
            threads=task.threads,
            batch_size=task.batch_size,
            latency_ms=latency,
            throughput_per_s=1000 * task.batch_size / latency.mean,
            peak_memory_mb=peak_memory_mb(self.path, self.inputs, task.threads, tmp),
            runtime_memory_mb=runtime_memory_mb,
            file_size_bytes=self._size_bytes(),
            accuracy=accuracy,
            machine=machine,
        )

    def _size_bytes(self) -> int:
        return file_size_bytes(Path(self.path)) if self.source == Path(self.path) else self.source.stat().st_size


def file_size_bytes(path: Path) -> int:
    """Of all files that the model is made of."""
    return sum(file.stat().st_size for file in open_file(path).files)
