"""A front-loaded schedule: how many examples each step of a run gets, many at first and few at the end (SCC).

SCC (arXiv 2609.40055) states the shares of a full batch and how many presentations fall into each part of a run: 534 in
steps 1 to 20, 307 to step 40, 116 to step 59 and 47 to step 79. It does not state how it rounds. The rule here gives
these four numbers: the share of step s is read at s / steps, the knots are at quarters of the run (steps 19.75, 39.5,
59.25 and 79 of 79), repeats count as presentations (1,004), and cumulative sums are rounded up. It is the simplest of
the rules we tried that does. With the same shares, cumulative sums rounded to the nearest give 534 / 306 / 117 / 47,
rounded down 533 / 307 / 116 / 48, and the largest remainder 533 / 306 / 117 / 48. With the knots at steps 1, 20, 40, 60
and 79 no rule gives them, repeats counted or added (the largest remainder: 530 / 307 / 119 / 48 and 530 / 305 / 118 /
51), also not rounding each step and mending the sum, or divisor methods. Rounding anchors (100) and frontier (904)
apart gives them too, but only where the two are rounded by different rules. So single steps may differ from SCC's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import ceil
from typing import Literal

from pydantic import model_validator

from video_opd.curriculum.coupling import ANCHOR, FRONTIER
from video_opd.settings import Count, Positive, Settings, Share

SCC_PROFILE = ((0.0, 1.0), (0.25, 0.7), (0.5, 0.3), (0.75, 0.1), (1.0, 0.05))
"""SCC's: 100 % of a full batch at first, and 70, 30, 10 and 5 % after each quarter of the steps."""


class FrontLoadingRule(Settings):
    """How candidates are spread over the steps of a run."""

    schedule: Literal["uniform", "front-loaded"] | None = None
    """`uniform`: full batches, epoch after epoch, in random order. `front-loaded`: every candidate once, in batches
    that become smaller by `profile`; it needs training.steps. Not set: uniform. (A recipe whose base has a front-loaded
    schedule sets `uniform`; the next three keys then do nothing.)"""
    profile: tuple[tuple[Share, Share], ...] | None = None
    """Of a front-loaded schedule: points [share of the steps, share of a full batch], with straight lines between them;
    the batches are then scaled so that every candidate is presented once. Not set: SCC's, [[0, 1], [0.25, 0.7],
    [0.5, 0.3], [0.75, 0.1], [1, 0.05]]."""
    last_repeats: Count | None = None
    """Of a front-loaded schedule: frontier examples that the last step presents again. Not set: none."""
    last_full_batch: Positive | None = None
    """Of a front-loaded schedule: size of a full batch at the last step, which training.normalise = constant divides by
    there. SCC's is 8, the rest of a pass over 2,504 examples in batches of 32. Not set: training.batch_size."""

    @model_validator(mode="after")
    def _check_schedule(self) -> FrontLoadingRule:
        for key in ("profile", "last_repeats", "last_full_batch"):
            if getattr(self, key) is not None and self.schedule is None:
                raise ValueError(
                    f"curriculum.{key} is for a front-loaded schedule; set curriculum.schedule = front-loaded, or "
                    "leave it out"
                )
        places = [place for place, _ in self.points]
        if places[:1] != [0] or places[-1:] != [1] or any(later <= place for place, later in pairwise(places)):
            raise ValueError(
                f"curriculum.profile has points at {', '.join(f'{place:g}' for place in places)}; begin at 0, end at "
                "1, and let every point be later than the one before"
            )
        if not any(share for _, share in self.points):
            raise ValueError("curriculum.profile is 0 everywhere, so no step would have an example")
        return self

    @property
    def is_front_loaded(self) -> bool:
        """Whether batches become smaller."""
        return self.schedule == "front-loaded"

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """The profile that is used."""
        return SCC_PROFILE if self.profile is None else self.profile

    @property
    def num_repeats(self) -> int:
        """Presentations of examples that were presented before."""
        return (self.last_repeats or 0) if self.is_front_loaded else 0

    def size_steps(self, steps: int, num_unique: int) -> list[int]:
        """The number of examples that each step presents, repeats included.

        Args:
            steps: of the run.
            num_unique: examples, each of which is presented once.

        Raises:
            ValueError: there are fewer examples than steps.
        """
        if num_unique < steps:
            raise ValueError(
                f"curriculum.schedule = front-loaded presents {num_unique} examples in training.steps = {steps}, and "
                "every step needs one of its own; take fewer steps, or more examples"
            )
        # The decimals that were written, so that a sum that is a whole number is not rounded up.
        points = [(Fraction(str(place)), Fraction(str(share))) for place, share in self.points]
        shares = [_read_profile(points, Fraction(step, steps)) for step in range(1, steps + 1)]
        scale = (num_unique + self.num_repeats) / sum(shares, Fraction())
        ends = [ceil(scale * done) for done in accumulate(shares, initial=Fraction())]
        own = [end - start for start, end in pairwise(ends)]
        # A step without an example gets one; the repeats, which were counted too, belong to the last step. Each of them
        # is taken from the last step that has several.
        for step in [step for step, size in enumerate(own) if not size]:
            own[_find_last_with_several(own)] -= 1
            own[step] = 1
        for _ in range(self.num_repeats):
            own[_find_last_with_several(own)] -= 1
        return [*own[:-1], own[-1] + self.num_repeats]


def _find_last_with_several(sizes: Sequence[int]) -> int:
    return max(step for step, size in enumerate(sizes) if size > 1)


def _read_profile(points: Sequence[tuple[Fraction, Fraction]], place: Fraction) -> Fraction:
    """The share at a place of the run, on the straight line between its neighbours."""
    for (start, share), (end, next_share) in pairwise(points):
        if place <= end:
            return share + (next_share - share) * (place - start) / (end - start)
    raise AssertionError("the last point is at the end of the run")


def spread_candidates(kinds: Mapping[str, str], sizes: Sequence[int], num_repeats: int) -> list[list[str]]:
    """Deal the candidates out to the steps: each once, with anchors and frontier examples in the same proportion in
    every step, as near as whole numbers allow.

    Args:
        kinds: id of every candidate -> anchor or frontier, in the random order that was drawn once.
        sizes: examples of each step, repeats included.
        num_repeats: of the last step. They are the first frontier examples of the run.
    """
    anchors, frontier = ([id for id, kind in kinds.items() if kind == wanted] for wanted in (ANCHOR, FRONTIER))
    steps: list[list[str]] = []
    done = num_anchors = 0
    for size in (*sizes[:-1], sizes[-1] - num_repeats):
        start, start_anchors, done = done, num_anchors, done + size
        num_anchors = (2 * done * len(anchors) + len(kinds)) // (2 * len(kinds))  # rounded to the nearest
        steps.append(anchors[start_anchors:num_anchors] + frontier[start - start_anchors : done - num_anchors])
    steps[-1] += frontier[:num_repeats]
    return steps
