"""The benchmark of honesty: its counts, its bank, its plan, its rivals and its goals. The measuring itself it is run for."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from edgeopt.benchmarks import honesty
from edgeopt.benchmarks.honesty_accuracy import (
    LEDGER,
    TOLERANCE,
    Hard,
    Population,
    Table,
    first_looks,
    loops,
    point_rule,
    resampled,
    verdict,
)
from edgeopt.benchmarks.honesty_bank import Bank, ForeignBank, design, this_machine
from edgeopt.benchmarks.honesty_counts import Count, Goal, few, frequent, rare
from edgeopt.benchmarks.honesty_latency import Observation, Ours
from edgeopt.benchmarks.honesty_load import hostile_load
from edgeopt.benchmarks.honesty_plan import FULL, ITERATIONS, QUICK, Unit, plan
from edgeopt.benchmarks.honesty_planted import Planted, amount_for, slowed
from edgeopt.benchmarks.honesty_process import InSequence, SideBySide, measure
from edgeopt.benchmarks.honesty_rivals import Figures, Verdict, by_threshold, by_welch
from edgeopt.benchmarks.honesty_table import PlantedIn, Results, called, goals, methods, ours, table
from edgeopt.engine.measure import inputs
from edgeopt.server.demo.run import MODEL
from edgeopt.tools.measuring import benchmark_variant
from hypothesis import given
from hypothesis import strategies as st

MODELS = ["one", "two", "three"]
NUMBERS = itertools.count()
HEADER = {"run": "full", "machine": {"host": "here"}}


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 63, 0, 0.057), (4, 102, 0.011, 0.097), (3, 28, 0.023, 0.282), (63, 63, 0.943, 1)],
)
def test_intervals_are_the_published_ones(hits: int, of: int, low: float, high: float):
    """Figures that were computed by another program, in the prototype of the paired design."""
    count = Count(hits, of)
    assert (count.lower(0.975), count.upper(0.975)) == pytest.approx((low, high), abs=6e-4)


@given(st.integers(1, 400), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_bounds_hold_the_share_and_shrink_with_confidence(of: int, share: float, confidence: float):
    count = Count(round(share * of), of)
    assert 0 <= count.lower(confidence) <= count.share <= count.upper(confidence) <= 1
    assert count.upper(0.999) >= count.upper(confidence)


def test_a_rare_error_is_proven_by_its_bound_and_refuted_only_beyond_doubt():
    assert rare("", Count(4, 204), 0.05, quick=False).status == "met"
    assert rare("", Count(6, 204), 0.05, quick=False).status == "MISSED"
    assert rare("", Count(0, 20), 0.05, quick=False).status == "MISSED"  # nothing wrong, and nothing proven
    assert rare("", Count(2, 6), 0.05, quick=True).status == "not refuted"
    assert rare("", Count(3, 6), 0.05, quick=True).status == "MISSED"


def test_what_the_docstring_says_of_quick_runs_is_so():
    assert Count(0, 6).upper(0.95) == pytest.approx(0.39, abs=0.005)
    assert Count(4, 4).lower(0.95) == pytest.approx(0.47, abs=0.005)
    assert frequent("", Count(1, 4), 0.9, quick=True).status == "MISSED"
    assert frequent("", Count(2, 4), 0.9, quick=True).status == "not refuted"


def test_other_goals():
    assert frequent("", Count(44, 48), 0.9, quick=False).status == "met"
    assert frequent("", Count(43, 48), 0.9, quick=False).status == "MISSED"
    assert frequent("", Count(0, 0), 0.9, quick=False).status == "MISSED"
    assert [few("", Count(hits, of), 1, 40).status for hits, of in [(1, 42), (2, 42), (0, 39)]] == [
        "met",
        "MISSED",
        "MISSED",
    ]


def test_a_bank_goes_on_where_it_was(tmp_path: Path):
    path = tmp_path / "new" / "bank.jsonl"
    Bank(path, HEADER).add("a/1", {"n": 1})
    again = Bank(path, HEADER)
    again.add("a/2", {"n": 2})
    again.add("b/1", {"n": 3})
    last = Bank(path, HEADER)
    assert "a/1" in last and "a/3" not in last
    assert last.below("a/") == [{"n": 1}, {"n": 2}]


def test_a_result_that_was_cut_is_measured_again(tmp_path: Path):
    path = tmp_path / "bank.jsonl"
    bank = Bank(path, HEADER)
    bank.add("a", 1)
    bank.add("b", 2)
    path.write_bytes(path.read_bytes()[:-3])
    again = Bank(path, HEADER)
    assert "a" in again and "b" not in again
    again.add("b", 3)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [HEADER, {"a": 1}, {"b": 3}]


@pytest.mark.parametrize("change", [{"machine": {"host": "there"}}, {"run": "quick"}])
def test_a_foreign_bank_is_refused_and_left_alone(tmp_path: Path, change: dict[str, object]):
    path = tmp_path / "bank.jsonl"
    Bank(path, HEADER | change).add("a", 1)
    before = path.read_bytes()
    with pytest.raises(ForeignBank, match=f"{next(iter(change))}.*Give another --bank"):
        Bank(path, HEADER)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["not json\n", "[1, 2]\n"])
def test_a_file_that_is_no_bank_is_refused(tmp_path: Path, content: str):
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(ForeignBank, match="not a bank"):
        Bank(path, HEADER)


def test_the_design_changes_with_code_models_and_settings_and_not_with_comments(tmp_path: Path):
    source, model = tmp_path / "code.py", tmp_path / "model.onnx"

    def digest(code: str, content: str = "model", settings: str = "full") -> str:
        source.write_text(code)
        model.write_text(content)
        return design([source], [model], settings)

    assert digest("x = 1") == digest("x  = 1  # one") == digest('"""What x is."""\nx = 1')
    assert len({digest("x = 1"), digest("x = 2"), digest("x = 1", "another"), digest("x = 1", settings="quick")}) == 4


def test_a_result_holds_until_the_code_changes_that_decides_it():
    timed, judged = ({source.name for source in found} for found in (honesty.TIMED, honesty.JUDGED))
    assert {"pairing.py", "pair_process.py", "latency.py", "timing.py", "honesty_rivals.py"} <= timed - judged
    assert {"noninferiority.py", "outcomes.py", "ledger.py", "honesty_accuracy.py"} <= judged - timed


def test_comparisons_are_those_that_the_tool_makes_by_default():
    assert inspect.signature(benchmark_variant).parameters["iterations"].default == ITERATIONS
    assert FULL.seconds is None


def test_the_machine_is_told_from_another():
    assert all(this_machine().values())


def test_the_full_plan_has_what_the_goals_need():
    units = plan(MODELS, FULL)
    kinds = Counter((unit.threads, unit.slowdown) for unit in units)
    assert kinds[1, 0] >= 200 and kinds[2, 0] >= 40 and kinds[1, 0.05] >= 32 and kinds[1, 0.03] >= 16
    assert len({unit.key for unit in units}) == len(units)
    cells = Counter((unit.threads, unit.slowdown, unit.load, unit.model) for unit in units)
    assert all(count == cells[threads, slowdown, "quiet", "one"] for (threads, slowdown, _, _), count in cells.items())
    assert units == plan(MODELS, FULL)


def test_no_kind_of_comparison_has_a_part_of_the_run_to_itself():
    units = plan(MODELS, FULL)
    parts = [Counter((u.slowdown, u.threads) for u in units[start : start + 84]) for start in range(0, 252, 84)]
    for kind in parts[0]:
        counts = [part[kind] for part in parts]
        assert max(counts) - min(counts) <= 8, kind


def test_a_quick_plan_is_short_and_begins_with_every_kind():
    units = plan(MODELS, QUICK)
    assert len(units) == 10
    assert {(u.model, u.load) for u in units if not u.slowdown} == {
        (m, load) for m in MODELS for load in ("quiet", "hostile")
    }
    assert [u.slowdown for u in units[-2:]] == [0.05, 0.05]


def figures(baseline_ms: float, variant_ms: float, p: float = 1.0) -> Figures:
    return Figures(baseline_ms=baseline_ms, variant_ms=variant_ms, p=p)


def test_how_rivals_are_read():
    assert [by_threshold(figures(1, ms)) for ms in (1.03, 1.015, 0.985, 0.97)] == [
        "slower",
        "undecided",
        "undecided",
        "faster",
    ]
    assert by_welch(figures(1, 2, p=0.06)) == "undecided"
    assert [by_welch(figures(1, ms, p=0.04)) for ms in (2, 0.5)] == ["slower", "faster"]


@given(st.floats(0, 0.04), st.floats(1e-6, 1e-3), st.sampled_from([0.03, 0.05]), st.integers(1, 10_000))
def test_the_amount_of_work_is_found(overhead: float, each: float, slowdown: float, first: int):
    if overhead + each >= slowdown:
        with pytest.raises(RuntimeError, match="too fast"):
            amount_for(slowdown, lambda amount: overhead + each * amount, first, halvings=60)
    else:
        amount = amount_for(slowdown, lambda amount: overhead + each * amount, first, halvings=60)
        assert overhead + each * amount <= slowdown <= overhead + each * (amount + 1) + 1e-9


def test_a_model_that_nothing_slows_down_is_given_up():
    with pytest.raises(RuntimeError, match="no amount"):
        amount_for(0.05, lambda _: 0.01, 100, halvings=5)


@pytest.fixture
def feeds() -> inputs.Feeds:
    return {"input": np.random.default_rng(0).standard_normal((1, 1, 32, 32)).astype(np.float32)}


def test_added_work_is_done_and_changes_no_answer(tmp_path: Path, feeds: inputs.Feeds):
    before = onnxruntime.InferenceSession(MODEL)
    feeds = {before.get_inputs()[0].name: feeds["input"]}
    after = onnxruntime.InferenceSession(slowed(MODEL, 1000, tmp_path / "slower.onnx"))
    (answer,), (same, extra) = before.run(None, feeds), after.run(None, feeds)
    np.testing.assert_array_equal(np.asarray(answer), np.asarray(same))
    assert float(np.asarray(extra)) == pytest.approx(float(np.arcsinh(feeds[next(iter(feeds))].max() + 1)), rel=1e-5)


def test_real_models_are_timed_in_sequence_and_side_by_side(tmp_path: Path, feeds: inputs.Feeds):
    feeds = {onnxruntime.InferenceSession(MODEL).get_inputs()[0].name: feeds["input"]}
    file, models = tmp_path / "inputs.npz", (str(MODEL), str(slowed(MODEL, 1_000_000, tmp_path / "slower.onnx")))
    inputs.save([feeds], file)
    sequence = InSequence(models=list(models), inputs=str(file), threads=1, warm_calls=2, calls=7)
    fast, slow = measure(sequence, tmp_path).times_ms
    assert len(fast) == len(slow) == 7 and min(slow) > 2 * min(fast)
    ratios = measure(SideBySide(models=models, inputs=str(file), threads=1, ms=200), tmp_path).log_ratios
    assert len(ratios) >= 2 and min(ratios) > np.log(2)


def test_the_load_ends_with_its_block():
    with hostile_load(1):
        spinners = _children_that_spin()
        assert spinners
    assert not _children_that_spin() & spinners


def _children_that_spin() -> set[str]:
    """By the parents of all processes: the kernel's own list of children may skip some while others end."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"honesty_load" in (process / "cmdline").read_bytes():
                found.add(process.name)
    return found


