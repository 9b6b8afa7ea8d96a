"""The benchmark job: baseline and variant timed against each other in one run, and weighed."""

from __future__ import annotations

from ..contract.measures import Comparison, Measurement, Speedup
from .bench import Bench
from .data.dataset import open_evaluation
from .jobs import Benchmark, Benchmarked
from .measure.operators import optimized_operators, why_not_faster
from .measure.pairing import Pair, compare
from .measure.subject import Subject
from .runtimes import open_runner

# Larger models are not explained: the graph that ONNX Runtime writes for it holds all weights.
LARGEST_EXPLAINED = 500 * 2**20


def run(task: Benchmark, bench: Bench) -> Benchmarked:
    """Compares the variant with the baseline: the paired design of `measure.pairing`, sizes, memory, and a reason.

    Both models may be the same file. Raises JobProblem: BAD_FILE, INVALID_ARGUMENT (batch size), BAD_OUTPUTS (NaN, or not
    the same for the same input), MEASUREMENT_FAILED where a measuring process died.
    """
    bench.report(0.0, "opening both models and the evaluation set")
    baseline = _open("baseline", task.baseline_path, task, bench)
    variant = _open("variant", task.variant_path, task, bench)
    pair = Pair(
        baseline=baseline.path,
        baseline_inputs=str(baseline.inputs),
        variant=variant.path,
        variant_inputs=str(variant.inputs),
        threads=task.threads,
    )
    paired = compare(
        pair, task.iterations, task.seconds, bench.tmp, lambda done, what: bench.report(0.05 + 0.8 * done, what)
    )
    bench.report(0.85, "measuring peak memory in fresh processes")
    baseline_id, variant_id = task.measurement_ids
    ours = baseline.measurement(task, baseline_id, paired.baseline, bench.tmp)
    theirs = variant.measurement(task, variant_id, paired.variant, bench.tmp)
    bench.report(0.95, f"speedup {paired.speedup.value:.2f}: {paired.speedup.verdict}")
    return Benchmarked(
        comparison=Comparison(
            baseline=ours,
            variant=theirs,
            speedup=paired.speedup,
            compression=ours.file_size_bytes / theirs.file_size_bytes,
            memory_ratio=ours.peak_memory_mb / theirs.peak_memory_mb,
            noise=paired.noise,
            why_not_faster=_why_not_faster(paired.speedup, ours, theirs, task, bench),
        )
    )


def _open(name: str, path: str, task: Benchmark, bench: Bench) -> Subject:
    runner = open_runner(path, task.threads)
    dataset = open_evaluation(task.evaluation, runner.inputs)
    return Subject(path, runner, dataset, task.batch_size, bench.tmp / f"{name}_inputs.npz")


def _why_not_faster(
    speedup: Speedup, baseline: Measurement, variant: Measurement, task: Benchmark, bench: Bench
) -> str | None:
    if speedup.verdict == "faster" or max(baseline.file_size_bytes, variant.file_size_bytes) > LARGEST_EXPLAINED:
        return None
    before = optimized_operators(task.baseline_path, bench.tmp)
    return why_not_faster(before, optimized_operators(task.variant_path, bench.tmp))
