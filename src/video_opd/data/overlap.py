"""Rows of two sets that ask about the same moment of the same video. A test set that training has seen measures memory.

Two rows are about the same video if their paths are equal, or if the videos behind them have the same name
(`same_video`). A name that stands in several folders of one set names nothing there (`kitchen/1.mp4`, `garden/1.mp4`),
and such rows are only found by equal paths. Spans are compared in seconds of the video behind the file, by the one
temporal IoU; equal spans overlap wholly, also those without length, which overlap nothing else. How two rows are worded
is looked at apart: the same question about the same video may be annotated anew in another set, with another span.

The rows of a million are compared as arrays, group after group: a group is what the other set asks about a video.

Two videos may bear one name by chance (`1.mp4`). To miss a row that was training data is worse than to name another, so
such rows stay in, and those whose videos can hardly be one by their durations are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import overload

import numpy as np

from video_opd.data.query_words import normalise
from video_opd.data.same_video import SourceVideo, source_video
from video_opd.grounding.packed_examples import PackedExamples, reduce_rows
from video_opd.grounding.span import temporal_ious
from video_opd.types import Example

DURATIONS_APART_S = 5.0
"""Durations of one video in two data sets lie closer than this: of 4,291 rows that TVGBench, Charades-STA, ActivityNet
Captions and both forms of TACoS share about whole videos, all."""

_PAIRS_AT_ONCE = 200_000
"""Bound on temporary arrays: thousands of questions about one long video are pairs by the million."""
_NONE = -1


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


class SharedRows(Sequence[SharedVideo]):
    """Rows of one set whose videos the other set has too, in their order.

    Args:
        of: the one set.
        beside: the other.
        rows: (R,) places in the one.
        ious: (R,) as `SharedVideo.iou`.
        others: (R,) places of the rows in the other.
        are_same_query: (R,) as `SharedVideo.same_query`.
    """

    def __init__(
        self,
        of: PackedExamples,
        beside: PackedExamples,
        rows: np.ndarray,
        ious: np.ndarray,
        others: np.ndarray,
        are_same_query: np.ndarray,
    ) -> None:
        self.of, self.beside = of, beside
        self.rows, self.ious, self.others, self.are_same_query = rows, ious, others, are_same_query

    @overload
    def __getitem__(self, place: int) -> SharedVideo: ...
    @overload
    def __getitem__(self, place: slice) -> SharedRows: ...
    def __getitem__(self, place: int | slice) -> SharedVideo | SharedRows:
        if isinstance(place, slice):
            return self._take(place)
        return SharedVideo(
            example=self.of[int(self.rows[place])],
            iou=float(self.ious[place]),
            other=self.beside[int(self.others[place])],
            same_query=bool(self.are_same_query[place]),
        )

    def __len__(self) -> int:
        return len(self.rows)

    def _take(self, chosen: np.ndarray | slice) -> SharedRows:
        columns = self.rows[chosen], self.ious[chosen], self.others[chosen], self.are_same_query[chosen]
        return SharedRows(self.of, self.beside, *columns)

    def select_overlapping(self, threshold: float) -> SharedRows:
        """Those with an IoU of at least the threshold; at a threshold of 0, those that overlap at all."""
        return self._take((self.ious > 0) & (self.ious >= threshold))

    def count_videos(self) -> int:
        """Count the paths of videos that the rows name."""
        return len(np.unique(self.of.videos_of_rows[self.rows]))

    def count_durations_apart(self) -> int:
        """Count the rows whose durations show that they are about different videos of one name."""
        mine, theirs = _list_whole_durations(self.of)[self.rows], _list_whole_durations(self.beside)[self.others]
        return int((np.abs(mine - theirs) > DURATIONS_APART_S).sum())


def find_shared_rows(a: Iterable[Example], b: Iterable[Example]) -> SharedRows:
    """The rows of `a` about videos of `b`, in the order of `a`."""
    of, beside = PackedExamples.of(a), PackedExamples.of(b)
    groups = _Groups(of, beside)
    rows = np.flatnonzero(groups.of_rows != _NONE)
    ious, others = groups.compare_spans(rows)
    twins = groups.find_twins(rows)
    others = np.where(others == _NONE, np.where(twins == _NONE, groups.find_first(rows), twins), others)
    return SharedRows(of, beside, rows, ious, others, twins != _NONE)


class _Groups:
    """The rows of one set beside the groups of rows of another that they are compared with."""

    def __init__(self, of: PackedExamples, beside: PackedExamples) -> None:
        self.of, self.beside = of, beside
        number_of: dict[tuple[str, str], int] = {}
        needed = _map_keys(beside)
        of_videos = np.full(len(of.videos.texts), _NONE, dtype=np.int64)
        for video, keys in enumerate(_list_keys(of)):
            key = next((key for key in keys if key in needed), None)
            if key is not None:
                of_videos[video] = number_of.setdefault(key, len(number_of))
        self.of_rows = of_videos[of.videos_of_rows]
        self.members, self.bounds = self._sort_members([needed[key] for key in number_of])

    def _sort_members(self, videos_of_groups: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """(M,) the rows of the other set, group after group, each in its order; (G + 1,) where the groups begin."""
        groups, places = [], []
        pairs = [(group, video) for group, videos in enumerate(videos_of_groups) for video in videos]
        while pairs:  # a video may be in a group by its name and in another by its path
            group_of_video = np.full(len(self.beside.videos.texts), _NONE, dtype=np.int64)
            left = []
            for group, video in pairs:
                if group_of_video[video] == _NONE:
                    group_of_video[video] = group
                else:
                    left.append((group, video))
            pairs, of_rows = left, group_of_video[self.beside.videos_of_rows]
            found = np.flatnonzero(of_rows != _NONE)
            groups.append(of_rows[found])
            places.append(found)
        if not groups:
            return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
        numbers, rows = np.concatenate(groups), np.concatenate(places)
        order = np.lexsort((rows, numbers))
        return rows[order], np.searchsorted(numbers[order], np.arange(len(videos_of_groups) + 1))

    def find_first(self, rows: np.ndarray) -> np.ndarray:
        """The first row of the group of each row."""
        return self.members[self.bounds[self.of_rows[rows]]]

    def find_twins(self, rows: np.ndarray) -> np.ndarray:
        """(R,) the first row of the group of each row with the same query; -1: there is none."""
        if not rows.size:
            return rows
        group_of_members = np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))
        theirs = _mix(_digest_queries(self.beside, np.unique(self.members))[self.members], group_of_members)
        mine = _mix(_digest_queries(self.of, rows)[rows], self.of_rows[rows])
        order = np.argsort(theirs, kind="stable")
        theirs = theirs[order]
        place = np.minimum(np.searchsorted(theirs, mine), len(theirs) - 1)
        return np.where(theirs[place] == mine, self.members[order[place]], _NONE)

    def compare_spans(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(R,) the largest IoU of each row with a row of its group, and the first such row; 0 and -1: it overlaps none.

        Equal spans overlap wholly.
        """
        ious, others = np.zeros(len(rows)), np.full(len(rows), _NONE, dtype=np.int64)
        mine, theirs = _shift_to_source(self.of), _shift_to_source(self.beside)
        first, their_first = self.of.first_spans, self.beside.first_spans
        # The spans of the other set, group after group.
        places = _expand(their_first[self.members], their_first[self.members + 1])
        askers = np.repeat(self.members, their_first[self.members + 1] - their_first[self.members])
        sizes = np.concatenate([[0], (their_first[self.members + 1] - their_first[self.members]).cumsum()])
        begin, end = (sizes[self.bounds[self.of_rows[rows] + more]] for more in (0, 1))
        num_spans = first[rows + 1] - first[rows]
        num_pairs = num_spans * (end - begin)
        for start, stop in _cut(num_pairs):
            part = slice(start, stop)
            spans = _expand(first[rows[part]], first[rows[part] + 1])
            span_begin, span_end = (np.repeat(ends[part], num_spans[part]) for ends in (begin, end))
            left = np.repeat(spans, span_end - span_begin)
            right = _expand(span_begin, span_end)
            if not right.size:  # rows without spans
                continue
            pairs = mine[left], theirs[places[right]]
            found = np.where((pairs[0] == pairs[1]).all(axis=1), 1.0, temporal_ious(*pairs))
            bounds = np.concatenate([[0], num_pairs[part].cumsum()])
            largest = reduce_rows(found, bounds, 0.0)
            best = np.flatnonzero(found == np.repeat(largest, num_pairs[part]))
            first_best = best[np.minimum(np.searchsorted(best, bounds[:-1]), len(best) - 1)]
            ious[part] = largest
            others[part] = np.where(largest > 0, askers[right[first_best]], _NONE)
        return ious, others


