"""What goes wrong with lmms-eval is one sentence, and nothing of it goes on running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.evaluation.lmms_process import PYTHON_VARIABLE, last_error

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
        ("nested nan", r"metric miou of task a is \{'short': inf\}"),
        ("other command", r"is of another command"),
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
        (str(tmp_path / "nowhere"), "there is no program of that name"),
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
        ("--tasks a --include-path nowhere", "--include-path nowhere: there is no such folder"),
        ("--tasks a --model-args fps", "'fps' is not key=value"),
        ("--tasks a --model-args pretrained=x", "MODEL says which weights are loaded"),
        ("--tasks a --template tiny", "--template with lmms-eval"),
        ("--tasks a --videos x", "--videos with lmms-eval"),
        ("--tasks a --precision float32", "loads? every model in bfloat16|load every model"),
        ("--tasks a --limit 0", "'0' is not a whole number of at least 1"),
        ("--tasks a --write-only --read-only", "not allowed with"),
        ("--tasks a --out {tmp}/a,b", "cannot be said to lmms-eval"),
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
        (["evaluate", "m", "test.jsonl", "--videos", ".", "--tasks", "a"], "--tasks: it is meant for lmms-eval"),
        (["evaluate", "m", "--read-only"], "--read-only: it is meant for lmms-eval"),
        (["evaluate", "m", "test.jsonl", "--with", "lmms-eval", "--tasks", "a"], "MANIFEST with lmms-eval"),
    ):
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        sentence = capsys.readouterr().err.strip()
        assert message in sentence
        assert SENTENCE.fullmatch(sentence), sentence


def test_it_is_ended_when_its_time_is_up(lmms_refused, tmp_path):
    assert "took longer than 4 s and was ended" in lmms_refused("--tasks", "a", "--timeout", 4, told="sleep")
    assert not running(int((tmp_path / "out" / "lmms-eval.pid").read_text()))


def running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(("number", "status", "told"), [(signal.SIGINT, 130, "sleep"), (signal.SIGTERM, 143, "sleep")])
def test_it_is_ended_when_we_are(lmms_python, number, status, told, tmp_path):
    command = [sys.executable, "-m", "video_opd.cli", "evaluate", "tiny-student", "--with", "lmms-eval", "--tasks", "a"]
    command += ["--out", str(tmp_path / "out"), "--lmms-python", lmms_python]
    file = tmp_path / "out" / "lmms-eval.pid"
    with subprocess.Popen(
        command,
        env={**os.environ, "FAKE_LMMS": "sleep"},
        stderr=subprocess.PIPE,
        text=True,
        # What runs in the background of a shell is born deaf to Ctrl-C, and so would this be.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            for _ in range(600):
                if file.exists() and file.read_text():
                    break
                time.sleep(0.05)
            child = int(file.read_text())
            assert running(child)
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == status
    assert not running(child)
    assert "Traceback" not in err


def test_one_that_does_not_listen_is_ended_all_the_same(lmms_refused, tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.evaluation.lmms_process._GRACE_S", 0.5)
    began = time.monotonic()
    assert "was ended" in lmms_refused("--tasks", "a", "--timeout", 4, told="stubborn")
    assert time.monotonic() - began < 60, "it was waited for"
    assert not running(int((tmp_path / "out" / "lmms-eval.pid").read_text()))


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
    assert last_error(log) == error
