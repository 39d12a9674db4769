"""Accuracies and differences of accuracies, overall and by group, with what another draw of videos would change.

The bootstrap draws videos, not questions: questions about one video (TempCompass words most of them three times) stand
and fall together, and intervals that took them for independent would be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from video_opd.eval.benchmarks._question import Question, Rating
from video_opd.sample_size import MIN_QUERIES, describe_shortage

NUM_RESAMPLES = 2000
SEED = 0

INTERVALS = (
    f"95 % percentile bootstrap, {NUM_RESAMPLES} resamples of videos, seed {SEED}; "
    f"none of fewer than {MIN_QUERIES} videos"
)

UNREAD_WORTH_SAYING = 0.1
"""Share of answers without an option above which an accuracy says little: a model that learnt to answer every question
with times has not lost what it sees."""

Ratings = Mapping[str, Rating]
"""By the question's id."""


def compute_accuracies(questions: Sequence[Question], ratings: Ratings) -> dict[str, Any]:
    """`overall` and, by grouping and group, `categories`: accuracy in 0..1, its interval, and the counts behind it.

    `num_unmatched` is how many answers the rule read no option in, `chance` what guessing would give.
    """
    return _measure_groups(questions, lambda group: _compute_accuracy(group, ratings))


def compute_differences(questions: Sequence[Question], before: Ratings, after: Ratings) -> dict[str, Any]:
    """The same for accuracy after less accuracy before, on the same questions and resamples."""
    return _measure_groups(questions, lambda group: _compute_difference(group, before, after))


def describe_difference(difference: Mapping[str, Any]) -> str:
    """Say in a sentence what grounding cost on the benchmark.

    Args:
        difference: `overall` of `compute_differences`.
    """
    num_questions, share = difference["num_questions"], difference["difference"]
    if share is None:
        return "The cost of grounding is unknown: one of the two models has no answer that counts."
    unread = max(difference["num_unmatched"].values())
    if unread > UNREAD_WORTH_SAYING * num_questions:
        return f"The cost of grounding is unknown: no option was read in {unread:,} of {num_questions:,} answers."
    points = f"{100 * share:+.1f} points"
    if difference["interval"] is None:
        unsaid = describe_shortage("The cost of grounding", difference["num_videos"], "video", "videos")
        return f"{unsaid} It was {points} on {num_questions:,} {'question' if num_questions == 1 else 'questions'}."
    low, high = difference["interval"]
    where = f"({100 * low:+.1f} to {100 * high:+.1f})"
    if low > 0:
        return f"After grounding the model gained {points.removeprefix('+')} {where} on {num_questions:,} questions."
    if high < 0:
        return f"Grounding cost {points.removeprefix('-')} {where} on {num_questions:,} questions."
    return f"Grounding cost nothing that {num_questions:,} questions can show: {points} {where}."


def _measure_groups(questions: Sequence[Question], measure: Callable[[Sequence[Question]], Any]) -> dict[str, Any]:
    groups: dict[str, dict[str, list[Question]]] = {}
    for question in questions:
        for grouping, group in question.categories:
            groups.setdefault(grouping, {}).setdefault(group, []).append(question)
    return {
        "overall": measure(questions),
        "categories": {
            grouping: {group: measure(members) for group, members in by_group.items()}
            for grouping, by_group in groups.items()
        },
    }


def _compute_accuracy(questions: Sequence[Question], ratings: Ratings) -> dict[str, Any]:
    own = [ratings[question.id] for question in questions]
    counted = sum(rating.counted for rating in own)
    correct, resampled = _shares(questions, ratings)
    return {
        "accuracy": correct,
        "interval": _interval(resampled),
        "num_questions": len(questions),
        "num_counted": counted,
        "num_unmatched": sum(rating.read is None for rating in own),
        "chance": float(np.mean([1 / len(question.options) for question in questions])),
    }


def _compute_difference(questions: Sequence[Question], before: Ratings, after: Ratings) -> dict[str, Any]:
    (was, was_resampled), (now, now_resampled) = (_shares(questions, ratings) for ratings in (before, after))
    return {
        "before": was,
        "after": now,
        "difference": None if was is None or now is None else now - was,
        "interval": _interval(now_resampled - was_resampled),
        "num_questions": len(questions),
        "num_videos": len({question.video for question in questions}),
        "num_unmatched": {
            when: sum(ratings[question.id].read is None for question in questions)
            for when, ratings in (("before", before), ("after", after))
        },
    }


def _shares(questions: Sequence[Question], ratings: Ratings) -> tuple[float | None, np.ndarray]:
    """Correct among counted answers, of the questions as they are and of every resample; NaN where none counts.

    Equal questions give equal resamples, so that two models' can be subtracted.
    """
    place = {video: number for number, video in enumerate(dict.fromkeys(question.video for question in questions))}
    sums = np.zeros((len(place), 2))
    for question in questions:
        rating = ratings[question.id]
        if rating.counted:
            sums[place[question.video]] += (rating.correct, 1)
    correct, counted = sums.sum(axis=0)
    draws = np.random.default_rng(SEED).multinomial(len(place), np.full(len(place), 1 / len(place)), NUM_RESAMPLES)
    drawn = draws @ sums
    shares = np.divide(drawn[:, 0], drawn[:, 1], out=np.full(NUM_RESAMPLES, np.nan), where=drawn[:, 1] > 0)
    if len(place) < MIN_QUERIES:
        shares[:] = np.nan  # few videos drawn again and again say nothing about others
    return (float(correct / counted) if counted else None), shares


def _interval(resampled: np.ndarray) -> list[float] | None:
    """None where there is nothing to judge by."""
    known = resampled[~np.isnan(resampled)]
    return [float(end) for end in np.percentile(known, (2.5, 97.5))] if len(known) else None
