"""Take the pictures of docs/screens: every page at three widths, light and dark, in Debian's chromium.

    python scripts/take_screenshots.py RUN COMPARISON

RUN is the folder of a run with its videos at hand, such as `video-opd demo` leaves, and COMPARISON that of `video-opd
compare`. Nothing is written into them. The page to ask is served with the tiny models and asked about a rendered clip.
Look at each picture before you commit it.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

SCREENS = Path(__file__).resolve().parents[1] / "docs" / "screens"
HEIGHTS = {400: 1800, 900: 1500, 1600: 1300}
"""By width."""
LAST_WHOLE = """Math.max(...[...document.querySelectorAll("figure, article, .row, tr, .note, ul")]
  .map((each) => each.getBoundingClientRect().bottom).filter((bottom) => bottom < innerHeight - 24)) + 4"""
"""Where the last thing ends that is whole in the window: a picture cuts none."""
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """`video-opd serve` on a free port; gives its address."""
    words = [sys.executable, "-m", "video_opd", "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield next(found[0] for line in server.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        finally:
            server.terminate()


def ask(page: Page) -> None:
    """Ask both models about the second rendered clip."""
    page.click("#clips li:nth-child(2) button")
    page.click("#ask")
    page.wait_for_selector("#result:not([hidden]) .track", timeout=300_000)
    page.wait_for_timeout(1500)  # the pictures of the strip
    page.evaluate("scrollTo(0, 0)")


def take(browser: Browser, name: str, address: str) -> None:
    """Take the six pictures of a page."""
    for width, height in HEIGHTS.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(address)
            if name == "serve":
                ask(page)
            if name == "timelines":
                page.get_by_role("heading", name="The same queries").evaluate("heading => heading.scrollIntoView()")
            path = SCREENS / f"{name}-{width}-{scheme}.png"
            page.screenshot(path=path, clip={"x": 0, "y": 0, "width": width, "height": page.evaluate(LAST_WHOLE)})
            context.close()
            # 256 colours look the same and take a third of the room.
            Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)
            print(path, path.stat().st_size // 1024, "KB")


def main() -> None:
    """Write the pages of the two folders elsewhere, serve the third, and take them all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("comparison", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        addresses = {"serve": address}
        for name, source in (("report", given.run), ("comparison", given.comparison)):
            path = Path(folder, f"{name}.html")
            words = [sys.executable, "-m", "video_opd", "report", str(source), "--out", str(path)]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            addresses[name] = path.as_uri()
        addresses["timelines"] = addresses["report"]
        for name, where in addresses.items():
            take(browser, name, where)
        browser.close()


if __name__ == "__main__":
    main()
