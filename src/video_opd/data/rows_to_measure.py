"""What the statistics of a manifest need of its rows, as arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from video_opd.grounding.constant_answer import AnnotatedSpans
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.types import Example, Span

_BYTES = 16
"""Of a digest that stands for a question: two of a million are the same by chance with a probability of 1e-27."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsToMeasure:
    """R rows."""

    annotated: AnnotatedSpans
    durations_s: np.ndarray
    """(R,)"""
    videos: np.ndarray
    """(R,) the number of each video."""
    clips: np.ndarray
    """(R,) the number of each video, or of its clip."""
    sources: np.ndarray
    """(R,) the number of each source."""
    names: list[str]
    """Of the sources."""
    words: np.ndarray
    """(R,) of each query."""
    covered: np.ndarray
    """(R,) see `covered_share`."""
    questions: np.ndarray
    """(R,) digests: equal for rows with the same video, clip and query."""

    @classmethod
    def of(cls, examples: PackedExamples) -> RowsToMeasure:
        """Those of all examples, whose durations are known."""
        clips, numbers = examples.videos_of_rows.copy(), dict[tuple[int, Span], int]()
        for place, (clip, _) in examples.odd.items():
            if clip is not None:
                number = len(examples.videos.texts) + len(numbers)
                clips[place] = numbers.setdefault((int(clips[place]), clip), number)
        words, digests = array("I"), bytearray()
        for place, clip in enumerate(clips.tolist()):
            query = examples.read_query(place)
            words.append(len(query.split()))
            digests += blake2b(f"{clip} {query}".encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
        return cls(
            annotated=AnnotatedSpans.of(examples),
            durations_s=examples.durations_s,
            videos=examples.videos_of_rows,
            clips=clips,
            sources=examples.sources_of_rows,
            names=examples.sources.texts,
            words=np.asarray(words),
            covered=_measure_cover(examples),
            questions=np.frombuffer(digests, dtype=f"V{_BYTES}"),
        )

    def take(self, chosen: np.ndarray) -> RowsToMeasure:
        """Some of the rows, by a truth value for each."""
        return RowsToMeasure(
            annotated=self.annotated.take(np.flatnonzero(chosen)),
            durations_s=self.durations_s[chosen],
            videos=self.videos[chosen],
            clips=self.clips[chosen],
            sources=self.sources[chosen],
            names=self.names,
            words=self.words[chosen],
            covered=self.covered[chosen],
            questions=self.questions[chosen],
        )

    def measure_videos(self) -> tuple[np.ndarray, int]:
        """The length of every video or clip, and for how many the rows give different durations.

        Where rows disagree, the longest is what every one of them fits in.
        """
        order = np.lexsort((self.durations_s, self.clips))
        clips, durations_s = self.clips[order].astype(np.int64), self.durations_s[order]
        first = np.flatnonzero(np.diff(clips, prepend=-1))
        last = np.append(first[1:], len(clips)) - 1
        return durations_s[last], int((durations_s[first] != durations_s[last]).sum())

    def count_sources(self) -> dict[str, int]:
        """Rows of each source, most first, then in the order of the file."""
        counts = np.bincount(self.sources)
        order = np.argsort(-counts, kind="stable")
        return {self.names[number]: int(counts[number]) for number in order if counts[number]}


def covered_share(example: Example) -> float:
    """The share of the video that a row's spans cover together; what lies after its end does not count."""
    covered_s = reached_s = 0.0
    for span in sorted(example.spans):
        end_s = min(span.end_s, example.known_duration)
        covered_s += max(end_s - max(span.start_s, reached_s), 0.0)
        reached_s = max(reached_s, end_s)
    return covered_s / example.known_duration


def _measure_cover(examples: PackedExamples) -> np.ndarray:
    """(N,) `covered_share` of each; most rows have one span."""
    first, durations_s = examples.first_spans, examples.durations_s
    covered = np.zeros(len(examples))
    single = np.flatnonzero(np.diff(first) == 1)
    starts_s, ends_s = examples.spans_s[first[single]].T
    ends_s = np.minimum(ends_s, durations_s[single])
    covered[single] = np.maximum(ends_s - np.maximum(starts_s, 0.0), 0.0) / durations_s[single]
    for place in np.flatnonzero(np.diff(first) != 1):
        covered[place] = covered_share(examples[int(place)])
    return covered
