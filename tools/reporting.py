"""render_report: the summary or the trade-off table as Markdown, and beside it the page with the pictures."""

from __future__ import annotations

import errno
import secrets
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.apps import client_supports_apps
from mcp.types import CallToolResult

from ..contract.refusals import NextCall, Refusal
from ..reports.markdown import summary, tradeoff
from ..state.block import state_block
from ..state.events import ReportRendered
from ..state.session import Session
from ..state.store import Conflict
from .answers import ReportReply, result
from .road import Ctx, enter, in_thread, note_refusal, shop_of
from .types import SessionId
from .workshop import Workshop

Kind = Literal["summary", "tradeoff"]
CARD = "edgeopt/card"
# How a page, a picture and a trade-off table of edgeopt's begin.
_BEGINNINGS = (
    "<!DOCTYPE html>",
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 ',
    "## Optimization Tradeoff Analysis",
)


async def render_report(
    session_id: SessionId, ctx: Ctx, kind: Kind = "tradeoff"
) -> Annotated[CallToolResult, ReportReply]:
    """Render the trade-off table or the summary from recorded measurements, and an HTML page with pictures. Show it to the user."""
    shop = shop_of(ctx)
    session = await enter(ctx, session_id)
    if session.baseline is None:
        raise note_refusal(shop, session, "render_report", _no_baseline(session))
    markdown = tradeoff(session) if kind == "tradeoff" else summary(session)
    session, files = await in_thread(shop, _write, shop, session, kind, markdown)
    log = f"{markdown}\n\nWith pictures, for a browser: {files[1]}"
    answer = result(ReportReply(state=state_block(session), markdown=markdown, files=[str(f) for f in files]), log)
    if client_supports_apps(ctx):
        from ..reports.page import card

        # Beside the answer, for the chat's own page: no model reads it.
        answer = answer.model_copy(update={"meta": {CARD: str(card(session))}})
    return answer


def _no_baseline(session: Session) -> Refusal:
    call = NextCall(tool="profile_model", arguments={"session_id": session.session_id}, why="measures the baseline")
    return Refusal(
        code="BASELINE_REQUIRED",
        guardrail="Baseline before optimization",
        message="There is nothing to report: the baseline is not measured.",
        missing=["baseline"],
        next_calls=[call],
    )


def _write(shop: Workshop, session: Session, kind: Kind, markdown: str) -> tuple[Session, list[Path]]:
    from ..drawing import png  # pictures are drawn when somebody wants them, not when a server starts
    from ..drawing.scatter import as_svg
    from ..reports.figures import tradeoff_picture
    from ..reports.page import page

    folder = shop.folder(session.session_id) / "reports"
    picture = as_svg(tradeoff_picture(session))
    files = [
        put(folder / f"{kind}.md", markdown),
        put(folder / "report.html", page(session)),
        put(folder / "tradeoff.svg", picture),
        *([] if png.lacking() else [put(folder / "tradeoff.png", png.as_png(picture))]),
    ]
    while True:
        _, tip = shop.load(session.session_id)
        try:
            return shop.record(session.session_id, tip, ReportRendered(report=kind)), files
        except Conflict:
            continue


def put(path: Path, content: str | bytes) -> Path:
    """Writes a file as a whole: whoever reads it meanwhile reads the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def put_own(path: Path, text: str) -> Path:
    """Writes a page, a picture or a trade-off table where a person wants it. What lies there already is replaced only where
    it is one of edgeopt's, of the same kind.

    Raises:
        OSError: it cannot be written, or would replace something else, such as a model.
    """
    if path.is_symlink() or (path.exists() and not _is_alike(path, text)):
        raise FileExistsError(errno.EEXIST, "something that is no report of edgeopt's lies there, and stays", str(path))
    return put(path, text)


def _is_alike(path: Path, text: str) -> bool:
    beginning = next((b.encode() for b in _BEGINNINGS if text.startswith(b)), None)
    with path.open("rb") as file:
        return beginning is not None and file.read(len(beginning)) == beginning
