from __future__ import annotations

import math

import numpy as np
import pytest
from edgeopt.engine.measure.statistics import (
    MOST_SAMPLES,
    above_chance,
    bootstrap,
    drop_above,
    drop_below,
    fewest_for_proof,
    samples_to_settle,
    t_quantile,
    tango_interval,
    tango_z,
    wilson,
)
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import gammaln
from scipy.stats import binomtest, norm, t


@st.composite
def tables(draw: st.DrawFn, most: int = 400) -> tuple[int, int, int]:
    n = draw(st.integers(1, most))
    b = draw(st.integers(0, n))
    return b, draw(st.integers(0, n - b)), n


@st.composite
def tables_and_drops(draw: st.DrawFn) -> tuple[int, int, int, float]:
    return (*draw(tables()), draw(st.floats(-0.95, 0.95)))


def numeric_z(b: int, c: int, n: int, drop: float) -> float:
    """The score statistic with the nuisance parameter found by maximising the likelihood numerically."""
    low, high = max(0.0, -drop), (1 - drop) / 2

    def surprise(gain: float) -> float:
        cells = ((b, gain + drop), (c, gain), (n - b - c, 1 - 2 * gain - drop))
        return -sum(count * math.log(max(p, 1e-300)) for count, p in cells if count)

    best = minimize_scalar(surprise, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    gain = min([low, high, float(best.x)], key=surprise)  # pyright: ignore[reportAttributeAccessIssue]
    variance = n * (2 * gain + drop - drop * drop)
    return (b - c - n * drop) / math.sqrt(variance) if variance > 0 else math.inf


@given(tables_and_drops())
def test_the_closed_form_is_the_constrained_maximum_likelihood(case: tuple[int, int, int, float]) -> None:
    b, c, n, drop = case
    if abs(b - c - n * drop) < 1e-6 * n:
        assert abs(tango_z(b, c, n, drop)) < 1e-2
        return
    assert tango_z(b, c, n, drop) == pytest.approx(numeric_z(b, c, n, drop), rel=1e-4, abs=1e-5)


@given(tables_and_drops(), st.floats(1e-3, 0.5))
def test_a_larger_hypothetical_drop_makes_the_seen_one_look_smaller(
    case: tuple[int, int, int, float], more: float
) -> None:
    b, c, n, drop = case
    assert tango_z(b, c, n, min(drop + more, 1.0)) <= tango_z(b, c, n, drop) + 1e-9


@given(tables_and_drops())
def test_winning_and_losing_are_symmetric(case: tuple[int, int, int, float]) -> None:
    b, c, n, drop = case
    assert tango_z(b, c, n, drop) == pytest.approx(-tango_z(c, b, n, -drop))


@given(tables(), st.sampled_from([0.01, 0.05, 0.2]))
def test_the_interval_holds_what_the_test_does_not_reject(case: tuple[int, int, int], alpha: float) -> None:
    b, c, n = case
    low, high = tango_interval(b, c, n, alpha)
    z = norm.ppf(1 - alpha / 2)
    assert -1 <= low <= (b - c) / n <= high <= 1
    if low > -1:
        assert tango_z(b, c, n, low) == pytest.approx(z, rel=1e-6)
    if high < 1:
        assert tango_z(b, c, n, high) == pytest.approx(-z, rel=1e-6)


def test_a_published_interval_is_reproduced() -> None:
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850: airway hyper-responsiveness, 21 children.
    assert tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("margin", "alpha", "fewest"), [(0.015, 0.05, 178), (0.015, 0.0304, 231)])
def test_identical_decisions_prove_a_small_drop_from_a_known_number_on(
    margin: float, alpha: float, fewest: int
) -> None:
    assert fewest_for_proof(margin, alpha) == fewest
    assert drop_below(0, 0, fewest, margin, alpha)
    assert not drop_below(0, 0, fewest - 1, margin, alpha)


def all_tables(n: int, lost: float, won: float) -> list[tuple[int, int, float]]:
    """Every (b, c) of n pairs with its exact probability, where pairs are lost and won at these rates."""
    found = []
    for b in range(n + 1):
        for c in range(n + 1 - b):
            same = n - b - c
            log_p = (
                gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(same + 1)
                + (b * math.log(lost) if b else 0.0)
                + (c * math.log(won) if c else 0.0)
                + same * math.log(1 - lost - won)
            )  # fmt: skip
            if log_p > -30:
                found.append((b, c, math.exp(log_p)))
    return found


