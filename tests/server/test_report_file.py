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
