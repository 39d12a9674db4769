"""TimeLens2 (arXiv 2607.17423): the set rewards of its training, and the scores of its VLMEvalKit port.

Facts of the paper and of how the code behaves; none of the code. Two scorers in one table:

The port (`evaluation/vlmeval/dataset/timelens.py`) asks for "The event happens in a - b seconds", reads an answer as
TimeLens's evaluation does and takes the first pair; its IoU is that of two spans, with the first annotated one. It has
two denominators: its mIoU leaves out queries without a row in the file, its R1 counts them. (Sets of spans, floored and
ceiled, belong to its Ego4D and VUE-TR tasks.)

To the rewards prediction and annotation are sets of spans. `tiou` merges the prediction and leaves the annotation as it
is. `twass1` is exp(-W1 / |merged annotation|), W1 the
Wasserstein distance between the uniform densities on the two merged sets: so the paper and the newer code
(`grpo/timelens/rewards/metrics.py`); the code of the first release divides W1 by the merged union of both. To the
rewards an answer with a span that does not start before its end counts as unparsable (`funcs.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from video_opd.eval.scorers._parsers import timelens, timelens2
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import (
    THRESHOLDS,
    missing_notes,
    note_count,
    parser_name,
    read_pairs,
    reading_notes,
    several_spans_notes,
    share,
)
from video_opd.eval.scorers._span_sets import Interval, merge_spans, set_iou, total_length
from video_opd.grounding import SpanLike, temporal_iou
from video_opd.types import Example

_CONVENTION = Convention(
    source="MCG-NJU/TimeLens2: mIoU and R1 of evaluation/vlmeval/dataset/timelens.py; rewards twass1, tiou, "
    "parse_penalty of its training",
    comparator=">=",
    rounding="times not at all; mIoU to four decimals",
    denominator="mIoU and the rewards: queries with a row in the file; R1: every query",
    prediction="mIoU and R1: first pair; rewards: all spans, merged",
    annotation="mIoU and R1: first span; rewards: all spans, not merged for tiou, merged for twass1, which divides W1 "
    "by the merged annotation's length",
    parser=parser_name(
        "mIoU and R1: that of TimeLens's evaluation; rewards: that of TimeLens2's, a JSON list of pairs"
    ),
    units="mIoU and rewards as fractions, R1 in percent",
    failure="IoU 0; twass1 0, tiou 0, parse_penalty -1, in the rewards also for an answer with a span that does not "
    "start before its end",
)


def score_timelens2(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """mIoU and R1 of the port, and the mean of each reward and of their sum."""
    answered = [example for example in truth.order_as_file(answers) if example.id in answers.by_id]
    ious: dict[str, float] = {}
    for example in answered:
        pairs = read_pairs(answers.by_id[example.id], timelens)
        ious[example.id] = temporal_iou(pairs[0], example.spans[0]) if pairs else 0.0
    hits = {
        f"R1@{threshold:g}": {
            example.id: 100.0 if ious.get(example.id, 0.0) >= threshold else 0.0 for example in truth.examples
        }
        for threshold in THRESHOLDS
    }
    rewards, reward_notes = _rewards(answered, answers)
    # numpy's mean and rounding, as pandas has them: they part from Python's in the last of the four decimals.
    miou = float(np.round(np.mean(list(ious.values())), 4))
    return OfficialScores(
        convention=_CONVENTION,
        scores={"mIoU": miou}
        | {name: share(hit) for name, hit in hits.items()}
        | {name: share(values) for name, values in rewards.items()},
        per_query={"mIoU": ious} | hits | rewards,
        notes=(
            *several_spans_notes(truth, "the first in mIoU and R1, and at all in the rewards"),
            *missing_notes(truth, answers, "left out of mIoU, and misses in R1, as in the port"),
            *reading_notes(answers, timelens, "`The event happens in 12.5 - 18.3 seconds.`"),
            *reward_notes,
        ),
    )


def _rewards(answered: Sequence[Example], answers: Answers) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Name of each reward -> example id -> its value; and sentences about what was unusual."""
    rewards: dict[str, dict[str, float]] = {"twass1": {}, "tiou": {}, "parse_penalty": {}, "reward": {}}
    unread = invalid = points = 0
    for example in answered:
        pairs = read_pairs(answers.by_id[example.id], timelens2)
        valid = bool(pairs) and all(start < end for start, end in pairs)
        unread += not pairs
        invalid += bool(pairs) and not valid
        points += not total_length(example.spans)
        defined = valid and total_length(merge_spans(pairs)) < math.inf and total_length(example.spans) > 0
        rewards["twass1"][example.id] = wasserstein_reward(pairs, example.spans) if defined else 0.0
        rewards["tiou"][example.id] = set_iou(pairs, example.spans) if valid else 0.0
        rewards["parse_penalty"][example.id] = 0.0 if valid else -1.0
        rewards["reward"][example.id] = sum(rewards[name][example.id] for name in ("twass1", "tiou", "parse_penalty"))
    return rewards, [
        *note_count(unread, "answers hold no JSON list of pairs, such as `[[12.5, 18.3]]`: unparsable to the rewards."),
        *note_count(invalid, "answers have a span that does not start before its end: unparsable to the rewards."),
        *note_count(points, "annotations have no length, and no density to compare: twass1 0."),
    ]


def wasserstein_reward(predicted: Sequence[SpanLike], annotated: Sequence[SpanLike]) -> float:
    """exp(-W1 / |merged annotation|), in 0..1; 1 for equal sets. Both sets need a length."""
    truth = merge_spans(annotated)
    return math.exp(-wasserstein_1(merge_spans(predicted), truth) / total_length(truth))


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
