"""Makes the pictures of the README: runs the demo, opens its report in Chromium, light and dark.

python docs/screenshots.py [--report FILE]      with --report, the pictures of a page that is there already
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).parent / "pictures"
SIZE = (1000, 1490)
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars"),
)


def shoot(page: Path, picture: Path, chromium: str, *more: str) -> None:
    """The top of a page, in 128 colours, the rare ones among them: flat areas need no more."""
    with tempfile.TemporaryDirectory() as profile:
        whole = Path(profile) / "whole.png"
        options = [f"--user-data-dir={profile}", f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={whole}", *more]
        subprocess.run(
            [chromium, *QUIET, *options, page.resolve().as_uri()], check=True, capture_output=True, timeout=300
        )
        Image.open(whole).convert("RGB").quantize(
            128, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        ).save(picture, optimize=True)
    print(f"{picture} ({picture.stat().st_size / 1000:.0f} kB)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--report", type=Path)
    report = parser.parse_args().report
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("There is no Chromium here. Install it (Debian, Ubuntu: apt install chromium), then try again.")
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if report is None:
            report = Path(folder) / "report.html"
            demo = [sys.executable, "-P", "-m", "edgeopt", "demo", "--report", str(report)]
            subprocess.run(demo, check=True, stdin=subprocess.DEVNULL)
        shoot(report, PICTURES / "report-light.png", chromium)
        shoot(report, PICTURES / "report-dark.png", chromium, "--force-dark-mode")


if __name__ == "__main__":
    main()
