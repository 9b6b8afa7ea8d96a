"""Which files are variants of which originals: what this server made is not opened as an original, where its tolerance
would start afresh."""

from __future__ import annotations

from ..state.events import FileIdentity, VariantMade
from ..state.session import Session
from ..state.store import START, Conflict
from .answers import refuse
from .workshop import Workshop


def _stream(digest: str) -> str:
    return f"made:{digest}"


def register(shop: Workshop, session: Session, variant_id: str, sha256: str, weights: str) -> None:
    """Remembers a variant by its file and by its weights, where these are not the original's own."""
    original = session.original
    made = VariantMade(
        original_sha256=original.sha256,
        original_path=original.path,
        session_id=session.session_id,
        variant_id=variant_id,
    )
    for digest in {sha256, weights} - {original.sha256, session.opened.weights, ""}:
        try:
            shop.store.append(_stream(digest), START, [made])
        except Conflict:
            continue  # the same file was made before, and is remembered


def refuse_derived(shop: Workshop, model: FileIdentity, weights: str) -> None:
    """Refuses DERIVED_MODEL where this file, or its weights under another name, is a recorded variant."""
    for digest in (model.sha256, weights):
        recorded, _ = shop.store.load(_stream(digest)) if digest else ([], START)
        for made in (r.event for r in recorded):
            if isinstance(made, VariantMade) and made.original_sha256 != model.sha256:
                raise refuse(
                    "DERIVED_MODEL",
                    f"This file is {made.variant_id}, a variant that was made here of {made.original_path}, or holds its "
                    "weights. As an original it would get a fresh tolerance on top of what it has lost already. Open the "
                    "original; to go on from the variant, keep it in its own session and name it as `parent`.",
                    missing=["the original"],
                )
