"""The tools as clients list them: the schemas that Python's types give, without what costs tokens and says nothing."""

from __future__ import annotations

from typing import Any

from mcp.types import Tool

_NULL = {"type": "null"}


def listed(tool: Tool) -> Tool:
    """The tool as it is shown. Its input schema accepts a little less than the server does: an optional argument is left out,
    not null, which every client and every model can say."""
    return tool.model_copy(
        update={
            "description": " ".join((tool.description or "").split()),
            "input_schema": _shortened(_untitled(tool.input_schema)),
            "output_schema": _untitled(tool.output_schema, describe=False),
        }
    )


def _untitled(schema: Any, *, describe: bool = True) -> Any:
    """A JSON schema without generated titles, and without descriptions where nobody reads them."""
    if isinstance(schema, list):
        return [_untitled(part, describe=describe) for part in schema]
    if not isinstance(schema, dict):
        return schema
    drop = ("title",) if describe else ("title", "description")
    return {
        # Below "properties" and "$defs" the keys are names of ours, one of which may be "title".
        key: {name: _untitled(part, describe=describe) for name, part in value.items()}
        if key in ("properties", "$defs")
        else _untitled(value, describe=describe)
        for key, value in schema.items()
        if not (key in drop and isinstance(value, str))
    }


def _shortened(schema: Any) -> Any:
    """The same without null as a value, without the defaults that are null, and without `discriminator`, which repeats what
    `oneOf` says (it is OpenAPI's word and not JSON Schema's)."""
    if isinstance(schema, list):
        return [_shortened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: " ".join(value.split()) if key == "description" and isinstance(value, str) else _shortened(value)
        for key, value in schema.items()
        if not (key == "default" and value is None) and not (key == "discriminator" and "oneOf" in schema)
    }
    choices = kept.get("anyOf")
    if not isinstance(choices, list) or _NULL not in choices:
        return kept
    others = [choice for choice in choices if choice != _NULL]
    rest = {key: value for key, value in kept.items() if key != "anyOf"}
    return {**others[0], **rest} if len(others) == 1 else {**rest, "anyOf": others}
