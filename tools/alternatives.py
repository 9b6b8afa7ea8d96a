"""What else could be tried where a variant is outside the tolerance: gentler steps of this version, gentlest last."""

from __future__ import annotations

from ..contract.measures import Artifact, Validation


def alternatives(made: Artifact, judged: Validation) -> list[str]:
    """Short imperatives for the one who decides; none after a PASS."""
    if judged.status == "PASS":
        return []
    found: list[str] = []
    if judged.more_samples_needed:
        found.append(
            f"Label about {judged.more_samples_needed} more samples and open a new session: that would settle it."
        )
    if made.technique == "int8_static":
        if made.parameters.get("per_channel") is False:
            found.append("int8_static with per_channel=true: one scale a channel loses less.")
        found.append("int8_static with more calibration_samples, from the same source as the evaluation set.")
        found.append("int8_static with keep_float=[node names]: the first and last layers are the usual suspects.")
    if made.technique == "int8_dynamic":
        found.append("int8_static with per_channel=true, calibrated on real samples.")
    if made.precision == "int8":
        found.append("float16: half the size, seldom any loss.")
    found.append("graph_optimize or simplify: the same function, no loss.")
    return found
