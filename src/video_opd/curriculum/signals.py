"""The signals from several answers of one model to one example, and their reliability.

One sampled answer is mostly chance: four fifths of the excess gap of the examples that it ranks first disappear with
new draws (tiny world, docs/CURRICULUM.md). So an example is scored by several answers from one reading, and every file
of scores has the reliability of their mean.
"""

from __future__ import annotations

import math
import statistics
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from video_opd.grounding import temporal_iou
from video_opd.sample_size import MIN_AGREEING
from video_opd.types import Span

MOSTLY_NOISE = 0.5
"""A ranking less reliable than this is more noise than signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """One answer, as the curriculum sees it."""

    text: str
    span: Span | None
    """The first span that it names; None if it names none."""
    iou: float
    """IoU with the annotated span that it matches best."""
    logprob: float
    """Log-prob, summed over its tokens, with the end of turn."""
    num_tokens: int
    sampled: bool
    """True: drawn from the policy. False: the most probable answer, or one of the most probable."""
    reverse_kl: float | None = None
    """KL(student || teacher) summed over the states of the answer, in nats, where a teacher was asked."""

    def kl(self, *, per_token: bool) -> float:
        """The reverse KL, summed or per token; of an answer that a teacher was asked about."""
        assert self.reverse_kl is not None
        return self.reverse_kl / (self.num_tokens if per_token else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredExample:
    """The answers of one model to one example."""

    id: str
    spans: tuple[Span, ...]
    """As annotated."""
    duration: float | None
    """Duration of the video in seconds. None: unknown, and ignored in means."""
    source: str
    answers: tuple[ScoredAnswer, ...]
    """The answers; empty if the example was not scored."""
    unscored: str = ""
    """Why it was not scored."""

    @property
    def mean_iou(self) -> float:
        """`tau` of a teacher, `sigma` of a student (Video-OPD, appendix B)."""
        return statistics.fmean(answer.iou for answer in self.answers)

    @property
    def agreement(self) -> float:
        """Mean IoU of its answers with one another, a reliability that reads no annotation; an answer without a span
        agrees with none. 1 where there is one answer and it names a span."""
        pairs = list(combinations([answer.span for answer in self.answers], 2))
        if not pairs:
            return float(self.answers[0].span is not None)
        return statistics.fmean(temporal_iou(one, other) if one and other else 0.0 for one, other in pairs)

    def reverse_kl(self, *, per_token: bool = False) -> float | None:
        """Mean over its sampled answers of the reverse KL along each, summed as in section 3.2, or per token, which
        does not grow with the length; None where no teacher was asked."""
        known = [answer.kl(per_token=per_token) for answer in self.answers if answer.reverse_kl is not None]
        return statistics.fmean(known) if known else None


def iou_of(answer: ScoredAnswer) -> float:
    """The IoU of an answer, for rankings."""
    return answer.iou


def split_half_reliability(rows: Iterable[ScoredExample], of: Callable[[ScoredAnswer], float] = iou_of) -> float | None:
    """The reliability, 0..1, of the mean over an example's sampled answers: how similar it would be with other draws.

    The correlation over examples between the means of two halves of the draws, of an odd number all but the last,
    stepped up from the half to all of them (Spearman-Brown). The most probable answer is not a draw and is left out.

    Returns:
        None where fewer than `MIN_AGREEING` examples have two sampled answers, or all halves are alike, which leaves
        nothing to tell apart. (Of two examples a correlation is 1 or -1, whatever they are.)
    """
    return measure_reliability([of(answer) for answer in row.answers if answer.sampled] for row in rows)


def measure_reliability(examples: Iterable[Sequence[float]]) -> float | None:
    """The same of the values of the sampled answers to each example."""
    ones, others, times = array("d"), array("d"), array("d")  # of many rows they are small
    for draws in examples:
        half = len(draws) // 2
        if half:
            ones.append(math.fsum(draws[0 : 2 * half : 2]) / half)
            others.append(math.fsum(draws[1 : 2 * half : 2]) / half)
            times.append(len(draws) / half)
    if len(ones) < MIN_AGREEING or min(ones) == max(ones) or min(others) == max(others):
        return None
    correlation = max(0.0, statistics.correlation(ones, others))
    factor = statistics.fmean(times)
    return factor * correlation / (1 + (factor - 1) * correlation)


class Draws(NamedTuple):
    """The sampled answers to one example."""

    ious: Sequence[float]
    num_answers: int
    """Of all answers, the most probable one too."""


def error_variance(rows: Iterable[ScoredExample]) -> float | None:
    """The error variance of the mean IoU of examples; see `measure_error_variance`."""
    return measure_error_variance(
        Draws([answer.iou for answer in row.answers if answer.sampled], len(row.answers)) for row in rows
    )


def measure_error_variance(examples: Iterable[Draws]) -> float | None:
    """Variance, over draws, of an example's mean IoU, averaged over these examples: what is not reliable in it.

    The variance of one draw is taken from within the examples that have several (pooled, unbiased). The mean of n
    answers, k of them drawn, has k / n^2 of it: the most probable answer is not a draw and has no such error.

    Returns:
        None where no example has two sampled answers, so that it is not known.
    """
    squares, shares, num_free = array("d"), array("d"), 0
    for ious, num_answers in examples:
        shares.append(len(ious) / num_answers**2)
        if len(ious) > 1:
            squares.append(_sum_squares(ious))
            num_free += len(ious) - 1
    return math.fsum(squares) / num_free * statistics.fmean(shares) if num_free else None


def _sum_squares(values: Sequence[float]) -> float:
    """Of the differences from the mean. The exact fractions of `statistics.variance` take 20 times as long."""
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values)


def reliability_of_gap(gaps: Sequence[float], error_of_tau: float | None, error_of_sigma: float) -> float | None:
    """How reliable a ranking by `tau - sigma` is, 0..1: the share of the gaps' variance that is not the error of either
    mean. None where the gaps are all alike.

    The two errors must be independent: teacher and student drawn with random numbers of their own (`scores.streams`).

    Args:
        error_of_tau: error variance over the same examples; None: taken as without error, as for one greedy answer.
        error_of_sigma: the same of the student.
    """
    # Over n - 1, as the errors are unbiased too: with no true difference both are the same on average.
    variance = _sum_squares(gaps) / (len(gaps) - 1) if len(gaps) > 1 else 0.0
    if variance == 0:
        return None
    return min(1.0, max(0.0, 1 - ((error_of_tau or 0.0) + error_of_sigma) / variance))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a set of examples is like, so that the shift that a selection causes can be seen."""

    num_examples: int
    start_s: float
    """Mean start of the first annotated span."""
    start_share: float
    """The same as a share of the video."""
    length_s: float
    duration_s: float
    sources: Mapping[str, float]
    """Share of the examples from each source."""


def profile(rows: Iterable[ScoredExample]) -> Profile:
    """Of at least one example."""
    starts, shares, lengths, durations, sources = (*(array("d") for _ in range(4)), Counter[str]())
    for row in rows:
        start, end = row.spans[0]
        starts.append(start)
        lengths.append(end - start)
        sources[row.source] += 1
        if row.duration is not None:
            shares.append(start / row.duration)
            durations.append(row.duration)
    return Profile(
        num_examples=len(starts),
        start_s=statistics.fmean(starts),
        start_share=statistics.fmean(shares) if shares else 0.0,
        length_s=statistics.fmean(lengths),
        duration_s=statistics.fmean(durations) if durations else 0.0,
        sources={name: count / len(starts) for name, count in sorted(sources.items())},
    )
