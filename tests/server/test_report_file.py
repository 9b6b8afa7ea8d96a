"""`edgeopt report --html`: the page as a file, or why there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeopt.server.terminal import print_report
from edgeopt.server.workplace import open_workshop

from ..reports.test_page import Page
from ..tools import planted


def test_the_page_is_written_where_it_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    planted.failing(tmp_path)
    file = tmp_path / "new folder" / "report.html"
    print_report(open_workshop(tmp_path / "workspace", None), planted.SESSION, file)
    seen = Page(file.read_text(encoding="utf-8"))
    assert "v1 int8_static (FAIL)" in seen.text and "waits for a person" in seen.text
    assert str(file) in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir()] == ["report.html"]


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    planted.failing(tmp_path)
    with pytest.raises(SystemExit, match="--html"):
        print_report(
            open_workshop(tmp_path / "workspace", None), planted.SESSION, tmp_path / "workspace" / "v1.onnx" / "r.html"
        )


@pytest.mark.parametrize("place", ["net.onnx", "link.html", "folder"])
def test_what_is_no_page_is_not_replaced(tmp_path: Path, place: str):
    planted.failing(tmp_path)
    original = tmp_path / "net.onnx"
    before = original.read_bytes()
    (tmp_path / "link.html").symlink_to(original)
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemExit, match="Name another file"):
        print_report(open_workshop(tmp_path / "workspace", None), planted.SESSION, tmp_path / place)
    assert original.read_bytes() == before
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "folder").is_dir()


def test_a_page_is_replaced_and_its_neighbours_stay(tmp_path: Path):
    planted.failing(tmp_path)
    file, neighbour = tmp_path / "report.html", tmp_path / "report.part"
    neighbour.write_text("mine")
    for _ in range(2):
        print_report(open_workshop(tmp_path / "workspace", None), planted.SESSION, file)
    assert neighbour.read_text() == "mine"