def test_drawn_outcomes_have_the_drop_that_they_should():
    population = Population(samples=2000, baseline=0.75, drop=0.02, disagree=0.04)
    tables = [row[0] for row in population.draw(np.random.default_rng(0), 4000, 1)]
    drops = [(table.lost - table.won) / table.samples for table in tables]
    assert np.mean(drops) == pytest.approx(0.015, abs=3 * (0.04 / 2000 / 4000) ** 0.5)
    assert np.mean([table.right for table in tables]) / 2000 == pytest.approx(0.75, abs=0.001)
    assert np.mean([table.lost + table.won for table in tables]) / 2000 == pytest.approx(0.04, abs=0.0005)


def test_a_drop_that_no_disagreement_makes_is_refused():
    with pytest.raises(ValueError, match="takes more disagreement"):
        Population(samples=100, baseline=0.75, drop=0.04, disagree=0.02).lost_and_won()


def test_candidates_of_one_set_share_its_baseline():
    rows = Population(samples=500, baseline=0.75, drop=0.022, disagree=0.04).draw(np.random.default_rng(0), 5, 20)
    assert [len({table.right for table in row}) for row in rows] == [1] * 5
    assert len({table.lost for row in rows for table in row}) > 5


def test_the_verdict_is_the_products_and_the_point_rule_knows_no_doubt():
    assert verdict(Table(1000, 900, 5, 5), 0.05) == "PASS"
    assert verdict(Table(1000, 900, 80, 0), 0.05) == "FAIL"
    assert verdict(Table(100, 90, 2, 2), 0.05) == "INCONCLUSIVE"
    assert [point_rule(Table(100, 100, lost, 0)) for lost in (2, 3)] == ["PASS", "FAIL"]


