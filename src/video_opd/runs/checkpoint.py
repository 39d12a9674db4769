"""Checkpoints that can be trusted: a folder is either complete and verified, or it is not a checkpoint.

    checkpoints/step-000040/           model files, trainer state, and COMPLETE.json with the hash of each
    checkpoints/step-000060.tmp-4711/  a save under way, or one that was killed; it is swept when the run goes on
    checkpoints/step-000010.kept/      files of others in a checkpoint that was deleted
    checkpoints/step-000020.damaged/   found damaged when step 20 was saved again; kept for whoever wants to look

Only `save_checkpoint` writes, and only the process that holds the run's lock calls it. Looking for the latest
checkpoint changes nothing, so an evaluation can do it while the training is under way.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from video_opd.errors import ConfigurationError, EngineError
from video_opd.files.durable import sync_file, sync_folder, write_durably
from video_opd.files.strict_json import load_json
from video_opd.runs.checkpoint_folders import (
    MARKER,
    NOT_A_MARKER,
    checkpoint_folder,
    find_free_name,
    hash_files,
    list_saved,
)
from video_opd.runs.old_checkpoints import KeepRule, delete_old_checkpoints, sweep_unfinished

FORMAT = 1
_ALL = KeepRule()

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
    files: frozenset[str] = frozenset()
    """Those that were saved, by their paths in the folder. Others may lie beside them."""
    skipped: tuple[Damaged, ...] = ()
    """Newer checkpoints that were damaged, newest first. Each was also logged as a warning."""


def save_checkpoint(checkpoints: Path, step: int, write: Callable[[Path], None], *, keep: KeepRule = _ALL) -> Path:
    """Save a checkpoint; killed at any instant, this one is whole or absent and the older ones are whole.

    An intact checkpoint of the same step is left as it is, and `write` is not called: a run is a function of its
    recipe, so what `write` would put there is there already. A damaged one is renamed out of the way.

    Args:
        checkpoints: the run's folder of checkpoints; made if it is not there.
        step: optimizer steps taken so far.
        write: puts the files into the empty folder it is given; subfolders are welcome.
        keep: once the new one is complete, all but those that it keeps are deleted.

    Raises:
        EngineError: the disk is full or failing. Nothing is left of the attempt, older checkpoints are untouched.
    """
    folder = checkpoint_folder(checkpoints, step)
    unfinished = checkpoints / f"{folder.name}.tmp-{os.getpid()}"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        sync_folder(checkpoints.parent)
        sweep_unfinished(checkpoints)
        is_there = folder.exists()
        if is_there and (reason := verify_checkpoint(folder)) is not None:
            _set_aside(folder, reason)
            is_there = False
        if not is_there:
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
    delete_old_checkpoints(checkpoints, keep, newest=step)
    return folder


def find_latest_checkpoint(checkpoints: Path) -> Checkpoint | None:
    """The newest checkpoint whose files all match their hashes; None if none was ever saved.

    Reads every file of the checkpoint it returns. Damaged ones on the way there are logged and listed in `skipped`.

    Raises:
        ConfigurationError: a newer version of this program has written the newest one.
        EngineError: there are checkpoints and all are damaged, or the folder cannot be read. Starting over at step 0
            as if nothing had been there is a decision for the user, not for us.
    """
    skipped: list[Damaged] = []
    try:
        for step, folder in sorted(list_saved(checkpoints), reverse=True):
            reason = verify_checkpoint(folder)
            if reason is None:
                files = frozenset(load_json((folder / MARKER).read_bytes())["files"])
                return Checkpoint(step=step, folder=folder, files=files, skipped=tuple(skipped))
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
    return bool(list_saved(checkpoints))


def _is_file_name(name: str) -> bool:
    try:
        return "\0" not in name and all(0 < len(os.fsencode(part)) <= 255 for part in name.split("/"))
    except ValueError:  # half of a character
        return False


def find_newest_step(checkpoints: Path) -> int:
    """The step of the newest folder with the name of a checkpoint, intact or not; 0 where there is none."""
    return max((step for step, _ in list_saved(checkpoints)), default=0)


def verify_checkpoint(folder: Path) -> str | None:
    """Read every file of a checkpoint and compare it with `COMPLETE.json`.

    Returns:
        None if the checkpoint is intact, else what is wrong with it. Files that `COMPLETE.json` does not name do not
        count.

    Raises:
        ConfigurationError: a newer version of this program has written it.
        OSError: the disk refused to be read, which says nothing about the checkpoint.
    """
    try:
        marker = load_json((folder / MARKER).read_bytes())
        version, step, files = marker["format"], int(marker["step"]), marker["files"]
        expected = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except (FileNotFoundError, NotADirectoryError):
        return f"{MARKER} is missing"
    except NOT_A_MARKER:
        return f"{MARKER} cannot be read"
    if type(version) is int and version > FORMAT:
        # It is whole: to go on from an older one would throw work away, and to set it aside as damaged would be wrong.
        raise ConfigurationError(
            f"checkpoint {folder} has format {version}",
            reason=f"this program reads format {FORMAT}, so a newer one has written the checkpoint",
            remedy="update video-opd, or begin again in another folder",
        )
    if not all(map(_is_file_name, expected)):
        return f"{MARKER} names what is no file"
    if version != FORMAT:
        return f"it has format {version}, but this program reads format {FORMAT}"
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
        hashes = hash_files([folder / name for name in expected])
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
    for path, digest in zip(saved, hash_files(saved), strict=True):
        files[path.relative_to(folder).as_posix()] = {"sha256": digest, "size": path.stat().st_size}
    for path in folders:
        sync_folder(path)
    marker = {"format": FORMAT, "step": step, "files": files}
    write_durably(folder / MARKER, json.dumps(marker, indent=1).encode() + b"\n")


def _set_aside(folder: Path, reason: str) -> None:
    aside = find_free_name(folder, "damaged")
    _log.warning("checkpoint %s is damaged (%s); it is kept as %s and written again", folder, reason, aside.name)
    os.rename(folder, aside)


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
