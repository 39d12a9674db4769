"""The page in Debian's chromium: what is asked is shown where the answer says, plays, cancels, exports, and stays text.

Every page must end without a message on the console and without a request to another host.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import NEEDS_BROWSER, list_axe_faults, open_quiet_page, start_browser, wait_until
from video_opd.serve import job_steps

pytestmark = NEEDS_BROWSER
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with start_browser() as browser:
        yield browser


@pytest.fixture
def page(chromium, server) -> Iterator[Any]:
    def is_of_the_server(url: str) -> bool:
        return url.startswith((server.address, "blob:"))

    with open_quiet_page(chromium, is_of_the_server, base_url=server.address) as page:
        yield page


COUNT_LOOPS = """async () => {
  const player = document.getElementById("player"), request = window.requestAnimationFrame;
  const next = () => new Promise((resolve) => request(resolve));
  let num_calls = 0;
  player.currentTime = 0;
  player.playbackRate = 0.0625;
  await player.play();
  await next();
  window.requestAnimationFrame = (follow) => request((now) => (num_calls++, follow(now)));
  for (let time = 0; time < 9; time++) player.dispatchEvent(new Event("play"));
  await next();
  await next();
  const before = num_calls;
  await next();
  player.pause();
  window.requestAnimationFrame = request;
  return num_calls - before;
}"""
"""How often the page moves its playheads for one picture of the screen."""


def open_page(page: Any) -> None:
    page.goto("/")
    page.wait_for_selector("#clips li:nth-child(4) button")


def choose(page: Any, video: bytes, *queries: str, name: str = "clip.mp4") -> None:
    """Choose a video and type queries."""
    file = {"name": name, "mimeType": "video/mp4", "buffer": video}
    page.get_by_label("Choose a file, or drop one on this page").set_input_files(file)
    page.get_by_label("In words, one query a line").fill("\n".join(queries))


def ask(page: Any) -> None:
    page.click("#ask")
    page.wait_for_selector("#result:not([hidden]) .track")


def wait_for_time(page: Any, first: float, last: float) -> None:
    """Until the player is between two times."""
    now = "document.getElementById('player').currentTime"
    wait_until(page, f"{first} <= {now} && {now} <= {last}")


def test_a_span_lies_where_the_answer_says_and_plays(page, server, clip):
    open_page(page)
    choose(page, clip, "the red square", "the blue circle")
    ask(page)
    wait_until(page, "document.querySelectorAll('#strip canvas').length >= 4")
    expected = server.ask(clip, "the red square", "the blue circle").json()
    for model in expected["models"]:
        for place, answer in enumerate(model["answers"]):
            track = page.locator(f'.track[data-model="{model["model"]}"][data-query="{place}"]')
            spans, frame = track.locator(".span"), track.bounding_box()
            assert spans.count() == len(answer["spans"])
            for number, (start, end) in enumerate(answer["spans"]):
                span = spans.nth(number)
                assert (float(span.get_attribute("data-start")), float(span.get_attribute("data-end"))) == (start, end)
                box = span.bounding_box()
                assert box["x"] == pytest.approx(frame["x"] + frame["width"] * start / 12.0, abs=1)
                assert box["width"] == pytest.approx(frame["width"] * (end - start) / 12.0, abs=1)
    strip, first = page.locator("#strip").bounding_box(), page.locator(".track").first.bounding_box()
    assert (strip["x"], strip["width"]) == pytest.approx((first["x"], first["width"]), abs=1)
    assert "no span: end before start" in page.inner_text("#rows")
    assert re.search(r"First answer after \d+\.\d\d s: .* Second answer: \d+\.\d\d s more\.", page.inner_text("#times"))
    page.evaluate("document.getElementById('player').playbackRate = 0.0625")  # it gets there by no other way
    page.click('.span[data-start="2"]')
    wait_for_time(page, 2.0, 2.9)
    page.locator('.span[data-start="5"]').focus()
    page.keyboard.press("Enter")
    wait_for_time(page, 5.0, 7.4)
    page.evaluate("document.getElementById('player').playbackRate = 8")
    wait_until(page, "document.getElementById('player').paused")
    assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(7.5, abs=0.01)
    assert page.evaluate(COUNT_LOOPS) == 1


def test_a_clip_is_asked_about_with_clicks_alone_and_exported(page, clip):
    open_page(page)
    assert page.is_visible("#tiny")
    assert "rendered shapes only" in page.inner_text("#tiny")
    page.click("#clips li:nth-child(3) button")
    assert page.input_value("#queries") == "the blue circle\nthe red square"
    page.fill("#queries", "")
    page.click("#samples button >> nth=1")
    ask(page)
    found = {}
    for name in ("json", "csv", "srt", "ffmpeg"):
        with page.expect_download() as download:
            page.click(f'#exports [data-format="{name}"]')
        found[name] = Path(download.value.path()).read_text(encoding="utf-8")
        assert download.value.suggested_filename in ("spans.json", "spans.csv", "spans.srt", "cut.sh")
    assert json.loads(found["json"])["models"][0]["answers"][0]["spans"] == [[2.0, 6.0]]
    assert '"the red square",1,2.0,6.0' in found["csv"]
    assert "00:00:02,000 --> 00:00:06,000\ntiny-teacher: the red square" in found["srt"]
    assert '-i "file:$video" -ss 2.000 -to 6.000 span-m1-q1-s1.mp4' in found["ffmpeg"]


def test_cancel_ends_the_work(page, server, clip, gate):
    open_page(page)
    choose(page, clip, "the red square")
    page.click("#ask")
    assert gate.reached.wait(60)
    wait_until(page, "document.getElementById('status').textContent === 'tiny-teacher reads the video'")
    assert page.get_attribute("#status", "aria-live") == "polite"
    page.click("#cancel")
    time.sleep(0.1)
    gate.opened.set()
    wait_until(page, "document.getElementById('status').textContent === 'cancelled'")
    server.wait_until_idle()
    assert gate.num_passed == 0
    assert page.is_enabled("#ask")
    assert not page.is_visible("#result")


def test_answers_about_one_video_are_not_shown_beside_another(page, server, clip, gate):
    open_page(page)
    choose(page, clip, "the red square")
    page.click("#ask")
    assert gate.reached.wait(60)
    choose(page, clip, "the red square", name="another.mp4")
    time.sleep(0.1)
    gate.opened.set()
    wait_until(page, "document.getElementById('status').textContent === 'cancelled'")
    assert gate.num_passed == 0
    assert not page.is_visible("#result")
    ask(page)
    assert page.inner_text("#result-title").startswith("another.mp4")
    choose(page, clip, name="a third.mp4")
    assert (page.is_visible("#result"), page.inner_text("#status")) == (False, "")


def test_cancel_before_the_upload_sends_nothing(page, server, clip):
    open_page(page)
    choose(page, clip, "the red square")
    held, sent = [], []
    page.route("**/limits", lambda route: held.append(route))
    page.on("request", lambda request: sent.append(request.method))
    page.click("#ask")
    wait_until(page, "!document.getElementById('cancel').disabled")
    while not held:
        page.wait_for_timeout(20)
    page.click("#cancel")
    held[0].continue_()
    wait_until(page, "!document.getElementById('ask').disabled")
    assert page.inner_text("#status") == "cancelled"
    assert "POST" not in sent


@pytest.mark.parametrize("path", ["limits", "jobs"])
def test_an_error_of_a_proxy_is_told_in_words(page, clip, path):
    open_page(page)
    choose(page, clip, "the red square")
    page.route(f"**/{path}", lambda route: route.fulfill(status=502, content_type="text/html", body="<h1>Bad</h1>"))
    page.click("#ask")
    page.wait_for_selector("#problem p")
    assert page.inner_text("#problem").startswith("The answer with status 502 is not from this server: a proxy")
    assert page.is_enabled("#ask")
    page.allowed = ("Failed to load resource: the server responded with a status of 502",)


def test_hostile_texts_stay_text(page, clip, monkeypatch):
    write = job_steps.write_answer
    hostile = {"answer": f"{HOSTILE}</q><script>alert(2)</script>", "reason": HOSTILE}
    monkeypatch.setattr(job_steps, "write_answer", lambda *words: write(*words).model_copy(update=hostile))
    open_page(page)
    choose(page, clip, HOSTILE, "\u202egnp.exe", name=f"{HOSTILE}.mp4")
    ask(page)
    for place in ("#result-title", ".query h3 >> nth=0", ".raw >> nth=0"):
        assert HOSTILE in page.inner_text(place)
    assert page.locator("#result script, #result img, [onerror]").count() == 0
    page.set_input_files("#file", {"name": f"{HOSTILE}.mp4", "mimeType": "video/mp4", "buffer": b"<b>no video</b>"})
    page.click("#ask")
    page.wait_for_selector("#problem p")
    assert page.inner_text("#problem").startswith(f"{HOSTILE}.mp4: ")
    assert page.locator("#problem img, #problem b").count() == 0


def write_avi(path: Path) -> bytes:
    """A video that no browser plays: MPEG-4 part 2 in AVI."""
    import av
    import numpy as np

    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("mpeg4", rate=4)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(32):
            image = np.full((64, 64, 3), 8 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def test_a_file_that_the_browser_cannot_play_shows_the_servers_pictures(page, tmp_path):
    open_page(page)
    choose(page, write_avi(tmp_path / "a.avi"), "the red square", name="a.avi")
    page.wait_for_selector("#unplayable:not([hidden])")
    assert page.inner_text("#unplayable").startswith("This browser cannot play the file.")
    ask(page)
    page.wait_for_selector("#strip img >> nth=11")
    wait_until(page, "[...document.querySelectorAll('#strip img')].every((each) => each.naturalWidth > 0)")
    page.click(".span >> nth=0")
    assert "this browser cannot play the file" in page.inner_text("#status")


def test_a_token_is_asked_for_and_kept_in_the_tab(page, server, clip, monkeypatch):
    token = "a-token-of-24-characters"
    monkeypatch.setattr(server.server.served.admission, "token", token)
    page.goto("/")
    page.wait_for_selector("#token[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#problem p")
    assert page.inner_text("#problem").startswith("No token was given: ")
    choose(page, clip, "the red square")
    page.click("#ask")
    page.wait_for_selector("#token[open]")
    page.fill("#token-value", "жетон")
    page.keyboard.press("Enter")
    assert "only ASCII" in page.inner_text("#token-problem")
    assert page.evaluate("sessionStorage.length") == 0
    page.fill("#token-value", "another")
    page.keyboard.press("Enter")
    wait_until(page, "document.getElementById('token-problem').textContent.includes('does not know')")
    page.fill("#token-value", token)
    page.click("#token button")
    page.wait_for_selector("#result:not([hidden]) .track")
    page.reload()
    page.wait_for_selector("#clips li:nth-child(4) button")
    assert not page.is_visible("#token")
    monkeypatch.undo()
    page.allowed = ("Failed to load resource: the server responded with a status of 401",)


def test_what_is_missing_is_told_before_anything_is_sent(page, clip):
    open_page(page)
    for prepare, said in (
        (lambda: None, "No video is chosen: "),
        (lambda: choose(page, clip), "No query is typed: "),
        (lambda: choose(page, clip, *map(str, range(17))), "17 queries: this server takes at most 16."),
    ):
        prepare()
        page.click("#ask")
        page.wait_for_selector(f"#problem p:has-text('{said}')")


def test_it_is_readable_and_fits_every_width(page, clip):
    page.emulate_media(reduced_motion="reduce")
    open_page(page)
    choose(page, clip, "the red square", "x" * 300)
    ask(page)
    page.click(".span >> nth=0")
    for width in (1600, 900, 400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for scheme, options in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        assert list_axe_faults(page, **options) == [], scheme


def test_a_span_beyond_the_end_says_so(page):
    open_page(page)
    model = '{ model: "m", answers: [{ spans: [[8, END]], answer: "" }] }'
    shown = [
        page.evaluate(f"makeRow({{ duration: 10 }}, {model.replace('END', end)}, 1, 0)[0].innerText")
        for end in ("12", "10")
    ]
    assert ["beyond the end of the video" in text for text in shown] == [True, False]