def test_the_ledger_stops_the_loop_that_the_point_rule_lets_through():
    greens = loops(Population(samples=1000, baseline=0.75, drop=0.022, disagree=0.03), 60)
    passed = Count(greens.passed[LEDGER], greens.of)
    assert passed.lower(0.99) < 0.05
    assert greens.passed["point rule (Olive, NNCF, INC)"] > 55
    assert passed.hits < greens.passed["the same test at 5 % every time"]


def test_first_looks_pass_what_is_harmless_and_seldom_what_is_not():
    harmless = first_looks(Population(samples=2000, baseline=0.93, drop=0, disagree=0.02), 100)
    harmful = first_looks(Population(samples=2000, baseline=0.93, drop=TOLERANCE, disagree=0.04), 400)
    assert harmless.ours["PASS"] > 95
    assert Count(harmful.ours["PASS"], 400).lower(0.99) < 0.05
    assert Count(harmful.point["PASS"], 400).lower(0.99) > 0.3


@pytest.mark.parametrize("metric", ["f1_macro", "rmse"])
def test_bootstrapped_metrics_have_a_true_drop_of_the_tolerance(metric: str):
    source = Hard.model_validate({"metric": metric, "samples": 50_000, "share": 0.1})
    baseline, variant = source.draw(np.random.default_rng(0))
    before, now = baseline.value(), variant.value()
    assert abs(now - before) / before == pytest.approx(TOLERANCE, abs=0.006)
    small = resampled(source.model_copy(update={"samples": 200}), 3)
    assert small.of == 3 and small.ours <= 3


