"""The profile job: everything about the original that variants are held against."""

from __future__ import annotations

from ..contract.measures import Ceiling, Measurement
from .bench import Bench
from .data.dataset import Dataset, open_evaluation
from .data.sketch import sketch
from .explaining import kernels, operators, probe
from .explaining.ceilings import ceilings
from .explaining.operators import bottleneck
from .jobs import Profile, Profiled
from .measure import inputs, machine
from .measure.accuracy import evaluate
from .measure.alone import AloneTask, time_alone
from .measure.lock import one_at_a_time
from .measure.memory import runtime_memory_mb
from .measure.outcomes import Outcomes
from .measure.subject import Subject
from .problems import JobProblem
from .runtimes.runner import open_runner

OUTCOMES_FILE = "outcomes.npz"


def run(task: Profile, bench: Bench) -> Profiled:
    """Measures accuracy on the whole evaluation set, latency, peak memory and size of the original.

    Raises JobProblem: SAME_DATASET where the set is not the one that was registered; BASELINE_IMPLAUSIBLE where the
    accuracy cannot be that of a model fed as it was trained; INVALID_ARGUMENT where batch_size does not fit; BAD_FILE.
    """
    bench.report(0.0, "opening the model and the evaluation set")
    # One thread, as in `validate`: more may add up in another order, and decide otherwise where it is close.
    runner = open_runner(task.model_path)
    dataset = open_evaluation(task.evaluation, runner.inputs, bench.roots)
    _check_same(dataset, task.data_digest)
    source = bench.source_of(task.model_path)
    subject = Subject(task.model_path, runner, dataset, task.batch_size, bench.tmp / "inputs.npz", source)
    outcomes = evaluate(
        runner,
        dataset,
        task.evaluation.metric,
        lambda done, what: bench.report(0.05 + 0.6 * done, f"accuracy: {what}"),
        task.user_code,
        adapter=task.adapter,
        decoding=task.evaluation.decoding,
    )
    _check_plausible(outcomes)
    outcomes.save(bench.files / OUTCOMES_FILE)
    with one_at_a_time(lambda why: bench.report(0.65, why)):
        baseline = _measure(task, subject, outcomes, bench)
        bench.report(0.95, "asking the runtime's profiler where the time goes")
        where, most = _where_the_time_goes(task, subject, bench)
    samples = sketch(dataset.sample_digests())
    return Profiled(baseline=baseline, outcomes=OUTCOMES_FILE, bottleneck=where, samples=samples, ceilings=most)


def _where_the_time_goes(task: Profile, subject: Subject, bench: Bench) -> tuple[str, list[Ceiling]]:
    """The bottleneck, and the ceilings of techniques: by ONNX Runtime's profiler, so of ONNX models."""
    if subject.format != "onnx":
        return f"Where the time goes is not known: {subject.runtime} is not profiled.", []
    seen = operators.Workload(task.model_path, inputs.load(subject.inputs))
    (ran,) = operators.profile([seen], task.threads, bench.tmp)
    return bottleneck(ran), ceilings(ran, kernels.of_this_machine(), probe.gains(task.threads))


def _check_same(dataset: Dataset, registered: str) -> None:
    if dataset.info.digest != registered:
        raise JobProblem(
            "SAME_DATASET",
            "The evaluation set is not the one that the session was opened with: its samples or labels have changed"
            " since. Put the original data back, or open a new session for the new data.",
        )


def _measure(task: Profile, subject: Subject, outcomes: Outcomes, bench: Bench) -> Measurement:
    bench.report(0.65, f"timing {task.iterations} runs on {machine.describe()}")
    alone = AloneTask(model=subject.path, inputs=str(subject.inputs), threads=task.threads, iterations=task.iterations)
    latency, meanwhile = time_alone(alone, bench.tmp)
    bench.report(0.85, "measuring peak memory in fresh processes")
    runtime_mb = runtime_memory_mb(subject.format, task.threads, bench.tmp)
    return subject.measurement(
        task, task.measurement_id, latency, runtime_mb, bench.tmp, outcomes.accuracy(), meanwhile
    )


def _check_plausible(outcomes: Outcomes) -> None:
    if reason := outcomes.implausible():
        raise JobProblem(
            "BASELINE_IMPLAUSIBLE",
            f"These figures cannot be the baseline: {reason}. The usual cause is a preprocessing that is not the one that"
            " the model was trained with (scale, mean and std, RGB or BGR, layout); the next, labels that are numbered"
            " otherwise. Open a new session with the right evaluation.preprocessing.",
        )
