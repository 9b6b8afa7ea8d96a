"""Models that are folders: which files they are made of, and what a model's folder must not hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeopt.engine.models import folders
from edgeopt.engine.models.folders import members
from edgeopt.engine.problems import JobProblem


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "roots" / "net"
    (folder / "variables").mkdir(parents=True)
    (folder / "empty").mkdir()
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data"):
        (folder / name).write_text(name)
    return folder


def test_all_files_are_its_own_in_the_order_of_their_names(model: Path):
    names = [path.relative_to(model).as_posix() for path in members(model, [])]
    assert names == ["saved_model.pb", "variables/variables.data", "variables/variables.index"]


def test_a_link_counts_where_it_lies(model: Path, tmp_path: Path):
    blob = tmp_path / "roots" / "blob"
    blob.write_text("graph")
    (model / "saved_model.pb").unlink()
    (model / "saved_model.pb").symlink_to(blob)
    assert members(model, [tmp_path / "roots"])[0] == model / "saved_model.pb"
    assert members(model)[0] == model / "saved_model.pb"
    with pytest.raises(JobProblem, match="--allow-root") as found:
        members(model, [])
    assert found.value.problem.code == "PATH_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "more").symlink_to(folder / "variables"), "linked folder"),
        (lambda folder: os.mkfifo(folder / "pipe"), "no regular file"),
        (lambda folder: (folder / "gone").symlink_to(folder / "nowhere"), "no regular file"),
        (lambda folder: (folder / "a\nb").write_text(""), "rename"),
        (lambda folder: [(folder / str(n)).touch() for n in range(6)], "over 8 files"),
    ],
)
def test_what_no_models_folder_holds_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object], words: str
):
    monkeypatch.setattr(folders, "MOST_FILES", 8)
    spoil(model)
    with pytest.raises(JobProblem, match=words) as found:
        members(model, [])
    assert found.value.problem.code == "BAD_FILE"
