"""What several answers of one model to one example say about the model, and how far to trust what they say.

One sampled answer is mostly luck: in the tiny world the IoU of one correlates with that of another of the same student
by 0.2, and three quarters of the largest gaps are chance. So an example is scored by several answers from one reading,
and every file of scores says how reliable their mean is.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from video_opd.grounding import temporal_iou
from video_opd.vocabulary import Span

MOSTLY_NOISE = 0.5
"""A ranking less reliable than this is more noise than signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredAnswer:
    """One answer, as the curriculum sees it."""

    text: str
    span: Span | None
    """The first span it names; None: it names none."""
    iou: float
    """With the annotated span it matches best."""
    logprob: float
    """Summed over its tokens, end of turn included."""
    num_tokens: int
    sampled: bool
    """Drawn from the policy; else the most probable one, or one of the most probable."""
    reverse_kl: float | None = None
    """KL(student || teacher) summed over the states of the answer, in nats, where a teacher was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredExample:
    """The answers of one model to one example."""

    id: str
    spans: tuple[Span, ...]
    """As annotated."""
    duration: float
    """Of the video, in seconds."""
    source: str
    answers: tuple[ScoredAnswer, ...]
    """None of them where it was not scored."""
    unscored: str = ""
    """Why it was not."""

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
        known = [answer for answer in self.answers if answer.reverse_kl is not None]
        if not known:
            return None
        values = ((answer.reverse_kl or 0.0) / (answer.num_tokens if per_token else 1) for answer in known)
        return statistics.fmean(values)


def split_half_reliability(rows: Iterable[ScoredExample]) -> float | None:
    """How far the mean IoU over an example's answers would come out again with other draws, 0..1.

    The correlation over examples between the means of one half of the sampled answers and of the other, stepped up from
    the half to all answers drawn (Spearman-Brown). The most probable answer is not a draw and is left out.

    Returns:
        None where no example has two sampled answers, or all halves are alike, which leaves nothing to tell apart.
    """
    halves: list[tuple[float, float]] = []
    sizes: list[tuple[int, int]] = []
    for row in rows:
        ious = [answer.iou for answer in row.answers if answer.sampled]
        if len(ious) >= 2:
            halves.append((statistics.fmean(ious[0::2]), statistics.fmean(ious[1::2])))
            sizes.append((len(ious[1::2]), len(ious)))
    if len(halves) < 2 or any(len(set(half)) == 1 for half in zip(*halves, strict=True)):
        return None
    correlation = max(0.0, statistics.correlation(*map(list, zip(*halves, strict=True))))
    times = statistics.fmean(whole for _, whole in sizes) / statistics.fmean(half for half, _ in sizes)
    return times * correlation / (1 + (times - 1) * correlation)


def reliability_of_gap(
    tau: Mapping[str, float], sigma: Mapping[str, float], reliability_of_tau: float | None, reliability_of_sigma: float
) -> float | None:
    """How reliable a ranking by `tau - sigma` is, 0..1, over the ids of both: the share of the gap's variance that is
    not the error of either mean. None where the gaps are all alike.

    Args:
        reliability_of_tau: None: taken as without error, as for one greedy answer.
    """
    ids = [id for id in tau if id in sigma]
    if len(ids) < 2:
        return None
    variance = statistics.pvariance([tau[id] - sigma[id] for id in ids])
    if variance == 0:
        return None
    error = (1 - reliability_of_sigma) * statistics.pvariance([sigma[id] for id in ids])
    if reliability_of_tau is not None:
        error += (1 - reliability_of_tau) * statistics.pvariance([tau[id] for id in ids])
    return min(1.0, max(0.0, 1 - error / variance))


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


def profile(rows: Sequence[ScoredExample]) -> Profile:
    """Of at least one example."""
    return Profile(
        num_examples=len(rows),
        start_s=statistics.fmean(row.spans[0].start_s for row in rows),
        start_share=statistics.fmean(row.spans[0].start_s / row.duration for row in rows),
        length_s=statistics.fmean(row.spans[0].end_s - row.spans[0].start_s for row in rows),
        duration_s=statistics.fmean(row.duration for row in rows),
        sources={name: count / len(rows) for name, count in sorted(Counter(row.source for row in rows).items())},
    )
