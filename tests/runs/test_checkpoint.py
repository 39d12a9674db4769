import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from video_opd.errors import ConfigurationError, EngineError
from video_opd.runs import find_latest_checkpoint, save_checkpoint, verify_checkpoint
from video_opd.runs.old_checkpoints import KeepRule


def writer(content: str) -> Callable[[Path], None]:
    """Two files, one of them in a subfolder, as a model beside its trainer state is."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text(content * 100)
        (folder / "trainer").mkdir()
        (folder / "trainer" / "state.json").write_text(content)

    return write


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_saved_is_not_an_error(tmp_path: Path) -> None:
    assert find_latest_checkpoint(tmp_path / "checkpoints") is None
    (tmp_path / "checkpoints").mkdir()
    assert find_latest_checkpoint(tmp_path / "checkpoints") is None


def test_saves_and_finds_the_newest(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "checkpoints", 9, writer("a"))
    folder = save_checkpoint(tmp_path / "new" / "checkpoints", 40, writer("b"))
    assert folder == tmp_path / "new" / "checkpoints" / "step-000040"
    marker = json.loads((folder / "COMPLETE.json").read_text())
    assert marker["step"] == 40
    assert marker["format"] == 1
    assert marker["files"]["trainer/state.json"]["size"] == 1
    assert set(marker["files"]) == {"model.safetensors", "trainer/state.json"}
    found = find_latest_checkpoint(folder.parent)
    assert found is not None
    assert (found.step, found.folder, found.skipped) == (40, folder, ())


def test_order_is_by_number_also_past_six_digits(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1_000_000, writer("b"))
    save_checkpoint(tmp_path, 999_999, writer("a"))
    found = find_latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1_000_000


def truncate(folder: Path) -> None:
    (folder / "model.safetensors").write_text("b" * 50)


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[57] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def drop_a_file(folder: Path) -> None:
    (folder / "trainer" / "state.json").unlink()


def drop_the_marker(folder: Path) -> None:
    (folder / "COMPLETE.json").unlink()


def cut_the_marker(folder: Path) -> None:
    marker = folder / "COMPLETE.json"
    marker.write_bytes(marker.read_bytes()[:-20])


def empty_the_marker(folder: Path) -> None:
    (folder / "COMPLETE.json").write_text("{}")


def come_from_the_future(folder: Path) -> None:
    marker = json.loads((folder / "COMPLETE.json").read_text())
    (folder / "COMPLETE.json").write_text(json.dumps(marker | {"format": 2}))


def come_from_the_past(folder: Path) -> None:
    marker = json.loads((folder / "COMPLETE.json").read_text())
    (folder / "COMPLETE.json").write_text(json.dumps(marker | {"format": 0}))


def bear_the_wrong_name(folder: Path) -> None:
    marker = json.loads((folder / "COMPLETE.json").read_text())
    (folder / "COMPLETE.json").write_text(json.dumps(marker | {"step": 39}))


DAMAGES = {
    truncate: "model.safetensors has 50 bytes instead of 100",
    flip_a_byte: "model.safetensors does not match its hash",
    drop_a_file: "trainer/state.json is missing",
    drop_the_marker: "COMPLETE.json is missing",
    cut_the_marker: "COMPLETE.json cannot be read",
    empty_the_marker: "COMPLETE.json cannot be read",
    come_from_the_past: "it has format 0, but this program reads format 1",
    bear_the_wrong_name: "it holds step 39",
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_damaged_checkpoint_is_passed_over_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None], reason: str
) -> None:
    save_checkpoint(tmp_path, 20, writer("a"))
    newest = save_checkpoint(tmp_path, 40, writer("b"))
    assert verify_checkpoint(newest) is None
    damage(newest)
    assert verify_checkpoint(newest) == reason
    found = find_latest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 20
    assert found.skipped == ((newest, reason),)
    assert reason in caplog.text


def test_a_checkpoint_of_a_newer_program_is_not_damaged(tmp_path: Path) -> None:
    """To go on from an older one would throw its steps away."""
    save_checkpoint(tmp_path, 20, writer("a"))
    come_from_the_future(save_checkpoint(tmp_path, 40, writer("b")))
    for look in (lambda: find_latest_checkpoint(tmp_path), lambda: save_checkpoint(tmp_path, 40, writer("b"))):
        with pytest.raises(
            ConfigurationError, match=r"format 2: .* a newer one has written .* Update video-opd, or begin"
        ):
            look()
    assert names(tmp_path) == ["step-000020", "step-000040"]


def test_all_damaged_never_means_step_zero(tmp_path: Path) -> None:
    for step in (20, 40):
        flip_a_byte(save_checkpoint(tmp_path, step, writer("b")))
    with pytest.raises(EngineError, match=r"all 2 checkpoints .* are damaged .* start again in another folder"):
        find_latest_checkpoint(tmp_path)


def test_a_damaged_checkpoint_is_kept_aside_when_its_step_is_saved_again(tmp_path: Path) -> None:
    for _ in range(2):
        flip_a_byte(save_checkpoint(tmp_path, 40, writer("b")))
    save_checkpoint(tmp_path, 40, writer("b"))
    assert names(tmp_path) == ["step-000040", "step-000040.damaged", "step-000040.damaged-2"]
    assert verify_checkpoint(tmp_path / "step-000040") is None


def test_an_intact_checkpoint_is_not_written_twice(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, 40, writer("b"))
    before = (folder / "COMPLETE.json").stat().st_ino

    def refuse(_: Path) -> None:
        raise AssertionError("written again")

    assert save_checkpoint(tmp_path, 40, refuse) == folder
    assert (folder / "COMPLETE.json").stat().st_ino == before


def test_keeps_the_last_ones_and_those_asked_for(tmp_path: Path) -> None:
    for step in range(10, 70, 10):
        save_checkpoint(tmp_path, step, writer("a"), keep=KeepRule(last=2, steps={20}))
    assert names(tmp_path) == ["step-000020", "step-000050", "step-000060"]
    with pytest.raises(ValueError, match="last=0"):
        save_checkpoint(tmp_path, 70, writer("a"), keep=KeepRule(last=0))


def test_nothing_old_is_deleted_unless_the_new_one_is_complete(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 10, writer("a"), keep=KeepRule(last=1))

    def full(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(EngineError, match="No space left"):
        save_checkpoint(tmp_path, 20, full, keep=KeepRule(last=1))
    assert names(tmp_path) == ["step-000010"]


class FullDisk:
    """Lets `allowed` calls of os.<name> pass, then raises ENOSPC on every further one."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, allowed: int) -> None:
        self.calls, self.allowed, self.real = 0, allowed, getattr(os, name)
        patch.setattr(os, name, self)

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if self.calls > self.allowed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.real(*args, **kwargs)


