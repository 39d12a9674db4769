"""Losing the log never loses work: what stdout or stderr does not take is dropped, and the work goes on."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from tqdm import tqdm
from transformers.utils import logging as transformers_logging

from video_opd.cli import main
from video_opd.eval.progress_bar import say
from video_opd.output_streams import LostProgress, TolerantStream, judge_results, tolerate_lost_output

FAILURES = [OSError(errno.ENOSPC, "No space left on device"), BrokenPipeError(errno.EPIPE, "Broken pipe"),
            OSError(errno.EIO, "Input/output error")]  # fmt: skip
"""A full disk, a reader that has left, a terminal that is gone."""


class Failing(io.StringIO):
    """Takes `lines_before` writes, then fails."""

    def __init__(self, failure: OSError, lines_before: int = 0, *, is_terminal: bool = False) -> None:
        super().__init__()
        self.failure, self.left, self.is_terminal, self.tries = failure, lines_before, is_terminal, 0

    def isatty(self) -> bool:
        return self.is_terminal

    def write(self, text: str) -> int:
        self.tries += 1
        if self.left <= 0:
            raise self.failure
        self.left -= 1
        return super().write(text)

    def flush(self) -> None:
        if self.left <= 0:
            raise self.failure


def metrics_command(world: Path, folder: Path) -> list[str]:
    predictions = folder / "predictions.jsonl"
    id = json.loads((world / "test.jsonl").read_text().splitlines()[0])["id"]
    predictions.write_text(json.dumps({"id": id, "answer": "1 - 2 seconds"}) + "\n")
    return ["metrics", str(predictions), "--ground-truth", str(world / "test.jsonl")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.strerror)
@pytest.mark.parametrize("is_terminal", [False, True])
def test_whoever_writes_goes_on(failure, is_terminal, monkeypatch):
    """The bars and lines of rich, of transformers and of tqdm, logging, and print."""
    stream = Failing(failure, is_terminal=is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    log = logging.getLogger("video_opd.somewhere")
    with tolerate_lost_output():
        console = Console(stderr=True)
        say(console, "a line")
        with Progress(console=console) as bar:
            bar.advance(bar.add_task("a bar", total=2))
        for _ in tqdm(range(2)):
            pass
        for _ in transformers_logging.tqdm(range(2)):
            pass
        handler = logging.StreamHandler()
        log.addHandler(handler)
        log.warning("a warning")
        log.removeHandler(handler)
        print("a sentence", file=sys.stderr, flush=True)
        sys.stderr.writelines(["one", "two"])
        assert sys.stderr.isatty() == is_terminal
        lost = LostProgress()
        assert lost.tell_once() == {"progress_lost": f"lines on stderr could not be written: {failure.strerror}"}
        assert lost.tell_once() == {}, "it is said once"
        assert LostProgress().tell_once(), "and in the journal of the next run again"
    assert stream.tries > 8
    assert sys.stderr is stream


def test_a_failure_that_is_no_failure_of_the_output_is_not_hidden():
    stream = TolerantStream(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    with pytest.raises(UnicodeEncodeError):
        stream.write("é")
    stream.close()
    assert stream.write("no more") == 7
    assert "closed" in stream.describe_failure()


def test_blocks_stand_in_each_other_and_nothing_is_lost_where_all_is_written(capsys):
    before = sys.stdout
    with tolerate_lost_output():
        outer = sys.stdout
        with tolerate_lost_output():
            assert sys.stdout is outer
            print("out")
            assert LostProgress().tell_once() == {}
            assert [judge_results(status) for status in (0, 1, 2, 143)] == [0, 1, 2, 143]
    assert sys.stdout is before
    assert capsys.readouterr().out == "out\n"


@pytest.mark.parametrize("lines_before", [0, 1])
@pytest.mark.parametrize("is_json", [False, True])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.strerror)
def test_results_that_cannot_be_written_have_a_status_of_their_own(
    failure, is_json, lines_before, world, tmp_path, capsys, monkeypatch, sentence
):
    monkeypatch.setattr(sys, "stdout", Failing(failure, lines_before))
    status = main([*metrics_command(world, tmp_path), *["--json"] * is_json])
    *_, last = capsys.readouterr().err.splitlines()
    if isinstance(failure, BrokenPipeError):
        assert status == 141
        assert "Broken pipe" not in last, "as other programs, it ends in silence"
    else:
        assert status == 74
        assert sentence.fullmatch(last)
        assert failure.strerror in last


def test_help_that_cannot_be_written(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Failing(FAILURES[0]))
    assert main(["train", "--help"]) == 74
    assert "No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdout", Failing(FAILURES[1]))
    assert main(["--version"]) == 141


def test_a_mistake_keeps_its_status_where_nothing_can_be_said(tmp_path, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Failing(FAILURES[0]))
    assert main(["metrics", str(tmp_path / "absent.jsonl"), "--ground-truth", str(tmp_path / "absent.jsonl")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(("failure", "is_terminal"), [(FAILURES[1], False), (FAILURES[2], True)])
def test_a_run_ends_without_its_log_and_says_so_once_in_its_journal(
    failure, is_terminal, recipe_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stderr", Failing(failure, lines_before=1, is_terminal=is_terminal))
    out = tmp_path / "run"
    assert main(["train", str(recipe_file), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    told = [row["progress_lost"] for row in rows if "progress_lost" in row]
    assert told == [f"lines on stderr could not be written: {failure.strerror}"]
    assert (out / "checkpoints" / "step-000002" / "COMPLETE.json").exists()
    assert (out / "report.html").exists()


def test_a_program_without_its_streams(world, tmp_path):
    """Started with `>&- 2>&-`: nothing else gets their numbers, and the status is that of the work."""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}

    def start(more: str, *words: str) -> subprocess.CompletedProcess[str]:
        line = f'exec "$@" {more}'
        command = ["sh", "-c", line, "sh", sys.executable, "-m", "video_opd", *words]
        return subprocess.run(command, env=buffered, capture_output=True, text=True, timeout=60)

    command = metrics_command(world, tmp_path)
    closed = start("<&- >&- 2>&-", *command)
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, "", "")
    full = start(">/dev/full", *command)
    assert full.returncode == 74
    assert full.stderr.count("No space left on device") == 1
    assert "Traceback" not in full.stderr
    left = start("2>/dev/full", *command)
    assert left.returncode == 0, "Python itself fails at its end where stderr does"
    assert "4 queries" in left.stdout
