"""`video-opd watch`: a run is followed while it goes on, and nothing in its folder is touched."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import text_of
from rich.console import Console
from test_report import metrics_row, write_evaluation, write_lines
from test_timelines import query, write_timelines

from video_opd.cli import main
from video_opd.consoles import EscapingConsole
from video_opd.report.run import live_view, run_page
from video_opd.report.run.live_view import LivePage, describe_end, describe_silence, draw_sparkline, watch_run
from video_opd.report.run.run_follower import RunFollower


def hold(run: Path, pid: int, **changes: Any) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    holder = {"host": socket.gethostname(), "pid": pid, "boot_id": boot} | changes
    (run / ".run.lock").write_text(json.dumps(holder))


@pytest.fixture(scope="module")
def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.toml").write_text("[training]\nsteps = 40\n")
    write_lines(run / "metrics.jsonl", [metrics_row(step, seconds=float(step)) for step in (1, 2, 3)])
    hold(run, os.getpid())
    return run


def append(run: Path, *steps: int) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(metrics_row(step, seconds=float(step))) + "\n" for step in steps)


def script(*events: Callable[[], Any]) -> Callable[[float], None]:
    """In place of `sleep`: what happens between two looks."""
    rest: Iterator[Callable[[], Any]] = iter(events)
    return lambda _: next(rest)()


def make_console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return EscapingConsole(file=out, force_terminal=terminal, width=120, _environ={"TERM": "xterm"}), out


def test_only_what_is_new_is_read(run: Path) -> None:
    follower = RunFollower(run)
    assert [row.step for row in follower.read_new()] == [1, 2, 3]
    assert follower.read_new() == []
    line = json.dumps(metrics_row(4)) + "\n"
    with (run / "metrics.jsonl").open("a") as file:
        file.write(line[:20])
    assert follower.read_new() == []
    with (run / "metrics.jsonl").open("a") as file:
        file.write(f"{line[20:]}broken\n")  # the last line may be what a power cut left
    assert [row.step for row in follower.read_new()] == [4]
    assert follower.read_new() == []
    assert follower.seconds_per_step == 1.0
    write_lines(run / "new", [metrics_row(1), metrics_row(2)])
    (run / "new").replace(run / "metrics.jsonl")  # a resume drops the rows after its checkpoint
    assert [row.step for row in follower.read_new()] == [1, 2]
    assert [row.step for row in follower.rows] == [1, 2]
    write_lines(run / "new", [metrics_row(step) for step in (1, 2, 3, 4)])  # and one that is longer than what was read
    (run / "new").replace(run / "metrics.jsonl")
    assert [row.step for row in follower.read_new()] == [1, 2, 3, 4]
    (run / "metrics.jsonl").unlink()
    assert follower.read_new() == []


def test_whether_a_process_works_on_the_run(run: Path, dead: int) -> None:
    follower = RunFollower(run)
    assert follower.find_life() is True
    hold(run, dead)
    assert follower.find_life() is False
    hold(run, os.getpid(), boot_id="another life of the machine")
    assert follower.find_life() is False
    hold(run, os.getpid(), host="elsewhere")
    assert follower.find_life() is None
    (run / ".run.lock").write_text("")
    assert follower.find_life() is False, "nobody holds it, though the process that did may live on"
    for text in ("{", "[]", '{"pid": "1", "host": "x"}', '{"host": 1}'):
        (run / ".run.lock").write_text(text)
        assert follower.find_life() is None
    (run / ".run.lock").unlink()
    assert follower.find_life() is None


def test_lines_come_as_the_rows_come_and_end_with_the_run(run: Path, dead: int) -> None:
    console, out = make_console()

    def evaluate() -> None:
        write_evaluation(run, "validation-000020", 0.5, 20)
        append(run, *range(4, 21))

    def finish() -> None:
        append(run, *range(21, 41))
        write_evaluation(run, "validation-000040", 0.75, 40)
        hold(run, dead)

    ended = watch_run(run, console, sleep=script(evaluate, finish))
    said = out.getvalue()
    assert ended == "the run has finished after step 40, validation mIoU 0.750"
    assert [int(step) for step in re.findall(r"^step (\d+)", said, flags=re.M)] == [2, 3, *range(4, 41, 2)]
    assert "validation mIoU 0.500 at step 20\n" in said
    assert "step 2  mIoU of sampled answers 0.500  reverse KL 1.000  loss 0.500\n" in said


def test_a_run_whose_process_has_ended_is_waited_for_and_then_called_so(
    run: Path, dead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(run, dead)
    monkeypatch.setattr(live_view, "RESTART_S", 0.05)
    looks: list[float] = []

    def look(_: float) -> None:
        looks.append(time.monotonic())
        time.sleep(0.02)

    ended = watch_run(run, make_console()[0], sleep=look)
    goes_on = "he `video-opd train` command that began it goes on with it"
    assert ended == f"no process works on the run; its last step was 3 of 40. T{goes_on}"
    assert looks[-1] - looks[0] > 0.02
    hold(run, os.getpid(), host="elsewhere")  # of another machine nothing is known but that the run is at its end
    append(run, 40)
    assert watch_run(run, make_console()[0]).startswith("the run has finished after step 40")
    (run / "recipe.toml").write_text("[training]\nsteps = 40\n[data]\ntest = 'test.jsonl'\n")
    follower = RunFollower(run)
    follower.read_new()
    assert describe_end(follower).endswith(f"40 of 40, and the student is not evaluated yet. T{goes_on}")
    write_evaluation(run, "student-after", 0.5, 40)
    assert describe_end(follower).startswith("the run has finished after step 40")


def test_where_nothing_says_how_many_steps_there_are_nothing_is_said_of_an_end(run: Path, dead: int) -> None:
    hold(run, dead)
    (run / "recipe.toml").write_text("[training]\nlearning_rate = 0.1\n")
    follower = RunFollower(run)
    follower.read_new()
    ended = describe_end(follower)
    assert ended.startswith("no process works on the run; its last step was 3. If it is not finished, the `video-opd")


def test_a_run_that_is_silent_for_long_is_said_to_be_dead_or_busy_once(run: Path, dead: int) -> None:
    console, out = make_console()
    past = time.time() - 200
    os.utime(run / "metrics.jsonl", (past, past))

    def finish() -> None:
        append(run, 40)
        hold(run, dead)

    watch_run(run, console, sleep=script(lambda: None, finish))
    told = "no new row for 3 min 20 s; a step takes 1.0 s; its process lives: the run is evaluating, selecting"
    assert out.getvalue().count(told) == 1
    os.utime(run / "metrics.jsonl", (past, past))
    assert describe_silence(RunFollower(run)).endswith("; no process works on the run")
    hold(run, dead, host="elsewhere")
    assert describe_silence(RunFollower(run)).endswith("saving, or its process has ended")
    (run / "evaluation").mkdir(exist_ok=True)
    (run / "evaluation" / "student-after.json").write_text("{}")
    assert describe_silence(RunFollower(run)) == ""  # it has finished
    (run / "evaluation" / "student-after.json").unlink()
    os.utime(run / "metrics.jsonl", (time.time() - 50,) * 2)
    console, out = make_console()
    watch_run(run, console)
    assert "no new row" not in out.getvalue()


def test_the_page_loads_itself_again_until_the_run_ends(run: Path, dead: int) -> None:
    page = run / "live.html"
    seen: list[str] = []

    def look() -> None:
        seen.append(page.read_text())
        append(run, 4)

    def finish() -> None:
        hold(run, dead)
        append(run, 40)

    live = LivePage(run=run, path=page, every_s=7)
    watch_run(run, make_console()[0], live, sleep=script(look, finish))
    assert '<meta http-equiv="refresh" content="7">' in seen[0]
    assert "the run goes on; this page loads itself again every 7 s" in seen[0]
    assert "refresh" not in page.read_text()
    assert "40 steps so far" in text_of(page.read_text()), "the last one has the end"


def test_a_page_is_not_written_more_often_than_its_writing_allows(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], []
    monkeypatch.setattr(live_view.time, "monotonic", lambda: clock[0])

    def write(*_: object, **__: object) -> None:
        written.append(clock[0])
        clock[0] += 3.0  # a long run

    monkeypatch.setattr(live_view, "write_report", write)
    page = LivePage(run=run, path=run / "live.html", every_s=10)
    for second in range(100):
        clock[0] = max(clock[0], float(second))
        page.write_if_due()
    assert written == [0.0, 33.0, 66.0, 99.0]


def test_ctrl_c_ends_the_watch_in_one_line(run: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(live_view.time, "sleep", interrupt)
    monkeypatch.setattr(live_view, "watch_run", lambda *given: watch_run(*given, sleep=interrupt))
    monkeypatch.setattr(run_page, "show_videos", lambda *_: pytest.fail("videos are decoded after Ctrl-C"))
    monkeypatch.setattr(LivePage, "write_if_due", lambda _: None)
    (run / "evaluation").mkdir()
    write_timelines(run, query("q1", "a.mp4"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["watch", str(run), "--page"]) == 0
    captured = capsys.readouterr()
    assert f"{run}: no longer watching; the run is not touched.\n{run}/live.html\n" in captured.out
    assert captured.err == ""
    assert "refresh" not in (run / "live.html").read_text()
    assert "No frames: the watch was stopped before they were looked at." in (run / "live.html").read_text()
    (run / "live.html").unlink()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_terminal_shows_a_few_lines_that_change(run: Path, dead: int) -> None:
    hold(run, dead)
    append(run, *range(4, 41))
    write_evaluation(run, "validation-000040", 0.75, 40)
    console, out = make_console(terminal=True)
    watch_run(run, console)
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "step 40 of 40, 1.0 s a step" in said
    assert re.search(r"reverse KL +0\.050 +█▄", said)
    assert re.search(r"validation mIoU +0\.750 +at step 40", said)
    assert draw_sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert draw_sparkline([2.0] * 3) == "▁▁▁"
    assert len(draw_sparkline([float(x) for x in range(1000)])) == 40


def test_what_cannot_be_watched_is_refused(run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "is not the folder of a run" in refused("watch", tmp_path)
    (tmp_path / "mine.html").write_text("my page")
    assert "is not a page of this program" in refused("watch", run, "--out", tmp_path / "mine.html")
    assert (tmp_path / "mine.html").read_text() == "my page"
