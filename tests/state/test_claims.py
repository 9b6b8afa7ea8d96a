"""check-claims: what a session has recorded is measured at any precision; what it has not is never."""

from __future__ import annotations

import time

import pytest
from edgeopt.contract.measures import Comparison
from edgeopt.state.claims.facts import Fact, recorded_facts
from edgeopt.state.claims.judging import Judged, judge_text, states
from edgeopt.state.claims.reading import claims
from edgeopt.state.events import VariantBenchmarked, VariantValidated
from edgeopt.state.session import Session
from hypothesis import assume, given
from hypothesis import strategies as st

from .worlds import begun, benchmarked, comparison, created, decided, grown, profiled, started, validated

LABEL = " Host Estimate (not target hardware)."
# How an agent says each quantity; {} is the number.
PHRASES = {
    ("latency", "time"): "v1 has a mean latency of {} ms.",
    ("p95", "time"): "The P95 of v1 is {} ms.",
    ("speedup", "ratio"): "v1 is {}x faster.",
    ("latency_cut", "share"): "v1 is {} % faster.",
    ("compression", "ratio"): "v1 is {} times smaller.",
    ("size_cut", "share"): "v1 is {}% smaller.",
    ("throughput", "rate"): "v1 makes {}/s.",
    ("accuracy", "share"): "The accuracy of v1 is {} %.",
    ("drop", "share"): "v1 has an accuracy drop of {} percent.",
    ("memory", "size"): "The peak memory of v1 is {} MB.",
}
SCALES = {"share": 0.01, "size": 2**20}


def session(speedup: float = 2.3, status: str = "PASS") -> Session:
    return begun(*profiled(), *created(2, 1), *benchmarked(3, "v1", speedup), *validated(4, "v1", status))  # pyright: ignore[reportArgumentType]


def marks(text: str, of: Session, changed: tuple[str, ...] = ()) -> list[Judged]:
    return judge_text(text, recorded_facts(of, changed), of.opened.target_device)


def mark(text: str, of: Session | None = None, changed: tuple[str, ...] = ()) -> str:
    (judged,) = marks(text, of or session(), changed)
    return judged.mark


def said(of: Session) -> list[Fact]:
    """The facts of v1 itself that the phrases above speak of."""
    facts = [f for f in recorded_facts(of) if f.subjects == {"v1"} and " end of " not in f.words]
    return [f for f in facts if (f.quantity, f.dimension) in PHRASES]


@given(speedup=st.floats(1.05, 40), pick=st.integers(0, 1000), digits=st.integers(0, 6))
def test_a_recorded_number_is_measured_however_it_is_rounded(speedup: float, pick: int, digits: int):
    of = session(speedup)
    fact = said(of)[pick % len(said(of))]
    number = f"{fact.value / SCALES.get(fact.dimension, 1):.{digits}f}"
    sentence = PHRASES[fact.quantity, fact.dimension].format(number) + LABEL
    assert mark(sentence, of) == "measured", sentence


@given(
    speedup=st.floats(1.05, 40),
    pick=st.integers(0, 1000),
    digits=st.integers(0, 6),
    off=st.integers(1, 500),
    up=st.booleans(),
)
def test_a_number_that_no_record_rounds_to_is_invented(speedup: float, pick: int, digits: int, off: int, up: bool):
    of = session(speedup)
    fact = said(of)[pick % len(said(of))]
    scale = SCALES.get(fact.dimension, 1)
    value = round(fact.value / scale, digits) + (off if up else -off) * 10.0**-digits
    scales = (scale, 10**6) if fact.dimension == "size" else (scale,)
    alike = [abs(f.value) / s for f in recorded_facts(of) if f.dimension == fact.dimension for s in scales]
    assume(value > 0 and all(abs(value - other) > 0.51 * 10.0**-digits for other in alike))
    sentence = PHRASES[fact.quantity, fact.dimension].format(f"{value:.{digits}f}") + LABEL
    assert mark(sentence, of) == "invented", sentence


