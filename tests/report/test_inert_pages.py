"""The pages in a browser: whatever stands in the files, they run nothing, fetch nothing and show it as text."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from pathlib import Path

import pytest
from pages import Elements
from test_comparison_report import FULL
from test_report import answer_row, metrics_row, write_evaluation, write_lines

from browser import BROWSER, FLAGS, IF_BROWSER_IS_HERE
from video_opd.cli import main
from video_opd.report import write_comparison_report, write_report

MARKS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def attack(address: str) -> str:
    """A text that tries to leave its place in every way, and to tell `address` when it has."""
    call = f"fetch('{address}/run')"
    return (
        f"<script>{call}</script></title></style></textarea></svg><img src={address}/img onerror={call}>"
        f'" onmouseover="{call}" autofocus onfocus="{call}" x="\' onload=\'{call}\' <svg onload={call}>'
        f"<link rel=stylesheet href={address}/css><iframe src={address}/frame></iframe><meta http-equiv=refresh "
        f"content=0;url={address}/go>--><![CDATA[ {{{{ 7*7 }}}} \u202egnp.exe\u2066 \x1b[2J \x9b \u200f &lt;b&gt;"
    )


def write_hostile_pages(folder: Path, text: str) -> list[Path]:
    """A report of a run, of a comparison and of manifests, with the text wherever a file can have one."""
    run, comparison = folder / "run", folder / "comparison"
    run.mkdir(parents=True)
    comparison.mkdir()
    (run / "recipe.toml").write_text(f"# {text}\n")
    (run / "environment.json").write_text(text)
    write_lines(run / "metrics.jsonl", [metrics_row(step, seconds_by_phase={text: 1.0}) for step in (1, 2)])
    fields = dict.fromkeys(("query", "answer", "reason", "video"), text) | {"tokens": [text] * 4, "spans": []}
    write_lines(run / "answers.jsonl", [answer_row(1, text, **fields), answer_row(2, "b", query=text * 1000)])
    write_evaluation(run, "student-after", 0.4, 60, split=text, convention={text: text}, set_aside={text: text})
    (comparison / "comparison.json").write_text(json.dumps(FULL | {"name": text, "device": text, "sentences": [text]}))
    row = {"id": "a", "video": "a.mp4", "query": text, "spans": [[1.0, 2.0]], "duration": 9.0, "source": text}
    write_lines(folder / "m.jsonl", [row, row | {"id": "b", "query": "q" * 10**6}])
    picture = folder / "statistics.html"
    assert main(["data", "stats", str(folder / "m.jsonl"), "--picture", str(picture)]) == 0
    return [write_report(run), write_comparison_report(comparison), picture]


def test_no_page_holds_a_mark_or_an_element_of_a_file(tmp_path):
    for page in write_hostile_pages(tmp_path, attack("//127.0.0.1:9")):
        text = page.read_text(encoding="utf-8")
        assert not MARKS.search(text)
        assert len(text) < 400_000
        assert Elements(text).names.isdisjoint({"script", "img", "iframe", "link", "textarea"})
        assert not any(name.startswith("on") for name in Elements(text).attributes)


@IF_BROWSER_IS_HERE
def test_a_browser_runs_and_fetches_nothing(tmp_path):
    assert BROWSER is not None
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        pages = write_hostile_pages(tmp_path, attack(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        whole = tmp_path / "all.html"  # one start of the browser for the three of them
        whole.write_text("".join(f"<iframe src='{page.as_uri()}'></iframe>" for page in pages))
        flags = ["--headless", *FLAGS, "--enable-logging=stderr", "--virtual-time-budget=1500"]
        command = [BROWSER, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", whole.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert "iframe" in done.stdout, done.stderr
        assert "CONSOLE" not in done.stderr, done.stderr
        with pytest.raises(BlockingIOError):
            listener.accept()
