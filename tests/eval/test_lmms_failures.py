"""What goes wrong with lmms-eval is one sentence, and nothing of it goes on running."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.errors import ConfigurationError, EngineError
from video_opd.eval.lmms_eval.lmms_process import PYTHON_VARIABLE, find_last_error, run

SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("status", r"ended with exit status 1: ImportError: no decord\. Correct .* is in .*/log\.txt\.$"),
        ("error", r"wrote no results: Tasks not found: x\. Correct"),
        ("no hub", r"LocalEntryNotFoundError>\]\. Run it once where there is a network"),
        ("no results", r"wrote no results: sys\.path"),
        ("killed", r"ended by SIGKILL: .*ran out of memory"),
        ("truncated", r"_results\.json is not a file of results: it is cut off"),
        ("list", r"is not a file of results: it holds a list"),
        ("no scores", r"has no scores"),
        ("nan", r"metric miou of task a is nan"),
        ("nested nan", r"metric miou/by length/short of task a is inf"),
        ("text nan", r"metric miou of task a is nan"),
        ("other command", r"belongs to another command"),
        ("short samples", r"has 1 of 2 samples"),
        ("cut samples", r"_samples_a\.jsonl, line 2: it is not a sample"),
    ],
)
def test_a_failure_of_lmms_eval_is_one_sentence(lmms_refused, told, message, tmp_path):
    sentence = lmms_refused("--tasks", "a", told=told)
    assert re.search(message, sentence), sentence
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_environment_that_is_none(
    make_lmms_environment, lmms_refused, lmms_evaluate, lmms_python, tmp_path, monkeypatch
):
    commands = "`python3.11 -m venv lmms-env` and `lmms-env/bin/pip install lmms-eval==0.7.3 decord`"
    bare = make_lmms_environment(tmp_path / "bare", with_lmms_eval=False)
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 'SyntaxError: no Python at all' >&2; exit 3\n")
    other.chmod(0o755)
    for python, message in (
        (None, "none is named"),
        (str(tmp_path / "nowhere"), "no program has that name"),
        (bare, "lmms_eval is not installed in its environment"),
        (str(other), "SyntaxError: no Python at all"),
    ):
        sentence = lmms_refused("--tasks", "a", python=python)
        assert message in sentence
        assert commands in sentence
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv(PYTHON_VARIABLE, lmms_python)
    assert lmms_evaluate("--tasks", "a", python=None)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "has no --tasks"),
        ("--tasks a --include-path nowhere", "--include-path nowhere: the folder does not exist"),
        ("--tasks a --model-args fps", "'fps' does not have the form key=value"),
        ("--tasks a --model-args pretrained=x", "MODEL says which weights are loaded"),
        ("--tasks a --template tiny", "--template with lmms-eval"),
        ("--tasks a --videos x", "--videos with lmms-eval"),
        ("--tasks a --precision float32", "loads? every model in bfloat16|load every model"),
        ("--tasks a --limit 0", "'0' is not a whole number of at least 1"),
        ("--tasks a --write-only --read-only", "not allowed with"),
        ("--tasks a --out {tmp}/a,b", "cannot be passed to lmms-eval"),
        ("--tasks a --out {tmp}/file", "cannot be written: File exists"),
        ("--tasks a --out {tmp}/thesis", "holds something else"),
        ("--read-only --out {tmp}/thesis", "command.json: No such file"),
        ("--read-only --out {tmp}/other", "is not a command of"),
    ],
)
def test_an_evaluation_that_makes_no_sense(lmms_refused, words, message, tmp_path):
    (tmp_path / "file").touch()
    for name, file in (("thesis", "chapter1.tex"), ("other", "command.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text('{"command": []}')
    assert re.search(message, lmms_refused(*words.replace("{tmp}", str(tmp_path)).split()))
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == '{"command": []}'


def test_a_manifest_is_for_our_own_evaluation(capsys, tmp_path):
    for words, message in (
        (["evaluate", "m"], "without MANIFEST"),
        (["evaluate", "m", "test.jsonl"], "without --videos"),
        (["evaluate", "m", "test.jsonl", "--videos", ".", "--tasks", "a"], "--tasks: this option is for lmms-eval"),
        (["evaluate", "m", "--read-only"], "--read-only: this option is for lmms-eval"),
        (["evaluate", "m", "test.jsonl", "--with", "lmms-eval", "--tasks", "a"], "MANIFEST with lmms-eval"),
    ):
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        sentence = capsys.readouterr().err.strip()
        assert message in sentence
        assert SENTENCE.fullmatch(sentence), sentence


def test_it_is_ended_when_its_time_is_up(lmms_refused, tmp_path):
    assert "took longer than 4 s and was ended" in lmms_refused("--tasks", "a", "--timeout", 4, told="sleep")
    assert has_ended(int((tmp_path / "out" / "lmms-eval.pid").read_text()))


def running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object]) -> None:
    """At most half a minute; what follows shows whether it came."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)


