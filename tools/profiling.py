"""profile_model: the baseline, measured once."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult
from pydantic import Field

from ..engine.jobs import Profile, Task
from ..state.request import Request
from ..state.session import Session
from .answers import ProfileReply
from .road import Ctx, Plan, identity, shop_of, work
from .types import Iterations, SessionId, WaitS


async def profile_model(
    session_id: SessionId,
    ctx: Ctx,
    iterations: Iterations = 200,
    threads: Annotated[int, Field(ge=1, le=256)] = 1,
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1,
    wait_s: WaitS = None,
) -> Annotated[CallToolResult, ProfileReply]:
    """Measure the original: size, latency, accuracy on the whole evaluation set, peak memory. Required before any other
    work; the baseline is immutable."""
    shop = shop_of(ctx)
    arguments = {"iterations": iterations, "threads": threads, "batch_size": batch_size}

    def task(session: Session, job_id: str) -> Task:
        opened = session.opened
        return Profile(
            model_path=session.original.path,
            evaluation=opened.evaluation,
            data_digest=opened.data.digest,
            iterations=iterations,
            threads=threads,
            batch_size=batch_size,
            stamp=shop.stamp(opened.target_device),
            measurement_id=f"m-{job_id}-baseline",
            user_code=opened.user_code,
            adapter=opened.adapter,
        )

    request = Request("profile_model", identity=identity("profile_model", arguments), arguments=arguments)
    plan = Plan(request, task, recorded=lambda session: session.baseline is not None)
    return await work(ctx, session_id, plan, wait_s)
