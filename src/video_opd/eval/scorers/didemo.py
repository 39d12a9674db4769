"""DiDeMo (arXiv 1708.01641): `utils/eval.py` of LisaAnne/LocalizingMoments.

A video is six chunks of 5 s, and an answer ranks the 21 segments of them. For rank@k the ranks that the annotators'
segments have are sorted, and the mean of the best three must be at most k; for mIoU the three best IoUs of the first
segment are averaged. IoU counts chunks.

Spans in seconds are taken for the segment that they have the best IoU with, so that a model's `4.6 - 10.3 seconds` is
the second chunk; of several that name one segment the first counts.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import missing_notes, note_count
from video_opd.grounding import PARSER_VERSION, SpanLike, temporal_iou
from video_opd.types import Example

CHUNK_S = 5.0
_NUM_CHUNKS = 6
_NUM_BEST = 3
_TOP_K = (1, 5)

Segment = tuple[int, int]
"""First and last chunk."""
SEGMENTS: tuple[Segment, ...] = tuple((a, b) for a in range(_NUM_CHUNKS) for b in range(a, _NUM_CHUNKS))
"""All 21."""

_CONVENTION = Convention(
    source="LisaAnne/LocalizingMoments, utils/eval.py",
    comparator=">= in effect: the mean of the three best ranks is at most k",
    rounding="spans in seconds to the nearest of the 21 segments; scores not at all",
    denominator="every query",
    prediction="mIoU: first segment; rank@k: the ranking; a segment that it does not name has rank 22",
    annotation="the three annotators nearest to the answer, for ranks and IoUs apart",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes segments only",
    units="fractions",
    failure="no hit, IoU 0",
)


def score_didemo(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """Rank@1, rank@5 and mIoU, as the official scorer prints them."""
    per_query: dict[str, dict[str, float]] = {name: {} for name in (*(f"rank@{k}" for k in _TOP_K), "mIoU")}
    partial = empty = 0
    for example in truth.examples:
        answer = answers.by_id.get(example.id)
        ranking = _segments(answer.all_spans()) if answer else []
        votes = _votes(truth, example)
        partial += bool(ranking) and len(ranking) < len(SEGMENTS)
        empty += answer is not None and not ranking
        rank = _mean_of_best((_rank(vote, ranking) for vote in votes), operator.neg)
        for k in _TOP_K:
            per_query[f"rank@{k}"][example.id] = float(bool(votes) and bool(ranking) and rank <= k)
        ious = [_iou(ranking[0], vote) for vote in votes] if ranking else []
        per_query["mIoU"][example.id] = _mean_of_best(ious) if ious else 0.0
    return OfficialScores(
        convention=_CONVENTION,
        scores={name: float(np.mean(list(values.values()))) for name, values in per_query.items()},
        per_query=per_query,
        notes=(
            *missing_notes(truth, answers, "no hit and IoU 0; the official scorer refuses such a file"),
            *note_count(empty, "answers name no segment: no hit and IoU 0; the official scorer crashes here."),
            *note_count(
                partial,
                "answers rank fewer than the 21 segments: those not named count as rank 22, where the official scorer "
                "crashes; rank@5 says little about answers of one span.",
            ),
            *(() if truth.votes else (_NO_VOTES,)),
        ),
    )


_NO_VOTES = (
    "A manifest holds one segment for all annotators: these are not the official numbers. For them, give the original "
    "file, such as val_data.json."
)


def _votes(truth: GroundTruth, example: Example) -> Sequence[Segment]:
    return truth.votes[example.id] if example.id in truth.votes else _segments(example.spans)


def _segments(spans: Iterable[SpanLike]) -> list[Segment]:
    """The segments that spans name, each once, in order; a span outside the thirty seconds names none."""
    return list(dict.fromkeys(segment for span in spans if (segment := _segment(span)) is not None))


def _segment(span: SpanLike) -> Segment | None:
    """The one of best IoU, of equals the earliest, then the shortest."""
    ious = [temporal_iou(span, (first * CHUNK_S, (last + 1) * CHUNK_S)) for first, last in SEGMENTS]
    best = max(ious)
    return SEGMENTS[ious.index(best)] if best > 0 else None


def _rank(segment: Segment, ranking: Sequence[Segment]) -> int:
    return ranking.index(segment) + 1 if segment in ranking else len(SEGMENTS) + 1


def _iou(segment: Segment, other: Segment) -> float:
    shared = max(0, min(segment[1], other[1]) + 1 - max(segment[0], other[0]))
    return shared / (max(segment[1], other[1]) + 1 - min(segment[0], other[0]))


def _mean_of_best(values: Iterable[float], goodness: Callable[[float], float] = operator.pos) -> float:
    """Of up to three; in numpy's order, from the worst of them to the best, for the last digit."""
    best = sorted(values, key=goodness)[-_NUM_BEST:]
    return float(np.mean(best)) if best else 0.0
