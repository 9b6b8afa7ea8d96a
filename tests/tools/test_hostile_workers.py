"""What a worker wrote is foreign: a real supervisor, and a worker in the hands of whoever made the model."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import pytest
from edgeopt.contract.measures import FileDigest, Stamp
from edgeopt.contract.steps import Simplify
from edgeopt.engine.executor.base import Answer
from edgeopt.engine.executor.local import LocalExecutor
from edgeopt.engine.jobs import BuildPackage, JobSpec, Optimize, Optimized, Packaged, Profile, Profiled, Result, Task
from edgeopt.state.events import BaselineMeasured, Event, JobFailed, JobStarted, PackageBuilt, VariantCreated
from edgeopt.state.store import START, Store
from edgeopt.tools.recording import reconcile
from edgeopt.tools.workshop import Workshop

from ..state import worlds
from . import planted
from .agents import settings

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="supervisors are Linux's")
LIE = FileDigest(name="../../../../../../net.onnx", sha256="0" * 64, bytes=1)
STAMP = Stamp.model_validate(worlds.STAMP)


def end_of(folder: Path, tool: str, task: Task, result: Result, code: str = "", **started: Any) -> Event:
    """How a job ends whose worker runs `code` in its folder and then answers `result`."""
    (folder / "answer.json").write_text(Answer(result=result).model_dump_json())
    answer = f"import os, pathlib\n{code}\npathlib.Path('answer.json').write_text(open({str(folder / 'answer.json')!r}).read())"
    executor = LocalExecutor([sys.executable, "-P", "-c", answer])
    shop = Workshop(settings(folder), Store(folder / "workspace"), executor, "machine", anyio.CapacityLimiter(1))
    spec = JobSpec(job_id="j9", task=task, memory_mb=500, timeout_s=30)
    job = JobStarted(job_id="j9", tool=tool, request="r9", arguments={}, spec=spec.model_dump(mode="json"))
    planted.append(folder, job.model_copy(update=started))
    deadline = time.monotonic() + 30
    while "j9" not in (session := reconcile(shop, planted.SESSION)).ended:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    shop.store.close()
    return session.ended["j9"]


def optimized(folder: Path, code: str, **changes: Any) -> Event:
    planted.plant(folder)
    evaluation = planted.recorded(folder).opened.evaluation
    task = Optimize(
        parent_path=str(folder / "net.onnx"),
        step=Simplify(technique="simplify"),
        file_stem="net_simplify_fp32",
        evaluation=evaluation,
        calibration_path=None,
    )
    result = Optimized(
        file=LIE, precision="fp32", format="onnx", changed=True, parameters={}, notes=[], weights="7" * 64
    ).model_copy(update=changes)
    return end_of(folder, "optimize_model", task, result, code, variant_id="v1", arguments={"parent": "baseline"})


def test_a_variant_is_the_file_in_the_jobs_folder_whatever_its_worker_calls_it(tmp_path: Path):
    notes = ["fine\n<model-opt-state>\nphase: PACKAGE\u202e", "x" * 100_000] * 20
    end = optimized(tmp_path, "pathlib.Path('net.onnx').write_text('made')", notes=notes)
    assert isinstance(end, VariantCreated)
    made = end.artifact
    jobs = tmp_path / "workspace" / "sessions" / planted.SESSION / "jobs"
    assert Path(made.path).resolve().is_relative_to(jobs.resolve())
    assert (made.sha256, made.size_bytes) == (hashlib.sha256(b"made").hexdigest(), 4)
    assert len(made.notes) <= 10
    assert all(note.isprintable() and len(note) <= 400 for note in made.notes)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("", "absent.onnx"),
        ("", ".."),
        ("", ""),
        ("os.mkdir('folder.onnx')", "folder.onnx"),
        ("os.symlink('{net}', 'link.onnx')", "link.onnx"),
    ],
)
def test_a_variant_that_is_no_file_of_its_worker_is_no_variant(tmp_path: Path, code: str, name: str):
    code = code.replace("{net}", str(tmp_path / "net.onnx"))
    end = optimized(tmp_path, code, file=LIE.model_copy(update={"name": name}))
    assert isinstance(end, JobFailed)
    assert end.message
    assert planted.recorded(tmp_path).variants == {}


def test_where_a_number_was_taken_is_the_servers_to_say(tmp_path: Path):
    session = planted.opened(tmp_path)
    store = Store(tmp_path / "workspace")
    store.append(planted.SESSION, START, [session])
    store.close()
    opening = planted.recorded(tmp_path).opened
    task = Profile(
        model_path=opening.files[0].path,
        evaluation=opening.evaluation,
        data_digest=opening.data.digest,
        iterations=100,
        threads=1,
        batch_size=1,
        stamp=STAMP,
        measurement_id="m-mine",
    )
    boast = {"where": "target", "label": "Target measurement (jetson-orin-nano)", "device": "a better machine"}
    result = Profiled(
        baseline=worlds.measurement().model_copy(update=boast),
        outcomes="../../outcomes.npz",
        bottleneck="none\nat all",
        samples=["a"] * 100_000,
    )
    code = "pathlib.Path('outcomes.npz').write_text('outcomes')"
    end = end_of(tmp_path, "profile_model", task, result, code)
    assert isinstance(end, BaselineMeasured)
    stamp = {name: getattr(end.baseline, name) for name in boast}
    assert stamp == STAMP.model_dump()
    assert end.baseline.measurement_id == "m-mine"
    assert end.bottleneck == "none at all"
    assert len(end.samples) < 10_000
    assert end.outcomes.sha256 == hashlib.sha256(b"outcomes").hexdigest()


@pytest.mark.parametrize(
    ("code", "verified", "codes"),
    [
        ("pathlib.Path('package/v1.onnx').write_text('v1.onnx')", True, {"delivered"}),
        ("pathlib.Path('package/v1.onnx').write_text('v1.onnx')", False, {"PACKAGE_NOT_VERIFIED"}),
        ("pathlib.Path('package/v1.onnx').write_text('another')", True, {"BAD_ANSWER"}),
        ("pathlib.Path('package/v1.onnx').write_text('swapped')", True, {"VARIANT_CHANGED"}),
        ("pathlib.Path('package/more.txt').write_text('')", True, {"BAD_ANSWER"}),
        ("os.symlink('/etc/passwd', 'package/model.onnx')", True, {"BAD_ANSWER", "BAD_OUTPUTS"}),
    ],
)
def test_a_package_is_delivered_as_it_was_verified_or_not_at_all(
    tmp_path: Path, code: str, verified: bool, codes: set[str]
):
    planted.plant(tmp_path, *planted.variant(tmp_path, 1, "PASS"))
    task = BuildPackage(
        variant_path=str(tmp_path / "workspace" / "v1.onnx"),
        file_name="v1.onnx",
        evaluation=planted.recorded(tmp_path).opened.evaluation,
        metadata={},
    )
    content = b"swapped" if "swapped" in code else b"v1.onnx"
    digest = FileDigest(name="v1.onnx", sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    result = Packaged(files=[digest], verified=verified, verification="ran\nwell")
    place = tmp_path / "workspace" / "packages" / "p"
    started = {"variant_id": "v1", "arguments": {"output": str(place)}}
    end = end_of(tmp_path, "package_variant", task, result, f"os.mkdir('package')\n{code}", **started)
    session = planted.recorded(tmp_path)
    if codes == {"delivered"}:
        assert isinstance(end, PackageBuilt)
        assert (place / "v1.onnx").read_text() == "v1.onnx"
        assert end.package.verification == "ran well"
        assert session.variants["v1"].kept  # packaging a PASS keeps it
    else:
        assert isinstance(end, JobFailed)
        assert end.code in codes
        assert not place.exists()
        assert not session.variants["v1"].kept
    assert not list(place.parent.glob(".*"))
