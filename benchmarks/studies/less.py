"""What scoring less loses: a greedy answer as the first filter, by files of scores; a race, by simulation."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np

from video_opd.curriculum import RaceRule, ScoreFile

RULES = ((0.3, 0.3), (0.5, 0.3), (0.5, 0.5), (0.7, 0.3), (0.7, 0.5), (0.7, 0.7))
"""threshold, skip_below"""
NUM_DRAWS = 10_000
SOURCE = 4_000
"""Examples of a source that is raced."""


def greedy_first(teacher: ScoreFile) -> list[dict[str, Any]]:
    """By threshold and `skip_below`, from four answers each: who is skipped, and who of them would have passed.

    The draws of an example do not depend on `skip_below`, so a file without it says what a file with it would hold.
    """
    greedy = {id: row.answers[0].iou for id, row in teacher.scored.items()}
    mean = {id: statistics.fmean(answer.iou for answer in row.answers[:4]) for id, row in teacher.scored.items()}
    found = []
    for threshold, skip_below in RULES:
        skipped = [id for id in mean if greedy[id] < skip_below]
        found.append(
            {
                "threshold": threshold,
                "skip_below": skip_below,
                "passing": sum(tau >= threshold for tau in mean.values()),
                "skipped": len(skipped),
                "lost": sum(mean[id] >= threshold for id in skipped),
                "greedy": statistics.fmean(greedy[id] for id in skipped),
                "mean": statistics.fmean(mean[id] for id in skipped),
            }
        )
    return found


def race() -> list[dict[str, float]]:
    """By the share of a source that passes: how often it is given up, and how much of it is scored; by a 95 % limit
    (Wilson) at every look, and by the rule."""
    rng, rule = np.random.default_rng(0), RaceRule(race=True)
    found = []
    for share in (0.1, 0.12, 0.05, 0.02, 0.0):
        row = {"share": share}
        looks = range(rule.race_pilot, SOURCE, rule.race_pilot)
        passed = rng.binomial(rule.race_pilot, share, (NUM_DRAWS, len(looks))).cumsum(axis=1)
        for name, gives_up in (("uncorrected", lambda passed, seen: _wilson(passed, seen) < rule.race_min_yield),
                               ("rule", rule.is_given_up)):  # fmt: skip
            least = [next(n for n in range(seen + 1) if not gives_up(n, seen)) for seen in looks]
            given_up = passed < np.array(least)
            ever = given_up.any(axis=1)
            scored = np.where(ever, (given_up.argmax(axis=1) + 1) * rule.race_pilot, SOURCE)
            row |= {f"given_up_{name}": float(ever.mean()), f"scored_{name}": float(scored.mean())}
        found.append(row)
    return found


def _wilson(passed: int, seen: int) -> float:
    """Upper end of the 95 % Wilson interval of a share."""
    share, z = passed / seen, 1.959964
    reach = z * math.sqrt(share * (1 - share) / seen + z**2 / (4 * seen**2))
    return (share + z**2 / (2 * seen) + reach) / (1 + z**2 / seen)
