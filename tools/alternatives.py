"""What else could be tried where a variant is outside the tolerance: gentler steps of this version, gentlest last."""

from __future__ import annotations

from ..contract.measures import Artifact, Validation
from ..contract.steps import TRAINED

# For techniques that make a format of their own: by what was chosen, what is gentler; each leads to the next.
LADDERS: dict[str, dict[str, str]] = {
    "tflite": {
        "int8": "tflite with quantization='dynamic': activations stay in float.",
        "dynamic": "tflite with quantization='float16': half the size, seldom any loss.",
        "float16": "tflite with quantization='float32': the same function.",
    },
    "openvino": {
        "int8": "openvino with precision='fp16': half the size, seldom any loss.",
        "fp16": "openvino with precision='fp32': the same function.",
    },
    "tensorrt": {
        "int8": "tensorrt with precision='fp16': seldom any loss.",
        "fp16": "float16 or graph_optimize on the ONNX parent, for ONNX Runtime.",
    },
}


def alternatives(made: Artifact, judged: Validation) -> list[str]:
    """Short imperatives for the one who decides; none after a PASS."""
    if judged.status == "PASS":
        return []
    found: list[str] = []
    if judged.more_samples_needed:
        found.append(
            f"Label about {judged.more_samples_needed} more samples and open a new session: that would settle it."
        )
    if made.technique in TRAINED:
        return [*found, *_of_trained(made)]
    return [*found, *(_of_onnx(made) if made.format == "onnx" else _of_others(made))]


def _of_trained(made: Artifact) -> list[str]:
    more = "More training samples, from the same source as the evaluation set."
    if made.technique == "qat_int8":
        return [
            f"qat_int8 with epochs=5, the most. {more}",
            "export_onnx, then float16: half the size, seldom any loss.",
        ]
    if made.technique == "prune_unstructured":
        return ["prune_unstructured with a lower sparsity, or finetune_epochs.", more]
    gentler = "a lower ratio" if made.technique == "prune_structured" else "a student that is nearer to its teacher"
    return [
        f"{made.technique} with {gentler}, or more epochs. {more}",
        "prune_unstructured: smaller when compressed, not faster.",
        "export_onnx, then int8_static: quantization costs less accuracy than pruning as a rule.",
    ]


def _of_others(made: Artifact) -> list[str]:
    """Down the ladder from where the variant stands."""
    ladder = LADDERS.get(made.technique, {})
    choice = str(made.parameters.get("quantization") or made.parameters.get("precision"))
    rungs = list(ladder)
    found = [ladder[rung] for rung in rungs[rungs.index(choice) :]] if choice in ladder else []
    if choice == "int8":
        found.insert(0, "More calibration samples, from the same source as the evaluation set.")
    return found


def _of_onnx(made: Artifact) -> list[str]:
    found: list[str] = []
    if made.technique == "int8_static":
        if made.parameters.get("per_channel") is False:
            found.append("int8_static with per_channel=true: one scale a channel loses less.")
        if not made.parameters.get("bias_correction"):
            found.append(
                "int8_static with calibrator='auto', equalize=true and bias_correction=true: the ranges that do best on"
                " held-out calibration samples, channels made alike, mean errors taken off."
            )
        found.append("int8_static with more calibration_samples, from the same source as the evaluation set.")
        found.append(
            "analyze_sensitivity, then mixed_precision (labelled calibration set) or int8_static with keep_float=[the worst"
            " that it names]: what hurts stays in float."
        )
        found.append("qat_int8, where the original is PyTorch's and the session has a training_path.")
    if made.technique == "int8_dynamic":
        found.append("int8_static with per_channel=true, calibrated on real samples.")
    if made.precision == "int8":
        found.append("float16: half the size, seldom any loss.")
    found.append("graph_optimize or simplify: the same function, no loss.")
    return found