@given(number=st.floats(1000, 9e6))
def test_thousands_separators_do_not_change_a_number(number: float):
    for spelling in (f"{number:.1f}", f"{number:,.1f}", f"{number:,.1f}".replace(",", "\u202f")):
        (claim,) = claims(f"It takes {spelling} ms.")
        assert claim.value == round(number, 1) and claim.digits == 1


@given(st.text())
def test_any_text_can_be_read(text: str):
    marks(text, session())


@pytest.mark.parametrize(
    "text",
    [
        "Session s_0123456789abcdef0123456789abcdef, variant v12, job j3, INT8, FP16, top1 and P95.",
        "On 2026-11-21 at 12:30, with Python 3.11, ONNX Runtime 1.24.1, opset 17 and version 2.3.",
        "1. First.\n2) Second.\n## 3. Third\n- 4. Fourth",
        "```\nlatency 0.001 ms\n```",
        "`model_99.onnx` lies in /data/run-7/model_3.onnx, see https://example.org/2.5 and #12.",
        "The 95 % confidence interval, an 8-bit ResNet-20 on a Raspberry Pi 5, step 3, see section 2.1.",
        "The 2nd of 21 November 2026.",
    ],
)
def test_what_is_no_claim_is_left_alone(text: str):
    assert [c.text for c in claims(text)] == []


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("v1 is 2.3x faster.", "measured"),
        ("v1 is about 2 times faster.", "measured"),
        ("v1 is twice as fast: a speedup.", "measured"),
        ("v1 is over 2x faster.", "measured"),
        ("v1 is over 3x faster.", "invented"),
        ("v1 runs in under 1 ms.", "measured"),
        ("v1 is 3.5 times faster.", "invented"),  # recorded, as the compression
        ("v1 is 2.3x slower.", "invented"),
        ("v2 is 2.3x faster.", "invented"),  # there is no v2
        ("v1 draws 2.3 W.", "invented"),
        ("The speedup of v1 is 2.323.", "invented"),  # the upper end of the interval, sold as the value
        ("It was judged on 2,000 samples.", "measured"),
        ("It was judged on 20,000 samples.", "invented"),
        ("The baseline takes 2.000 ms.", "measured"),
        ("v1 takes 2.000 ms.", "invented"),  # the baseline does
    ],
)
def test_words_say_what_a_number_is_of(sentence: str, expected: str):
    assert mark(sentence + LABEL) == expected


def test_an_interval_is_measured_end_by_end():
    found = marks("The speedup of v1 is 2.30x (95 % interval 2.277 to 2.323)." + LABEL, session())
    assert [(j.claim, j.mark) for j in found] == [("2.30x", "measured"), ("2.277", "measured"), ("2.323", "measured")]


def test_beside_a_variant_the_baseline_of_its_run_may_be_quoted():
    found = marks("v1 takes 0.870 ms instead of 2.000 ms." + LABEL, session())
    assert [j.mark for j in found] == ["measured", "measured"]


def test_a_cell_of_a_table_is_of_its_column_and_row():
    table = (
        "| Variant | Latency (ms) | Speedup |\n| --- | --- | --- |\n| Baseline | 2.000 | 1.0x |\n| v1 | {} | 2.30x |\n"
    )
    right = marks(table.format("0.870") + LABEL, session())
    assert [j.mark for j in right] == ["measured"] * 4
    assert [j.mark for j in marks(table.format("2.30") + LABEL, session())][2] == "invented"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v1 is 2.3x faster.", "host-only"),
        ("v1 is 2.3x faster (host estimate).", "measured"),
        ("v1 is 2.3x faster on the Raspberry Pi 5." + LABEL, "host-only"),
        ("v1 is 2.3x faster on the target." + LABEL, "host-only"),
        ("v1 is 2.3x faster; this is not a host estimate.", "host-only"),
        ("A host estimate for the Raspberry Pi 5: v1 is 2.3x faster.", "measured"),
        ("## Speed\nv1 is 2.3x faster.\n## Notes\nHost Estimate (not target hardware).", "host-only"),
        ("v1 has an accuracy of 90 %.", "measured"),  # no machine decides that
    ],
)
def test_a_host_estimate_carries_its_label(text: str, expected: str):
    assert mark(text) == expected


