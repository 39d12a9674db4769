"""What a killed process left under a provisional name goes; what a process holds, and what is of others, stays."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from folders import contents
from video_opd.files.durable import write_durably
from video_opd.files.outputs import create, replace_file
from video_opd.files.unfinished import hold, open_scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def kill_within(work: Callable[[Callable[[], None]], None]) -> None:
    """Fork a process that is killed where it calls what it is given."""
    pid = os.fork()
    if pid == 0:
        try:
            work(lambda: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def replace_and_die(path: Path) -> None:
    def work(die: Callable[[], None]) -> None:
        with replace_file(path) as unfinished:
            unfinished.write_text("half")
            die()

    kill_within(work)


def test_the_next_process_that_writes_the_file_removes_what_was_left(tmp_path):
    path, other = tmp_path / "a.json", tmp_path / "a.json.settings.json"
    for _ in range(2):
        replace_and_die(path)
    replace_and_die(other)
    assert len(list(tmp_path.glob(".a.json*"))) == 2, "the second one took the place of the first"
    write_durably(path, b"whole")
    assert path.read_text() == "whole"
    assert [name for name in contents(tmp_path) if "a.json.tmp" in name] == []
    assert len(list(tmp_path.glob(".a.json.settings.json.tmp-*"))) == 1, "this one is of another file"


def test_a_new_file_removes_it_too(tmp_path):
    path = tmp_path / "new"
    (tmp_path / ".new.tmp-17-0123abcd").write_text("half")
    create(path, b"whole")
    assert contents(tmp_path).keys() == {"new", "temporary"}


def test_what_another_process_holds_stays(tmp_path):
    path, held = tmp_path / "a.json", tmp_path / ".a.json.tmp-17"
    with hold(held):
        held.write_text("under way")
        write_durably(path, b"whole")
        assert held.read_text() == "under way"
    write_durably(path, b"whole")
    assert not held.exists()


def test_what_is_no_unfinished_file_stays(tmp_path):
    for name in (".a.json.tmp", ".a.json.tmp-x", "a.json.tmp-17", ".b.json.tmp-17", ".a.json.tmp-17.txt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".a.json.tmp-18").symlink_to(tmp_path / "a.json.tmp-17")
    before = contents(tmp_path)
    write_durably(tmp_path / "a.json", b"whole")
    assert contents(tmp_path).items() >= before.items()
    assert len(contents(tmp_path)) == len(before) + 1


def test_what_is_of_another_user_stays(tmp_path, monkeypatch):
    (tmp_path / ".a.json.tmp-17").write_text("half")
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    write_durably(tmp_path / "a.json", b"whole")
    assert (tmp_path / ".a.json.tmp-17").exists()


def test_a_disk_without_locks_loses_nothing(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(38, "not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    (tmp_path / ".a.json.tmp-17").write_text("half")
    write_durably(tmp_path / "a.json", b"whole")
    assert (tmp_path / "a.json").read_text() == "whole"
    assert (tmp_path / ".a.json.tmp-17").exists(), "perhaps another process writes it"


def test_a_disk_where_a_lock_keeps_its_holder_from_writing_is_written_without(tmp_path, monkeypatch):
    """SMB: who holds a lock writes through the descriptor that was locked, and through no other."""
    import fcntl

    locked: dict[int, int] = {}
    write = os.write

    def lock(descriptor: int, kind: int) -> None:
        file = os.fstat(descriptor).st_ino
        if kind & fcntl.LOCK_UN:
            del locked[file]
        elif locked.setdefault(file, descriptor) != descriptor:
            raise BlockingIOError

    def write_if_allowed(descriptor: int, content: bytes) -> int:
        if locked.get(os.fstat(descriptor).st_ino, descriptor) != descriptor:
            raise PermissionError(13, "Permission denied")
        return write(descriptor, content)

    monkeypatch.setattr(fcntl, "flock", lock)
    monkeypatch.setattr(os, "write", write_if_allowed)
    (tmp_path / ".a.json.tmp-17").write_text("under way")
    with replace_file(tmp_path / "a.json") as unfinished:
        assert locked == {}
        unfinished.write_text("whole")
    assert (tmp_path / "a.json").read_text() == "whole"
    assert (tmp_path / ".a.json.tmp-17").exists(), "perhaps another process writes it, without a lock as this one did"


def test_a_file_that_is_left_by_a_process_of_the_same_number_is_emptied(tmp_path):
    (tmp_path / f".a.json.tmp-{os.getpid()}").write_text("a half-written one")
    with replace_file(tmp_path / "a.json") as unfinished:
        assert unfinished.read_bytes() == b""


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    import fcntl

    path, flock, calls = tmp_path / "x", fcntl.flock, []

    def sweep_first(descriptor: int, kind: int) -> None:
        if not calls:
            path.unlink()
        calls.append(kind)
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with hold(path):
        assert path.exists()
    assert len(calls) == 2


def test_a_scratch_folder_that_is_swept_before_it_is_locked_is_made_again(temporary, monkeypatch):
    import fcntl

    flock, swept = fcntl.flock, []

    def sweep_first(descriptor: int, kind: int) -> None:
        if not swept:
            swept.extend(temporary.iterdir())
            swept[0].rmdir()
        flock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with open_scratch_folder() as folder:
        assert folder.is_dir()
        assert list(temporary.iterdir()) == [folder]
    assert list(temporary.iterdir()) == []


def test_a_scratch_folder_goes_with_the_next_one(temporary):
    def work(die: Callable[[], None]) -> None:
        with open_scratch_folder() as folder:
            (folder / "clip.mp4").write_text("half")
            die()

    kill_within(work)
    assert len(list(temporary.rglob("clip.mp4"))) == 1
    (temporary / "video-opd-scratch-of-mine").mkdir()
    with open_scratch_folder() as first, open_scratch_folder() as second:
        assert {path.name for path in temporary.iterdir()} == {first.name, second.name, "video-opd-scratch-of-mine"}
    assert [path.name for path in temporary.iterdir()] == ["video-opd-scratch-of-mine"]


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail() -> None:
        with replace_file(tmp_path / "a") as unfinished:
            unfinished.write_text("half")
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert contents(tmp_path).keys() == {"temporary"}
