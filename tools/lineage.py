"""Which files are variants of which originals: what this server made is an original by a person's leave alone, and its
tolerance then refers to the first original, where it would otherwise start afresh."""

from __future__ import annotations

from dataclasses import dataclass

from ..contract.evaluation import Evaluation, UserCode
from ..contract.text import untrusted
from ..state.events import FileIdentity, Origin, VariantMade
from ..state.session import Session, VariantRecord
from ..state.store import START, Conflict, HistoryEdited
from .answers import Refused, refuse
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


@dataclass(frozen=True)
class Descent:
    """A file that is a variant, or holds its weights: the session that made it, and the first original behind that."""

    session: Session
    variant_id: str
    origin: Origin

    @property
    def record(self) -> VariantRecord:
        return self.session.variants[self.variant_id]

    def described(self) -> str:
        """The variant, its first original and what is measured of it, by the server's own numbers."""
        made, judged = self.record.artifact, self.record.validation
        evaluation, name = self.session.opened.evaluation, untrusted(self.origin.file.path.rpartition("/")[2])
        measured = (
            f"measured: {judged.metric} {judged.baseline:.4f} -> {judged.optimized:.4f} on {judged.samples} samples, a "
            f"relative drop of {judged.relative_drop:.2%} ({judged.verdict})"
            if judged
            else f"its {evaluation.metric} was never judged"
        )
        return f"{self.variant_id} of {name} ({made.technique}, {made.precision}), made in this workspace; {measured}"


def descent(shop: Workshop, model: FileIdentity, weights: str) -> Descent | None:
    """What this file, or its weights under another name, is a variant of; None where it is none that was made here.

    Raises:
        Refused: DERIVED_MODEL where it is one, and the first original's baseline cannot be known any more.
    """
    made = _made(shop, model, weights)
    if made is None:
        return None
    try:
        session, _ = shop.load(made.session_id)
    except (Refused, HistoryEdited) as error:
        raise _of_unknown_loss(made) from error
    if made.variant_id not in session.variants:
        raise _of_unknown_loss(made)
    origin = session.opened.derived_from or _origin(session, made)
    return Descent(session, made.variant_id, origin)


def _made(shop: Workshop, model: FileIdentity, weights: str) -> VariantMade | None:
    for digest in (model.sha256, weights):
        recorded, _ = shop.store.load(_stream(digest)) if digest else ([], START)
        for made in (r.event for r in recorded):
            if isinstance(made, VariantMade) and made.original_sha256 != model.sha256:
                return made
    return None


def _origin(session: Session, made: VariantMade) -> Origin:
    """The original of the session that made the variant, which is the first one."""
    baseline, outcomes = session.baseline, session.outcomes
    if baseline is None or baseline.accuracy is None or outcomes is None:
        raise _of_unknown_loss(made)
    return Origin(
        session_id=session.session_id,
        file=session.original,
        weights=session.opened.weights,
        accuracy=baseline.accuracy.value,
        outcomes=outcomes,
    )


def _of_unknown_loss(made: VariantMade) -> Refused:
    return refuse(
        "DERIVED_MODEL",
        f"This file is {made.variant_id}, a variant that was made here of {made.original_path}, or holds its weights, and "
        "the measurements of that original cannot be read any more: nobody can say what it has lost. Open the original.",
        missing=["the original"],
    )


Yardstick = tuple[object, ...]


def yardstick(evaluation: Evaluation, data_digest: str, codes: list[UserCode]) -> Yardstick:
    """What decides a value of the metric; layout and dtype follow from a model's inputs."""
    prepared = evaluation.preprocessing
    same_for_all = prepared and prepared.model_copy(update={"layout": None, "dtype": None})
    functions = [(code.sha256, code.function) for code in codes]
    return data_digest, evaluation.metric, evaluation.decoding, same_for_all, functions


def check_same_yardstick(found: Descent, asked: Yardstick) -> None:
    """The first original's accuracy is a bar only for the same samples, metric, code and preprocessing.

    Raises:
        Refused: DERIVED_MODEL.
    """
    first = found.session.opened
    if asked == yardstick(first.evaluation, first.data.digest, first.metric_codes):
        return
    raise refuse(
        "DERIVED_MODEL",
        f"This file is {found.described()}. Its tolerance refers to {found.origin.file.path}, so it is opened with the "
        f"evaluation of that session alone: the samples of {first.evaluation.dataset_path}, {first.evaluation.metric}, the "
        "same preprocessing. Open it so, or open the original.",
        missing=["the evaluation of the session that made it"],
    )
