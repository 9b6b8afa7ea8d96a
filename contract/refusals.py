"""Refusals: what a guardrail answers. A refusal names the rule, what is missing, and the exact next call."""

from __future__ import annotations

from typing import Any, Literal

from .record import Record

Code = Literal[
    "INVALID_ARGUMENT",
    "BAD_FILE",
    "UNKNOWN_SESSION",
    "UNKNOWN_VARIANT",
    "UNKNOWN_JOB",
    "NOT_YOUR_SESSION",
    "PATH_NOT_ALLOWED",
    "UNTRUSTED_CODE",
    "ORIGINAL_PROTECTED",
    "VARIANT_CHANGED",
    "DERIVED_MODEL",
    "BASELINE_REQUIRED",
    "BASELINE_IMPLAUSIBLE",
    "ONE_AT_A_TIME",
    "NOT_BENCHMARKED",
    "NOT_VALIDATED",
    "DECISION_REQUIRED",
    "HUMAN_UNAVAILABLE",
    "HUMAN_DECLINED",
    "DECISION_ALREADY_MADE",
    "SAME_DATASET",
    "CALIBRATION_REQUIRED",
    "CALIBRATION_UNFIT",
    "TRAINING_REQUIRED",
    "TRAINING_UNFIT",
    "TARGET_LABEL",
    "FORMAT_DEVICE_MISMATCH",
    "NO_HEADROOM",
    "LOOK_BUDGET",
    "DISK_SPACE",
    "SESSION_BUSY",
    "UNAVAILABLE",
]


class NextCall(Record):
    """A call that the caller can make as it stands."""

    tool: str
    arguments: dict[str, Any]
    why: str


class Refusal(Record):
    code: Code
    guardrail: str
    message: str
    missing: list[str] = []
    next_calls: list[NextCall] = []


class Problem(Record):
    """What a worker says went wrong: a refusal's code where the input is at fault, else a failure's."""

    code: str
    message: str
    missing: list[str] = []
