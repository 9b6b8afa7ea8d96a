"""What is said of times, and two real models timed against each other."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from edgeopt.contract.measures import Comparison
from edgeopt.engine import benchmarking
from edgeopt.engine.data.dataset import open_evaluation
from edgeopt.engine.jobs import Benchmark
from edgeopt.engine.measure import pairing
from edgeopt.engine.measure.condition import Throttling
from edgeopt.engine.measure.latency import P99_NEEDS, bound_rank, half_width, speedup, summarize, trimmed_mean
from edgeopt.engine.measure.machine import Load, Reading, read
from edgeopt.engine.measure.pair_process import block_calls, dropped_calls
from edgeopt.engine.measure.pairing import FEWEST, PairTimes, balanced, enough, is_flagged, that_count
from edgeopt.engine.measure.rotation import rotation
from edgeopt.engine.problems import JobProblem
from edgeopt.engine.runtimes.runner import open_runner
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from .small_models import STAMP, classifier, evaluation_set, make_bench, save_model, wide_classifier

times = st.lists(st.floats(1e-3, 1e4), min_size=2, max_size=400)
log_ratios = st.lists(st.floats(-3, 3), min_size=2, max_size=30)


@given(times)
def test_a_summary_is_ordered_and_within_its_times(sample: list[float]):
    latency = summarize(sample)
    assert min(sample) <= latency.p50 <= latency.p95 <= latency.p99 <= max(sample)
    assert min(sample) <= latency.mean * (1 + 1e-12)
    assert latency.n == len(sample)


def test_a_summary_of_known_times():
    latency = summarize([float(ms) for ms in range(1, 102)])
    assert (latency.mean, latency.p50, latency.p95, latency.p99) == (51, 51, 96, 100)
    assert latency.std == pytest.approx(math.sqrt(858.5))
    assert not latency.p99_is_bound


def test_p99_is_a_bound_from_299_times_on():
    assert not summarize(range(P99_NEEDS - 1)).p99_is_bound
    assert bound_rank(P99_NEEDS - 1, 0.99) == P99_NEEDS
    latency = summarize(range(P99_NEEDS))
    assert latency.p99_is_bound
    assert latency.p99 == P99_NEEDS - 1


def test_the_bound_is_over_the_true_p99_in_95_percent_of_samples():
    uniform = np.random.default_rng(3).random((2000, 1000))
    over = np.mean(np.sort(uniform, axis=1)[:, bound_rank(1000, 0.99) - 1] > 0.99)
    assert 0.94 < over < 0.99


def test_trimming_leaves_out_a_fifth_at_each_end():
    assert trimmed_mean([1000, 2, 3, 4, -1000]) == 3
    assert trimmed_mean([1, 2, 6]) == 3


@given(log_ratios)
def test_a_verdict_needs_the_interval_and_the_effect(sample: list[float]):
    effect = speedup(sample)
    low, high = effect.ci95
    assert low <= effect.value * (1 + 1e-9)
    assert effect.value <= high * (1 + 1e-9)
    assert (effect.verdict == "faster") == (low > 1.01)
    assert (effect.verdict == "slower") == (high < 1 / 1.01)


@given(log_ratios)
def test_swapping_the_models_inverts_the_speedup(sample: list[float]):
    there, back = speedup(sample), speedup([-value for value in sample])
    assert there.value * back.value == pytest.approx(1)
    assert there.ci95[0] * back.ci95[1] == pytest.approx(1)
    assert {there.verdict, back.verdict} in ({"undecided"}, {"faster", "slower"})


def test_a_certain_effect_under_one_percent_is_not_called():
    assert speedup([0.0099, 0.00991, 0.00992, 0.00993]).verdict == "undecided"
    assert speedup([0.0199, 0.01991, 0.01992, 0.01993]).verdict == "faster"


def test_the_interval_is_students():
    """Mean 0.2, standard deviation 0.1, n 3: 0.2 +- 4.3027 * 0.1 / sqrt(3)."""
    effect = speedup([0.1, 0.2, 0.3])
    assert np.log(effect.ci95) == pytest.approx([0.2 - 0.24841, 0.2 + 0.24841], abs=1e-5)
    assert half_width(effect) == pytest.approx(math.sinh(0.24841), abs=1e-5)


@given(st.floats(1e-3, 1e4), st.integers(1, 1000))
def test_blocks_are_long_enough_and_no_longer(call_ms: float, least: int):
    calls = block_calls(call_ms, least)
    assert calls >= max(3, least)
    assert calls * call_ms >= 20 * (1 - 1e-9)
    assert calls >= 10 or calls * call_ms > 90 or call_ms > 100 / 3 - 1
    assert calls == least or calls <= 10 or (calls - 1) * call_ms <= 20
    assert 1 <= dropped_calls(call_ms) <= 4


QUIET = Load(capacity_s=1)
FOREIGN = Load(capacity_s=1, foreign_s=0.11)
STOLEN = Load(capacity_s=1, steal_s=0.03)
THROTTLED = Load(capacity_s=1, throttled=True)
# Quads whose standard deviation is 3.16 %, whatever their mean.
SCATTERED = (-0.04, -0.02, 0.0, 0.02, 0.04)


def process(
    index: int, log_ratio: float = 0.0, load: Load = QUIET, calls: int = 100, quads: Sequence[float] = (0.0,) * 5
) -> PairTimes:
    return PairTimes(
        index=index,
        quads=[log_ratio + quad for quad in quads],
        baseline_ms=[1.0] * calls,
        variant_ms=[1.0] * calls,
        load=load,
    )


def processes(n: int, spread: float, calls: int = 100, effect: float = 0.0) -> list[PairTimes]:
    return [process(index, effect + (-1) ** index * spread, calls=calls) for index in range(n)]


@pytest.mark.parametrize(
    ("n", "spread", "elapsed", "end"),
    [
        (8, 0.001, 8, False),
        (10, 0.001, 10, True),
        (10, 0.1, 10, False),
        (11, 0.001, 11, False),
        (30, 0.1, 30, True),
        (4, 0.1, 100, False),
        (6, 0.1, 100, True),
        (12, 0.1, 52, True),
    ],
    ids=["too few", "narrow", "wide", "odd", "most", "slow, too few", "slow", "out of time"],
)
def test_when_a_comparison_ends(n: int, spread: float, elapsed: float, end: bool):
    assert enough(processes(n, spread), 1, 200, 60.0, elapsed) == end


@pytest.mark.parametrize(
    ("effect", "end"), [(0.002, True), (0.013, False), (0.05, True), (-0.013, False), (-0.05, True)]
)
def test_a_small_effect_is_looked_at_more_closely(effect: float, end: bool):
    assert enough(processes(10, 0.01, effect=effect), 1, 200, 60.0, 10.0) == end


def test_a_comparison_does_not_end_before_the_iterations_asked_for():
    assert not enough(processes(10, 0.001, calls=19), 1, 200, 60.0, 1000.0)
    assert enough(processes(10, 0.001, calls=20), 1, 200, 60.0, 1000.0)


@pytest.mark.parametrize(
    ("load", "quads", "one_thread", "two_threads"),
    [
        (QUIET, (0.0,) * 5, False, False),
        (FOREIGN, (0.0,) * 5, False, True),
        (QUIET, SCATTERED, False, True),
        (STOLEN, (0.0,) * 5, True, True),
        (THROTTLED, (0.0,) * 5, True, True),
    ],
    ids=["quiet", "other work", "scattered", "stolen", "throttled"],
)
@pytest.mark.parametrize("log_ratio", [-0.3, 0.0, 0.3])
def test_what_is_repeated(load: Load, quads: Sequence[float], one_thread: bool, two_threads: bool, log_ratio: float):
    run = process(0, log_ratio, load, quads=quads)
    assert is_flagged(run, 1) == one_thread
    assert is_flagged(run, 2) == two_threads


@given(st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=5), st.sampled_from([QUIET, FOREIGN, STOLEN, THROTTLED]))
def test_what_is_repeated_does_not_depend_on_who_was_faster(quads: list[float], load: Load):
    mirrored = [-quad for quad in quads]
    assert is_flagged(process(0, load=load, quads=quads), 2) == is_flagged(process(0, load=load, quads=mirrored), 2)


def test_a_disturbed_process_is_repeated():
    runs = [process(index, load=FOREIGN if index in (2, 5) else QUIET) for index in range(12)]
    assert not enough(runs[:10], 2, 200, 60.0, 10.0)
    assert enough(runs, 2, 200, 60.0, 12.0)
    assert [run.index for run in that_count(runs, 2, 200)] == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    assert enough(runs[:10], 1, 200, 60.0, 10.0)


@given(st.lists(st.sampled_from([QUIET, FOREIGN]), min_size=6, max_size=30))
def test_as_many_processes_count_with_swapped_roles_as_without(loads: list[Load]):
    runs = [process(index, load=load) for index, load in enumerate(loads)]
    used = that_count(runs, 2, 200)
    assert sum(run.index % 2 for run in used) * 2 == len(used)
    clean = [run for run in runs if run.load is QUIET]
    assert len(used) >= FEWEST
    assert all(run in clean for run in used) or len(balanced(clean)) < FEWEST
    assert balanced(used) == used


def test_where_too_few_are_undisturbed_all_count():
    runs = [process(index, load=QUIET if index < 5 else FOREIGN) for index in range(12)]
    assert not enough(runs, 2, 200, 60.0, 12.0)
    assert enough(runs, 2, 200, 60.0, 55.0)
    assert that_count(runs, 2, 200) == runs


@given(st.lists(st.sampled_from([QUIET, FOREIGN, STOLEN]), min_size=30, max_size=30), st.integers(1, 2))
def test_a_comparison_ends_on_any_machine(loads: list[Load], threads: int):
    runs = [process(index, (-1) ** (index // 2) * 0.2, load) for index, load in enumerate(loads)]
    assert enough(runs, threads, 200, 60.0, 30.0)
    assert enough(runs[:12], threads, 200, 60.0, 59.0)


def test_foreign_work_and_steal_disturb():
    before = Reading(capacity_s=100, busy_s=40, steal_s=1, own_s=10)
    assert before.until(Reading(110, 45, 1, 15)) == Load(10, 0, 0)
    assert not before.until(Reading(110, 45.9, 1.1, 15)).disturbed
    assert before.until(Reading(110, 46.1, 1, 15)).disturbed
    assert before.until(Reading(110, 45, 1.3, 15)).disturbed


def test_throttling_disturbs():
    before = Reading(capacity_s=100, busy_s=40, steal_s=1, own_s=10, throttling=Throttling(7, now=False))
    throttled = before.until(Reading(110, 45, 1, 15, Throttling(8, now=False)))
    assert throttled.disturbed and throttled.slowed
    assert not before.until(Reading(110, 45, 1, 15, Throttling(7, now=False))).disturbed
    assert (throttled + QUIET).throttled and (QUIET + throttled).throttled


def test_the_clocks_of_this_machine_run():
    before = read()
    sum(range(3_000_000))
    later = read()
    assert later.own_s > before.own_s
    assert later.capacity_s >= before.capacity_s > before.busy_s > 0


def compare(folder: Path, baseline: str, variant: str, **options: object) -> Comparison:
    task = Benchmark.model_validate(
        {
            "baseline_path": baseline,
            "variant_path": variant,
            "evaluation": evaluation_set(folder / "set.npz"),
            "iterations": 100,
            "threads": 1,
            "batch_size": 1,
            "stamp": STAMP,
            "measurement_ids": ("m-1", "m-2"),
            "seconds": 1.0,
        }
        | options
    )
    return benchmarking.run(task, make_bench(folder)).comparison


def test_a_model_of_twice_the_work_is_called_slower(tmp_path: Path):
    once = wide_classifier(tmp_path / "once.onnx", 256, layers=4)
    twice = wide_classifier(tmp_path / "twice.onnx", 256, layers=8)
    comparison = compare(tmp_path, once, twice)
    assert comparison.speedup.verdict == "slower"
    assert 0.3 < comparison.speedup.value < 0.9
    assert comparison.baseline.latency_ms.n >= 100
    assert comparison.variant.latency_ms.p50 > comparison.baseline.latency_ms.p50
    assert (comparison.baseline.measurement_id, comparison.variant.measurement_id) == ("m-1", "m-2")
    assert comparison.compression == Path(once).stat().st_size / Path(twice).stat().st_size
    assert comparison.noise.processes >= 6
    assert comparison.noise.machine is not None
    assert 0 <= comparison.noise.machine.foreign <= 1
    assert comparison.baseline.runtime_memory_mb == comparison.variant.runtime_memory_mb
    assert comparison.sustained is None
    messages = [json.loads(line) for line in (tmp_path / "files/progress.jsonl").read_text().splitlines()]
    assert any(message["message"].startswith("process 2 of about 10: speedup 0.") for message in messages)


def test_a_model_against_itself_with_two_threads_and_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairing, "FEWEST", 2)
    model = wide_classifier(tmp_path / "model.onnx", 256, layers=4)
    comparison = compare(tmp_path, model, model, threads=2, batch_size=8)
    assert comparison.compression == 1
    assert comparison.memory_ratio == pytest.approx(1, abs=0.2)
    assert comparison.baseline.throughput_per_s == pytest.approx(8000 / comparison.baseline.latency_ms.mean)
    if comparison.speedup.verdict != "faster":
        assert "same operators" in (comparison.why_not_faster or "")


def test_a_variant_with_broken_outputs_has_no_speed(tmp_path: Path):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Log", ["z"], ["y"])]
    broken = save_model(tmp_path / "broken.onnx", nodes, {"w": np.ones((16, 4), np.float32)})
    with pytest.raises(JobProblem, match="variant gives NaN") as raised:
        compare(tmp_path, classifier(tmp_path / "good.onnx"), broken)
    assert raised.value.problem.code == "BAD_OUTPUTS"


def test_a_variant_that_answers_at_random_has_no_speed(tmp_path: Path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("RandomNormalLike", ["z"], ["noise"]),
        helper.make_node("Add", ["z", "noise"], ["y"]),
    ]
    random = save_model(tmp_path / "random.onnx", nodes, {"w": np.ones((16, 4), np.float32)})
    with pytest.raises(JobProblem, match="variant gave other outputs on the same inputs"):
        compare(tmp_path, classifier(tmp_path / "good.onnx"), random)


def test_timed_inputs_are_spread_over_the_set(tmp_path: Path):
    runner = open_runner(classifier(tmp_path / "model.onnx"))
    dataset = open_evaluation(evaluation_set(tmp_path / "set.npz", samples=60), runner.inputs)
    batches = rotation(dataset, runner.inputs, 4)
    everything = dataset.feeds(0, 60)["x"]
    starts = [int(np.flatnonzero((everything == batch["x"][0]).all(axis=1))[0]) for batch in batches]
    assert starts == [0, 8, 16, 24, 32, 40, 48, 56]
    assert [len(batch["x"]) for batch in batches] == [4] * 8
    assert len(rotation(dataset, runner.inputs, 60)) == 1
    assert len(rotation(dataset, runner.inputs, 58)) == 3


def test_a_fixed_batch_axis_is_kept(tmp_path: Path):
    fixed = classifier(tmp_path / "fixed.onnx", batch=2)
    with pytest.raises(JobProblem, match="batch_size=2") as raised:
        compare(tmp_path, fixed, fixed)
    assert raised.value.problem.code == "INVALID_ARGUMENT"


def test_a_batch_larger_than_the_set_is_refused(tmp_path: Path):
    model = classifier(tmp_path / "model.onnx")
    with pytest.raises(JobProblem, match="at most 60"):
        compare(tmp_path, model, model, batch_size=61)
