"""The audit: everything that speaks against calibrating on a set, each with its evidence and what to do."""

from __future__ import annotations

from ...contract.measures import Interface, TensorInfo
from ..bench import Bench
from ..data.dataset import Dataset
from ..models.model_file import ModelFile
from ..problems import JobProblem
from ..quantization.samples import spread
from .augmentation import augmentation
from .counts import FEWEST, copies, count
from .coverage import coverage
from .finding import Finding
from .leakage import leakage
from .neighbours import Space, yardstick
from .probe import Probe
from .ranges import ranges
from .resemblance import resemblance
from .sketch import Sketches, sketch
from .views import views

# Samples of a set that are sketched: this many, fewer where they are large, but these at least.
_MOST, _LEAST, _VALUES = 4000, 128, 1e8
# Samples of each set that the model runs on, and seconds at most.
_PROBED, _PROBED_EVALUATION = 256, 128
_SECONDS, _SECONDS_EVALUATION = 3.0, 1.5


def require_fit(
    parent: ModelFile,
    interface: Interface,
    calibration: Dataset,
    evaluation: Dataset,
    *,
    metric: str,
    used: int,
    technique: str,
    bench: Bench,
) -> list[str]:
    """What the caller should know of a set that can be used, a sentence each. `interface`: what the sets feed.

    `used`: how many samples the step takes. Raises JobProblem CALIBRATION_UNFIT with one entry in `missing` a finding.
    """
    findings = audit(parent, interface, calibration, evaluation, metric=metric, used=used, bench=bench)
    unfit = [finding.text for finding in findings if finding.unfit]
    if unfit:
        kinds = ", ".join(dict.fromkeys(text.partition(":")[0] for text in unfit))
        raise JobProblem(
            "CALIBRATION_UNFIT",
            f"the calibration set of {len(calibration)} samples is not fit for {technique} ({kinds}; `missing` has"
            " the evidence and what to do); nothing was made. Mend the set and open a session with it as calibration_path,"
            " or take a step that needs none (int8_dynamic, float16)",
            unfit,
        )
    return [f"calibration set, {finding.text}" for finding in findings]


def audit(
    parent: ModelFile,
    interface: Interface,
    calibration: Dataset,
    evaluation: Dataset,
    *,
    metric: str,
    used: int,
    bench: Bench,
) -> list[Finding]:
    """All findings, those that make the set unfit first. Of the evaluation set it opens the inputs and, to know which
    classes there are, the labels; never whether the model is right about them.

    Time and memory are bounded whatever the sizes of the sets: samples beyond the limits above are left out at random.
    """
    bench.report(0.01, "auditing the calibration set: comparing its samples with the evaluation set's")
    ours, theirs = _sketches(calibration, evaluation, interface.inputs)
    space = Space(theirs)
    points = space.points(ours), space.points(theirs)
    rule = yardstick(points[1])
    found = [
        *count(len(calibration), used),
        *copies(ours, theirs, points, rule.near),
        *leakage(ours, theirs, points, rule, (len(calibration), len(evaluation))),
        *resemblance(ours, theirs),
        *augmentation(ours, theirs),
    ]
    bench.report(0.03, "auditing the calibration set: running the model on it")
    found += _by_model(parent, interface, calibration, evaluation, metric, used, bench)
    return sorted(found, key=lambda finding: not finding.unfit)


def _sketches(calibration: Dataset, evaluation: Dataset, inputs: list[TensorInfo]) -> tuple[Sketches, Sketches]:
    first = evaluation.feeds(0, 1)
    looked_at = views(first, inputs)
    most = int(min(_MOST, max(_LEAST, _VALUES // sum(values.size for values in first.values()))))
    ours, theirs = (sketch(dataset, spread(len(dataset), most), looked_at) for dataset in (calibration, evaluation))
    return ours, theirs


def _by_model(
    parent: ModelFile,
    interface: Interface,
    calibration: Dataset,
    evaluation: Dataset,
    metric: str,
    used: int,
    bench: Bench,
) -> list[Finding]:
    """What the parent itself shows. A model that cannot be watched is no fault of the set: the caller is told."""
    try:
        probe = Probe(parent, interface, bench.tmp, metric)
        ours = probe.run(calibration, spread(len(calibration), min(max(used, FEWEST), _PROBED)), _SECONDS)
        theirs = probe.run(evaluation, spread(len(evaluation), _PROBED_EVALUATION), _SECONDS_EVALUATION)
    except JobProblem as found:
        return [Finding(False, f"ranges and classes were not looked at: {found.problem.message}")]
    answers = (ours.answers, theirs.answers) if ours.answers is not None and theirs.answers is not None else None
    return [*ranges(ours, theirs), *coverage(calibration, evaluation, answers, probe.classes)]
