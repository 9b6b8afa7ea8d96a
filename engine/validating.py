"""The job `validate`: a variant judged against the baseline on the same samples."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..contract.evaluation import DETECTION
from ..contract.measures import PARITY, ClassDrop, Flip, Look, Validation
from .bench import Bench
from .data.dataset import open_evaluation
from .detection.average_precision import found_in_each_image, of_each_image
from .jobs import Validate, Validated
from .measure.accuracy import Report, evaluate
from .measure.classes import class_drops
from .measure.metrics import CLASSIFICATION
from .measure.noninferiority import Bar, Status, Verdict, drop, judge
from .measure.outcomes import Outcomes
from .measure.parity import BOUND, Difference, difference
from .problems import JobProblem
from .runtimes.runner import open_runner

_MOST_FLIPS = 10
_MOST_CLASSES = 10
_NAMED = 3


def run(task: Validate, bench: Bench) -> Validated:
    """Evaluates the variant exactly as the baseline was evaluated, and judges the drop.

    Raises JobProblem: SAME_DATASET where the samples or the metric are not the baseline's; BAD_FILE where a file has
    changed or does not load; BAD_OUTPUTS where predictions of the variant are NaN or infinite.
    """
    baseline = _recorded(task)
    original = open_runner(task.baseline_path, interface=task.interface)
    variant = open_runner(task.variant_path, interface=task.interface)
    # Opened for the original's inputs: what it was fed is what the variant is fed, whatever dtype that takes.
    dataset = open_evaluation(task.evaluation, original.inputs, bench.roots)
    if dataset.info.digest != task.data_digest:
        raise JobProblem(
            "SAME_DATASET",
            f"the evaluation set {task.evaluation.dataset_path} has changed since the baseline was measured: put its"
            " files back as they were, or open a new session",
        )
    evaluated = 0.5 if task.exact else 1.0
    progress = _part(bench, 0.0, evaluated)
    outcomes = evaluate(
        variant,
        dataset,
        task.evaluation.metric,
        progress,
        task.user_code,
        adapter=task.adapter,
        decoding=task.evaluation.decoding,
    )
    _check_values(outcomes, task.variant_path)
    _check_pairs(baseline, outcomes)
    bar = Bar(task.tolerance, task.tolerance_kind, task.alpha)
    verdict = judge(baseline, outcomes, bar)
    status, method = _ruling(task, verdict)
    if task.exact:
        gap = difference(original, variant, dataset, _part(bench, evaluated, 1.0))
        status, method = _parity_ruling(gap, baseline, outcomes, status, method)
    classes = class_drops(baseline, outcomes, bar) if baseline.metric in CLASSIFICATION else []
    status, method = _ruling_on_classes(classes, status, method)
    if len(baseline.unique) < len(baseline):
        method += f"; {len(baseline) - len(baseline.unique)} exact duplicates count once"
    return Validated(validation=_validation(task, baseline, outcomes, verdict, classes, status, method))


def _recorded(task: Validate) -> Outcomes:
    """The baseline's outcomes, if the file is the one that was recorded."""
    path = Path(task.baseline_outcomes)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != task.baseline_outcomes_sha256:
        raise JobProblem(
            "BAD_FILE",
            f"the recorded outcomes of the baseline, {path}, {'have changed' if path.exists() else 'are gone'}: open a"
            " new session and profile the model again",
        )
    outcomes = Outcomes.load(path)
    if outcomes.metric != task.evaluation.metric:
        raise JobProblem(
            "SAME_DATASET", f"the baseline was measured with {outcomes.metric}, not with {task.evaluation.metric}"
        )
    if outcomes.value() == 0:
        raise JobProblem(
            "BASELINE_IMPLAUSIBLE",
            f"the baseline's {outcomes.metric} is 0, of which no drop is a share: check the labels and the preprocessing",
        )
    return outcomes


def _check_values(variant: Outcomes, path: str) -> None:
    """A class that cannot be told counts as wrong; an error that is not a number counts as nothing."""
    if variant.metric not in CLASSIFICATION and not variant.finite.all():
        raise JobProblem(
            "BAD_OUTPUTS",
            f"{Path(path).name} predicts NaN or infinity for {int((~variant.finite).sum())} of {len(variant)} samples:"
            " revert it",
        )


def _check_pairs(baseline: Outcomes, variant: Outcomes) -> None:
    """Samples are compared in pairs, and drawn in pairs by the bootstrap: both must be the same, in the same order."""
    if not np.array_equal(baseline.unique, variant.unique):
        raise JobProblem(
            "SAME_DATASET", "the variant was not fed the samples of the baseline: open a new session and profile again"
        )


def _part(bench: Bench, start: float, stop: float) -> Report:
    return lambda done, message: bench.report(start + (stop - start) * done, message)


