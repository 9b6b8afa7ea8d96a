"""`edgeopt optimize`: what it prints, how it ends, and that a person never sees a traceback."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from edgeopt.autopilot.command import Wish, opening, roots
from edgeopt.server import demo
from edgeopt.state.events import DecisionMade
from edgeopt.state.session import Session, fold
from edgeopt.state.store import Store

from ..server.test_command_line import edgeopt_says
from ..server.test_terminal import END, converse, read
from ..state import worlds
from ..tools import planted

DIGITS = Path(demo.__file__).parent
PREPROCESSING = '{"scale": 0.00392156862745098, "mean": [0.5], "std": [0.5], "layout": "NCHW"}'


def resume(folder: Path, *more: str) -> list[str]:
    """Goes on with the planted session, and tries nothing new."""
    return [
        *("optimize", "--resume", planted.SESSION, "--workspace", str(folder / "workspace"), "--budget", "0"),
        *more,
    ]


def keeping(folder: Path) -> None:
    """A session with a kept variant, packaged."""
    planted.plant(folder, *planted.variant(folder, 1, "PASS"))
    planted.append(folder, worlds.decided(planted.recorded(folder), "v1", "keep", by_person=False))
    planted.append(folder, *worlds.packaged(90, "v1"))


# What it takes


def test_the_folders_of_the_given_files_are_the_roots(tmp_path: Path):
    (tmp_path / "images").mkdir()
    files = [tmp_path / "net.onnx", tmp_path / "images", tmp_path / "other" / "calib.npz", tmp_path / "test.npz"]
    assert roots(files) == [tmp_path, tmp_path / "images", tmp_path / "other"]


def test_only_what_was_given_is_passed_on(tmp_path: Path):
    code = tmp_path / "code.py"
    code.write_text("def metric(outputs, labels): return 1.0\n")
    wish = Wish(tmp_path / "net.onnx", tmp_path / "test.npz", metric="custom", metric_code=f"{code}:metric")
    trained = opening(replace(wish, training=tmp_path / "train.npz"))
    assert trained == opening(wish) | {"training_path": str(tmp_path / "train.npz")}
    assert opening(wish) == {
        "model_path": str(tmp_path / "net.onnx"),
        "target_device": "cpu-generic",
        "evaluation": {
            "dataset_path": str(tmp_path / "test.npz"),
            "metric": "custom",
            "metric_code": f"{code}:metric",
        },
        "accuracy_tolerance": 0.02,
    }


# What it refuses


def test_what_cannot_be_begun_is_said_in_a_line(tmp_path: Path):
    model, data = tmp_path / "net.onnx", tmp_path / "test.npz"
    model.write_text("no model")
    data.write_text("no data")
    both = (model, "--data", data)
    for arguments, words in (
        ((), "--resume SESSION"),
        ((model,), "--data"),
        ((tmp_path / "none.onnx", "--data", data), "there is no"),
        ((*both, "--training", tmp_path / "none.npz"), "there is no"),
        ((*both, "--preprocessing", "{scale: 1}"), "--preprocessing"),
        ((*both, "--preprocessing", tmp_path / "none.json"), "--preprocessing"),
        ((*both, "--adapter", "none.py:function"), "FILE:FUNCTION"),
        (("--resume", planted.SESSION, "--data", data, "--latency-ms", "3"), "leave out data, latency-ms"),
    ):
        done = edgeopt_says("optimize", *arguments, "--workspace", tmp_path / "workspace")
        assert (done.returncode, words in done.stderr) == (2, True), (arguments, done.stderr)


def test_what_the_server_refuses_is_shown_as_it_says_it(tmp_path: Path):
    (tmp_path / "net.onnx").write_text("no model")
    (tmp_path / "test.npz").write_text("no data")
    given = (tmp_path / "net.onnx", "--data", tmp_path / "test.npz", "--workspace", tmp_path / "workspace")
    done = edgeopt_says("optimize", *given)
    assert done.returncode == 2
    assert "refused: BAD_FILE" in done.stdout


def test_a_looser_bar_is_not_answered_for_by_a_script(tmp_path: Path):
    given = (DIGITS / "digits_net.onnx", "--data", DIGITS / "digits_test.npz", "--preprocessing", PREPROCESSING)
    done = edgeopt_says("optimize", *given, "--tolerance", "0.2", "--workspace", tmp_path / "workspace")
    assert done.returncode == 2
    assert "refused: HUMAN_UNAVAILABLE" in done.stdout


def test_a_server_that_cannot_be_started_says_why(tmp_path: Path):
    planted.failing(tmp_path)
    done = edgeopt_says(*resume(tmp_path), EDGEOPT_POLICY=str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "The policy file" in done.stderr
    assert "the server could not go on" in done.stderr


def test_the_threads_of_a_baseline_are_the_sessions(tmp_path: Path):
    planted.failing(tmp_path)
    done = edgeopt_says(*resume(tmp_path, "--threads", "4"))
    assert (done.returncode, "measured with threads=1" in done.stderr) == (2, True), done.stderr


def test_an_unknown_session_is_said_to_be_one(tmp_path: Path):
    done = edgeopt_says("optimize", "--resume", "s_" + "f" * 32, "--workspace", tmp_path / "workspace")
    assert (done.returncode, "UNKNOWN_SESSION" in done.stderr) == (2, True), done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("place", ["models", "models/net", "models/net/deeper", "elsewhere"])
def test_nothing_is_written_where_the_original_is(tmp_path: Path, place: str):
    model = tmp_path / "models" / "net"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_text("a model that is a folder")
    (tmp_path / "elsewhere").symlink_to(model)
    (tmp_path / "test.npz").write_text("no data")
    before = contents(tmp_path)
    done = edgeopt_says(
        *("optimize", model, "--data", tmp_path / "test.npz", "--output-dir", tmp_path / place),
        *("--workspace", tmp_path / "workspace"),
    )
    assert (done.returncode, "folder of its own" in done.stderr) == (2, True), done.stderr
    assert contents(tmp_path) == before


def test_a_session_that_goes_on_does_not_write_there_either(tmp_path: Path):
    keeping(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    done = edgeopt_says(*resume(tmp_path, "--output-dir", str(tmp_path)))
    assert (done.returncode, "folder of its own" in done.stderr) == (2, True), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_an_output_folder_that_is_a_file_is_said_to_be_one(tmp_path: Path):
    keeping(tmp_path)
    (tmp_path / "out").write_text("mine")
    done = edgeopt_says(*resume(tmp_path, "--output-dir", str(tmp_path / "out")))
    assert (done.returncode, "is no folder" in done.stderr) == (2, True), done.stderr


# How it ends


def test_it_ends_with_the_table_the_picture_and_the_package(tmp_path: Path):
    keeping(tmp_path)
    done = edgeopt_says(*resume(tmp_path, "--output-dir", str(tmp_path / "out")))
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("Tradeoff Analysis", "v1 int8_static (kept)", "# v1", "edgeopt verify /workspace/p", "Host Estimate"):
        assert words in done.stdout
    assert "\x1b" not in done.stdout
    drawing = ElementTree.parse(tmp_path / "out" / "net-pareto.svg")
    assert any("v1 int8_static" in (text or "") for text in drawing.getroot().itertext())
    assert "Tradeoff Analysis" in (tmp_path / "out" / "net-tradeoff.md").read_text()
    assert "Tradeoff Analysis" in (tmp_path / "out" / "net-report.html").read_text()


def test_what_is_not_its_own_stays_and_the_run_ends_well(tmp_path: Path):
    keeping(tmp_path)
    original, out = tmp_path / "net.onnx", tmp_path / "out"
    before = original.read_bytes()
    out.mkdir()
    (out / "net-pareto.svg").symlink_to(original)
    os.link(original, out / "net-tradeoff.md")
    (out / "net-report.html").write_text("mine")
    done = edgeopt_says(*resume(tmp_path, "--output-dir", str(out)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("was not written") == 3
    assert original.read_bytes() == before
    assert (out / "net-pareto.svg").is_symlink() and (out / "net-tradeoff.md").samefile(original)
    assert (out / "net-report.html").read_text() == "mine"
    assert len(list(out.iterdir())) == 3


def test_its_own_files_are_replaced(tmp_path: Path):
    keeping(tmp_path)
    out = tmp_path / "out"
    assert edgeopt_says(*resume(tmp_path, "--output-dir", str(out))).returncode == 0
    first = contents(out)
    assert sorted(first) == ["net-pareto.svg", "net-report.html", "net-tradeoff.md"]
    for name, content in first.items():  # an older one, which a new one takes the place of
        (out / name).write_bytes(content[:120])
    assert edgeopt_says(*resume(tmp_path, "--output-dir", str(out))).returncode == 0
    assert all(len(content) > 120 for content in contents(out).values())
    assert len(contents(out)) == 3


def test_without_a_terminal_a_loss_waits_for_a_person(tmp_path: Path):
    planted.failing(tmp_path)
    done = edgeopt_says(*resume(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"edgeopt decide {planted.SESSION} --workspace {tmp_path / 'workspace'}" in done.stdout
    assert "the original stands" in done.stdout
    assert [(d.outcome, d.by_person) for d in decisions(tmp_path)] == [("revert", False)]


def decisions(folder: Path) -> list[DecisionMade]:
    return [r.event for r in planted.recorded(folder).history if isinstance(r.event, DecisionMade)]


def talk(folder: Path, *answers: str) -> tuple[int, str]:
    status, seen = converse([sys.executable, "-P", "-m", "edgeopt", *resume(folder)], *answers)
    assert "Traceback" not in seen
    return status, seen


def test_on_a_terminal_a_person_answers_with_a_reason(tmp_path: Path):
    planted.failing(tmp_path)
    status, seen = talk(tmp_path, "perhaps", "revert", "too much is lost")
    assert status == 1, seen
    assert "9.00%" in seen and "the original stands" in seen
    last = decisions(tmp_path)[-1]
    assert (last.outcome, last.by_person, last.reason) == ("revert", True, "too much is lost")


@pytest.mark.parametrize("answers", [[END], ["keep", END]])
def test_a_question_that_is_left_decides_nothing(tmp_path: Path, answers: list[str]):
    planted.failing(tmp_path)
    status, seen = talk(tmp_path, *answers)
    assert status == 1, seen
    assert "edgeopt decide" in seen
    assert not any(decision.by_person for decision in decisions(tmp_path))


# A shell lets what it starts in the background ignore interrupts, and a child inherits that.
HEEDING = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path):
    planted.failing(tmp_path)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", HEEDING, "-P", "-m", "edgeopt", *resume(tmp_path)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True) as process:
        os.close(theirs)
        try:
            seen = read(ours, until="? ")
            process.send_signal(signal.SIGINT)
            seen += read(ours)
            status = process.wait(timeout=60)
        finally:
            process.kill()
    os.close(ours)
    assert status == 130, seen
    assert "Traceback" not in seen
    assert f"edgeopt optimize --resume {planted.SESSION}" in seen.replace("\r\n", "").replace("\n", "")
    assert not any(decision.by_person for decision in decisions(tmp_path))


# From end to end


def whole(workspace: Path) -> Session:
    store = Store(workspace)
    try:
        (session,) = store.session_ids(9)
        return fold(store.load(session)[0])
    finally:
        store.close()


@pytest.mark.slow
def test_the_digits_are_optimized_to_a_verified_package(tmp_path: Path):
    command = [
        *(sys.executable, "-P", "-m", "edgeopt", "optimize", str(DIGITS / "digits_net.onnx")),
        *("--data", str(DIGITS / "digits_test.npz"), "--calibration", str(DIGITS / "digits_calibration.npz")),
        *("--preprocessing", PREPROCESSING, "--output-dir", str(tmp_path / "out")),
        *("--workspace", str(tmp_path / "workspace")),
    ]
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    session = whole(tmp_path / "workspace")
    best = session.variants[session.best]
    assert best.kept and best.passed and best.comparison and best.comparison.speedup.verdict == "faster"
    assert session.packages[session.best].verified
    assert Path(session.packages[session.best].path).parent == tmp_path / "out"
    assert session.packages[session.best].path in done.stdout
    assert not session.decided_after_report
    picture = (tmp_path / "out" / "digits_net-pareto.svg").read_text()
    assert all(f"{variant} " in picture for variant in session.variants)


@pytest.mark.slow
def test_a_training_set_is_the_sessions_and_is_readable_when_it_goes_on(tmp_path: Path):
    training = tmp_path / "train" / "set.npz"
    training.parent.mkdir()
    shutil.copyfile(DIGITS / "digits_calibration.npz", training)
    home = ("--workspace", tmp_path / "workspace", "--budget", "0")
    given = (DIGITS / "digits_net.onnx", "--data", DIGITS / "digits_test.npz", "--preprocessing", PREPROCESSING)
    done = edgeopt_says("optimize", *given, "--training", training, *home)
    assert done.returncode == 1, done.stdout + done.stderr
    session = whole(tmp_path / "workspace")
    assert session.opened.training_path == str(training)
    training.unlink()
    gone = edgeopt_says("optimize", "--resume", session.session_id, *home)
    assert (gone.returncode, f"there is no {training}" in gone.stderr) == (2, True), gone.stderr
