"""What to do when a job broke: short lists by failure code, most likely cause first."""

from __future__ import annotations

_GARBAGE = [
    "Compare the preprocessing with what the model was trained with: scale, mean, std, channel order, layout.",
    "Check that the calibration samples come from the same source as the evaluation samples.",
    "Try a gentler step: per_channel=true, or half precision.",
    "Keep the first and last layers in float (of ONNX models: int8_static with keep_float=[node names]).",
]
_CONVERSION = [
    "Where the parent is ONNX: run optimize_model with technique 'simplify' first, keep it, then try this step on it.",
    "Check that the opset of an ONNX model is one that the tool knows (the model field of open_session shows it).",
    "For TensorRT: try less workspace_mb where the build ran out of memory; ONNX Runtime is the other way.",
    "Try another technique: recommend_next lists what applies.",
]
_MEMORY = [
    "Use fewer calibration samples (calibration_samples).",
    "Ask the operator to start the server with a larger --job-memory.",
    "Close other work on this machine, then call again.",
]
_TIME = [
    "Ask the operator to start the server with a larger --job-minutes.",
    "Use a smaller evaluation or calibration set.",
]
_PACKAGE = [
    "Read the message: it says which output differs, and by how much.",
    "Validate the variant again on this machine; if it still passes, report the package with `edgeopt doctor`'s output.",
]
_AGAIN = [
    "Call the same tool again: nothing that was recorded is lost.",
    "If it fails the same way, read log_tail and report it with `edgeopt doctor`'s output.",
]

_BY_CODE = {
    "BAD_OUTPUTS": _GARBAGE,
    "NOT_LOADABLE": _CONVERSION,
    "OUTPUTS_DIFFER": _CONVERSION,
    "NOT_RUNNABLE": _CONVERSION,
    "TECHNIQUE_FAILED": _CONVERSION,
    "MEMORY_LIMIT": _MEMORY,
    "OOM_KILLED": _MEMORY,
    "TIMEOUT": _TIME,
    "PACKAGE_NOT_VERIFIED": _PACKAGE,
    "CANCELLED": ["The job was cancelled by cancel_job. Call the tool again to start anew."],
}


def playbook(code: str) -> list[str]:
    """The steps for a failure of this code."""
    return _BY_CODE.get(code, _AGAIN)
