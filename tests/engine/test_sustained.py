"""A constant load: what is said of its first and last window, and real ones of a second or two."""

from __future__ import annotations

import math
import time
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
from edgeopt.engine.measure import inputs, pairing
from edgeopt.engine.measure.machine import Load
from edgeopt.engine.measure.sustained import PARTS, ConstantLoad, Window, slowdown_of, sustain, verdict_of
from hypothesis import given
from hypothesis import strategies as st

from .small_models import FEATURES, wide_classifier
from .test_latency import compare

logs = st.lists(st.floats(-0.3, 0.3), min_size=2, max_size=6)


@given(logs, logs)
def test_a_slowdown_lies_in_its_interval_and_turns_with_the_windows(first: list[float], last: list[float]):
    slowdown, (low, high) = slowdown_of(first, last)
    back, (back_low, back_high) = slowdown_of(last, first)
    assert low <= slowdown + 1e-9 and slowdown <= high + 1e-9
    assert (1 + slowdown) * (1 + back) == pytest.approx(1)
    assert (1 + low) * (1 + back_high) == pytest.approx(1)
    assert (1 + high) * (1 + back_low) == pytest.approx(1)


def test_the_interval_is_welchs():
    """Means 0 and 0.1, variances 0.01 and 0.04 over 3 each: df = (0.05/3)^2 / ((0.01/3)^2/2 + (0.04/3)^2/2) = 2.941."""
    slowdown, (low, high) = slowdown_of([-0.1, 0.0, 0.1], [-0.1, 0.1, 0.3])
    assert math.log1p(slowdown) == pytest.approx(0.1)
    half = 3.2185 * math.sqrt(0.05 / 3)
    assert (math.log1p(low), math.log1p(high)) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-3)


def test_the_interval_holds_where_neighbours_are_alike():
    """Two minutes of identical load whose noise lasts three seconds: nineteen intervals of twenty hold no slowdown, and a
    tenth of those that take every second for independent do not."""
    dice, rounds, seconds, memory = np.random.default_rng(5), 1000, 120, math.exp(-1 / 3)
    noise = np.zeros((rounds, seconds))
    noise[:, 0] = dice.normal(size=rounds)
    for second in range(1, seconds):
        fresh = dice.normal(scale=math.sqrt(1 - memory**2), size=rounds)
        noise[:, second] = memory * noise[:, second - 1] + fresh
    noise *= 0.02
    parts = noise.reshape(rounds, 2, PARTS, -1).mean(axis=3)

    def held(windows: np.ndarray) -> float:
        intervals = [slowdown_of(list(first), list(last))[1] for first, last in windows]
        return float(np.mean([low <= 0 <= high for low, high in intervals]))

    assert held(parts) > 0.92
    assert held(noise.reshape(rounds, 2, -1)) < 0.75


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.02, 0.30), "slower"),
        ((-0.01, 0.04), "steady"),
        ((-0.20, -0.10), "steady"),
        ((0.005, 0.06), "undecided"),
        ((-0.10, 0.10), "undecided"),
    ],
)
def test_what_an_interval_says(interval: tuple[float, float], verdict: str):
    assert verdict_of(interval) == verdict


def test_throttling_does_not_disturb_a_window():
    """It is what a constant load is run for."""
    for load, disturbed in (
        (Load(capacity_s=1, throttled=True), False),
        (Load(capacity_s=1, foreign_s=0.2), True),
        (Load(capacity_s=1, steal_s=0.03), True),
    ):
        assert Window([], load).disturbed == disturbed


def sleeping(seconds: float):
    return repeat(lambda: time.sleep(seconds))


def test_a_window_of_a_slow_model_has_a_call_in_each_part():
    load = ConstantLoad(sleeping(0.02), 0.06, lambda done, what: None)
    window = load.window(0.01)
    assert [len(part) for part in window.parts] == [1] * PARTS
    assert 20 <= window.median_ms < 200
    assert load.count == PARTS
    assert load.elapsed >= 0.12


def test_calls_that_become_slower_are_seen():
    quick, slow = lambda: time.sleep(0.002), lambda: time.sleep(0.01)
    load = ConstantLoad(chain(repeat(quick, 30), repeat(slow)), 1, lambda done, what: None)
    first = load.window(0.03)
    load.until(load.elapsed + 0.1)
    last = load.window(0.12)
    slowdown, interval = slowdown_of(first.logs, last.logs)
    assert 0.5 < slowdown < 10
    assert verdict_of(interval) == "slower"


def test_a_constant_load_of_a_real_model(tmp_path: Path):
    model = wide_classifier(tmp_path / "model.onnx", 256, layers=4)
    inputs.save([{"x": np.ones((1, FEATURES), np.float32)}], tmp_path / "inputs.npz")
    told: list[tuple[float, str]] = []
    began = time.monotonic()
    sustained = sustain(model, tmp_path / "inputs.npz", 1, 2.5, lambda done, what: told.append((done, what)))
    assert 2.5 <= sustained.seconds < time.monotonic() - began
    assert sustained.window_s == 0.625
    low, high = sustained.ci95
    assert low <= sustained.slowdown <= high
    assert 1 + sustained.slowdown == pytest.approx(sustained.last_ms / sustained.first_ms, rel=0.5)
    assert sustained.calls > 1000
    assert sustained.verdict == "undecided" or not sustained.disturbed
    loaded = [done for done, what in told if what.startswith("constant load: ")]
    assert loaded == sorted(loaded)
    assert len(loaded) >= PARTS


def test_a_comparison_with_a_constant_load_has_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pairing, "FEWEST", 2)
    model = wide_classifier(tmp_path / "model.onnx", 64)
    comparison = compare(tmp_path, model, model, sustained_seconds=1.0)
    assert comparison.sustained is not None
    assert comparison.sustained.window_s == 0.25
    assert comparison.noise.processes >= 2
    messages = (tmp_path / "files/progress.jsonl").read_text()
    assert "constant load: 0 of 1 s" in messages
