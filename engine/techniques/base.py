"""What every technique gives, and how it writes its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from onnx import ModelProto

from ... import __version__
from ...contract.measures import Interface
from ..bench import Bench
from ..data.dataset import Dataset
from ..measure.inputs import Feeds
from ..models.identity import strip_unused_opsets
from ..problems import JobProblem
from ..runtimes.recorded_options import OPTIONS_KEY

if TYPE_CHECKING:
    from ..quantization.searching import Search
    from ..training.loop import Course  # which takes PyTorch


@dataclass(frozen=True)
class Made:
    """`precision`: fp32, fp16, int8 or int4. `notes`: what the caller should know, a sentence each."""

    precision: str
    notes: list[str] = field(default_factory=list)


class Technique(Protocol):
    def run(
        self, parent: Path, step: Any, out: Path, calibration: Dataset | None, interface: Interface, bench: Bench
    ) -> Made:
        """Writes the optimized model to `out`; the parent is only read. The same input gives the same bytes.

        `step` is the technique's own step of contract/steps.py. `calibration` is there where the technique needs it
        (`needs_calibration`); its samples are fed as `interface`, the session's, says. Raises JobProblem where the technique does not apply to this model.
        """
        ...


class SearchingTechnique(Protocol):
    def search(
        self,
        parent: Path,
        step: Any,
        out: Path,
        calibration: Dataset | None,
        searching: Search,
        interface: Interface,
        bench: Bench,
    ) -> Made:
        """As `Technique.run`, of techniques that choose among candidates by their accuracy (`steps.searches`)."""
        ...


class TimedTechnique(Protocol):
    def tune(self, parent: Path, step: Any, out: Path, timed: list[Feeds], threads: int, bench: Bench) -> Made:
        """As `Technique.run`, of techniques that choose by time: `timed` are real inputs, as the runtime takes them;
        `threads`, on how many the session's benchmarks run."""
        ...


class TrainedTechnique(Protocol):
    def train(
        self, parent: Path, step: Any, out: Path, course: Course | None, interface: Interface, bench: Bench
    ) -> Made:
        """As `Technique.run`, of techniques that train: `course` is there where the step does (`needs_training`)."""
        ...


def write(model: ModelProto, parent: ModelProto, out: Path) -> None:
    """Saves a technique's graph with the parent's own metadata, and without what the tools left in it. Session options are
    no part of that: they were chosen for the parent's graph."""
    strip_unused_opsets(model)
    del model.metadata_props[:]
    model.metadata_props.extend(entry for entry in parent.metadata_props if entry.key != OPTIONS_KEY)
    model.domain, model.model_version, model.doc_string = parent.domain, parent.model_version, parent.doc_string
    model.producer_name, model.producer_version = "edgeopt", __version__
    out.write_bytes(model.SerializeToString(deterministic=True))


def refuse_unless_float32(precision: str, technique: str) -> None:
    """JobProblem UNAVAILABLE for a parent that was quantized or halved before: rounding rounded numbers only adds error."""
    if precision != "fp32":
        raise JobProblem(
            "UNAVAILABLE",
            f"{technique} does not apply to a parent that is {precision} already: run it on a model in fp32 (parent='baseline',"
            " where that is one, or a kept variant), and compare the two variants",
        )