def _cut(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Stretches of rows that have together about as many pairs as may be in memory at once."""
    total, start = counts.cumsum(), 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _PAIRS_AT_ONCE, side="right")))
        yield start, stop
        start = stop


def _expand(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """All whole numbers from each beginning up to its end, one stretch after the other."""
    counts = end - begin
    return np.arange(counts.sum()) + np.repeat(begin - counts.cumsum() + counts, counts)


def _shift_to_source(examples: PackedExamples) -> np.ndarray:
    """(S, 2) all spans in seconds of the source videos; see `same_video.spans_in_source`."""
    offsets_s = np.array([source_video(path).offset_s for path in examples.videos.texts])[examples.videos_of_rows]
    for place, (clip, _) in examples.odd.items():
        if clip is not None:
            offsets_s[place] += clip.start_s
    return np.asarray(examples.spans_s + np.repeat(offsets_s, np.diff(examples.first_spans))[:, None])


def _list_whole_durations(examples: PackedExamples) -> np.ndarray:
    """(N,) durations of rows about whole videos; NaN: another row, or not known."""
    are_whole = np.array([source_video(path).offset_s == 0 for path in examples.videos.texts])[examples.videos_of_rows]
    for place, (clip, _) in examples.odd.items():
        are_whole[place] &= clip is None
    return np.where(are_whole, examples.durations_s, np.nan)


def _digest_queries(examples: PackedExamples, rows: np.ndarray) -> np.ndarray:
    """(N,) 64 bits for the normalised query of some rows; 0 for the others."""
    digests = np.zeros(len(examples), dtype=np.uint64)
    for row in rows.tolist():
        words = normalise(examples.read_query(row)).encode("utf-8", "surrogatepass")
        digests[row] = int.from_bytes(blake2b(words, digest_size=8).digest())
    return digests


def _mix(digests: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """64 bits for a query in a group: two of a million are the same by chance with a probability of 1e-7."""
    return np.asarray(digests ^ (groups.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))


def _map_keys(examples: PackedExamples) -> Mapping[tuple[str, str], list[int]]:
    """Key by which a video is found -> the numbers of the videos."""
    found: dict[tuple[str, str], list[int]] = {}
    for video, keys in enumerate(_list_keys(examples)):
        for key in keys:
            found.setdefault(key, []).append(video)
    return found


def _list_keys(examples: PackedExamples) -> Iterator[list[tuple[str, str]]]:
    """The keys by which each video is found. The name comes first: it finds every row that the path would find."""
    paths = examples.videos.texts
    sources = [source_video(path) for path in paths]
    names = _list_names(sources)
    for path, source in zip(paths, sources, strict=True):
        yield [*([("name", source.name)] if source.name in names else []), ("path", path)]


def _list_names(videos: Iterable[SourceVideo]) -> set[str]:
    """The names that stand for one video each."""
    folders: dict[str, set[str]] = {}
    for video in videos:
        folders.setdefault(video.name, set()).add(video.folder)
    return {name for name, found in folders.items() if len(found) == 1}
