"""How much of the teacher's judgement depends on the video, and where the advantage of test answers lies.

Measured on the queries that were drawn at random before any answer was looked at; those that are shown because they
are extreme would be no fair sample.
"""

from __future__ import annotations

from dataclasses import dataclass

from video_opd.files.timeline_records import Timelines

FEW = 5
"""With fewer queries nothing is said (as `sample_size.MIN_AGREEING`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionSight:
    """The tokens of one region: means per token, in nats."""

    region: str
    num_tokens: int
    advantage: float
    """The teacher's log-prob minus the student's, without its sign."""
    with_video: float
    """The teacher's log-prob."""
    without_video: float
    """The same with grey frames."""
    change: float
    """The distance of these two, without its sign."""
    num_turned: int
    """Tokens whose advantage has the other sign without the video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """All regions that the answers have."""

    num_queries: int
    change: float
    """Mean over all tokens of how far the teacher's log-prob changes without the video."""
    regions: list[RegionSight]


def measure_sight(timelines: Timelines) -> Sight | None:
    """Measure on the sample; None where the answers were not scored, or on too few queries."""
    from video_opd.grounding.regions import REGIONS  # here: the package loads numpy

    rows: dict[str, list[tuple[float, float, float]]] = {}
    num_queries, sample = 0, set(timelines.sample)
    for each in timelines.queries:
        if each.id not in sample or each.tokens is None:
            continue
        tokens = each.tokens
        columns = (tokens.student_logprobs, tokens.teacher_logprobs, tokens.blind_logprobs)
        if not tokens.regions or any(len(column) != len(tokens.regions) for column in columns):
            continue
        num_queries += 1
        for region, mine, theirs, blind in zip(tokens.regions, *columns, strict=True):
            if region in REGIONS and mine is not None and theirs is not None and blind is not None:
                rows.setdefault(region, []).append((mine, theirs, blind))
    if num_queries < FEW or not rows:
        return None
    regions = [_summarise(region, rows[region]) for region in REGIONS if region in rows]
    count = sum(each.num_tokens for each in regions)
    return Sight(
        num_queries=num_queries,
        change=sum(each.change * each.num_tokens for each in regions) / count,
        regions=regions,
    )


def _summarise(region: str, tokens: list[tuple[float, float, float]]) -> RegionSight:
    count = len(tokens)
    return RegionSight(
        region=region,
        num_tokens=count,
        advantage=sum(abs(theirs - mine) for mine, theirs, _ in tokens) / count,
        with_video=sum(theirs for _, theirs, _ in tokens) / count,
        without_video=sum(blind for *_, blind in tokens) / count,
        change=sum(abs(theirs - blind) for _, theirs, blind in tokens) / count,
        num_turned=sum((theirs - mine) * (blind - mine) < 0 for mine, theirs, blind in tokens),
    )