def test_a_target_measurement_needs_no_label_and_is_of_that_device_alone():
    of = session()
    events = [r.event for r in of.history]
    timed = next(e for e in events if isinstance(e, VariantBenchmarked)).comparison
    here = {"where": "target", "label": "Target measurement (raspberry-pi-5)"}
    on_target = Comparison.model_validate(timed.model_dump() | {side: getattr(timed, side).model_copy(update=here).model_dump() for side in ("baseline", "variant")})  # fmt: skip
    of = grown(
        begun(*profiled(), *created(2, 1), target_device="raspberry-pi-5"),
        started(3, "benchmark_variant", "v1"),
        VariantBenchmarked(job_id="j3", variant_id="v1", comparison=on_target),
    )
    assert mark("v1 is 2.3x faster on the Raspberry Pi 5.", of) == "measured"
    assert mark("v1 is 2.3x faster on the Jetson Orin Nano.", of) == "host-only"


def test_what_was_measured_again_reverted_or_changed_is_stale():
    of = session()
    again = grown(of, started(5, "benchmark_variant", "v1"), VariantBenchmarked(job_id="j5", variant_id="v1", comparison=comparison(2.9)))  # fmt: skip
    assert mark("v1 is 2.3x faster." + LABEL, again) == "stale"
    assert mark("v1 is 2.9x faster." + LABEL, again) == "measured"
    assert mark("v1 is 2.3x faster." + LABEL, of, changed=("v1",)) == "stale"
    reverted = grown(of, decided(of, "v1", "revert", by_person=False))
    assert mark("v1 is 2.3x faster." + LABEL, reverted) == "stale"
    assert mark("The baseline takes 2.00 ms." + LABEL, reverted) == "measured"


def test_every_mark_says_where_or_what_is_nearest():
    right, wrong = marks("v1 is 2.3x faster. v1 is 2.8x faster." + LABEL, session())
    assert "event 7 (VariantBenchmarked)" in right.support and "m-1" in right.support
    assert "2.3" in wrong.why and "speedup of v1" in wrong.why


def test_a_number_that_is_on_record_in_words_is_measured_where_these_are_quoted():
    of = session()
    event = next(e for r in of.history if isinstance(e := r.event, VariantValidated))
    method = "exact: outputs differ by 3.25e-07 at most, 12 changed decisions"
    told = event.model_copy(update={"validation": event.validation.model_copy(update={"method": method})})
    of = grown(of, started(5, "validate_variant", "v1"), told)
    assert mark(f"v1 passed ({method}).".replace(", 12 changed decisions", ""), of) == "measured"
    assert mark("v1 drops by 3.25e-07.", of) == "invented"


def test_a_loss_is_no_gain():
    of = session(status="INCONCLUSIVE")  # it loses 1.5 %
    assert mark("v1 has an accuracy drop of 1.5 %.", of) == "measured"
    assert mark("The accuracy of v1 improved by 1.5 %.", of) == "invented"


def test_about_nothing_is_no_licence():
    """Trailing zeros that 'about' leaves open are those of a tenth of the number: of 'about 0 %' there are none."""
    read = {claim.text: claim.digits for claim in claims("a loss of about 0 %, or about 100 %, in about 20 ms, 0e9 ms")}
    assert read == {"0 %": 0, "100 %": -1, "20 ms": 0, "0e9 ms": 0}


@pytest.mark.parametrize("number", ["1e400", "1e-400", "9" * 5000, "1e" + "9" * 9])
def test_numbers_beyond_all_bounds_are_claims_as_well(number: str):
    for words in ("a latency of", "a latency of about", "a latency of at most"):
        (claim,) = claims(f"{words} {number} ms")
        assert states(claim, Fact("latency", "time", 1.5, "mean latency of v1", "event 1")) == (
            "most" in words and claim.value > 1
        )


def test_a_long_line_is_read_in_about_linear_time():
    begun = time.perf_counter()
    assert len(claims("1.5 ms " * 4_000)) == 4_000
    assert not claims("1." * 8_000)
    assert time.perf_counter() - begun < 20  # it took minutes