@pytest.mark.parametrize(
    ("n", "margin", "won"), [(150, 0.03, 0.01), (150, 0.05, 0.05), (200, 0.02, 0.02), (100, 0.1, 0.05)]
)
def test_a_drop_of_exactly_the_margin_passes_as_rarely_as_alpha_says(n: int, margin: float, won: float) -> None:
    cells = all_tables(n, won + margin, won)
    assert sum(p for _, _, p in cells) == pytest.approx(1, abs=1e-9)
    false_pass = sum(p for b, c, p in cells if drop_below(b, c, n, margin, 0.05))
    false_fail = sum(p for b, c, p in cells if drop_above(b, c, n, margin, 0.05))
    assert 0.02 < false_pass <= 0.052
    assert 0.02 < false_fail <= 0.08  # skewness: a harmless error, since FAIL and INCONCLUSIVE both stop


@pytest.mark.parametrize(("n", "lost", "won"), [(60, 0.1, 0.05), (120, 0.05, 0.05), (120, 0.02, 0.06)])
def test_the_interval_covers_the_true_drop(n: int, lost: float, won: float) -> None:
    covered = 0.0
    for b, c, p in all_tables(n, lost, won):
        low, high = tango_interval(b, c, n)
        covered += p * (low <= lost - won <= high)
    assert 0.93 <= covered <= 0.99


def test_the_number_of_samples_that_settles_has_the_power_that_it_promises() -> None:
    n, b, c, margin, alpha = 60, 3, 3, 0.06, 0.05
    needed = samples_to_settle(tango_z(b, c, n, margin), n, alpha)
    assert needed is not None and not drop_below(b, c, n, margin, alpha)
    power = sum(p for bb, cc, p in all_tables(needed, b / n, c / n) if drop_below(bb, cc, needed, margin, alpha))
    assert 0.84 < power < 0.96


def test_no_number_is_named_where_none_would_settle() -> None:
    assert samples_to_settle(0.0, 500, 0.05) is None
    assert samples_to_settle(0.01, 500, 0.05) is None
    assert (samples_to_settle(1.6, 500, 0.05) or MOST_SAMPLES) < 2000


@given(st.integers(1, 300), st.data())
def test_wilson_holds_the_share_and_is_scipys(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert 0 <= low <= k / n <= high <= 1
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(st.floats(0.01, 0.99), st.integers(1, 50))
def test_quantiles_of_t_are_scipys(p: float, df: int) -> None:
    assert t_quantile(p, df) == pytest.approx(float(t.ppf(p, df)), abs=1e-9)


@pytest.mark.parametrize(
    ("value", "chance", "n", "above"),
    [(0.93, 0.1, 500, True), (0.1, 0.1, 500, False), (0.12, 0.1, 500, False), (0.14, 0.1, 500, True), (0.0, 0.1, 9, False),
     (1.0, 0.5, 4, False), (1.0, 0.5, 5, True), (1.0, 1.0, 100, False)],
)  # fmt: skip
def test_what_is_above_chance(value: float, chance: float, n: int, above: bool) -> None:
    assert above_chance(value, chance, n) is above


@given(st.integers(1, 200), st.data())
def test_above_chance_is_the_exact_binomial_test(n: int, data: st.DataObject) -> None:
    k, chance = data.draw(st.integers(0, n)), data.draw(st.floats(0.01, 0.9))
    exact = binomtest(k, n, chance, alternative="greater").pvalue
    if abs(exact - 0.05) > 1e-9:
        assert above_chance(k / n, chance, n) is bool(exact < 0.05)


def test_the_bootstrap_repeats_itself_and_spreads_as_the_standard_error() -> None:
    values = np.random.default_rng(5).normal(3, 2, 400)
    draws = bootstrap(lambda index: float(values[index].mean()), 400)
    assert np.array_equal(draws, bootstrap(lambda index: float(values[index].mean()), 400))
    assert draws.std() == pytest.approx(values.std() / 20, rel=0.1)
