"""The pages say what is there: links lead somewhere, codes are all enforced somewhere, the tests that are named exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from edgeopt.contract.devices import DEVICES
from edgeopt.contract.refusals import Code

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
GUARDRAILS = (ROOT / "docs" / "guardrails.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)", text):
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
            assert anchor in slugs, f"{target}#{anchor}"


def test_every_refusal_code_is_said_to_be_enforced_and_no_other():
    table = GUARDRAILS.split("## Every refusal code")[1].split("\n## ")[0]
    assert set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+|UNAVAILABLE)`", table)) == set(get_args(Code))


def test_the_tests_that_are_named_exist():
    named = re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)`", GUARDRAILS)
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert named
    assert {Path(name).name for name in named} <= there
    assert [name for name in named if "/" in name and not (ROOT / name).is_file()] == []


def test_every_device_has_a_page():
    pages = " ".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "devices").glob("*.md"))
    assert [device for device in DEVICES if device not in pages] == []
    assert "not supported" in (ROOT / "docs" / "devices" / "coral.md").read_text(encoding="utf-8")
