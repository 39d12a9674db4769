"""What can be said of selections without training: how much of a ranking is luck, and what a threshold keeps.

Read from the files of scores that `run_curriculum.py` makes: one greedy answer and sixteen draws of each example of the
pool.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curriculum_studies import COUNT
from less import greedy_first, race
from pools import manifest

from video_opd.curriculum import ScoredExample, ScoreFile, read_scores, split_half_reliability
from video_opd.data.manifest import read_manifest
from video_opd.grounding import best_iou
from video_opd.types import Span

NUM_DRAWS = (1, 2, 4, 8)
NUM_FRESH = 8
"""Draws that chose nothing and tell what was luck."""
THRESHOLDS = (0.0, 0.3, 0.5, 0.7, 0.9)
RIGHT = 0.7
"""An answer or a label with at least this IoU with the clean annotation is right."""


def luck(student: ScoreFile, teacher: ScoreFile, threshold: float = 0.7) -> list[dict[str, Any]]:
    """By draws of the student: how the ranking by tau - sigma holds against draws that it has not seen.

    `excess_seen` is the mean gap of the chosen above that of all, by the draws that chose them; `excess_fresh` by
    others, of student and teacher. What is missing of it was luck.
    """
    tau = {id: _mean(_draws(row)[:4]) for id, row in teacher.scored.items()}
    ids = [id for id in student.scored if tau[id] >= threshold]
    draws = {id: _draws(student.rows[id]) for id in ids}
    fresh = {id: _mean(_draws(teacher.rows[id])[-NUM_FRESH:]) - _mean(draws[id][-NUM_FRESH:]) for id in ids}
    found = []
    for count in NUM_DRAWS:
        seen = {id: tau[id] - _mean(draws[id][:count]) for id in ids}
        top = sorted(ids, key=lambda id: -seen[id])[: min(COUNT, len(ids) // 2)]
        excess = {name: _mean([gap[id] for id in top]) - _mean(list(gap.values()))
                  for name, gap in (("seen", seen), ("fresh", fresh))}  # fmt: skip
        rows = [_with_draws(student.rows[id], count) for id in ids]
        found.append(
            {
                "draws": count,
                "reliability": split_half_reliability(rows),
                "correlation": statistics.correlation([seen[id] for id in ids], [fresh[id] for id in ids]),
                "excess_seen": excess["seen"],
                "excess_fresh": excess["fresh"],
                "luck": 1 - excess["fresh"] / excess["seen"],
            }
        )
    return found


def thresholds(out: Path, teacher: ScoreFile, pool: str) -> list[dict[str, Any]]:
    """By threshold and by what is held against it: how much of a pool stays, and what is true of what stays.

    Right is what the clean annotation, which no run sees, says: of labels, and of the teacher's greedy answer.
    """
    truth = {row.id: row.spans for row in read_manifest(manifest(out, "clean"))}
    label = {row.id: row.spans[0] for row in read_manifest(manifest(out, pool))}
    rows = teacher.scored
    label_right = {id: best_iou(label[id], truth[id]) >= RIGHT for id in rows}
    teacher_right = {id: _iou(row.answers[0].span, truth[id]) >= RIGHT for id, row in rows.items()}
    signals = {
        "annotation": {id: _mean([_iou(a.span, (label[id],)) for a in row.answers[:4]]) for id, row in rows.items()},
        "agreement": {id: replace(row, answers=row.answers[:4]).agreement for id, row in rows.items()},
    }
    found = []
    for name, signal in signals.items():
        for threshold in THRESHOLDS:
            kept = [id for id in rows if signal[id] >= threshold]
            left = [id for id in rows if signal[id] < threshold]
            found.append(
                {
                    "reliability": name,
                    "threshold": threshold,
                    "kept": len(kept) / len(rows),
                    "label_right": _share(label_right, kept),
                    "teacher_right": _share(teacher_right, kept),
                    "teacher_right_of_dropped": _share(teacher_right, left),
                    "num_dropped_though_right": sum(teacher_right[id] for id in left),
                }
            )
    return found


def measure(out: Path) -> dict[str, Any]:
    """Everything, by name."""
    scores = {path.stem: read_scores(path) for path in (out / "scores").glob("*-16.jsonl")}
    student = scores["tiny-student-16"]
    teachers = {name: scores[f"{name}-16"] for name in ("tiny-teacher", "teacher-c")}
    return {
        "luck": {name: luck(student, teacher) for name, teacher in teachers.items()},
        "thresholds": {
            f"{name}, {pool}": thresholds(out, teacher, pool)
            for name, teacher in teachers.items()
            for pool in ("audit", "heavy")
        },
        "greedy_first": {name: greedy_first(teacher) for name, teacher in teachers.items()},
        "race": race(),
    }


def _draws(row: ScoredExample) -> list[float]:
    return [answer.iou for answer in row.answers if answer.sampled]


def _with_draws(row: ScoredExample, count: int) -> ScoredExample:
    return replace(row, answers=tuple(answer for answer in row.answers if answer.sampled)[:count])


def _iou(span: Span | None, truth: Sequence[Span]) -> float:
    return best_iou(span, truth) if span else 0.0


def _share(right: Mapping[str, bool], ids: Sequence[str]) -> float | None:
    return sum(right[id] for id in ids) / len(ids) if ids else None


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)