def observation(
    said: Verdict,
    slowdown: float = 0.0,
    threads: int = 1,
    seconds: float = 9.0,
    rivals: dict[str, Figures] | None = None,
) -> Observation:
    unit = Unit(threads=threads, load="quiet", model="one", slowdown=slowdown, index=next(NUMBERS))
    own = Ours(verdict=said, speedup=1, interval=(0.99, 1.01), processes=10, seconds=seconds, baseline_ms=2)
    return Observation(unit=unit, ours=own, rivals=rivals or {}, foreign=0.1, at="2026-01-01T00:00:00+00:00")


def results(observations: list[Observation]) -> Results:
    found = PlantedIn(model="one", asked=0.05, planted=Planted(amount=9, slowdown=0.051, interval=(0.05, 0.052)))
    harmless = Population(samples=1000, baseline=0.75, drop=TOLERANCE, disagree=0.02)
    green = Population(samples=1000, baseline=0.75, drop=0.022, disagree=0.03)
    source = Hard(metric="rmse", samples=1000, share=1)
    return Results(
        observations=observations,
        planted=[found],
        first_looks=[first_looks(harmless, 1000)],
        loops=[loops(green, 300)],
        resampled=[resampled(source, 1).model_copy(update={"of": 1000, "ours": 20})],
    )


