"""The base of every value that crosses a border (client, process, store)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen value; an unknown field is an error, never silently dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")
