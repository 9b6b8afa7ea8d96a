"""Random kill -9 of servers, supervisors and workers, two servers on one workspace. Exits 1 where anything is lost.

    python benchmarks/faults.py [--trials 200] [--seed 1]

After every trial: what was acknowledged is still recorded, unchanged; every job began once and ended once; every
variant is the file that was recorded; the original is untouched; nothing of a finished job still runs.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeopt.server.demo.run import HERE, MODEL
from edgeopt.state.events import JobStarted, VariantCreated, ends
from edgeopt.state.store import Recorded, Store
from raw_server import RawServer, ServerGone, demo_session, serve_command

STEPS: list[dict[str, Any]] = [
    {"technique": "float16"},
    {"technique": "int8_static", "calibration_samples": 64},
    {"technique": "graph_optimize"},
]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def processes(workspace: Path, module: str) -> Iterator[int]:
    """The processes of this workspace that run a module of ours."""
    marker = b"-m\0" + module.encode() + b"\0"
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended since the folder was listed
                continue
            # A supervisor's command line names the worker that it starts: what runs is the first module.
            ours = words.find(b"-m\0edgeopt.engine.") == words.find(marker) >= 0
            if ours and str(workspace).encode() in words:
                yield int(entry.name)


class Bench:
    """Two servers on one workspace, and what they have acknowledged."""

    def __init__(self, workspace: Path, dice: random.Random):
        self.workspace, self.dice = workspace, dice
        self.command = serve_command(workspace, HERE)
        self.servers = [RawServer(self.command), RawServer(self.command)]
        self.session = demo_session(self.servers[0])
        self.killed: collections.Counter[str] = collections.Counter()
        self.seen: list[Recorded] = []
        self.acknowledged: set[str] = set()

    def call(self, which: int, tool: str, **arguments: Any) -> dict[str, Any]:
        """A call that insists: a server that was killed is started again."""
        while True:
            try:
                return self.servers[which].call(tool, session_id=self.session, **arguments)
            except ServerGone:
                self.servers[which].kill()
                self.servers[which] = RawServer(self.command)

    def kill_something(self) -> None:
        victim = self.dice.choice(["server", "server", "supervisor", "worker"])
        if victim == "server":
            self.servers[self.dice.randrange(2)].kill()
            self.killed["server"] += 1
            return
        for pid in processes(self.workspace, f"edgeopt.engine.{victim}"):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.killed[victim] += 1

    def trial(self) -> str:
        """One optimization under fire; how it ended."""
        step = self.dice.choice(STEPS)
        first, second = (self.call(n, "optimize_model", step=step, parent="baseline", wait_s=0) for n in (0, 1))
        job = first["job_id"]
        # The second server joins the job, or finds it over already and refuses another step.
        if job is None or second.get("job_id") not in (None, job):
            raise RuntimeError(f"one job was asked for: {first} {second}")
        self.acknowledged.add(job)
        for _ in range(self.dice.randint(1, 4)):
            time.sleep(self.dice.random() * 0.6)
            self.kill_something()
        answer = self.call(self.dice.randrange(2), "wait_for_job", job_id=job, wait_s=60)
        while answer["status"] == "running":
            answer = self.call(self.dice.randrange(2), "wait_for_job", job_id=job, wait_s=60)
        if answer["status"] == "ok":
            variant = answer["variant"]["variant_id"]
            self.call(0, "decide_variant", variant_id=variant, outcome="revert", reason="the trial is over")
        return answer["status"]

    def wrongs(self) -> list[str]:
        """What the trial has broken."""
        store = Store(self.workspace)
        recorded, _ = store.load(self.session)  # raises where the chain of hashes does not hold
        store.close()
        found: list[str] = []
        if recorded[: len(self.seen)] != self.seen:
            found.append("an event that was recorded has changed or gone")
        self.seen = recorded
        started = collections.Counter(r.event.job_id for r in recorded if isinstance(r.event, JobStarted))
        over = collections.Counter(job for r in recorded if (job := ends(r.event)))
        found += [f"{job} was started {n} times" for job, n in started.items() if n != 1]
        found += [f"{job} ended {over[job]} times" for job in started if over[job] != 1]
        found += [f"{job} was acknowledged and is not recorded" for job in self.acknowledged if job not in started]
        for made in (r.event.artifact for r in recorded if isinstance(r.event, VariantCreated)):
            if sha256(Path(made.path)) != made.sha256:
                found.append(f"{made.variant_id} is not the file that was recorded")
        found += [f"process {pid} survives its job" for pid in self._survivors()]
        return found

    def _survivors(self) -> list[int]:
        deadline = time.monotonic() + 10
        while left := [*processes(self.workspace, "edgeopt.engine.worker")]:
            if time.monotonic() > deadline:
                return left
            time.sleep(0.05)
        return []

    def close(self) -> None:
        for server in self.servers:
            server.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    workspace = Path(tempfile.mkdtemp(prefix="edgeopt-faults-"))
    original, begin = sha256(MODEL), time.monotonic()
    bench = Bench(workspace, random.Random(options.seed))
    outcomes: collections.Counter[str] = collections.Counter()
    bad = 0
    try:
        for number in range(1, options.trials + 1):
            outcomes[bench.trial()] += 1
            wrongs = bench.wrongs()
            if sha256(MODEL) != original:
                wrongs.append("the original has changed")
            bad += bool(wrongs)
            for wrong in wrongs:
                print(f"trial {number}: {wrong}", flush=True)
    finally:
        bench.close()
        if not bad:
            shutil.rmtree(workspace, ignore_errors=True)
    took = time.monotonic() - begin
    print(
        f"{options.trials} trials, seed {options.seed}: {bad} bad; jobs {dict(outcomes)}; killed {dict(bench.killed)}; "
        f"{len(bench.seen)} events; {took:.0f} s"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
