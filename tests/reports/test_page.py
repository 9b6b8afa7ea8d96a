"""The page: all that was recorded is on it, nothing else is loaded or run, and no name becomes markup."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import hypothesis
import pytest
from edgeopt.contract.measures import ClassDrop, Flip, LayerScore
from edgeopt.reports.page import page
from edgeopt.reports.timeline import timeline
from edgeopt.state.events import CallRefused, JobFailed, SensitivityAnalyzed, VariantValidated
from edgeopt.state.session import Session
from hypothesis import given
from hypothesis import strategies as st

from ..autopilot.simulated import calm
from ..state import worlds

VOID = {"meta", "br", "hr"}
SVG = {"line", "rect", "circle", "path"}


class Page(HTMLParser):
    """What a browser finds: elements with their attributes, the words, and whether everything that opens closes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID | SVG
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def eventful(reason: str = "it looks well", layer: str = "/conv/Conv", **changes: Any) -> Session:
    """A session with one of everything."""
    session = worlds.begun(*worlds.profiled(), **changes)
    ranked = SensitivityAnalyzed(
        job_id="j2",
        parent_id="baseline",
        layers=[LayerScore(name=layer, op="Conv", score=0.02, accuracy_drop=0.01)],
        of=9,
        samples=64,
        confirmation="",
    )
    session = worlds.grown(session, worlds.started(2, "analyze_sensitivity"), ranked)
    for number, status in enumerate(("FAIL", "PASS", "INCONCLUSIVE"), 1):
        at, variant = 10 * number, f"v{number}"
        started, judged = worlds.validated(at + 2, variant, status)
        assert isinstance(judged, VariantValidated)
        flips = [Flip(sample=7, label=3, baseline=3, variant=5), Flip(sample=9, label=3, baseline=3, variant=5)]
        drops = [ClassDrop(label=3, samples=200, baseline=0.9, optimized=0.1, drop=0.8, ruined=True)]
        lost = judged.validation.model_copy(update={"flips": flips, "classes": drops})
        judged = judged.model_copy(update={"validation": lost}) if status == "FAIL" else judged
        session = worlds.grown(
            session, *worlds.created(at, number), *worlds.benchmarked(at + 1, variant, 1.0 + number), started, judged
        )
        if status != "INCONCLUSIVE":
            kept = "keep" if status == "PASS" else "revert"
            event = worlds.decided(session, variant, kept, by_person=status == "FAIL")
            session = worlds.grown(session, event.model_copy(update={"reason": reason}))
    refused = CallRefused(tool="package_variant", code="DECISION_REQUIRED", message=reason)
    failed = JobFailed(job_id="j60", code="BAD_FILE", message=reason)
    return worlds.grown(session, refused, worlds.started(60, "optimize_model"), failed, *worlds.packaged(61, "v2"))


def with_baseline(session: Session, **changes: str) -> Session:
    assert session.baseline
    return replace(session, baseline=session.baseline.model_copy(update=changes))


def test_everything_that_was_recorded_is_on_it():
    seen = Page(page(eventful()))
    headings = ("Optimization Tradeoff Analysis", "Baseline vs Optimized", "Latency", "Size", "Sensitivity", "What flips", "Steps and decisions", "Provenance")  # fmt: skip
    for words in (*headings, "v1 int8_static (reverted)", "v2 int8_static (kept)", "2.97 to 3.03", "/conv/Conv (Conv)"):
        assert words in seen.text, words
    assert "7, 9" in seen.text and "provably ruined" in seen.text
    assert "DECISION_REQUIRED" in seen.text and "optimize_model failed" in seen.text


def test_the_label_stands_with_every_picture_and_table_of_times():
    seen = Page(page(eventful()))
    assert seen.text.count("Host Estimate (not target hardware)") >= 5
    seen = Page(page(with_baseline(worlds.begun(*worlds.profiled()), where="target", label="Target measurement")))
    (badge,) = [span for span in seen.of("span") if "badge" in (span.get("class") or "")]
    assert badge["class"] == "badge target" and "Target measurement" in seen.text


def test_where_less_is_better_it_says_so():
    evaluation = worlds.opened().evaluation.model_copy(update={"metric": "rmse"})
    assert "Down and to the left is better" in Page(page(eventful(evaluation=evaluation))).text
    assert "Up and to the left is better" in Page(page(eventful())).text


def test_nothing_is_loaded_and_nothing_runs():
    html = page(eventful())
    seen = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "a", "form"} & {name for name, _ in seen.elements}
    assert not any(key.startswith("on") or key in ("href", "src", "style") for _, keys in seen.elements for key in keys)
    assert "url(" not in html and "@import" not in html
    assert html.count("http") == html.count("http-equiv") + html.count("http://www.w3.org/2000/svg")


def test_whoever_cannot_see_finds_their_way():
    seen = Page(page(eventful()))
    assert seen.of("html") == [{"lang": "en"}]
    for picture in seen.of("svg"):
        assert picture["role"] == "img"
    names = [name for name, _ in seen.elements]
    assert names.count("svg") == names.count("desc") == 4
    assert len(seen.of("h1")) == 1
    assert all(cell.get("scope") in ("row", "col") for cell in seen.of("th"))


def test_who_decided_is_told():
    told = {entry.what: entry for entry in timeline(eventful())}
    assert told["v1 reverted"].who == "person, through a test"
    assert told["v2 kept"].who == "agent"
    assert told["package_variant refused"].who == "the server"
    assert told["optimize_model failed"].tone == "bad"
    assert told["v2 made"].seconds == 0


def test_a_session_without_variants_has_a_page_and_one_without_baseline_has_none():
    seen = Page(page(worlds.begun(*worlds.profiled())))
    assert "No variant is kept." in seen.text
    with pytest.raises(ValueError, match="baseline"):
        page(worlds.begun())


PLAIN = {name for name, _ in Page(page(eventful())).elements}
HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            '"><img src=x onerror=alert(1)>',
            "</style><script>",
            "</svg></title><b>",
            "&lt;b&gt;&amp;",
            "\x00\x1b[31m\u202e\ud800",
            "--><!--",
            "]]>",
        ]
    ),
)


@hypothesis.settings(calm, max_examples=25)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_name_and_no_message_becomes_markup(reason: str, layer: str, device: str):
    html = page(with_baseline(eventful(reason, layer), device=device))
    html.encode("utf-8")
    seen = Page(html)
    assert {name for name, _ in seen.elements} == PLAIN
    assert not any(key.startswith("on") for _, keys in seen.elements for key in keys)
    assert all(c.isprintable() or c == "\n" for c in html)
