"""The ledger of looks: what they cost, and which sets are one."""

from __future__ import annotations

import hashlib

import pytest
from edgeopt.engine.data.sketch import SIZE, sketch
from edgeopt.state.events import LookTaken, PersonAnswered, VariantJudged
from edgeopt.state.ledger import ALPHA, Ledger, fold, look_alpha, shared
from edgeopt.state.store import Recorded
from hypothesis import given
from hypothesis import strategies as st


def digests(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in numbers]


def look(variant: str, samples: list[str], count: int, number: int = 1) -> LookTaken:
    return LookTaken(
        session_id="s",
        variant_sha256=variant,
        data_digest="d",
        samples=samples,
        count=count,
        number=number,
        alpha=look_alpha(number),
    )


def test_all_looks_together_spend_no_more_than_alpha():
    spent = sum(look_alpha(k) for k in range(1, 10_000))
    assert ALPHA * 0.999 < spent < ALPHA


@given(st.sets(st.integers(0, 300), min_size=1, max_size=200), st.sets(st.integers(0, 300), min_size=1, max_size=200))
def test_the_share_of_small_sets_is_exact(first: set[int], second: set[int]):
    found = shared(sketch(digests(*first)), len(first), sketch(digests(*second)), len(second))
    assert found == pytest.approx(len(first & second) / min(len(first), len(second)))


@pytest.mark.parametrize(("common", "one"), [(0, False), (600, False), (1600, True), (2000, True)])
def test_large_sets_are_one_when_they_share_most_samples(common: int, one: bool):
    first, second = range(2000), range(2000 - common, 4000 - common)
    ledger = Ledger(looks=(look("a", sketch(digests(*first)), 2000),))
    assert bool(ledger.at(sketch(digests(*second)), 2000)) == one


def test_a_part_of_a_set_is_that_set():
    whole, part = range(2000), range(300)
    ledger = Ledger(looks=(look("a", sketch(digests(*whole)), 2000),))
    assert ledger.at(sketch(digests(*part)), 300)


def test_a_sketch_is_small_and_does_not_depend_on_the_order():
    many = digests(*range(5000))
    assert sketch(many) == sketch(many[::-1])
    assert len(sketch(many)) == SIZE


def test_an_unchanged_variant_is_known_and_a_no_is_remembered():
    samples = sketch(digests(1, 2, 3))
    answer = PersonAnswered(session_id="s", variant_sha256="b", outcome="revert", decided_by="person")
    events = [look("a", samples, 3), answer]
    ledger = fold(Recorded(n, "", e) for n, e in enumerate(events, 1))
    assert ledger.known("a", "d")
    assert not ledger.known("b", "d")
    assert ledger.turned_down("b")
    assert not ledger.turned_down("a")


def test_a_fail_is_remembered_for_every_other_choice_of_the_samples():
    whole, part = sketch(digests(*range(900))), sketch(digests(*range(700)))
    failed = VariantJudged(variant_sha256="a", data_digest="whole", samples=whole, count=900, status="FAIL")
    ledger = Ledger(judgements=(failed,))
    assert ledger.failed("a", "part", part, 700) == failed
    assert ledger.failed("a", "whole", whole, 900) is None
    assert ledger.failed("b", "part", part, 700) is None
    assert ledger.failed("a", "other", sketch(digests(*range(900, 1800))), 900) is None
    passed = failed.model_copy(update={"status": "PASS"})
    assert Ledger(judgements=(passed,)).failed("a", "part", part, 700) is None
