"""What a run needs to go on: the student, its optimiser, how far it got. Everything else follows from the recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from video_opd.config import GROUNDING_FILE, GroundingDefaults
from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import SHOWN, decode
from video_opd.runs.checkpoint import Checkpoint, save_checkpoint
from video_opd.runs.old_checkpoints import KeepRule
from video_opd.train.changing_teacher import TEACHER_FOLDER, ChangingTeacher
from video_opd.train.learner import Learner
from video_opd.train.optimizer_state import FOLDER, ONE_FILE, refuse_other_optimizer
from video_opd.train.unfit_checkpoint import RESTORE, unfit


@dataclass(kw_only=True)
class TrainingState:
    """How far a run got."""

    step: int = 0
    """Optimiser steps taken."""
    seconds: float = 0.0
    """Wall time spent training, interruptions not counted."""
    set_aside: dict[str, str] = field(default_factory=dict)
    """Examples whose video could not be used, with the reason. They stay aside when the run goes on."""
    coupling: dict[str, Any] = field(default_factory=dict)
    """What the gate between answering and judging remembers."""
    data_sha256: str = ""
    """Of the manifests, so that a run does not go on with other examples than it was begun with."""


def save_state(
    checkpoints: Path,
    state: TrainingState,
    learner: Learner,
    defaults: GroundingDefaults,
    *,
    keep: KeepRule,
    changing: ChangingTeacher | None = None,
) -> Path:
    """Write a checkpoint: `model/` as transformers loads it, the optimiser as safetensors, the rest as JSON.

    Args:
        checkpoints: the run's folder of them.
        state: how far the run got.
        learner: with the student and the optimiser.
        defaults: how the student was asked, for whoever asks it later.
        keep: which older checkpoints stay.
        changing: the teacher, if it changes.
    """

    def write(folder: Path) -> None:
        learner.save(folder)
        if changing:
            changing.save(folder)
        learner.student.processor.save_pretrained(folder / "model")
        (folder / "model" / GROUNDING_FILE).write_text(defaults.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / _STATE).write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")

    return save_checkpoint(checkpoints, state.step, write, keep=keep)


def read_state(checkpoint: Checkpoint, *, has_gate: bool, has_teacher: bool = False) -> TrainingState:
    """Read how far a run got, and look whether the parts of its checkpoint are all there and known. Nothing is loaded.

    Args:
        checkpoint: the newest one of the run.
        has_gate: whether the run suspends examples.
        has_teacher: whether its teacher changes.

    Raises:
        ConfigurationError: a newer program has written it, a part is missing, or the state is not one of this run.
    """
    folder, top = checkpoint.folder, {PurePosixPath(name).parts[0] for name in checkpoint.files}
    if unknown := sorted(top - _PARTS):
        raise _of_newer_program(f"checkpoint {folder} holds {unknown[0]!r}")
    optimizers = top & {ONE_FILE, FOLDER}
    wanted = {"model", _STATE, *([TEACHER_FOLDER] if has_teacher else [])}
    if missing := sorted(wanted - top) or ([] if optimizers else [ONE_FILE]):
        raise unfit(folder, f"it has no {missing[0]}")
    beside = {f"{FOLDER}/{path.name}" for path in (folder / FOLDER).glob("*.safetensors")} - checkpoint.files
    if len(optimizers) > 1 or beside:
        raise unfit(folder, "it holds more than one state of the optimiser")
    path = folder / _STATE
    try:
        found = decode(path.read_bytes())
        if not isinstance(found, dict):
            raise TypeError("it is no object")
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(path, f"it should say how far the run got ({type(error).__name__}: {error})") from error
    known = asdict(TrainingState())
    if strange := sorted(found.keys() - known):
        raise _of_newer_program(f"{path} has the key {strange[0]!r}")
    if absent := sorted(known.keys() - found):
        raise _unreadable(path, f"it has no {absent[0]}")
    for key, value in found.items():
        if not _IS_RIGHT[key](value):
            raise _unreadable(path, f"its {key} is {json.dumps(value)[:SHOWN]}")
    if found["step"] != checkpoint.step:
        raise _unreadable(path, f"its step is {found['step']}, and the checkpoint is of step {checkpoint.step}")
    if bool(found["coupling"]) != has_gate:
        says = "says which examples are suspended" if found["coupling"] else "does not say which examples are suspended"
        raise _unreadable(path, f"it {says}, and the recipe {'has' if has_gate else 'does not have'} a suspend_at")
    return TrainingState(**found)


def load_state(checkpoint: Checkpoint, learner: Learner, changing: ChangingTeacher | None = None) -> TrainingState:
    """Take up a checkpoint; the student itself was loaded from its `model/` folder.

    Args:
        checkpoint: the newest one of the run.
        learner: with the student and the optimiser.
        changing: the teacher, if it changes.

    Raises:
        ConfigurationError: the checkpoint is not of this student, or its state cannot be read.
    """
    state = read_state(checkpoint, has_gate=learner.gate is not None, has_teacher=changing is not None)
    most_updates = state.step * learner.settings.updates_per_batch
    refuse_other_optimizer(learner.parameters, checkpoint.folder, most_updates=most_updates)
    learner.load_optimizer(checkpoint.folder)
    if changing:
        changing.load(checkpoint.folder)
    return state


_STATE = "state.json"
_PARTS = {"model", ONE_FILE, FOLDER, _STATE, TEACHER_FOLDER}


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_coupling(value: object) -> bool:
    """Whether it is empty, or what `Coupling.state_dict` gives."""
    if not isinstance(value, dict):
        return False
    ids = value.get("suspended")
    return not value or (len(value) == 1 and isinstance(ids, list) and all(isinstance(id, str) for id in ids))


_IS_RIGHT: dict[str, Callable[[Any], bool]] = {
    "step": lambda value: type(value) is int,
    "seconds": _is_time,
    "set_aside": lambda value: isinstance(value, dict) and all(isinstance(why, str) for why in value.values()),
    "coupling": _is_coupling,
    "data_sha256": lambda value: isinstance(value, str),
}
"""Whether a key of the state has a value that a run writes there."""


def _of_newer_program(what: str) -> ConfigurationError:
    return ConfigurationError(
        what,
        reason="this program does not know it, so a newer one has written the checkpoint",
        remedy="update video-opd, or begin again in another folder with --out",
    )


def _unreadable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be read", reason=reason, remedy=RESTORE)
