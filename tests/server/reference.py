"""docs/reference.md, made of what a client is shown."""

from __future__ import annotations

import json
from typing import Any, get_args

from edgeopt.contract.refusals import Code
from edgeopt.state.guardrails import RULES
from edgeopt.tools.answers import GUARDRAILS, Reply
from mcp import Client

HEAD = """\
# Reference

Made of the tools themselves by `make reference`; a test says when it is stale. What every answer and every refusal looks like
is in [clients.md](clients.md#answers); how each guardrail is enforced in [guardrails.md](guardrails.md).
"""


async def reference(client: Client) -> str:
    """The page, for the server that this client is connected to."""
    tools = (await client.list_tools()).tools
    prompts = (await client.list_prompts()).prompts
    templates = (await client.list_resource_templates()).resource_templates
    parts = [HEAD, "## Tools\n"]
    for tool in tools:
        parts += [
            f"### `{tool.name}`\n",
            f"{tool.description}\n",
            _arguments(tool.input_schema),
            _own(tool.output_schema or {}),
        ]
    opening = next(tool.input_schema for tool in tools if tool.name == "open_session")
    parts += ["## Objects of `open_session`\n"]
    for name, model in sorted(opening["$defs"].items()):
        parts += [
            f"### {name}\n",
            f"{model.get('description', '')}\n",
            _arguments({**model, "$defs": opening["$defs"]}),
        ]
    step = next(tool.input_schema for tool in tools if tool.name == "optimize_model")
    parts += ["## Techniques\n", "`step` of `optimize_model`: one of these.\n", *_techniques(step)]
    parts += ["## Prompts\n", _table(["prompt", "arguments", "what for"], [
        [f"`{p.name}`", ", ".join(f"`{a.name}`" + ("" if a.required else "?") for a in p.arguments or []), p.description or ""]
        for p in prompts
    ])]  # fmt: skip
    rows = [[f"`{t.uri_template}`", t.mime_type or "", t.description or ""] for t in templates]
    parts += ["## Resources\n", _table(["address", "type", "what"], rows)]
    parts += [
        "## Refusal codes\n",
        _table(["code", "guardrail"], [[f"`{code}`", _guardrail(code)] for code in get_args(Code)]),
    ]
    return "\n".join(parts)


def _guardrail(code: str) -> str:
    """What its refusals say: of the table of rules, and of what is found outside it."""
    said = [*(rule.guardrail for rule in RULES if rule.code == code), GUARDRAILS.get(code, "")]
    whole = [name for name in said if name and not any(other != name and other.startswith(name) for other in said)]
    return "; ".join(dict.fromkeys(whole))


def _techniques(schema: dict[str, Any]) -> list[str]:
    parts: list[str] = []
    for choice in schema["properties"]["step"]["oneOf"]:
        model = _resolve(choice, schema)
        properties = {name: part for name, part in model["properties"].items() if name != "technique"}
        parts.append(f"### `{model['properties']['technique']['const']}`\n")
        if model.get("description"):
            parts.append(f"{model['description']}\n")
        shown = {**model, "properties": properties, "$defs": schema.get("$defs", {})}
        parts.append(_arguments(shown) if properties else "No parameters.\n")
    return parts


def _arguments(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = [
        [
            f"`{name}`",
            _type(part, schema),
            "required" if name in required else f"`{json.dumps(part['default'])}`" if "default" in part else "",
            _resolve(part, schema).get("description", ""),
        ]
        for name, part in schema.get("properties", {}).items()
    ]
    return _table(["argument", "type", "default", ""], rows) if rows else "No arguments.\n"


def _own(schema: dict[str, Any]) -> str:
    """The fields that this tool's answer has beyond the envelope."""
    own = [f"`{name}`" for name in schema.get("properties", {}) if name not in Reply.model_fields]
    return f"Answers with {', '.join(own)}.\n" if own else ""


def _resolve(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        return {**schema["$defs"][part["$ref"].rpartition("/")[2]], **{k: v for k, v in part.items() if k != "$ref"}}
    return part


def _type(part: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in part:
        return part["$ref"].rpartition("/")[2]
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    for several in ("anyOf", "oneOf"):
        if several in part:
            return " or ".join(_type(choice, schema) for choice in part[several])
    kind = part.get("type", "any")
    if kind == "array":
        return f"list of {_type(part['items'], schema)}" if "items" in part else "list"
    bounds = [f"{sign} {part[key]:g}" for key, sign in _BOUNDS.items() if key in part]
    return f"{kind} {', '.join(bounds)}".strip()


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines) + "\n"
