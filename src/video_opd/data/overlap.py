"""Rows of two sets that ask about the same moment of the same video. A test set that training has seen measures memory.

Two rows are about the same video if their paths are equal, or if the videos behind them have the same name
(`same_video`). A name that stands in several folders of one set names nothing there (`kitchen/1.mp4`, `garden/1.mp4`),
and such rows are only found by equal paths. Spans are compared in seconds of the video behind the file, by the one
temporal IoU; equal spans overlap wholly, also those without length, which overlap nothing else. How two rows are worded
is looked at apart: the same question about the same video may be annotated anew in another set, with another span.

Two videos may bear one name by chance (`1.mp4`). To miss a row that was training data is worse than to name another, so
such rows stay in, and those whose videos can hardly be one by their durations are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from video_opd.data.query_words import normalise
from video_opd.data.same_video import source_video, spans_in_source
from video_opd.grounding import temporal_iou
from video_opd.types import Example, Span

DURATIONS_APART_S = 5.0
"""Durations of one video in two data sets lie closer than this: of 4,291 rows that TVGBench, Charades-STA, ActivityNet
Captions and both forms of TACoS share about whole videos, all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedVideo:
    """A row whose video the other set has too."""

    example: Example
    iou: float
    """Largest temporal IoU of one of its spans with one of the other set's; 0: they ask about other moments."""
    other: Example
    """The row it overlaps most; where it overlaps none, one that asks the same, or else any about the video."""
    same_query: bool
    """Some row of the other set asks the same question about the video, whatever span it gives."""

    @property
    def has_other_duration(self) -> bool:
        """Whether both rows are about whole videos whose durations show that they are different videos."""
        rows = (self.example, self.other)
        whole = all(row.clip is None and source_video(row.video).offset_s == 0 for row in rows)
        mine, theirs = self.example.duration, self.other.duration
        return whole and mine is not None and theirs is not None and abs(mine - theirs) > DURATIONS_APART_S


def find_shared_rows(a: Sequence[Example], b: Sequence[Example]) -> list[SharedVideo]:
    """The rows of `a` about videos of `b`, in the order of `a`."""
    names_a, names_b = _list_names(a), _list_names(b)
    others: dict[tuple[str, str], _VideoQueries] = {}
    for example in b:
        for key in _list_keys(example, names_b):
            others.setdefault(key, _VideoQueries()).add(example)
    shared = []
    for example in a:
        video = next((others[key] for key in _list_keys(example, names_a) if key in others), None)
        if video is not None:
            shared.append(video.compare(example))
    return shared


def select_overlapping(shared: Iterable[SharedVideo], threshold: float) -> list[SharedVideo]:
    """Those with an IoU of at least the threshold; at a threshold of 0, those that overlap at all."""
    return [row for row in shared if row.iou > 0 and row.iou >= threshold]


class _VideoQueries:
    """What one set asks about a video."""

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self.queries: dict[str, Example] = {}
        self._spans: list[tuple[Span, Example]] = []
        self._ends_s = np.empty((2, 0))

    def add(self, example: Example) -> None:
        self.examples.append(example)
        self.queries.setdefault(normalise(example.query), example)
        self._spans += [(span, example) for span in spans_in_source(example)]

    def compare(self, example: Example) -> SharedVideo:
        if self._ends_s.shape[1] < len(self._spans):
            self._ends_s = np.array([span for span, _ in self._spans]).T
        twin = self.queries.get(normalise(example.query))
        iou, other = 0.0, twin or self.examples[0]
        starts_s, ends_s = self._ends_s
        for span in spans_in_source(example):
            # Thousands of questions about one long video are pairs by the million; few of them overlap.
            for index in ((starts_s <= span.end_s) & (ends_s >= span.start_s)).nonzero()[0]:
                candidate, asked = self._spans[index]
                found = 1.0 if span == candidate else temporal_iou(span, candidate)
                if found > iou:
                    iou, other = found, asked
        return SharedVideo(example=example, iou=iou, other=other, same_query=twin is not None)


def _list_names(examples: Iterable[Example]) -> set[str]:
    """The names that stand for one video each."""
    folders: dict[str, set[str]] = {}
    for path in {example.video for example in examples}:
        video = source_video(path)
        folders.setdefault(video.name, set()).add(video.folder)
    return {name for name, found in folders.items() if len(found) == 1}


def _list_keys(example: Example, names: set[str]) -> Iterator[tuple[str, str]]:
    """The keys by which a row's video is found. The name comes first: it finds every row that the path would find."""
    name = source_video(example.video).name
    if name in names:
        yield "name", name
    yield "path", example.video
