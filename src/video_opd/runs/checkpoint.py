"""Checkpoints that can be trusted: a folder is either complete and verified, or it is not a checkpoint.

    checkpoints/step-000040/           model files, trainer state, and COMPLETE.json with the hash of each
    checkpoints/step-000060.tmp-4711/  a save under way, or one that was killed; the next save sweeps it
    checkpoints/step-000010.kept/      files of others in a checkpoint that was deleted
    checkpoints/step-000020.damaged/   found damaged when step 20 was saved again; kept for whoever wants to look

Only `save_checkpoint` writes, and only the process that holds the run's lock calls it. Looking for the latest
checkpoint changes nothing, so an evaluation can do it while the training is under way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from video_opd.errors import EngineError
from video_opd.files.durable import sync_file, sync_folder, write_durably
from video_opd.files.strict_json import load_json

MARKER = "COMPLETE.json"
FORMAT = 1
_NOT_A_MARKER = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)

_CHECKPOINT = re.compile(r"step-(\d{6,})")
_UNFINISHED = re.compile(r"step-\d{6,}\.tmp-\d+")

_NUM_HASHED_TOGETHER = 8

_log = logging.getLogger(__name__)


class Damaged(NamedTuple):
    """A checkpoint that was skipped because it is damaged, and what is wrong with it."""

    folder: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A complete checkpoint whose every file was read and matched its hash."""

    step: int
    folder: Path
    skipped: tuple[Damaged, ...] = ()
    """Newer checkpoints that were damaged, newest first. Each was also logged as a warning."""


def save_checkpoint(
    checkpoints: Path,
    step: int,
    write: Callable[[Path], None],
    *,
    keep_last: int | None = None,
    keep_steps: Collection[int] = (),
) -> Path:
    """Save a checkpoint; killed at any instant, this one is whole or absent and the older ones are whole.

    An intact checkpoint of the same step is left as it is, and `write` is not called: a run is a function of its
    recipe, so what `write` would put there is there already. A damaged one is renamed out of the way.

    Args:
        checkpoints: the run's folder of checkpoints; made if it is not there.
        step: optimizer steps taken so far.
        write: puts the files into the empty folder it is given; subfolders are welcome.
        keep_last: once the new one is complete, delete all but this many of the newest; None keeps everything.
        keep_steps: steps that `keep_last` never deletes, such as the best one.

    Raises:
        EngineError: the disk is full or failing. Nothing is left of the attempt, older checkpoints are untouched.
    """
    if keep_last is not None and keep_last < 1:
        raise ValueError(
            f"keep_last={keep_last}: the value must be at least 1, because the checkpoint just written is kept"
        )
    folder = checkpoint_folder(checkpoints, step)
    unfinished = checkpoints / f"{folder.name}.tmp-{os.getpid()}"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        sync_folder(checkpoints.parent)
        _sweep(checkpoints)
        if folder.exists():
            reason = verify_checkpoint(folder)
            if reason is None:
                return folder
            _set_aside(folder, reason)
        unfinished.mkdir()
        write(unfinished)
        _seal(unfinished, step)
        os.rename(unfinished, folder)
        sync_folder(checkpoints)
    except BaseException as error:
        disk = _find_disk_failure(error, checkpoints)  # asked before the clean-up gives the space back
        shutil.rmtree(unfinished, ignore_errors=True)
        if disk is None:
            raise
        raise EngineError(
            f"checkpoint of step {step} could not be written to {checkpoints}",
            reason=disk,
            remedy="Free some space or repair the disk, then run the same command: it resumes from the newest complete "
            "checkpoint; none of these was changed",
        ) from error
    if keep_last is not None:
        _delete_older(checkpoints, step, keep_last, keep_steps)
    return folder


