"""The pages of the knowledge base: what they name exists, what they cite is there, what they show runs."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from edgeopt.contract.devices import DEVICES
from edgeopt.contract.refusals import Code
from edgeopt.contract.steps import Step
from edgeopt.server.app import TOOLS
from edgeopt.tools.library import ROOT, SOURCES, Page, collections, index, pages
from edgeopt.tools.playbooks import FAILURES
from pydantic import TypeAdapter

from .agents import at, settings

PAGES = list(pages().values())
NAMES = {tool.__name__ for tool, _ in TOOLS}
STEP: TypeAdapter[Any] = TypeAdapter(Step)
TECHNIQUES = {variant["properties"]["technique"]["const"] for variant in STEP.json_schema()["$defs"].values()}
CODES = set(Code.__args__) | set(FAILURES)
# Constants of others that look like codes of ours.
FOREIGN = {
    *("INFERENCE_PRECISION_HINT", "STRICT_TYPES", "STRONGLY_TYPED", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "INTER_LINEAR", "RUSAGE_SELF"),
}
# Names of others that begin like tools of ours.
THEIRS = {"get_input_details"}


def prose(page: Page) -> str:
    """The page without fenced blocks and sources."""
    return re.sub(r"```.*?```", "", page.text.partition(f"## {SOURCES}")[0], flags=re.DOTALL)


def spans(page: Page) -> list[str]:
    return re.findall(r"`([^`]+)`", prose(page))


def calls(page: Page) -> list[tuple[str, dict[str, Any]]]:
    """The calls that a page spells out: a tool's name and its arguments in JSON."""
    found = (re.fullmatch(r"(\w+) (\{.*\})", span, flags=re.DOTALL) for span in spans(page))
    return [(m.group(1), json.loads(m.group(2))) for m in found if m]


def blocks(page: Page) -> list[tuple[str, str]]:
    """(info string, code) of the fenced Python blocks that are marked as runnable."""
    return [
        (info, code)
        for info, code in re.findall(
            r"^```(python runnable[^\n]*)\n(.*?)^```", page.text, flags=re.DOTALL | re.MULTILINE
        )
    ]


def test_the_collections_are_those_that_were_asked_for():
    assert collections() == ["code_examples", "edge_ai", "python"]
    assert 25 <= len(PAGES) <= 60


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_page_cites_its_sources_and_its_headings_are_questions(page: Page):
    text, _, sources = page.text.partition(f"\n## {SOURCES}\n")
    cited = [line for line in sources.strip().splitlines() if line]
    assert cited and all(line.startswith("- ") for line in cited)
    assert all(url.startswith("https://") for url in re.findall(r"\]\(([^)]+)\)", sources))
    assert "](" in sources or "edgeopt, docs/" in sources
    assert text.startswith(f"# {page.title}\n")
    assert all(heading.endswith("?") for heading, _ in page.sections[1:]), page.path
    assert 20 <= len(page.text.splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_page_is_found_by_its_own_title_and_each_section_by_its_heading(page: Page):
    assert page.path in [found.page.path for found in index().search(page.title, limit=3)]
    for heading, _ in page.sections[1:]:
        assert (page.path, heading) in [(f.page.path, f.heading) for f in index().search(heading, limit=5)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_what_a_page_names_exists(page: Page):
    words = {word for span in spans(page) for word in re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", span)}
    assert words - FOREIGN <= CODES
    verbs = (
        "open|list|get|profile|recommend|analyze|optimize|benchmark|validate|decide|package|render|search|wait|cancel"
    )
    named = {span.split()[0].split("(")[0] for span in spans(page) if re.match(rf"({verbs})_[a-z]", span)}
    assert named - THEIRS <= NAMES
    for technique in re.findall(r'"technique": "(\w+)"', page.text):
        assert technique in TECHNIQUES
    for device in re.findall(r"\b(?:jetson-orin-\w+|raspberry-pi-\d)\b", prose(page)):
        assert device in DEVICES
    for told in re.findall(r"edgeopt, ((?:docs/\S+\.md|README)(?:(?:,| and) docs/\S+\.md)*)", page.text):
        for file in re.findall(r"docs/\S+\.md", told):
            assert (ROOT.parents[1] / file).is_file(), file


@pytest.mark.anyio
async def test_every_call_on_a_page_can_be_made_as_it_stands(tmp_path: Path):
    async with at(settings(tmp_path)) as agent:
        for page in PAGES:
            for tool, arguments in calls(page):
                if "step" in arguments:
                    STEP.validate_python(arguments["step"])
                agent.fits(tool, {"session_id": "s_1"} | arguments)


def test_pages_spell_out_many_calls():
    assert sum(len(calls(page)) for page in PAGES) > 40


def test_pages_name_each_other_rightly():
    titles = {page.title for page in PAGES}
    for page in PAGES:
        for title in re.findall(r'(?:[Ss]ee|page) "([^"]+)"', page.text):
            assert any(known.startswith(title) for known in titles), (page.path, title)


def _examples() -> list[Any]:
    """Pages with code; what imports a framework takes long."""
    heavy = re.compile(r"needs=.*torch")
    return [
        pytest.param(
            page, id=page.path, marks=[pytest.mark.slow] if any(heavy.search(info) for info, _ in found) else []
        )
        for page in PAGES
        if (found := blocks(page))
    ]


@pytest.mark.parametrize("page", _examples())
def test_what_is_marked_as_runnable_runs(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "__page__"}
    for info, code in blocks(page):
        needs = re.search(r"needs=(\S+)", info)
        lacking = [name for name in (needs.group(1).split(",") if needs else []) if not importlib.util.find_spec(name)]
        if lacking:
            pytest.skip(f"{', '.join(lacking)} is not installed")
        exec(compile(code, page.path, "exec"), space)
