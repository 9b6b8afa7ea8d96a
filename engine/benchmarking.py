"""The benchmark job: baseline and variant timed against each other in one run, and weighed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..contract.measures import Comparison, Speedup, Sustained
from .bench import Bench
from .data.dataset import open_evaluation
from .explaining import comparison, openvino_layers
from .explaining.comparison import Explained
from .explaining.operators import Workload
from .jobs import Benchmark, Benchmarked
from .measure import inputs
from .measure.lock import one_at_a_time
from .measure.memory import memory_ratio, runtime_memory_mb
from .measure.pairing import Pair, compare
from .measure.subject import Subject
from .measure.sustained import sustain
from .runtimes.runner import open_runner


def run(task: Benchmark, bench: Bench) -> Benchmarked:
    """Compares the variant with the baseline: the paired design of `measure.pairing`, sizes, memory, and a reason; on
    request also the variant with itself under constant load.

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
    # Of the progress: the constant load, where there is one, takes its part.
    timed = 0.8 * task.seconds / (task.seconds + task.sustained_seconds)
    paired = compare(
        pair, task.iterations, task.seconds, bench.tmp, lambda done, what: bench.report(0.05 + timed * done, what)
    )
    baseline_id, variant_id = task.measurement_ids
    with one_at_a_time(lambda why: bench.report(0.05 + timed, why)):
        bench.report(0.05 + timed, "measuring peak memory in fresh processes")
        runtimes_mb = {
            format: runtime_memory_mb(format, task.threads, bench.tmp) for format in {baseline.format, variant.format}
        }
        ours = baseline.measurement(task, baseline_id, paired.baseline, runtimes_mb[baseline.format], bench.tmp)
        theirs = variant.measurement(task, variant_id, paired.variant, runtimes_mb[variant.format], bench.tmp)
        bench.report(0.1 + timed, "asking the runtime's profiler what runs")
        explained = _explained(paired.speedup, baseline, variant, task, bench)
    sustained = _sustain(variant, task, 0.1 + timed, bench) if task.sustained_seconds else None
    bench.report(0.95, f"speedup {paired.speedup.value:.2f}: {paired.speedup.verdict}")
    return Benchmarked(
        comparison=Comparison(
            baseline=ours,
            variant=theirs,
            speedup=paired.speedup,
            compression=ours.file_size_bytes / theirs.file_size_bytes,
            memory_ratio=memory_ratio(
                ours.peak_memory_mb, theirs.peak_memory_mb, _runtime_of_both(baseline, runtimes_mb, variant)
            ),
            noise=paired.noise,
            why_not_faster=explained.why_not_faster,
            execution=explained.execution,
            runs_as=explained.runs_as,
            sustained=sustained,
        )
    )


def _runtime_of_both(baseline: Subject, runtimes_mb: Mapping[str, float], variant: Subject) -> float:
    """The footprint that both models share; none where their runtimes are two, for then these are part of the choice."""
    return runtimes_mb[baseline.format] if baseline.format == variant.format else 0.0


def _open(name: str, path: str, task: Benchmark, bench: Bench) -> Subject:
    runner = open_runner(path, task.threads, task.interface)
    dataset = open_evaluation(task.evaluation, runner.inputs, bench.roots)
    return Subject(path, runner, dataset, task.batch_size, bench.tmp / f"{name}_inputs.npz", bench.source_of(path))


def _sustain(variant: Subject, task: Benchmark, done_before: float, bench: Bench) -> Sustained:
    def report(done: float, what: str) -> None:
        bench.report(done_before + (0.95 - done_before) * min(1.0, done), what)

    return sustain(variant.path, variant.inputs, task.threads, task.sustained_seconds, report)


def _explained(speedup: Speedup, baseline: Subject, variant: Subject, task: Benchmark, bench: Bench) -> Explained:
    """By ONNX Runtime's profiler and OpenVINO's counters; of other runtimes nothing is known."""
    if variant.format == "openvino" and task.asked:
        runs = openvino_layers.runs_as(Path(variant.path), task.asked, inputs.load(variant.inputs), task.threads)
        as_asked = runs is None or runs.runs == runs.asked
        return Explained(None, runs, None if as_asked or speedup.verdict == "faster" else f"{runs}.")
    if {baseline.format, variant.format} != {"onnx"}:
        return Explained(None, None, None)
    return comparison.explained(
        Workload(baseline.path, inputs.load(baseline.inputs)),
        Workload(variant.path, inputs.load(variant.inputs)),
        task.threads,
        bench.tmp,
        faster=speedup.verdict == "faster",
        asked=task.asked,
    )