@pytest.mark.parametrize("name", ["fsync", "rename", "replace", "mkdir"])
def test_a_full_disk_at_any_call_leaves_the_older_checkpoint_and_no_rubbish(tmp_path: Path, name: str) -> None:
    save_checkpoint(tmp_path, 20, writer("a"))
    for allowed in range(100):
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, name, allowed)
            try:
                save_checkpoint(tmp_path, 40, writer("b"))
                break
            except EngineError as error:
                refusal = error.reason
        assert "No space left" in refusal
        if (tmp_path / "step-000040").exists():  # the last fsync, after the rename, may find it there already, whole
            break
        assert names(tmp_path) == ["step-000020"]
    assert disk.calls >= 1
    assert verify_checkpoint(tmp_path / "step-000040") is None


def test_writers_that_raise_their_own_errors_on_a_full_disk_are_understood(tmp_path: Path) -> None:
    def safetensors_like(_: Path) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    def broken(_: Path) -> None:
        raise RuntimeError("a bug of ours")

    with pytest.raises(EngineError, match="Free some space"):
        save_checkpoint(tmp_path, 1, safetensors_like)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        save_checkpoint(tmp_path, 1, broken)
    assert names(tmp_path) == []


def test_a_leftover_that_cannot_be_deleted_costs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a network disk a folder cannot be removed while another process reads a file in it."""
    leftover = tmp_path / "step-000010.tmp-17"
    leftover.mkdir(parents=True)
    real_rmtree = shutil.rmtree

    def rmtree(path: Path, ignore_errors: bool = False) -> None:
        if path == leftover:
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))
        real_rmtree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    save_checkpoint(tmp_path, 20, writer("b"), keep=KeepRule(last=1))
    assert names(tmp_path) == ["step-000010.tmp-17", "step-000020"]
    assert "step-000010.tmp-17 could not be deleted" in caplog.text


def test_an_interrupted_save_leaves_nothing(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, 1, interrupted)
    assert names(tmp_path) == []


def test_everything_is_on_the_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def fsync(descriptor: int) -> None:
        events.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real_sync(descriptor)

    def rename(old: Path, new: Path) -> None:
        events.append(f"rename {Path(new).name}")
        real_rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(os, "replace", rename)
    save_checkpoint(tmp_path / "checkpoints", 40, writer("b"))
    unfinished = f"step-000040.tmp-{os.getpid()}"
    marker = f".COMPLETE.json.tmp-{os.getpid()}"
    assert set(events[1:5]) == {"sync model.safetensors", "sync state.json", "sync trainer", f"sync {unfinished}"}
    assert events[0] == f"sync {tmp_path.name}"
    assert events[5:] == [
        f"sync {marker}",
        "rename COMPLETE.json",
        f"sync {unfinished}",
        "rename step-000040",
        "sync checkpoints",
    ]


# The child dies at its k-th touch of the disk. Python's audit events name every open, mkdir, rename and removal,
# whoever makes it; fsync has no event and is wrapped.
KILLED_SAVE = """
import os, signal, sys
from pathlib import Path
from video_opd.runs.checkpoint import save_checkpoint
from video_opd.runs.old_checkpoints import KeepRule

checkpoints, countdown = Path(sys.argv[1]), int(sys.argv[2])
TOUCHES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}

def touch(event, args):
    global countdown
    if event in TOUCHES:
        countdown -= 1
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)

def fsync(descriptor, real=os.fsync):
    touch("open", ())
    real(descriptor)

def write(folder):
    (folder / "model.safetensors").write_text("b" * 100)
    (folder / "trainer").mkdir()
    (folder / "trainer" / "state.json").write_text("b")

os.fsync = fsync
sys.addaudithook(touch)
save_checkpoint(checkpoints, 40, write, keep=KeepRule(last=1))
"""


def test_killed_at_every_touch_of_the_disk_an_intact_checkpoint_remains(tmp_path: Path) -> None:
    resumed_from = []
    for countdown in range(1, 200):
        checkpoints = tmp_path / str(countdown)
        save_checkpoint(checkpoints, 20, writer("a"))
        done = subprocess.run([sys.executable, "-c", KILLED_SAVE, str(checkpoints), str(countdown)], check=False)
        found = find_latest_checkpoint(checkpoints)
        assert found is not None
        assert found.skipped == ()
        resumed_from.append(found.step)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        save_checkpoint(checkpoints, 60, writer("c"), keep=KeepRule(last=1))
        assert names(checkpoints) == ["step-000060"]
    assert done.returncode == 0
    assert resumed_from == sorted(resumed_from)  # once the new one is there, it stays
    assert resumed_from.count(20) > 10
    assert resumed_from.count(40) > 3
