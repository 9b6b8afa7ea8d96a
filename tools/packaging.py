"""PACKAGE: package_variant makes a folder that runs without edgeopt, and proves that it does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from mcp.types import CallToolResult
from pydantic import Field

from ..engine.jobs import BuildPackage, Task
from ..state.request import Request
from ..state.session import Session
from .answers import PackageReply
from .paths import output
from .provenance import metadata
from .road import Ctx, Plan, enter, identity, resolve, shop_of, work
from .types import SessionId, VariantId, WaitS


async def package_variant(
    session_id: SessionId,
    ctx: Ctx,
    variant_id: VariantId = "best",
    output_dir: Annotated[str, Field(max_length=4096)] | None = None,
    wait_s: WaitS = None,
) -> Annotated[CallToolResult, PackageReply]:
    """Make a deployment folder: model, metadata, preprocessing, inference script, checksums; runs the script before it
    says `verified`. Packaging a PASS keeps it."""
    shop = shop_of(ctx)
    session = await enter(ctx, session_id)
    variant = resolve(session, variant_id)
    arguments: dict[str, Any] = {"variant_id": variant, "output_dir": output_dir}
    known: dict[str, Any] = {}
    place: Path | None = None
    if output_dir is not None:
        place, wrong = output(shop.settings, output_dir, Path(session.original.path))
        known = {"output": wrong}

    def task(session: Session, _job_id: str) -> Task:
        made = session.variants[variant].artifact
        return BuildPackage(
            variant_path=made.path,
            interface=session.interface,
            file_name=Path(made.path).name,
            evaluation=session.opened.evaluation,
            metadata=metadata(session, variant),
        )

    def where(session: Session) -> dict[str, Any]:
        return {"output": str(place or _default_place(shop.folder(session_id), session, variant))}

    request = Request(
        "package_variant", variant_id=variant, identity=identity("package_variant", arguments), arguments=arguments
    )
    return await work(ctx, session_id, Plan(request, task, where), wait_s, **known)


def _default_place(folder: Path, session: Session, variant_id: str) -> Path:
    made = session.variants[variant_id].artifact
    number = 1 + sum(job.tool == "package_variant" for job in session.jobs.values())
    return folder / "packages" / f"{Path(made.path).stem}-{number}"
