"""Finds the model of a run: a run folder, its `checkpoints/` or one checkpoint may be given where a model is wanted.

Needs no torch and changes nothing, so that the run may still be going on.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from pathlib import Path

from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json
from video_opd.policy.file_hashes import hash_file

MARKER = "COMPLETE.json"
"""Written last into a checkpoint, with the hash of every file; see `runs.checkpoint`, which writes it."""

_CHECKPOINT = re.compile(r"step-(\d{6,})")

_log = logging.getLogger(__name__)


def find_model(folder: Path) -> Path:
    """Find the model's folder that is meant by a folder: itself, or that of a run's newest checkpoint.

    The choice is logged once, and stays the same for as long as the program runs.

    Raises:
        ConfigurationError: the run has no checkpoint that can be used.
    """
    if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
        return folder
    if _CHECKPOINT.fullmatch(folder.resolve().name) and not (folder / "recipe.toml").exists():
        return _find_model_of_checkpoint(folder)
    for checkpoints in (folder / "checkpoints", folder):
        is_of_run = (folder / "recipe.toml").exists() or any(_list_checkpoints(checkpoints))
        if is_of_run and (checkpoints is not folder or folder.resolve().name == "checkpoints"):
            return _find_model_of_newest(folder, checkpoints)
    return folder


@cache
def _find_model_of_newest(run: Path, checkpoints: Path) -> Path:
    reasons: list[str] = []
    for step, folder in sorted(_list_checkpoints(checkpoints), reverse=True):
        reason = _find_fault(folder)
        if reason is None:
            for skipped in reasons:
                _log.warning("checkpoint %s and is skipped", skipped)
            _log.warning("%s is a run folder: its newest checkpoint is used, after step %d", run, step)
            return folder / "model"
        reasons.append(f"{folder.name} {reason}")
    raise ConfigurationError(
        f"{run} is a run folder without a checkpoint" + (" that is whole" if reasons else ""),
        reason="; ".join(reasons) or "the run has not saved one yet",
        remedy="give another model, or let the run continue until it saves a checkpoint (schedule.checkpoint_every)",
    )


@cache
def _find_model_of_checkpoint(folder: Path) -> Path:
    reason = _find_fault(folder)
    if reason is not None:
        raise ConfigurationError(
            f"{folder} is not a whole checkpoint",
            reason=f"it {reason}",
            remedy="give another checkpoint of the run, or the run's folder",
        )
    return folder / "model"


def _list_checkpoints(checkpoints: Path) -> list[tuple[int, Path]]:
    if not checkpoints.is_dir():
        return []
    named = ((_CHECKPOINT.fullmatch(path.name), path) for path in checkpoints.iterdir() if path.is_dir())
    return [(int(match[1]), path) for match, path in named if match]


def _find_fault(folder: Path) -> str | None:
    """Say why a checkpoint's model cannot be used; the rest of the checkpoint is not checked."""
    try:
        files = load_json((folder / MARKER).read_bytes())["files"]
        expected = {name: (entry["size"], entry["sha256"]) for name, entry in files.items()}
    except (FileNotFoundError, NotADirectoryError):
        return f"has no {MARKER}: it was not written to its end"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"has a {MARKER} that cannot be read ({type(error).__name__})"
    if not any(name.startswith("model/") for name in expected):
        return "has no model/"
    for name, (size, sha256) in expected.items():
        if name.startswith("model/"):
            try:
                if (folder / name).stat().st_size != size or hash_file(folder / name) != sha256:
                    return f"has another {name} than was saved"
            except OSError as error:
                return f"has a {name} that cannot be read ({error.strerror})"
    return None
