"""The one exception that a worker raises on purpose."""

from __future__ import annotations

from ..contract.refusals import Problem


class JobProblem(Exception):
    """The job cannot give a result, for a reason that the caller can act on.

    `code` is a refusal code of the contract where the caller's input is at fault (BAD_FILE, PATH_NOT_ALLOWED,
    INVALID_ARGUMENT, BASELINE_IMPLAUSIBLE, SAME_DATASET, CALIBRATION_REQUIRED, UNAVAILABLE); otherwise a failure code
    (BAD_OUTPUTS, NOT_LOADABLE, TECHNIQUE_FAILED ...).
    """

    def __init__(self, code: str, message: str, missing: list[str] | None = None):
        super().__init__(message)
        self.problem = Problem(code=code, message=message, missing=missing or [])
