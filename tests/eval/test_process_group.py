"""A process with a group of its own: its lines as they come, and whether anything of it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from video_opd.eval.lmms_eval.process_group import Output, group_lives, signal_group


def start(code: str, **how: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, **({"process_group": 0} | how))


def printed(code: str, seconds: float | None = None) -> list[str]:
    lines: list[str] = []
    process = start(code)
    output = Output(process, lines.append)
    try:
        output.read_while(lambda: output.is_open, seconds)
    finally:
        output.close()
        signal_group(process, signal.SIGKILL)
        process.wait()
    return lines


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("", []),
        ("print('a\\n\\nb')", ["a\n", "\n", "b\n"]),
        ("print('10%\\r20%\\r\\ndone', end='')", ["10%\n", "20%\n", "done"]),
        ("import os, time; os.write(1, b'\\xe2\\x94'); time.sleep(0.3); os.write(1, b'\\x82\\n')", ["\u2502\n"]),
        ("import os; os.write(1, b'\\xff-\\xe2\\n\\xe2')", ["\ufffd-\ufffd\n", "\ufffd"]),
        ("print('x' * 200_000)", ["x" * 200_000 + "\n"]),
    ],
)
def test_lines_are_those_that_were_printed(code, lines):
    assert printed(code) == lines


def test_what_was_begun_is_taken_when_nobody_listens_any_more():
    assert printed("import time; print('at', end='', flush=True); time.sleep(120)", seconds=1.0) == ["at"]


def test_one_that_never_stops_talking_does_not_hold_us():
    lines: list[str] = []
    process = start("import os\nwhile True: os.write(1, b'again\\n' * 10_000)")
    try:
        output = Output(process, lines.append)
        output.read_while(lambda: not lines, None)
        output.close()
        assert sum(map(len, lines)) < 2_000_000, "more than a pipe can have held"
    finally:
        signal_group(process, signal.SIGKILL)
        process.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only /proc tells zombies")
def test_a_group_lives_as_long_as_one_of_it_does_and_a_zombie_does_not():
    leader = start("import time; time.sleep(120)")
    with leader, start("input()", process_group=leader.pid, stdin=subprocess.PIPE) as other:
        os.kill(leader.pid, signal.SIGKILL)
        leader.wait()
        assert group_lives(leader), "the other does"
        other.stdin.close()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        os.killpg(leader.pid, 0)  # it is still there, as a zombie
        assert not group_lives(leader)
    assert not group_lives(leader)
    signal_group(leader, signal.SIGKILL)
