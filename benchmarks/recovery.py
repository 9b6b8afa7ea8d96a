"""What automatic INT8 saves of a model that 8 bits break, and what it costs. Exits with 1 where a goal is missed.

    python benchmarks/recovery.py

Over MCP, in one session on the fragile MobileNetV2 of ../shared/data (or EDGEOPT_DATA): plain static INT8 with one scale a
channel, which must lose more than the tolerance, and each automatic way to INT8, which must not, by its point estimate on
the evaluation set. Then the plain variant is timed against each automatic one, in alternation in fresh processes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
from edgeopt.autopilot.calling import Answer, finish, server
from edgeopt.benchmarks.peers_models import Model, opened
from edgeopt.benchmarks.peers_speed import Compared, Track
from mcp import Client

DATA = Path(os.environ.get("EDGEOPT_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")).resolve()
FRAGILE = "MobileNetV2"
TOLERANCE = 0.02
# The automatic variant's speed, as a share of the plain one's.
LEAST_SPEED = 0.85
PLAIN = {
    "technique": "int8_static",
    "per_channel": True,
    "calibrator": "minmax",
    "equalize": False,
    "bias_correction": False,
}
AUTOMATIC: dict[str, dict[str, Any]] = {
    "mixed_precision": {"technique": "mixed_precision"},
    "int8_static": {"technique": "int8_static"},
}


class Variant:
    """One that was made and judged. `drop`: of the point estimate, relative to the float model's."""

    def __init__(self, made: Answer, judged: Answer):
        self.path = Path(made.data["variant"]["path"])
        self.drop: float = judged.data["validation"]["relative_drop"]
        self.status: str = judged.data["validation"]["status"]


async def variants(model: Model, scratch: Path) -> dict[str, Variant]:
    """Each made from the baseline and judged; they are benchmarked first, as the road has it."""
    roots = [model.path.parent, scratch, Path(model.calibration).parent, Path(model.evaluation.dataset_path).parent]
    async with Client(server(scratch / "workspace", roots)) as client:
        opening = {
            "model_path": str(model.path),
            "target_device": "cpu-generic",
            "evaluation": model.opening,
            "calibration_path": model.calibration,
            "accuracy_tolerance": TOLERANCE,
        }
        session = (await _done(client, "open_session", opening)).data["session_id"]
        await _done(client, "profile_model", {"session_id": session})
        found: dict[str, Variant] = {}
        for name, step in {"plain": PLAIN, **AUTOMATIC}.items():
            made = await _done(client, "optimize_model", {"session_id": session, "step": step, "parent": "baseline"})
            variant = {"session_id": session, "variant_id": made.data["variant"]["variant_id"]}
            await _done(client, "benchmark_variant", variant)
            found[name] = Variant(made, await _done(client, "validate_variant", variant))
            await _done(client, "decide_variant", variant | {"outcome": "revert", "reason": "made to be compared"})
        return found


async def _done(client: Client, tool: str, arguments: dict[str, Any]) -> Answer:
    answer = await finish(client, tool, arguments)
    if not answer.ok:
        raise SystemExit(f"{tool}: {answer.problem}")
    return answer


def line(name: str, variant: Variant, compared: Compared | None) -> str:
    said = f"{name}: relative drop {variant.drop:+.2%} ({variant.status})"
    if compared is None:
        return said
    if compared.interval is None:
        return f"{said}; not timed: {compared.problem}"
    low, high = compared.interval
    return f"{said}; {compared.ratio:.1%} of the plain variant's speed (95 % interval {low:.1%} to {high:.1%})"


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not DATA.is_dir():
        print(f"No data at {DATA}: set EDGEOPT_DATA to a folder like it.")
        return 2
    with tempfile.TemporaryDirectory(prefix="edgeopt-recovery-") as name:
        scratch = Path(name).resolve()
        model = opened(FRAGILE, DATA, scratch)
        found = anyio.run(variants, model, scratch)
        track = Track(model, threads=1, scratch=scratch)
        speeds = {how: track.compare(found[how].path, found["plain"].path, "final") for how in AUTOMATIC}
    print(*(line(how, variant, speeds.get(how)) for how, variant in found.items()), sep="\n")
    met = found["plain"].drop > TOLERANCE
    print(f"plain INT8 loses more than {TOLERANCE:.0%}: {'as it must' if met else 'NO: this model is not fragile'}")
    for how, compared in speeds.items():
        good = found[how].drop <= TOLERANCE and compared.ratio >= LEAST_SPEED
        print(
            f"{how}: within {TOLERANCE:.0%}, at {LEAST_SPEED:.0%} of the speed or more: {'met' if good else 'MISSED'}"
        )
        met &= good
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