def find_latest_checkpoint(checkpoints: Path) -> Checkpoint | None:
    """The newest checkpoint whose files all match their hashes; None if none was ever saved.

    Reads every file of the checkpoint it returns. Damaged ones on the way there are logged and listed in `skipped`.

    Raises:
        EngineError: there are checkpoints and all are damaged, or the folder cannot be read. Starting over at step 0
            as if nothing had been there is a decision for the user, not for us.
    """
    skipped: list[Damaged] = []
    try:
        for step, folder in sorted(_list_saved(checkpoints), reverse=True):
            reason = verify_checkpoint(folder)
            if reason is None:
                return Checkpoint(step=step, folder=folder, skipped=tuple(skipped))
            _log.warning("checkpoint %s is damaged and was skipped: %s", folder, reason)
            skipped.append(Damaged(folder, reason))
    except OSError as error:
        raise EngineError(
            f"checkpoints in {checkpoints} could not be read",
            reason=str(error),
            remedy="Repair the disk or the permissions, then run the same command again",
        ) from error
    if skipped:
        listed = "; ".join(f"{folder.name}: {reason}" for folder, reason in skipped)
        raise EngineError(
            f"all {len(skipped)} checkpoints in {checkpoints} are damaged ({listed})",
            reason="the run cannot resume from any of them and would have to start again at step 0",
            remedy="Restore one of them from a backup, or start again in another folder",
        )
    return None


def has_checkpoints(checkpoints: Path) -> bool:
    """Whether there is a folder with the name of a checkpoint, intact or not."""
    return bool(_list_saved(checkpoints))


