"""A pass of a step that ran out of memory: what it was busy with, and what is noted in the run folder for the rest of
the run.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

from video_opd.config import TrainingSettings
from video_opd.errors import ConfigurationError, EngineError, first_line
from video_opd.files.durable import write_durably
from video_opd.files.run_records import MemoryNote
from video_opd.types import Prompt


@dataclass(frozen=True, kw_only=True)
class Shortage:
    """A process ran out of memory."""

    ids: tuple[str, ...]
    """Of the examples that it read together; empty in the update of the weights."""
    num_tokens: int
    """Of these examples, padding included."""
    reason: str
    """What the device says."""
    num_together: int = 0
    """Prompts that this process answered together, where they are several micro-batches."""
    is_final: bool
    """The step cannot be done again: it has moved the weights."""

    @classmethod
    def of(cls, error: BaseException, prompts: Sequence[Prompt], *, num_together: int = 0, is_final: bool) -> Shortage:
        """Describe the failure of a pass over prompts.

        Args:
            error: what the pass raised.
            prompts: that it was about.
            num_together: prompts that were answered together, where they are several micro-batches.
            is_final: whether the weights have moved.
        """
        return cls(
            ids=tuple(prompt.id for prompt in prompts),
            num_tokens=len(prompts) * max(map(len, prompts), default=0),
            reason=first_line(error),
            num_together=num_together,
            is_final=is_final,
        )


class StepTooLarge(Exception):
    """Processes of a job ran out of memory in a pass of a step, and all of them are ready to do the step again."""

    def __init__(self, shortages: Sequence[Shortage]) -> None:
        super().__init__("a pass of a step ran out of memory")
        self.shortages = tuple(shortages)


def plan_again(shortages: Sequence[Shortage], settings: TrainingSettings) -> MemoryNote:
    """What changes before the step is done again: fewer prompts are answered together; where they are one micro-batch,
    half of the smallest piece that failed, or an example is set aside.

    Args:
        shortages: at least one, each with an example.
        settings: how pieces were made.
    """
    if together := [shortage.num_together for shortage in shortages if shortage.num_together]:
        return MemoryNote(answer_together=min(together) // 2)
    larger = [shortage for shortage in shortages if len(shortage.ids) > 1]
    if not larger:
        return MemoryNote(too_large={id: shortage.reason for shortage in shortages for id in shortage.ids})
    if settings.micro_batch_tokens is not None:
        tokens = min(shortage.num_tokens for shortage in larger)
        return MemoryNote(micro_batch_tokens=min(settings.micro_batch_tokens, tokens) // 2)
    return MemoryNote(micro_batch_size=min(len(shortage.ids) for shortage in larger) // 2)


def apply_note(note: MemoryNote, settings: TrainingSettings) -> TrainingSettings:
    """The settings with pieces that are no larger than the note says."""
    keys = ("micro_batch_size", "micro_batch_tokens", "answer_together")
    smaller = {
        key: value
        for key in keys
        # What is not set stays so.
        if (value := getattr(note, key)) is not None and 0 < value < (getattr(settings, key) or value)
    }
    return settings.model_copy(update=smaller)


def read_note(path: Path) -> MemoryNote:
    """The note in a run folder; an empty one where there is none.

    Raises:
        ConfigurationError: the file is damaged, or another program wrote it.
    """
    if not path.exists():
        return MemoryNote()
    try:
        return MemoryNote.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is not what a run notes when memory runs out",
            reason="the file is damaged, or another program wrote it",
            remedy="move it away; the run then goes on with the micro-batches of the recipe",
        ) from error


def add_to_note(path: Path, new: MemoryNote) -> None:
    """Write what changed into the note in a run folder."""
    before = read_note(path)
    table = before.to_json() | new.to_json()
    if too_large := before.too_large | new.too_large:
        table["too_large"] = too_large
    write_durably(path, (json.dumps(MemoryNote(**table).to_json(), indent=2) + "\n").encode())


def refuse_to_go_on(
    shortage: Shortage, settings: TrainingSettings, path: Path, *, step: int, process: str = ""
) -> NoReturn:
    """End a run whose step cannot be done again, and leave a note with which the same command goes on.

    Args:
        shortage: of this process.
        settings: how pieces were made.
        path: of the note.
        step: number of the step, from 1.
        process: such as " on process 2 of 4".

    Raises:
        EngineError: always.
    """
    if not shortage.ids:
        raise EngineError(
            f"the update of the weights at step {step} ran out of memory{process}",
            reason=shortage.reason,
            remedy="train fewer weights (student.lora, student.freeze_vision), or split them over more processes; the "
            "last checkpoint is complete",
        )
    note = plan_again([shortage], settings)
    add_to_note(path, note)
    raise EngineError(
        f"step {step} ran out of memory{process}, on examples {', '.join(shortage.ids)}",
        reason=shortage.reason,
        remedy=f"run the same command again: it goes on from the newest checkpoint, and {describe_note(note)}",
    )


def describe_note(note: MemoryNote) -> str:
    """What is done from now on, in words."""
    parts = []
    if note.answer_together is not None:
        parts.append(f"answers {note.answer_together} prompt{'s' * (note.answer_together != 1)} together")
    if note.micro_batch_tokens is not None:
        parts.append(f"reads at most {note.micro_batch_tokens} tokens at once")
    if note.micro_batch_size is not None:
        parts.append(f"reads {note.micro_batch_size} prompt{'s' * (note.micro_batch_size != 1)} at once")
    if note.too_large:
        parts.append(f"sets aside {', '.join(note.too_large)}")
    return " and ".join(parts)


def free_memory() -> None:
    """Give back what a pass that failed had reserved."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
