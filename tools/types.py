"""The types of arguments that several tools share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

SessionId = Annotated[str, Field(max_length=64)]
VariantId = Annotated[str, Field(max_length=64, description='"best", "baseline" or an id')]
Iterations = Annotated[int, Field(ge=100, le=100_000)]
WaitS = Annotated[float, Field(ge=0, le=600, description="seconds to wait before answering `running`")] | None
