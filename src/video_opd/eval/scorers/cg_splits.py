"""Charades-CG and ActivityNet-CG (CVPR 2022, YYJMJC/Compositional-Temporal-Grounding): one table row for each split.

The repository has the splits and no scorer: the paper ran the scorers of the methods that it compares. This is the rule
of VSLNet's, one of them (`util/runner_utils.py`); 2D-TAN's compares with a strict >, and Rank@n is the same otherwise.
The split of a query is the last part of its source, as `video-opd data import charades-cg` writes it.
"""

from __future__ import annotations

import operator

import numpy as np

from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores
from video_opd.eval.scorers._single_span import (
    THRESHOLDS,
    is_hull_empty,
    missing_notes,
    note_count,
    point_notes,
    recalls,
    several_spans_notes,
)
from video_opd.grounding import PARSER_VERSION, temporal_iou

SPLITS = ("test-trivial", "novel-composition", "novel-word")
"""As the paper's tables order them."""

_CONVENTION = Convention(
    source="IsaacChanghau/VSLNet, util/runner_utils.py, on the splits of YYJMJC/Compositional-Temporal-Grounding",
    comparator=">=",
    rounding="none",
    denominator="every query of the split",
    prediction="first span",
    annotation="first span",
    parser=f"video-opd {PARSER_VERSION}; the official scorer takes numbers only",
    units="percent",
    failure="IoU 0",
)


def score_cg_splits(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """R1 and mIoU of every split that the annotations hold."""
    ious: dict[str, dict[str, float]] = {}
    points = empty = 0
    for example in truth.examples:
        answer = answers.by_id.get(example.id)
        spans = answer.all_spans() if answer else ()
        points += bool(spans) and is_hull_empty(spans[0], example.spans[0])
        empty += answer is not None and not spans
        split = example.source.rpartition("/")[2] or "all"
        ious.setdefault(split, {})[example.id] = temporal_iou(spans[0], example.spans[0]) if spans else 0.0
    scores: dict[str, dict[str, float]] = {}
    per_query: dict[str, dict[str, float]] = {}
    for split in sorted(ious, key=lambda name: SPLITS.index(name) if name in SPLITS else len(SPLITS)):
        hits = recalls(ious[split], {threshold: f"R1@{threshold:g}" for threshold in THRESHOLDS}, operator.ge)
        scores[split] = {name: sum(map(bool, hit.values())) / len(hit) * 100.0 for name, hit in hits.items()}
        scores[split]["mIoU"] = float(np.mean(list(ious[split].values()))) * 100
        per_query |= {f"{split} {name}": hit for name, hit in hits.items()}
        per_query[f"{split} mIoU"] = {id_: 100 * iou for id_, iou in ious[split].items()}
    return OfficialScores(
        convention=_CONVENTION,
        scores=scores,
        per_query=per_query,
        notes=(
            *several_spans_notes(truth, "the first"),
            *missing_notes(truth, answers, "counted as IoU 0"),
            *note_count(empty, "answers hold no span: counted as IoU 0."),
            *point_notes(points),
            *(() if set(ious) & set(SPLITS) else (_NO_SPLITS,)),
        ),
    )


_NO_SPLITS = (
    "No query says which split it is of: import the three files together, `video-opd data import charades-cg` or "
    "`activitynet-cg`."
)
