"""Every signal that asks for a stop does what SIGTERM does: the state is saved, and the exit status is 128 + n."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

import video_opd.stop_signals
from train.test_runs import NOTHING_TRAINED, short_recipe
from video_opd.cli import main
from video_opd.ranks import Ranks
from video_opd.stop_signals import ASKED, WARNED, StopNote
from video_opd.train import loop
from video_opd.train.interruption import Interrupted
from video_opd.train.run import run_recipe


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The handlers as they were; SIGHUP, SIGUSR1 and SIGUSR2 begin as in a program that a shell starts."""
    before = {number: signal.getsignal(number) for number in (*ASKED, *WARNED)}
    for number in WARNED:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.fixture
def run_with_signals(world, tmp_path, monkeypatch):
    """A run without training that is sent signals in its second step."""

    def run(*numbers: int) -> None:
        def take_step(*_, step, **__):
            if step == 1:
                send(*numbers)
            return NOTHING_TRAINED

        monkeypatch.setattr(loop, "take_step", take_step)
        monkeypatch.setattr(loop, "_evaluate", lambda *_: 0.0)
        run_recipe(short_recipe(world, **{"schedule.checkpoint_every": "6"}), tmp_path / "run")

    return run


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGHUP, signal.SIGHUP, signal.SIGHUP),  # of the terminal, of the shell
        (signal.SIGUSR1, signal.SIGTERM),  # a scheduler that warns, then means it
        (signal.SIGUSR2,),
        (signal.SIGTERM, signal.SIGHUP),
    ],
    ids=lambda numbers: "-".join(number.name for number in numbers),
)
def test_a_run_finishes_its_step_and_saves(run_with_signals, numbers, tmp_path):
    with pytest.raises(Interrupted, match=f"stopped by {numbers[0].name} after step 2; the state is saved") as stopped:
        run_with_signals(*numbers)
    assert stopped.value.exit_code == 128 + numbers[0]
    saved = [folder.name for folder in (tmp_path / "run" / "checkpoints").iterdir()]
    assert saved == ["step-000002"]
    assert [signal.getsignal(number) for number in WARNED] == [signal.SIG_DFL] * 3, "the handlers are restored"


def test_nohup_keeps_its_word(run_with_signals, tmp_path):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    run_with_signals(signal.SIGHUP)
    assert (tmp_path / "run" / "checkpoints" / "step-000006").exists()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_whoever_asks_twice_is_not_kept_waiting(first, second, monkeypatch):
    ended = []
    monkeypatch.setattr(video_opd.stop_signals.os, "_exit", ended.append)
    note, now = StopNote(), [0.0]
    monkeypatch.setattr(video_opd.stop_signals.time, "monotonic", lambda: now[0])
    # The scheduler's signal comes to this process, and once more from the parent that passes it on.
    for number in (signal.SIGUSR1, signal.SIGHUP, *[signal.Signals[first]] * 2, signal.SIGUSR1):
        note.take(number, None)
    assert ended == []
    now[0] = 1.5
    note.take(signal.SIGUSR1, None)
    assert ended == []
    note.take(signal.Signals[second], None)
    assert ended == [128 + signal.Signals[second]]
    assert note.number == signal.SIGUSR1, "the first one decides the exit status"


@pytest.mark.parametrize("number", [signal.SIGTERM, *WARNED])
def test_a_process_that_serves_the_first_one_remembers_it(number):
    ranks = Ranks(rank=1, size=2)
    with ranks.heeding_signals():
        send(number)
        assert ranks.stop_note.number == number
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGTERM, *WARNED])
def test_outside_of_a_run_a_command_ends_with_a_sentence(number, tmp_path, monkeypatch, capsys):
    cleaned = []

    def work(*_):
        try:
            send(number)
        finally:
            send(number)  # the second one does not stop the clean-up
            cleaned.append(True)

    monkeypatch.setattr("video_opd.report.write_report", work)
    assert main(["report", str(tmp_path)]) == 128 + number
    assert cleaned
    how = "terminated" if number == signal.SIGTERM else f"stopped by {number.name}"
    said = f"video-opd: {how}; train, compare, score and evaluate continue from where they stopped\n"
    assert capsys.readouterr().err == said


def test_a_command_under_nohup_goes_on(tmp_path, monkeypatch, capsys):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr("video_opd.report.write_report", lambda *_: send(signal.SIGHUP) or tmp_path)
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}\n"
