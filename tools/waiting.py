"""wait_for_job and cancel_job: jobs go on whatever the client does; these look after them."""

from __future__ import annotations

from typing import Annotated

from mcp.types import CallToolResult
from pydantic import Field

from ..engine.executor.base import JobView
from ..state.block import state_block
from ..state.events import JobFailed
from ..state.session import Session
from ..state.store import Conflict
from .answers import CancelReply, Job, JobReply, refuse, result
from .recording import reconcile
from .road import Ctx, enter, in_thread, shop_of, wait
from .types import SessionId, WaitS
from .workshop import Workshop

JobId = Annotated[str, Field(max_length=64)]


def _known(session: Session, job_id: str) -> None:
    if job_id not in session.jobs:
        running = ", ".join(job.job_id for job in session.running) or "none"
        raise refuse("UNKNOWN_JOB", f"There is no job {job_id!r} in this session. Running: {running}.")


async def wait_for_job(
    session_id: SessionId, job_id: JobId, ctx: Ctx, wait_s: WaitS = None
) -> Annotated[CallToolResult, JobReply]:
    """Wait for a running job; answers as the tool that started it, or `running` again after wait_s seconds."""
    _known(await enter(ctx, session_id), job_id)
    return await wait(ctx, session_id, job_id, wait_s)


async def cancel_job(session_id: SessionId, job_id: JobId, ctx: Ctx) -> Annotated[CallToolResult, CancelReply]:
    """End a running job. What was recorded before stays."""
    shop = shop_of(ctx)
    _known(await enter(ctx, session_id), job_id)
    session = await in_thread(shop, _cancel, shop, session_id, job_id)
    over = job_id in session.ended
    job = Job(job_id=job_id, tool=session.jobs[job_id].tool, state="over" if over else "cancelling")
    return result(CancelReply(state=state_block(session), job=job), f"{job_id}: {job.state}.")


def _cancel(shop: Workshop, session_id: str, job_id: str) -> Session:
    folder = shop.job_folder(session_id, job_id)
    while True:
        session = reconcile(shop, session_id)
        if job_id in session.ended:
            return session
        view: JobView = shop.executor.poll(folder)
        if view.state != "absent":
            shop.executor.cancel(folder)
            return session
        # Nobody ever started it (the disk was full, say): there is nothing to stop, only an end to record.
        session, tip = shop.load(session_id)
        try:
            return shop.record(
                session_id, tip, JobFailed(job_id=job_id, code="CANCELLED", message="Cancelled before it began.")
            )
        except Conflict:
            continue
