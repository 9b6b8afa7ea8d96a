"""What a package says of itself: where it comes from, every step, every measurement and who decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from .. import __version__
from ..state.block import tolerance_text
from ..state.session import Session

SCHEMA_VERSION = 1


def metadata(session: Session, variant_id: str) -> dict[str, Any]:
    """The content of a package's metadata.json, but for the files and the verification, which the worker adds."""
    opened, chain = session.opened, session.chain(variant_id)
    records = [session.variants[a.variant_id] for a in chain]
    return {
        "schema_version": SCHEMA_VERSION,
        "edgeopt_version": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "model_name": opened.model_name,
        "target_device": opened.target_device,
        "original": {"files": [f.model_dump() for f in opened.files], "format": opened.source_format},
        "derived_from": opened.derived_from.model_dump(mode="json") if opened.derived_from else None,
        "evaluation": {
            **opened.evaluation.model_dump(mode="json"),
            "samples": opened.data.samples,
            "sha256": opened.evaluation_digest,
        },
        "calibration": {"path": opened.calibration_path, "sha256": opened.calibration_digest},
        "training": {"path": opened.training_path, "sha256": opened.training_digest},
        "bar": {
            "tolerance": tolerance_text(session.tolerance, opened.tolerance_kind),
            "evidence": opened.evidence,
            "loosened_by": opened.loosened_by,
        },
        "steps": [a.model_dump(mode="json", exclude={"path"}) for a in chain],
        "baseline": session.baseline.model_dump(mode="json") if session.baseline else None,
        "measurements": [r.comparison.model_dump(mode="json") for r in records if r.comparison],
        "benchmark_runs": {v.artifact.variant_id: v.benchmarks for v in records},
        "validations": [r.validation.model_dump(mode="json") for r in records if r.validation],
        "decisions": [r.decision.model_dump(mode="json") for r in records if r.decision],
        "variant": {"variant_id": variant_id, "sha256": chain[-1].sha256},
    }
