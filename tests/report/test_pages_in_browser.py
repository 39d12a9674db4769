"""The pages in Debian's chromium: quiet, readable, and with videos that play where a span is clicked."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pages import HOSTILE
from test_comparison_report import FULL
from test_curriculum_report import counted, write_round
from test_overlaid_runs import write_run
from test_report import answer_row, metrics_row, write_evaluation, write_lines
from test_timelines import query, videos, write_timelines

from browser import NEEDS_BROWSER, list_axe_faults, open_quiet_page, start_browser, wait_until
from video_opd.report import write_comparison_report, write_overlay_report, write_report

pytestmark = NEEDS_BROWSER
QUERY = "<img src=x onerror=alert(1)> \u202egnp.exe " + "long " * 200_000

__all__ = ["videos"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with start_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that must ask for files of this machine only."""
    with open_quiet_page(chromium, is_of_this_machine) as page:
        yield page


def is_of_this_machine(url: str) -> bool:
    found = urlsplit(url)
    return found.scheme in ("file", "data") or found.hostname == "127.0.0.1"


@pytest.fixture
def run(tmp_path: Path, videos: Path) -> Path:
    """A run with everything that a page shows, and texts that try to be more than text."""
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    (run / "recipe.toml").write_text(f'seed = 3\n[data]\nvideos = "{videos}"\n')
    (run / "environment.json").write_text('{"device": "cpu"}')
    kl = {region: {"mean": 0.1} for region in ("digits", "format", "end")}
    rows = [
        metrics_row(step, reverse_kl_before=0.5, reverse_kl_after=0.4, reverse_kl_by_region=kl) | counted(step, 9, 7, 2)
        for step in range(1, 41)
    ]
    write_lines(run / "metrics.jsonl", rows)
    write_lines(run / "answers.jsonl", [answer_row(step, HOSTILE, query=QUERY, answer=HOSTILE) for step in (1, 2, 40)])
    for name, miou, step in (("student-before", 0.3, 0), ("student-after", 0.6, 40), ("teacher", 0.9, None)):
        write_evaluation(run, name, miou, step, set_aside={HOSTILE: HOSTILE} if step == 40 else {})
    for step in (0, 20, 40):
        write_evaluation(run, f"validation-{step:06d}", 0.3 + step / 100, step, split="validation")
    write_round(run, 1, kinds={"anchor": 1, "frontier": 1})
    shutil.copy(videos / "a.mp4", videos / "<img src=x onerror=alert(1)>.mp4")
    steep = {"teacher_logprobs": [-0.1, -9.0, -4.25, 0.0]}
    write_timelines(
        run,
        query("q1", "a.mp4", query=QUERY),
        query("q2", "<img src=x onerror=alert(1)>.mp4", "hurt", tokens=query("", "")["tokens"] | steep),
        query(HOSTILE, "broken.mp4", "random"),
    )
    return run


def test_a_click_on_a_span_plays_it_there(run: Path, page: Any) -> None:
    page.goto(write_report(run).as_uri())
    for number, who in ((0, "teacher"), (1, "after")):
        card = page.locator("article:has(video)").nth(number)
        assert card.locator("video").is_hidden()
        card.get_by_label(f"play {who}, 2 to").click()
        playing = f"(() => {{ const v = [...document.querySelectorAll('video')][{number}]; "
        playing += "return !v.hidden && !v.error && v.currentTime >= 2 && v.currentTime < 5; })()"
        wait_until(page, playing)
        assert card.locator("[role=status]").inner_text().startswith(f"plays {who}, 2 to")
    card = page.locator("article:has(video)").first
    page.evaluate("document.querySelector('video').currentTime = 5")  # behind the span: it stops there
    wait_until(page, "document.querySelector('video').paused")
    card.get_by_label("play annotated, 2 to 4 seconds").focus()
    page.keyboard.press("Enter")
    wait_until(page, "document.querySelector('video').currentTime < 4.9")


