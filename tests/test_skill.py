"""SKILL.md is a valid Agent Skill, and says nothing of tools, techniques or codes that there are not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from edgeopt.contract.devices import DEVICES
from edgeopt.contract.evaluation import Metric
from edgeopt.contract.refusals import Code
from edgeopt.contract.steps import Step
from edgeopt.state.block import StateBlock

ROOT = Path(__file__).parents[1]
SKILL = ROOT / "SKILL.md"
REFERENCES = sorted((ROOT / "prompts" / "skill").glob("*.md"))
PROMPTS = sorted((ROOT / "prompts").glob("*.md"))
TOOLS: dict[str, Any] = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (ROOT / "tests" / "server" / "snapshots").glob("*.json")
}
CODES = set(get_args(Code))
TECHNIQUES = {get_args(step.model_fields["technique"].annotation)[0] for step in get_args(get_args(Step)[0])}
# The fields that the specification of Agent Skills knows.
FIELDS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
WORD = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)+")


def front_matter(text: str) -> tuple[dict[str, str], str]:
    """The fields between the two lines of dashes, and what follows."""
    _, head, body = text.split("---\n", 2)
    return dict(line.split(": ", 1) for line in head.splitlines()), body


def words(schema: Any) -> set[str]:
    """Every name and every fixed value of a schema."""
    if isinstance(schema, list):
        return set().union(*map(words, schema))
    if not isinstance(schema, dict):
        return {schema} if isinstance(schema, str) else set()
    return set(schema).union(*map(words, schema.values()))


KNOWN = words([tool["inputSchema"] for tool in TOOLS.values()]) | words([t["outputSchema"] for t in TOOLS.values()])


def test_the_front_matter_is_what_agent_skills_demand():
    fields, body = front_matter(SKILL.read_text(encoding="utf-8"))
    assert set(fields) <= FIELDS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fields["name"])
    assert fields["name"] == "edgeopt" and len(fields["name"]) <= 64
    assert 0 < len(fields["description"]) <= 1024
    assert 0 < len(fields["compatibility"]) <= 500
    assert not re.search(r"[<>]", "".join(fields.values()))
    assert ": " not in fields["description"], "YAML would read it as a mapping"
    assert len(body.splitlines()) < 500


def test_every_link_leads_somewhere_and_every_reference_is_linked():
    linked: set[Path] = set()
    for page in (SKILL, *REFERENCES):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            path = (page.parent / target).resolve()
            assert path.is_file(), f"{page.name}: {target}"
            linked.add(path)
    assert linked >= set(REFERENCES)


@pytest.mark.parametrize("page", [SKILL, *REFERENCES, *PROMPTS], ids=lambda page: page.name)
def test_every_tool_technique_field_and_code_that_is_named_exists(page: Path):
    text = page.read_text(encoding="utf-8")
    known = KNOWN | set(TOOLS) | TECHNIQUES | set(StateBlock.model_fields) | set(get_args(Metric)) | set(DEVICES)
    named = {word for quoted in re.findall(r"`([^`\n]+)`", text) for word in WORD.findall(quoted)}
    assert named - known == set()
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", text)) - CODES == set()


def test_nothing_is_left_out():
    skill = SKILL.read_text(encoding="utf-8")
    pages = {page.stem: page.read_text(encoding="utf-8") for page in REFERENCES}
    assert set(re.findall(r"`([A-Z_]+)`", pages["refusals"])) >= CODES
    assert set(re.findall(r"^\| `([a-z0-9_]+)`", pages["techniques"], re.MULTILINE)) == TECHNIQUES
    assert [tool for tool in TOOLS if tool != "cancel_job" and tool not in skill] == []
    block = skill.split("<model-opt-state>")[1].split("</model-opt-state>")[0]
    assert all(field in block for field in StateBlock.model_fields)
