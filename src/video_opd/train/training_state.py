"""What a run needs to go on: the student, its optimiser, how far it got. Everything else follows from the recipe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from video_opd.config import GROUNDING_FILE, GroundingDefaults
from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json
from video_opd.runs.checkpoint import Checkpoint, save_checkpoint
from video_opd.runs.old_checkpoints import KeepRule
from video_opd.train.learner import Learner
from video_opd.train.optimizer_state import refuse_other_optimizer


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
    checkpoints: Path, state: TrainingState, learner: Learner, defaults: GroundingDefaults, *, keep: KeepRule
) -> Path:
    """Write a checkpoint: `model/` as transformers loads it, the optimiser as safetensors, the rest as JSON.

    Args:
        checkpoints: the run's folder of them.
        state: how far the run got.
        learner: with the student and the optimiser.
        defaults: how the student was asked, for whoever asks it later.
        keep: which older checkpoints stay.
    """

    def write(folder: Path) -> None:
        learner.save(folder)
        learner.student.processor.save_pretrained(folder / "model")
        (folder / "model" / GROUNDING_FILE).write_text(defaults.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / "state.json").write_text(json.dumps(asdict(state), indent=2) + "\n", encoding="utf-8")

    return save_checkpoint(checkpoints, state.step, write, keep=keep)


def load_state(checkpoint: Checkpoint, learner: Learner) -> TrainingState:
    """Take up a checkpoint; the student itself was loaded from its `model/` folder.

    Raises:
        ConfigurationError: the checkpoint is not of this student, or its state cannot be read.
    """
    state = _read_state(checkpoint.folder / "state.json")
    refuse_other_optimizer(learner.parameters, checkpoint.folder)
    learner.load_optimizer(checkpoint.folder)
    return state


def _read_state(path: Path) -> TrainingState:
    try:
        found = load_json(path.read_text(encoding="utf-8"))
        kinds = {key: type(value) for key, value in asdict(TrainingState()).items()}
        unknown = sorted(found.keys() - kinds)
        wrong = [key for key in found.keys() & kinds if not isinstance(found[key], kinds[key])]
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise _unreadable(path, f"it should say how far the run got ({type(error).__name__}: {error})") from error
    if unknown:
        raise ConfigurationError(
            f"{path} has the key {unknown[0]!r}",
            reason="this program does not know it, so a newer one has written the checkpoint",
            remedy="update video-opd, or begin again in another folder with --out",
        )
    if wrong:
        raise _unreadable(path, f"its {wrong[0]} is {found[wrong[0]]!r}")
    return TrainingState(**found)


def _unreadable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be read",
        reason=reason,
        remedy="restore the checkpoint that this run wrote, or begin again in another folder with --out",
    )
