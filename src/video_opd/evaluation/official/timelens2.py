"""TimeLens2 (arXiv 2607.17423): the set rewards of its training, and the scores of its VLMEvalKit port.

Facts of the paper and of how the code behaves; none of the code. Prediction and annotation are sets of spans. `tiou`
merges the prediction and leaves the annotation as it is. `twass1` is exp(-W1 / |merged annotation|), W1 the
Wasserstein distance between the uniform densities on the two merged sets: so the paper and the newer code
(`grpo/timelens/rewards/metrics.py`); the code of the first release divides W1 by the merged union of both. To the
rewards an answer with a span that does not start before its end counts as unparsable (`funcs.py`); the port scores its
other spans. The port has two denominators: its mIoU leaves out queries without a row in the file, its R1 counts them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from video_opd.evaluation.official.nouns import Answers, Convention, GroundTruth, OfficialScores
from video_opd.evaluation.official.parsers import timelens2
from video_opd.evaluation.official.single_span import (
    THRESHOLDS,
    missing_notes,
    pairs_of,
    parser_name,
    reading_notes,
    share,
    told,
)
from video_opd.evaluation.official.span_sets import Interval, merged, set_iou, total_length
from video_opd.grounding import SpanLike

_CONVENTION = Convention(
    source="TimeLens2: rewards twass1, tiou, parse_penalty; TimeLens_* tasks of its VLMEvalKit fork",
    comparator=">=",
    rounding="times not at all; mIoU to four decimals",
    denominator="mIoU and the rewards: queries with a row in the file; R1: every query",
    prediction="all spans, merged",
    annotation="all spans, not merged for tiou, merged for twass1, which divides W1 by the merged annotation's length",
    parser=parser_name("that of TimeLens2's rewards: a JSON list of pairs"),
    units="mIoU and rewards as fractions, R1 in percent",
    failure="tiou 0, twass1 0, parse_penalty -1; in the rewards also for an answer with a span that does not start "
    "before its end",
)


def score_timelens2(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """mIoU and R1 of the port, and the mean of each reward and of their sum."""
    ious: dict[str, float] = {}
    rewards: dict[str, dict[str, float]] = {"twass1": {}, "tiou": {}, "parse_penalty": {}, "reward": {}}
    invalid = points = 0
    for example in truth.in_file_order(answers):
        if example.id not in answers.by_id:
            continue
        pairs = pairs_of(answers.by_id[example.id], timelens2)
        ious[example.id] = set_iou(pairs, example.spans)
        valid = bool(pairs) and all(start < end for start, end in pairs)
        invalid += bool(pairs) and not valid
        points += not total_length(example.spans)
        defined = valid and total_length(merged(pairs)) < math.inf and total_length(example.spans) > 0
        rewards["twass1"][example.id] = wasserstein_reward(pairs, example.spans) if defined else 0.0
        rewards["tiou"][example.id] = ious[example.id] if valid else 0.0
        rewards["parse_penalty"][example.id] = 0.0 if valid else -1.0
        rewards["reward"][example.id] = sum(rewards[name][example.id] for name in ("twass1", "tiou", "parse_penalty"))
    hits = {
        f"R1@{threshold:g}": {
            example.id: 100.0 if ious.get(example.id, 0.0) >= threshold else 0.0 for example in truth.examples
        }
        for threshold in THRESHOLDS
    }
    scores = {"mIoU": round(share(ious), 4)} | {name: share(hit) for name, hit in hits.items()}
    return OfficialScores(
        convention=_CONVENTION,
        scores=scores | {name: share(values) for name, values in rewards.items()},
        per_query={"mIoU": ious} | hits | rewards,
        notes=(
            *missing_notes(truth, answers, "left out of mIoU, and misses in R1, as in the port"),
            *reading_notes(answers, timelens2, "`[[12.5, 18.3]]`"),
            *told(invalid, "answers have a span that does not start before its end: unparsable to the rewards."),
            *told(points, "annotations have no length, and no density to compare: twass1 0."),
        ),
    )


def wasserstein_reward(predicted: Sequence[SpanLike], annotated: Sequence[SpanLike]) -> float:
    """exp(-W1 / |merged annotation|), in 0..1; 1 for equal sets. Both sets need a length."""
    truth = merged(annotated)
    return math.exp(-wasserstein_1(merged(predicted), truth) / total_length(truth))


def wasserstein_1(some: Sequence[Interval], others: Sequence[Interval]) -> float:
    """Exact Wasserstein-1 distance, in seconds, between the uniform densities on two unions of intervals.

    In one dimension it is the integral of the absolute difference of the two distribution functions. Both are linear
    between the ends of intervals, so each stretch between two ends is a trapezoid, or two triangles where they cross.
    """
    ends = np.unique(np.array([*some, *others], dtype=np.float64))
    if not math.isfinite(float(ends[-1]) - float(ends[0])):
        return math.inf
    difference = _distribution(some, ends) - _distribution(others, ends)
    left, right = np.abs(difference[:-1]), np.abs(difference[1:])
    crosses = difference[:-1] * difference[1:] < 0
    heights = np.where(crosses, (left**2 + right**2) / np.where(crosses, left + right, 1.0), left + right) / 2
    return float((heights * np.diff(ends)).sum())


def _distribution(intervals: Sequence[Interval], at: np.ndarray) -> np.ndarray:
    """Distribution function of the uniform density on disjoint intervals in order, at the given times."""
    times = np.array(intervals, dtype=np.float64)
    reached = np.cumsum(times[:, 1] - times[:, 0])
    before = np.concatenate([[0.0], reached[:-1]])
    return np.interp(at, times.ravel(), np.stack([before, reached], axis=1).ravel() / reached[-1])