def test_where_the_file_is_not_found_the_page_says_so(run: Path, page: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "deep" / "er"
    elsewhere.mkdir(parents=True)
    shutil.copy(write_report(run), elsewhere / "page.html")
    page.allowed = ("Failed to load resource: net::ERR_FILE_NOT_FOUND",)
    page.goto((elsewhere / "page.html").as_uri())
    card = page.locator("article:has(video)").first
    card.get_by_label("play teacher, 2 to 4 seconds").click()
    page.wait_for_selector("[role=status]:has-text('The file is not found from here')")
    assert card.locator("video").is_hidden()
    assert card.locator(".frames img").first.is_visible()


def test_a_page_that_is_served_plays_too(run: Path, page: Any, tmp_path: Path) -> None:
    write_report(run)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.allowed = ("Failed to load resource: the server responded with a status of 404",)  # its icon
        page.goto(f"http://127.0.0.1:{server.server_port}/run/report.html")
        page.locator("article:has(video)").first.get_by_label("play teacher, 2 to 4 seconds").click()
        wait_until(page, "document.querySelector('video').readyState >= 2 && !document.querySelector('video').error")
        server.shutdown()


def test_a_token_shows_its_log_probs_on_focus_and_under_the_pointer(run: Path, page: Any) -> None:
    page.goto(write_report(run).as_uri())
    tokens = page.locator("article .tokens").first
    third = tokens.locator("> span").nth(2)
    numbers = third.locator(".numbers")
    assert numbers.is_hidden()
    third.focus()
    assert numbers.is_visible()
    assert numbers.inner_text().startswith(
        "advantage −4.000, log-prob of the sampler −0.250, of the learner −0.250, of"
    )
    page.keyboard.press("Tab")
    assert numbers.is_hidden()
    assert tokens.locator("> span").nth(3).locator(".numbers").is_visible()
    page.evaluate("document.activeElement.blur()")
    tokens.locator("> span").nth(0).hover()
    assert tokens.locator("> span").nth(0).locator(".numbers").is_visible()


@pytest.fixture
def pages(run: Path, tmp_path: Path) -> list[Path]:
    """Of a run, of a comparison, and of several runs."""
    comparison = tmp_path / "comparison"
    comparison.mkdir()
    hostile = FULL | {"sentences": [f"{HOSTILE} {number}" for number in range(9)], "name": HOSTILE}
    (comparison / "comparison.json").write_text(json.dumps(hostile))
    runs = [write_run(tmp_path / name, seed=seed, method=method) for name, seed, method in
            (("a", 0, "opd"), ("b", 1, "opd"), ("<img src=x onerror=alert(1)>", 0, "grpo"))]  # fmt: skip
    return [write_report(run), write_comparison_report(comparison), write_overlay_report(runs, tmp_path / "runs.html")]


def test_the_pages_fit_every_width_and_a_table_that_goes_on_can_be_moved_by_keys(pages: list[Path], page: Any) -> None:
    for path in pages:
        page.goto(path.as_uri())
        for width in (1600, 900, 400):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
        table = page.locator(".scroll").first
        assert table.evaluate("table => table.scrollWidth > table.clientWidth")
        table.focus()
        page.keyboard.press("ArrowRight")
        wait_until(page, "document.activeElement.scrollLeft > 0")


def test_axe_finds_no_fault(pages: list[Path], page: Any) -> None:
    for path in pages:
        for scheme, width in (("light", 1200), ("dark", 400)):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(path.as_uri())
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert list_axe_faults(page) == [], (path, scheme)


def test_a_live_page_loads_itself_again(run: Path, page: Any, tmp_path: Path) -> None:
    live = tmp_path / "live.html"
    write_report(run, None, live, 1)
    page.goto(live.as_uri())
    assert "this page loads itself again every 1 s" in page.locator(".eyebrow").inner_text()
    write_report(run, None, live)
    wait_until(page, "!document.querySelector('.eyebrow').innerText.includes('loads itself again')")