def _ruling(task: Validate, verdict: Verdict) -> tuple[Status, str]:
    if task.evidence == "proven":
        return verdict.status, verdict.method
    return ("PASS" if verdict.drop <= verdict.margin else "FAIL"), f"point rule: not proven ({verdict.method})"


def _parity_ruling(
    gap: Difference, baseline: Outcomes, variant: Outcomes, status: Status, method: str
) -> tuple[Status, str]:
    """PASS on any number of samples where both models decide alike and their outputs agree; else the test's ruling."""
    changed = _changed(baseline, variant) or 0
    outputs = f"outputs differ by {gap.largest:.2g} at most (bound {BOUND:g} of the largest output, {gap.scale:.3g})"
    if changed == 0 and gap.within_bound:
        return "PASS", f"{PARITY}no decision differs on {len(variant)} samples and {outputs}"
    return status, f"not exact ({changed} decisions and {outputs}); {method}"


def _ruling_on_classes(classes: list[ClassDrop], status: Status, method: str) -> tuple[Status, str]:
    """FAIL where a class is provably ruined, whatever the total says: it may hide that one class pays for the others."""
    ruined = sorted((c for c in classes if c.ruined), key=lambda c: -c.drop)
    if not ruined:
        return status, method
    named = ", ".join(str(c) for c in ruined[:_NAMED])
    more = f" and {len(ruined) - _NAMED} more classes" if len(ruined) > _NAMED else ""
    total = "" if status == "FAIL" else f"the total alone would be {status}, but "
    return "FAIL", f"{total}{named}{more} (exact paired tests, Holm over {len(classes)} classes); {method}"


def _changed(baseline: Outcomes, variant: Outcomes) -> int | None:
    """The number of samples that are decided differently, or of images in which other objects are found; None for the other
    metrics."""
    if baseline.metric in DETECTION:
        before, now = (found_in_each_image(o.labels, o.decisions) for o in (baseline, variant))
        return int(np.sum((before != now).any(axis=1)))
    if baseline.metric not in CLASSIFICATION:
        return None
    return int(np.sum((baseline.decisions != variant.decisions) | (baseline.correct != variant.correct)))


def _validation(
    task: Validate,
    baseline: Outcomes,
    variant: Outcomes,
    verdict: Verdict,
    classes: list[ClassDrop],
    status: Status,
    method: str,
) -> Validation:
    before, now = baseline.value(), variant.value()
    delta = drop(baseline.metric, before, now)
    needed = verdict.samples_needed if status == "INCONCLUSIVE" else None
    return Validation(
        metric=baseline.metric,
        baseline=before,
        optimized=now,
        delta=delta,
        relative_drop=delta / abs(before),
        ci95_relative_drop=verdict.relative_interval,
        tolerance=f"{100 * task.tolerance:g}%" if task.tolerance_kind == "relative" else f"{task.tolerance:g} absolute",
        evidence=task.evidence,
        method=method,
        samples=len(baseline),
        status=status,
        more_samples_needed=None if needed is None else max(1, needed - verdict.samples),
        look=Look(number=task.look_number, alpha=task.alpha),
        decision_required=status != "PASS",
        alternatives=[],
        flips=_flips(baseline, variant),
        changed_decisions=_changed(baseline, variant),
        classes=sorted((c for c in classes if c.drop > 0), key=lambda c: (not c.ruined, -c.drop))[:_MOST_CLASSES],
    )


def _flips(baseline: Outcomes, variant: Outcomes) -> list[Flip]:
    """Samples that were right and are wrong now, those first in which the variant is surest of its error; the images of a
    detector that lost most."""
    if baseline.metric in DETECTION:
        return _losses(baseline, variant)
    if baseline.metric not in CLASSIFICATION:
        return []
    lost = np.flatnonzero(baseline.correct & ~variant.correct)
    worst = lost[np.argsort(-variant.lead[lost], kind="stable")][:_MOST_FLIPS]
    return [
        Flip(
            sample=int(index),
            label=float(baseline.labels[index]),
            baseline=float(baseline.decisions[index]),
            variant=float(variant.decisions[index]),
        )
        for index in worst
    ]


def _losses(baseline: Outcomes, variant: Outcomes) -> list[Flip]:
    """The images whose own AP fell most; the label is the number of objects in them."""
    before, now = (of_each_image(o.labels, o.decisions) for o in (baseline, variant))
    worst = np.argsort(now - before, kind="stable")[:_MOST_FLIPS]
    objects = baseline.labels.sum(axis=1)
    return [
        Flip(sample=int(i), label=float(objects[i]), baseline=float(before[i]), variant=float(now[i]))
        for i in worst
        if now[i] < before[i]
    ]