def checkpoint_folder(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return checkpoints / f"step-{step:06d}"


def _is_file_name(name: str) -> bool:
    try:
        return "\0" not in name and all(0 < len(os.fsencode(part)) <= 255 for part in name.split("/"))
    except ValueError:  # half of a character
        return False


def verify_checkpoint(folder: Path) -> str | None:
    """Read every file of a checkpoint and compare it with `COMPLETE.json`.

    Returns:
        None if the checkpoint is intact, else what is wrong with it. Files that `COMPLETE.json` does not name do not
        count.

    Raises:
        OSError: the disk refused to be read, which says nothing about the checkpoint.
    """
    try:
        marker = load_json((folder / MARKER).read_bytes())
        version, step, files = marker["format"], int(marker["step"]), marker["files"]
        expected = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (FileNotFoundError, NotADirectoryError):
        return f"{MARKER} is missing"
    except _NOT_A_MARKER:
        return f"{MARKER} cannot be read"
    if not all(map(_is_file_name, expected)):
        return f"{MARKER} names what is no file"
    if version != FORMAT:
        return f"it has format {version!r}, but this program reads format {FORMAT}"
    if folder.name != f"step-{step:06d}":
        return f"it holds step {step}"
    # The sizes first: they are free, and a truncated file is the commonest damage.
    for name, (size, _) in expected.items():
        try:
            found = (folder / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        if found != size:
            return f"{name} has {found} bytes instead of {size}"
    try:
        hashes = _hash_files([folder / name for name in expected])
    except FileNotFoundError as error:  # a run that goes on has just deleted the checkpoint
        return f"{Path(error.filename).relative_to(folder)} is missing"
    for (name, (_, digest)), found_digest in zip(expected.items(), hashes, strict=True):
        if found_digest != digest:
            return f"{name} does not match its hash"
    return None


def _seal(folder: Path, step: int) -> None:
    """Put everything on the disk, then say so: the marker must not exist before what it vouches for is safe."""
    files: dict[str, dict[str, Any]] = {}
    folders, saved = [folder], []
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            folders.append(path)
            continue
        sync_file(path)
        saved.append(path)
    for path, digest in zip(saved, _hash_files(saved), strict=True):
        files[path.relative_to(folder).as_posix()] = {"sha256": digest, "size": path.stat().st_size}
    for path in folders:
        sync_folder(path)
    marker = {"format": FORMAT, "step": step, "files": files}
    write_durably(folder / MARKER, json.dumps(marker, indent=1).encode() + b"\n")


def _hash_files(paths: Sequence[Path]) -> list[str]:
    """Hash several files at the same time, where there are several processors."""
    with ThreadPoolExecutor(min(_NUM_HASHED_TOGETHER, os.cpu_count() or 1)) as pool:
        return list(pool.map(_hash_file, paths))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _list_saved(checkpoints: Path) -> list[tuple[int, Path]]:
    """Every folder with the name of a checkpoint, intact or not, in no order."""
    if not checkpoints.exists():
        return []
    named = ((_CHECKPOINT.fullmatch(path.name), path) for path in checkpoints.iterdir())
    return [(int(match[1]), path) for match, path in named if match]


def _sweep(checkpoints: Path) -> None:
    """Remove what killed saves and killed deletions left. The run's lock guarantees that none of it is in use."""
    for path in checkpoints.iterdir():
        if _UNFINISHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _find_free_name(folder: Path, ending: str) -> Path:
    """Beside a folder, its name with an ending that is not taken."""
    free, number = folder.with_name(f"{folder.name}.{ending}"), 1
    while os.path.lexists(free):
        number += 1
        free = folder.with_name(f"{folder.name}.{ending}-{number}")
    return free


def _set_aside(folder: Path, reason: str) -> None:
    aside = _find_free_name(folder, "damaged")
    _log.warning("checkpoint %s is damaged (%s); it is kept as %s and written again", folder, reason, aside.name)
    os.rename(folder, aside)


def _delete_older(checkpoints: Path, step: int, keep_last: int, keep_steps: Collection[int]) -> None:
    """Delete old checkpoints. Failing at that costs disk space, not the run, so it is only logged."""
    complete = sorted(
        saved_step for saved_step, path in _list_saved(checkpoints) if saved_step <= step and (path / MARKER).exists()
    )
    for old in complete[:-keep_last]:
        if old in keep_steps:
            continue
        folder = checkpoint_folder(checkpoints, old)
        try:
            _delete(folder)
        except OSError as error:
            _log.warning("old checkpoint %s could not be deleted: %s", folder, error)


def _delete(folder: Path) -> None:
    """Delete a checkpoint; what no save has put there stays, in a folder of another name."""
    saved = _list_saved_files(folder)
    if saved is None or folder.is_symlink():
        return  # no save has made it
    if {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()} == saved:
        doomed = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
        os.rename(folder, doomed)  # a half-deleted folder must not carry the name of a checkpoint
        shutil.rmtree(doomed)
        return
    kept = _find_free_name(folder, "kept")
    _log.warning("%s holds files that this program did not save; they are kept in %s", folder, kept.name)
    os.rename(folder, kept)
    for path in saved:
        (kept / path.relative_to(folder)).unlink()
    for path in sorted(kept.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink() and not any(path.iterdir()):
            path.rmdir()


def _list_saved_files(folder: Path) -> set[Path] | None:
    """The files of a checkpoint that are as they were saved; None: nothing says which they are.

    Only what is younger than `COMPLETE.json`, which is written last, is read: the rest is large.
    """
    try:
        sealed = (folder / MARKER).stat().st_mtime_ns
        files = load_json((folder / MARKER).read_bytes())["files"]
        expected = {folder / name: (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (OSError, *_NOT_A_MARKER):
        return None
    as_saved = {folder / MARKER}
    for path, (size, digest) in expected.items():
        if os.path.islink(path) or not os.path.isfile(path):  # also where its name is none
            continue
        found = path.stat()
        if found.st_size == size and (found.st_mtime_ns <= sealed or _hash_file(path) == digest):
            as_saved.add(path)
    return as_saved


def _find_disk_failure(error: BaseException, folder: Path) -> str | None:
    """What the disk said if it was the disk's fault, else None.

    Writers written in other languages do not raise OSError when the disk is full: safetensors raises its own error that
    quotes the operating system's, torch.save a RuntimeError about file positions that never mentions the disk.
    """
    if isinstance(error, OSError) or (isinstance(error, Exception) and "os error" in str(error)):
        return str(error)
    if isinstance(error, Exception) and folder.exists() and shutil.disk_usage(folder).free == 0:
        return f"the disk is full ({error})"
    return None
