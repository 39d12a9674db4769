"""`--restarts N`: what is started again after a crash, what is not, and how a stop reaches the command."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from started import Started
from train.test_runs import command, final_hash, journal_length
from video_opd.cli import main, supervision
from video_opd.cli.supervision import is_crash, leave_out_flag, supervise

STEP = 'echo "{}" >> metrics.jsonl; '
CRASH = "kill -SEGV $$"


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run folder in which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.toml").touch()
    return tmp_path


def shell(run: Path, script: str, most: int = 3) -> int:
    return supervise(run, most, ["/bin/sh", "-c", f"echo started >> starts; {script}"], pause_s=0)


def starts(run: Path) -> int:
    return len((run / "starts").read_text().splitlines())


def journal(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / supervision.JOURNAL).read_text().splitlines()]


def test_it_starts_again_until_the_command_ends_well(run, capfd):
    assert shell(run, f"{STEP} echo to-stdout; [ $(wc -l < starts) = 3 ] || {CRASH}") == 0
    assert starts(run) == 3
    out, err = capfd.readouterr()
    assert out == "to-stdout\n" * 3
    said = [f"video-opd: the command ended with SIGSEGV; it is started again (restart {n} of 3)" for n in (1, 2)]
    assert err.splitlines() == said
    assert [row["ended"] for row in journal(run)] == ["SIGSEGV"] * 2


@pytest.mark.parametrize(
    ("ending", "status", "how"),
    [
        ("kill -KILL $$", 137, "SIGKILL (perhaps the machine had no memory left)"),
        ("exit 1", 1, "an error (exit status 1)"),
    ],
)
def test_it_starts_again_no_more_often_than_was_said(run, capfd, ending, status, how):
    assert shell(run, STEP + ending, most=2) == status
    assert starts(run) == 3
    assert capfd.readouterr().err.splitlines()[-1] == (
        f"video-opd: the command ended with {how}; it is not started again, because 2 restarts are the most that "
        "--restarts allows"
    )


def test_two_crashes_in_a_row_without_progress_are_enough(run):
    """The second try writes a row that the first one had written before: a step that is done again is no progress."""
    twice = f"{STEP}{STEP}{CRASH}"
    again = f"head -1 metrics.jsonl > cut; cp cut metrics.jsonl; {STEP}{CRASH}"
    assert shell(run, f"if [ $(wc -l < starts) = 1 ]; then {twice}; fi; {again}", most=9) == 128 + signal.SIGSEGV
    assert starts(run) == 3
    assert journal(run)[-1]["verdict"].endswith("because two crashes in a row came without progress")
    (run / "starts").unlink()
    assert shell(run, CRASH, most=9) == 128 + signal.SIGSEGV
    assert starts(run) == 2


def test_a_crash_with_progress_between_two_others_is_forgiven(run):
    assert shell(run, f"case $(wc -l < starts) in *2|*4) {STEP};; esac; [ $(wc -l < starts) = 5 ] || {CRASH}", 9) == 0
    assert starts(run) == 5


@pytest.mark.parametrize("status", [0, 2, 74, 141, 143])
def test_mistakes_and_stops_are_final(run, status, capfd):
    assert shell(run, f"exit {status}") == status
    assert starts(run) == 1
    assert capfd.readouterr().err == ""


def test_which_ends_are_crashes():
    assert all(is_crash(status) for status in (1, -signal.SIGKILL, -signal.SIGBUS, -signal.SIGABRT, -60))
    stops = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    assert not any(is_crash(status) for status in (0, 2, 128 + signal.SIGTERM, *(-number for number in stops)))


def test_nothing_is_written_into_a_folder_that_is_no_run(run):
    (run / "recipe.toml").unlink()
    shell(run, CRASH)
    assert not (run / supervision.JOURNAL).exists()


def in_a_process(run: Path, script: str, pause_s: float = 0.0) -> int:
    """Fork a process that supervises: signals are meant for a whole process. Returns its number."""
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)  # a test run in the background may ignore them
            os._exit(supervise(run, 3, ["/bin/sh", "-c", f"echo started >> starts; {script}"], pause_s=pause_s))
        except BaseException as stop:
            os._exit(getattr(stop, "code", 99))
    return pid


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_a_signal_is_passed_on_and_the_command_is_not_started_again(run, name):
    """The command itself asks its parent to stop, so that it is ready for the signal. It crashes on the way out."""
    pid = in_a_process(run, f'trap "{CRASH}" {name}; kill -{name} $PPID; while :; do sleep 0.01; done')
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGSEGV
    assert starts(run) == 1


KERNEL, USER = 128, 0  # SI_KERNEL and SI_USER of siginfo_t


@pytest.mark.parametrize(
    ("name", "origin", "is_passed_on"),
    [("SIGINT", KERNEL, False), ("SIGINT", USER, True), ("SIGHUP", KERNEL, True), ("SIGTERM", USER, True)],
)
def test_ctrl_c_is_not_passed_on(monkeypatch, name, origin, is_passed_on):
    """The terminal has sent it to both processes; a second one would end the command before it has saved."""
    sent, number = [], signal.Signals[name]
    monkeypatch.setattr(signal, "sigtimedwait", lambda *_: SimpleNamespace(si_signo=number, si_code=origin))
    signals = supervision._Signals()
    signals._child = SimpleNamespace(send_signal=sent.append)
    assert signals.take(0.0) == signals.asked == number
    assert sent == [number] * is_passed_on


def test_a_signal_between_two_tries_is_a_stop(run):
    pid = in_a_process(run, CRASH, pause_s=60)
    while not (run / supervision.JOURNAL).exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGTERM
    assert starts(run) == 1


def test_a_late_word_of_an_ended_command_does_not_cut_the_pause_short():
    signals = supervision._Signals()
    with signals:
        os.kill(os.getpid(), signal.SIGCHLD)
        began = time.monotonic()
        assert signals.take(0.2) is None
        assert time.monotonic() - began > 0.1
        signal.sigtimedwait({signal.SIGCHLD}, 0)


def test_a_command_is_stopped_when_its_supervisor_is_killed(run):
    pid = in_a_process(run, 'trap "touch stopped; exit 143" TERM; kill -KILL $PPID; while :; do sleep 0.01; done')
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    until = time.monotonic() + 30
    while not (run / "stopped").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_command_is_the_same_without_the_flag(tmp_path, monkeypatch):
    assert [*leave_out_flag(["train", "--restarts", "3", "r", "--restarts=2", "--a.b", "1"])] == [
        "train",
        "r",
        "--a.b",
        "1",
    ]
    asked = []
    monkeypatch.setattr(supervision, "supervise", lambda *arguments: asked.append(arguments) or 7)
    out = str(tmp_path / "run")
    assert main(["train", "tiny-opd", "--restarts", "2", "--out", out, "--training.steps", "3"]) == 7
    assert main(["compare", "compare-tiny", "--out", out, "--restarts=4"]) == 7
    assert [(folder, most, command[-5:]) for folder, most, command in asked] == [
        (tmp_path / "run", 2, ["tiny-opd", "--out", out, "--training.steps", "3"]),
        (tmp_path / "run", 4, ["video_opd", "compare", "compare-tiny", "--out", out]),
    ]


def test_where_it_makes_no_sense_it_is_refused(refused, monkeypatch):
    assert "--restart alone" in refused("train", "tiny-opd", "--restarts", "2", "--restart")
    assert "at least 1" in refused("train", "tiny-opd", "--restarts", "0")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for words in (("train", "tiny-opd"), ("compare", "compare-tiny")):
        assert "torchrun --max-restarts N" in refused(*words, "--restarts", "2")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_ends_at_the_same_weights(tmp_path):
    assert Started(command(tmp_path / "undisturbed", tmp_path / "world")).wait() == 0
    out = tmp_path / "run"
    process = Started([*command(out, tmp_path / "world"), "--restarts", "1"])
    while journal_length(out) < 3:
        assert process.poll() is None
        time.sleep(0.02)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "ended with SIGKILL" in err
    assert final_hash(out) == final_hash(tmp_path / "undisturbed")
    assert len(journal(out)) == 1
