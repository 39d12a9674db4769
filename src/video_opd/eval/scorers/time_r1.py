"""Time-R1 (Xiaomi, arXiv 2503.13377; `evaluate.py` reads the answers, `src/vllm_inference/eval_all.py` scores them).

The one scorer of this family with a strict `>`: on whole seconds an IoU of exactly 0.5 is common, so that the same
answers score several points less at 0.5 than under TimeLens's rule.
"""

from __future__ import annotations

import operator

import numpy as np

from video_opd.eval.scorers._parsers import time_r1
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import (
    THRESHOLDS,
    ious_of_first_pairs,
    missing_notes,
    parser_name,
    point_notes,
    reading_notes,
    recalls,
    several_spans_notes,
    share,
)

_CONVENTION = Convention(
    source="xiaomi-research/time-r1, evaluate.py and src/vllm_inference/eval_all.py",
    comparator=">",
    rounding="none",
    denominator="every query",
    prediction="last `a to b` or `a and b` of the whole text, thinking included; first span of a file of numbers",
    annotation="first span",
    parser=parser_name("that of Time-R1's evaluation"),
    units="percent; `0.3`, `0.5`, `0.7` are R1 at that IoU, `avg` the mean of those and mIoU",
    failure="IoU 0",
)


def score_time_r1(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """Time-R1's numbers, under the keys of its `scores.json`."""
    ious, points = ious_of_first_pairs(truth, answers, time_r1)
    hits = recalls(ious, {threshold: f"{threshold:g}" for threshold in THRESHOLDS}, operator.gt)
    scores = {"mIoU": float(np.mean(list(ious.values()))) * 100} | {name: share(hit) for name, hit in hits.items()}
    return OfficialScores(
        convention=_CONVENTION,
        scores=scores | {"avg": sum(scores.values()) / len(scores)},
        per_query={"mIoU": {id_: 100 * iou for id_, iou in ious.items()}} | hits,
        notes=(
            *several_spans_notes(truth, "the first"),
            *missing_notes(truth, answers, "counted as IoU 0, though the official scorer would not know of them"),
            *reading_notes(answers, time_r1, "`<answer>12.54 to 17.83</answer>`"),
            *point_notes(points),
        ),
    )