GOOD = [
    *[observation("undecided") for _ in range(200)],
    *[observation("undecided", threads=2, seconds=50) for _ in range(40)],
    *[observation("slower", slowdown=0.05) for _ in range(48)],
]


def missed(observations: list[Observation]) -> list[str]:
    return [goal.text for goal in goals(results(observations), quick=False) if goal.status == "MISSED"]


def test_a_good_run_meets_all_goals():
    assert missed(GOOD) == []


@pytest.mark.parametrize(
    ("worse", "goal"),
    [
        ([observation("faster") for _ in range(6)], "identical models called different, 1 thread"),
        ([observation("slower", threads=2) for _ in range(2)], "identical models called different, 2 threads"),
        ([observation("undecided", slowdown=0.05) for _ in range(6)], "slower by 5 %"),
        ([observation("faster", slowdown=0.05) for _ in range(6)], "slower by 5 %"),
        ([observation("undecided", seconds=31)], "a comparison of a model of 2 ms, 1 thread"),
        ([observation("undecided", threads=2, seconds=61)], "a comparison of a model of 2 ms, 2 threads"),
    ],
)
def test_each_goal_can_be_missed(worse: list[Observation], goal: str):
    (text,) = missed(GOOD + worse)
    assert text.startswith(goal)


def test_a_rival_counts_only_where_it_took_part():
    seen = [observation("undecided", rivals={"Olive 10+20": figures(1, 1.5)}), observation("undecided")]
    counts = {label: called(seen, said, "different") for label, said in methods().items()}
    assert counts["edgeopt"] == Count(0, 2)
    assert counts["Olive: mean of 20, over 2 %"] == Count(1, 1)
    assert counts["trtexec: 3 s each, over 2 %"] == Count(0, 0)


def test_a_slowdown_called_a_speedup_does_not_count():
    seen = [observation("faster", slowdown=0.05), observation("slower", slowdown=0.05)]
    assert called(seen, ours, "slower") == Count(1, 2)


def test_the_table_shows_every_method_and_every_part():
    text = "\n".join(table(results(GOOD)))
    for shown in [
        "0/200 = 0.0 % [0.0, 1.8]",
        "48/48",
        "trtexec",
        "one 5.10 % [5.00, 5.20]",
        "Until green",
        "rmse, 1000",
    ]:
        assert shown in text


def test_the_last_line_and_the_exit_code_say_the_same():
    met, lost = Goal("a: b", "", "met"), Goal("c: d", "", "MISSED")
    assert honesty.conclusion(honesty.FULL_RUN, [met], finished=True) == ("goals met: all 1", 0)
    assert honesty.conclusion(honesty.FULL_RUN, [met, lost], finished=True) == ("goals MISSED: c", 1)
    assert honesty.conclusion(honesty.FULL_RUN, [met], finished=False)[1] == 1
    text, code = honesty.conclusion(honesty.QUICK_RUN, [Goal("a: b", "", "not refuted")], finished=True)
    assert code == 0 and "too small to prove" in text
    assert honesty.conclusion(honesty.QUICK_RUN, [lost], finished=True)[1] == 1