def has_ended(pid: int) -> bool:
    """A signal that was sent takes a moment: the pipe is closed before the process is gone."""
    wait_for(lambda: not running(pid))
    return not running(pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(
    ("number", "times", "status", "told"),
    [(signal.SIGINT, 1, 130, "sleep"), (signal.SIGTERM, 1, 143, "sleep"), (signal.SIGINT, 2, 130, "stubborn child")],
)
def test_it_is_ended_when_we_are(lmms_python, number, times, status, told, tmp_path):
    """Where a worker does not listen, a second Ctrl-C ends it at once."""
    command = [sys.executable, "-m", "video_opd.cli", "evaluate", "tiny-student", "--with", "lmms-eval", "--tasks", "a"]
    command += ["--out", str(tmp_path / "out"), "--lmms-python", lmms_python]
    file = tmp_path / "out" / "lmms-eval.pid"
    with subprocess.Popen(
        command,
        env={**os.environ, "FAKE_LMMS": told},
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell is born deaf to Ctrl-C, and so would this be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            wait_for(lambda: file.exists() and file.read_text())
            started = [int(path.read_text()) for path in file.parent.glob("*.pid")]
            assert all(running(pid) for pid in started)
            for _ in range(times):
                process.send_signal(number)
                wait_for(lambda: not running(int(file.read_text())))
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == status
    wait_for(lambda: not any(running(pid) for pid in started))
    assert not [pid for pid in started if running(pid)]
    assert "Traceback" not in err


@pytest.mark.parametrize("told", ["stubborn", "stubborn child"])
def test_one_that_does_not_listen_is_ended_all_the_same(lmms_refused, told, tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.eval.lmms_eval.lmms_process._GRACE_S", 0.5)
    began = time.monotonic()
    assert "was ended" in lmms_refused("--tasks", "a", "--timeout", 4, told=told)
    assert time.monotonic() - began < 60, "it was waited for"
    assert all(has_ended(int(file.read_text())) for file in (tmp_path / "out").glob("*.pid"))


@pytest.mark.parametrize(("words", "told"), [((), "child"), (("--timeout", 100), "child")])
def test_what_it_leaves_running_is_ended_and_not_waited_for(lmms_evaluate, words, told, tmp_path, monkeypatch, caplog):
    """A worker that holds its output hides that it has come to its end."""
    monkeypatch.setattr("video_opd.eval.lmms_eval.lmms_process._LINGER_S", 0.5)
    began = time.monotonic()
    status, printed, _ = lmms_evaluate("--tasks", "a", "--json", *words, told=told)
    assert time.monotonic() - began < 60, "it was waited for"
    assert (status, json.loads(printed)["scores"]["a"]["miou"]["value"]) == (0, 0.25)
    assert has_ended(int((tmp_path / "out" / "lmms-eval.child.pid").read_text()))
    assert [record.message for record in caplog.records] == [
        "lmms-eval ended and left processes running; they were stopped"
    ]


def test_the_workers_of_one_that_was_killed_are_ended(lmms_refused, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("video_opd.eval.lmms_eval.lmms_process._LINGER_S", 0.5)
    assert "ended by SIGKILL" in lmms_refused("--tasks", "a", told="killed with a child")
    assert has_ended(int((tmp_path / "out" / "lmms-eval.child.pid").read_text()))
    assert "left processes running" in caplog.text


def test_what_has_gone_its_own_way_is_not_listened_to_for_ever(lmms_evaluate, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("video_opd.eval.lmms_eval.lmms_process._LINGER_S", 0.5)
    began = time.monotonic()
    try:
        assert lmms_evaluate("--tasks", "a", told="child of its own session")[0] == 0
        assert time.monotonic() - began < 60, "it was waited for"
        assert "still holds its output" in caplog.text
    finally:
        os.kill(int((tmp_path / "out" / "lmms-eval.child.pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("", []),
        ("print('a\\n\\nb')", ["a", "", "b"]),
        ("print('10%\\r20%\\r\\ndone', end='')", ["10%", "20%", "done"]),
        ("import os, time; os.write(1, b'\\xe2\\x94'); time.sleep(0.3); os.write(1, b'\\x82\\n')", ["\u2502"]),
        ("import os; os.write(1, b'\\xff-\\xe2\\n\\xe2')", ["\ufffd-\ufffd", "\ufffd"]),
        ("print('x' * 200_000)", ["x" * 200_000]),
    ],
)
def test_lines_are_those_that_were_printed(code, lines, tmp_path):
    taken: list[str] = []
    run([sys.executable, "-c", code], tmp_path / "log.txt", timeout_s=60, on_line=taken.append)
    assert taken == lines
    assert (tmp_path / "log.txt").read_text().splitlines() == lines


def test_what_was_begun_is_taken_when_its_time_is_up(tmp_path):
    taken: list[str] = []
    code = "import time; print('at', end='', flush=True); time.sleep(120)"
    with pytest.raises(EngineError, match="took longer than 1 s"):
        run([sys.executable, "-c", code], tmp_path / "log.txt", timeout_s=1.0, on_line=taken.append)
    assert taken == ["at"]


def test_one_that_never_stops_talking_is_ended_when_its_time_is_up(tmp_path):
    code = "import os\nwhile True: os.write(1, b'again\\n')"
    with pytest.raises(EngineError, match="took longer than 1 s"):
        run([sys.executable, "-c", code], tmp_path / "log.txt", timeout_s=1.0, on_line=lambda _: None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk without space is made of /dev/full")
def test_a_log_for_which_there_is_no_space_is_told(tmp_path):
    (tmp_path / "log.txt").symlink_to("/dev/full")
    code = "while True: print('again')"
    with pytest.raises(ConfigurationError, match=r"log\.txt cannot be written: No space left"):
        run([sys.executable, "-c", code], tmp_path / "log.txt", timeout_s=60, on_line=lambda _: None)


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("", ""),
        ("all is well\n\n", "all is well"),
        ("a\nValueError: x\n  at y\ndone", "ValueError: x"),
        ("KeyError: old\ntorch.OutOfMemoryError: CUDA out of memory\n", "torch.OutOfMemoryError: CUDA out of memory"),
        ("\x1b[31mprog: error: unrecognized arguments: --x\x1b[0m", "error: unrecognized arguments: --x"),
        ("x" * 1000, "…"),
    ],
)
def test_the_last_error_of_a_log(log, error):
    assert find_last_error(log) == error
