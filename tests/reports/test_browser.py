"""The page and the chat's frame in a real browser, where one is installed: no complaint in its console."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from edgeopt.reports.chat import frame
from edgeopt.reports.page import card, page

from .test_page import Page, eventful

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
)
# A chat, in short: answers the frame's greeting, sends it the result, and notes what it has become.
HOST = """<!DOCTYPE html><title>waiting</title><iframe id="frame" style="width:900px;height:900px"></iframe><script>
const answer = %s, source = %s, box = document.getElementById("frame");
addEventListener("message", ({data}) => {
  const say = (message) => box.contentWindow.postMessage({jsonrpc: "2.0", ...message}, "*");
  if (data.method === "ui/initialize") say({id: data.id, result: {hostContext: {theme: "dark"}}});
  if (data.method === "ui/notifications/initialized") {
    say({method: "ui/notifications/tool-input", params: {arguments: {session_id: "s_1"}}});
    say({method: "ui/notifications/tool-result", params: answer});
  }
  if (data.method === "resources/read") say({id: data.id, error: {code: -32601, message: "no"}});
  if (data.method === "ui/notifications/size-changed") {
    const inside = box.contentDocument;
    document.title = JSON.stringify({theme: inside.documentElement.dataset.theme, svg: inside.querySelectorAll("svg").length,
      text: inside.body.innerText, height: data.params.height});
  }
});
box.srcdoc = source;
</script>"""


def browsed(folder: Path, html: str) -> Page:
    """What the browser has made of the document, which it had nothing to say about."""
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    command = [
        str(CHROMIUM),
        *QUIET,
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=4000",
        "--dump-dom",
    ]
    done = subprocess.run([*command, file.as_uri()], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
    return Seen(done.stdout)


class Seen(Page):
    """As a browser writes it out: without closing slashes."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if tag in ("meta", "br", "hr"):
            self.open.pop()


def test_the_page_opens_without_a_word(tmp_path: Path):
    html = page(eventful())
    seen = browsed(tmp_path, html)
    assert len(seen.of("svg")) == len(Page(html).of("svg")) == 4
    assert "Optimization Tradeoff Analysis" in seen.text


@pytest.mark.parametrize("able", [True, False])
def test_the_frame_shows_the_card_or_the_text(tmp_path: Path, able: bool):
    answer = {"structuredContent": {"markdown": "## the table </script>"}}
    if able:
        answer["_meta"] = {"edgeopt/card": str(card(eventful()))}
    script = (json.dumps(part).replace("</", "<\\/") for part in (answer, frame()))
    seen = browsed(tmp_path, HOST % tuple(script))
    title = next(words for words in seen.words if words.startswith("{"))
    shown = json.loads(title)
    assert shown["theme"] == "dark" and shown["height"] > 0
    assert shown["svg"] == (1 if able else 0)
    assert ("v2 int8_static (kept)" if able else "## the table </script>") in shown["text"]
