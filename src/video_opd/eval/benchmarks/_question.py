"""What every benchmark of multiple-choice questions about videos has in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from video_opd.data.manifest_rows import find_path_fault
from video_opd.data.prompt_templates import PromptTemplate
from video_opd.files.records import Record
from video_opd.types import Example, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One of the answers to choose from."""

    label: str
    """What it is called for short: A, yes, Option 1."""
    text: str
    """It in full, as an answer would begin with it: `A. dunking a basketball`."""
    content: str
    """Without its label: `dunking a basketball`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question of a benchmark."""

    id: str
    """Benchmark's own, or file and place in it."""
    video: str
    """Path below the benchmark's folder, with forward slashes."""
    prompt: str
    """The user's turn beside the video, with the benchmark's own instruction."""
    options: tuple[Option, ...]
    right: int
    """Which option is the answer."""
    answer: str
    """The answer as the benchmark's file has it."""
    categories: tuple[tuple[str, str], ...]
    """What the accuracy is also given by: grouping and group."""
    clip: Span | None = None
    """The part of the video that is shown, seconds of the file; None: all of it."""
    frame_rate: float | None = None
    """Pictures per second if the video is a folder of numbered pictures; None for a file."""

    @property
    def right_label(self) -> str:
        """The short name of the answer."""
        return self.options[self.right].label

    def category(self, grouping: str) -> str:
        """The group it belongs to in one grouping."""
        return dict(self.categories)[grouping]

    def as_example(self) -> Example:
        """For rendering. It has no annotated span, and only the file says how long the video is."""
        return Example(
            id=self.id,
            video=self.video,
            query=self.prompt,
            spans=(),
            duration=0.0,
            clip=self.clip,
            frame_rate=self.frame_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """What a rule makes of one answer."""

    correct: bool
    read: str | None
    """Label of the option that the rule read in the answer; None: it found none."""
    counted: bool = True
    """In the denominator. Only rules that leave unreadable answers out say no."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingRule:
    """How an answer's text is rated."""

    says: str
    """In words, for the report."""
    rate: Callable[[str, Question], Rating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One benchmark: where its questions are, how they are put, how answers are rated."""

    template: PromptTemplate
    rules: Mapping[str, RatingRule]
    """By name; the first is used where none is named."""
    max_new_tokens: int
    """Of an answer, as the benchmark's own scripts have it."""
    grouping: str
    """The finest grouping that is a task of its own; `--limit` takes the first of each of its groups."""
    read: Callable[..., tuple[Question, ...]]
    """Folder and `options` -> its questions. Raises DataError."""
    options: frozenset[str] = frozenset()
    """Keywords of `read` that it alone has."""


def take_first_of_each(questions: Sequence[Question], grouping: str, limit: int) -> tuple[Question, ...]:
    """The first `limit` questions of every group, in order."""
    seen: dict[str, int] = {}
    kept = []
    for question in questions:
        group = question.category(grouping)
        seen[group] = seen.get(group, 0) + 1
        if seen[group] <= limit:
            kept.append(question)
    return tuple(kept)


def letter(place: int) -> str:
    """A, B, C …"""
    return chr(ord("A") + place)


def refuse_path(record: Record, video: str) -> None:
    """Refuse a video's name that would lead out of the folder.

    Raises:
        DataError: with the record's line.
    """
    fault = find_path_fault(video)
    if fault is not None:
        record.refuse(fault.message, "Name a file of the benchmark's own folder")


def find_first_existing(folder: Path, candidates: Sequence[str]) -> str:
    """The first of several places below a folder where there is something; the first of all where there is nothing."""
    return next((place for place in candidates if os.path.exists(folder / place)), candidates[0])
