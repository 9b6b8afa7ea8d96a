"""Streamed distributions and the ranges that are read off them."""

from __future__ import annotations

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from edgeopt.engine.quantization.calibrators import CALIBRATORS, entropy, minmax, mse, percentile
from edgeopt.engine.quantization.histogram import BINS, Histogram
from edgeopt.engine.quantization.schemes import TENSORRT, Scheme, scheme_for
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

U8S8 = scheme_for("x86_64", frozenset({"avx512_vnni"}))
SCHEMES = pytest.mark.parametrize("scheme", [U8S8, TENSORRT], ids=lambda scheme: scheme.name)
# Of any size that an activation has, and more, but not so far apart that one vanishes beside another.
REALS = st.floats(-(2.0**60), 2.0**60, width=32).filter(lambda x: x == 0 or abs(x) > 2.0**-40)
VALUES = arrays.arrays(np.float32, st.integers(1, 200), elements=REALS)


def of(*parts: np.ndarray) -> Histogram:
    seen = Histogram()
    for part in parts:
        seen.add(part)
    return seen


def relu_like(values: int = 200_000, seed: int = 0) -> np.ndarray:
    """Half zeros, a long tail: what stands behind a ReLU."""
    rng = np.random.default_rng(seed)
    return np.maximum(rng.standard_normal(values) * rng.gamma(1, 1, values), 0).astype(np.float32)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=5))
def test_counting_in_pieces_is_counting_everything(parts: list[np.ndarray]):
    streamed, at_once = of(*parts), of(np.concatenate(parts))
    assert (streamed.exponent, streamed.first) == (at_once.exponent, at_once.first)
    assert np.array_equal(streamed.counts, at_once.counts)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_every_value_is_in_its_bin(parts: list[np.ndarray]):
    seen, values = of(*parts), np.concatenate(parts).astype(np.float64)
    at = np.floor(np.ldexp(values, -seen.exponent)).astype(np.int64) - seen.first
    assert np.array_equal(seen.counts, np.bincount(at, minlength=BINS))
    assert (seen.lowest, seen.highest) == (values.min(), values.max())


@settings(deadline=None)
@given(VALUES)
def test_the_bins_are_as_fine_as_they_can_be(values: np.ndarray):
    seen = of(values)
    spread = seen.highest - seen.lowest
    assume(spread > 1e-3 * np.abs(values).max())
    assert spread / seen.width > BINS / 2 - 2


def test_values_that_are_not_finite_are_counted_apart():
    seen = of(np.array([1, np.nan, -np.inf, 3], np.float32), np.array([np.inf], np.float32))
    assert (seen.lowest, seen.highest, seen.ignored, int(seen.counts.sum())) == (1, 3, 3, 2)


def test_memory_does_not_grow_with_what_was_counted():
    seen, part = Histogram(), relu_like()
    seen.add(part)
    tracemalloc.start()
    for scale in range(1, 40):
        seen.add(part * scale)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4 * BINS * 8
    assert peak < 4 * part.nbytes


@SCHEMES
@pytest.mark.parametrize("calibrator", CALIBRATORS)
@settings(deadline=None, max_examples=20)
@given(values=VALUES)
def test_a_range_lies_within_the_values(calibrator: str, scheme: Scheme, values: np.ndarray):
    seen = of(values)
    low, high = CALIBRATORS[calibrator](seen, scheme)
    assert seen.lowest <= low <= high <= seen.highest


def test_minmax_is_the_lowest_and_the_highest():
    assert minmax(of(np.array([-1.5, 7.25], np.float32)), U8S8) == (-1.5, 7.25)


@pytest.mark.parametrize("values", [relu_like(), np.random.default_rng(1).standard_t(3, 200_000).astype(np.float32)])
def test_percentile_is_numpys_to_the_width_of_a_bin(values: np.ndarray):
    seen = of(values)
    low, high = percentile(seen, U8S8)
    allowed = (100 - 99.999) / 200 * len(values)
    assert np.count_nonzero(values < low) <= allowed
    assert np.count_nonzero(values > high) <= allowed
    # A bin further in, more would be clipped than may be.
    assert np.count_nonzero(values > high - seen.width) > allowed
    assert low == seen.lowest or np.count_nonzero(values < low + seen.width) > allowed


def quantization_error(values: np.ndarray, low: float, high: float) -> float:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    zero = round(-low / scale)
    back = (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale
    return float(np.mean((back - values) ** 2))


@pytest.mark.parametrize("values", [relu_like(), np.random.default_rng(1).standard_t(3, 200_000).astype(np.float32)])
def test_mse_is_near_the_best_of_all_ranges(values: np.ndarray):
    seen = of(values)
    found = quantization_error(values, *mse(seen, U8S8))
    shares, few = np.linspace(0.02, 1, 25), values[::20]
    ends = [(seen.lowest * a, seen.highest * b) for a in shares for b in shares]
    best = quantization_error(values, *min(ends, key=lambda pair: quantization_error(few, *pair)))
    assert found <= 1.05 * best
    assert found < 0.95 * quantization_error(values, *minmax(seen, U8S8))


def brute_entropy(sizes: np.ndarray, kept: int, levels: int) -> float:
    """The definition, bin by bin, with scipy's divergence."""
    stats = pytest.importorskip("scipy.stats")
    p = sizes[:kept].copy()
    q = np.zeros(kept)
    edges = [level * kept // levels for level in range(levels)] + [kept]
    for begin, end in pairwise(edges):
        filled = [at for at in range(begin, end) if p[at] > 0]
        for at in filled:
            q[at] = sum(p[begin:end]) / len(filled)
    p[-1] += sizes[kept:].sum()
    q[(q == 0) & (p > 0)] = 1e-4
    return float(stats.entropy(p, q))


def test_entropy_is_the_least_divergence_by_its_definition():
    seen = of(relu_like(20_000))
    sizes = seen.counts.astype(float)[: int(np.flatnonzero(seen.counts)[-1]) + 1]
    sizes[0] = sizes[1]
    candidates = np.unique(np.linspace(256, len(sizes), 128).astype(int))
    best = candidates[int(np.argmin([brute_entropy(sizes, int(kept), 256) for kept in candidates]))]
    assert entropy(seen, U8S8) == (0.0, pytest.approx(min(seen.highest, best * seen.width)))


@SCHEMES
def test_entropy_cuts_a_lone_value_far_out(scheme: Scheme):
    values = np.append(relu_like(), np.float32(200))
    assert entropy(of(values), scheme)[1] < 60


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 3.0), np.array([-2e-38, 1e-38])])
@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_constants_and_tiny_values_have_a_range_too(calibrator: str, values: np.ndarray):
    low, high = CALIBRATORS[calibrator](of(values.astype(np.float32)), U8S8)
    assert math.isfinite(low) and math.isfinite(high)


@pytest.mark.parametrize(
    ("machine", "flags", "name", "symmetric", "reduced"),
    [
        ("x86_64", {"avx2", "avx512_vnni"}, "U8S8", False, False),
        ("x86_64", {"avx2", "avx_vnni"}, "U8S8", False, False),
        ("x86_64", {"avx2", "avx512f"}, "U8S8", False, True),
        ("aarch64", {"asimddp"}, "S8S8", True, False),
        ("riscv64", set(), "U8S8", False, False),
    ],
)
def test_the_types_are_those_of_the_processor(machine: str, flags: set[str], name: str, symmetric: bool, reduced: bool):
    scheme = scheme_for(machine, frozenset(flags))
    assert (scheme.name, scheme.symmetric, scheme.reduced) == (name, symmetric, reduced)
    assert str(scheme).startswith(name)
