"""E.T. Bench (arXiv 2409.18111): `evaluation/compute_metrics.py` of the data set PolyU-ChenLab/ETBench.

The tasks that ask for moments, by task and by the data set that it was made of: TVG and EPM (first window), TAL (an F1
over all windows), EVS (an F1 over whole seconds), VHD (one point in time) and TEM (first window, best of several).
Facts of how the script behaves, none of its code:

- IoU is nncore's, in single precision. It meets its threshold in double precision (TVG, EPM, TEM) or in single (TAL).
- An answer without a time counts as 0, except in EVS, which leaves it out of its mean.
- EVS rounds times to whole seconds, half to even, and sees the first 1000 seconds of a video.
- VHD takes the first number of the text, whatever it stands for, and a window includes both its ends.
- All values are rounded to five decimals, and the mean over tasks is one of rounded values.

The captions of DVC and SLC and the options of RAR, ECA, RVQ and GVQ need a language model to be scored, and are not
here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from video_opd.eval.scorers._benchmark_results import ET_BENCH_TASKS
from video_opd.eval.scorers._parsers import Pair, et_bench
from video_opd.eval.scorers._scorer_types import Answers, Convention, GroundTruth, OfficialScores, ResultAnswer
from video_opd.eval.scorers._single_span import (
    add_in_order,
    missing_notes,
    note_count,
    parser_name,
    read_pairs,
    reading_notes,
)
from video_opd.eval.scorers._span_sets import f1_of_windows, pairwise_iou
from video_opd.grounding import SpanLike
from video_opd.types import Example

_THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
_GROUNDING = ET_BENCH_TASKS[:5]
_LONGEST_S = 1000
"""Of what EVS sees."""
_POINT = re.compile(r"[-+]?(?:(?<!\d)\d*+\.\d++|(?<!\d)\d++)")

_CONVENTION = Convention(
    source="PolyU-ChenLab/ETBench (Hugging Face), evaluation/compute_metrics.py",
    comparator=">=",
    rounding="EVS: times to whole seconds, half to even; IoU in single precision; scores to five decimals",
    denominator="rows of the file, by task and data set; EVS: of those, answers with a time",
    prediction="TVG, EPM, TEM: first window; TAL, EVS: all; VHD: first number; every window with its ends in order",
    annotation="TVG, EPM: the window; TEM: best; TAL, EVS, VHD: all",
    parser=parser_name("that of E.T. Bench's evaluation"),
    units="fractions; `Total` and `Failed` are numbers of answers; means by task in percent to one decimal",
    failure="0; EVS: left out",
)


def score_et_bench(truth: GroundTruth, answers: Answers) -> OfficialScores:
    """The values of `metrics.json`, by task and data set, and of the table `Overall`, whose headings are kept."""
    groups: dict[tuple[str, str], list[Example]] = {}
    for example in truth.order_as_file(answers):
        if example.id in answers.by_id:
            groups.setdefault(_task_and_source(example), []).append(example)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    per_query: dict[str, dict[str, float]] = {}
    for (task, source), examples in groups.items():
        values, num_failed = _values(task, examples, answers)
        means = {name: round(add_in_order(of.values()) / len(of), 5) if of else 0.0 for name, of in values.items()}
        if thresholds := [of for name, of in values.items() if "@" in name]:
            means["mRec" if task == "tem" else "F1"] = round(
                sum(add_in_order(of.values()) / len(examples) for of in thresholds) / len(thresholds), 5
            )
        scores.setdefault(task, {})[source] = {"Total": len(examples), "Failed": num_failed} | means
        per_query |= {f"{task} {source} {name}": of for name, of in values.items() if of}
    return OfficialScores(
        convention=_CONVENTION,
        scores=scores | _overall(scores),
        per_query=per_query,
        notes=(
            *missing_notes(truth, answers, "left out of every number: the official scorer knows the file alone"),
            *note_count(
                sum(not _is_of_et_bench(example) for example in truth.examples),
                "queries are of no task of E.T. Bench: scored as TVG where annotated with one span, else as TAL.",
            ),
            *note_count(
                sum(task in ("tvg", "epm") and len(e.spans) > 1 for (task, _), some in groups.items() for e in some),
                "queries of TVG or EPM have several spans: the first counts; the official scorer crashes here.",
            ),
            *reading_notes(answers, et_bench, "`12.5 - 18.3 seconds`; VHD takes any first number"),
        ),
    )


def _is_of_et_bench(example: Example) -> bool:
    parts = example.id.split("/")
    return len(parts) > 2 and parts[-3] in ET_BENCH_TASKS


def _task_and_source(example: Example) -> tuple[str, str]:
    """As the id of an example says, `TASK/SOURCE/IDX` at its end; of other data sets what comes nearest."""
    if _is_of_et_bench(example):
        task, source = example.id.split("/")[-3:-1]
        return task, source
    return "tvg" if len(example.spans) == 1 else "tal", example.source or "manifest"


def _values(task: str, examples: Sequence[Example], answers: Answers) -> tuple[dict[str, dict[str, float]], int]:
    """Name of a mean -> example id -> its value, and how many answers hold no time."""
    if task == "vhd":
        points = {example.id: _point(answers.by_id[example.id]) for example in examples}
        hits = {example.id: _is_in_any(points[example.id], example.spans) for example in examples}
        return {"F1": hits}, sum(point is None for point in points.values())
    pairs = {example.id: _windows(answers.by_id[example.id]) for example in examples}
    num_failed = sum(not found for found in pairs.values())
    if task == "evs":
        return {"F1": {e.id: _f1_of_seconds(e.spans, pairs[e.id]) for e in examples if pairs[e.id]}}, num_failed
    kind = "R" if task == "tem" else "F1"
    values: dict[str, dict[str, float]] = {} if task == "tal" else {"mIoU": {}}
    for example in examples:
        windows = pairs[example.id]
        if task == "tal":
            iou = pairwise_iou(example.spans, windows, np.float32) if windows else np.zeros((1, 1), np.float32)
            reached = {threshold: f1_of_windows(iou, threshold) for threshold in _THRESHOLDS}
        else:
            annotated = example.spans if task == "tem" else example.spans[:1]
            best = float(pairwise_iou(annotated, windows[:1], np.float32).max()) if windows else 0.0
            values["mIoU"][example.id] = best
            reached = {threshold: float(best >= threshold) for threshold in _THRESHOLDS}
        for threshold, value in reached.items():
            values.setdefault(f"{kind}@{threshold}", {})[example.id] = value
    return values, num_failed


def _windows(answer: ResultAnswer) -> tuple[Pair, ...]:
    return tuple((min(pair), max(pair)) for pair in read_pairs(answer, et_bench) if math.isfinite(max(pair)))


def _point(answer: ResultAnswer) -> float | None:
    """The first number of a text, or the start of the first span of a file of numbers."""
    if answer.text is None:
        return answer.spans[0].start_s if answer.spans else None
    found = _POINT.search(answer.text)
    return float(found[0]) * answer.seconds_per_unit if found else None


def _is_in_any(point: float | None, windows: Sequence[SpanLike]) -> float:
    return float(point is not None and any(start <= point <= end for start, end in windows))


def _f1_of_seconds(annotated: Sequence[SpanLike], predicted: Sequence[SpanLike]) -> float:
    there, said = _seconds(annotated), _seconds(predicted)
    both = int((there & said).sum())
    if not both:
        return 0.0
    recall, precision = both / int(there.sum()), both / int(said.sum())
    return 2 * precision * recall / (precision + recall)


def _seconds(spans: Sequence[SpanLike]) -> np.ndarray:
    """(1000,) bool: which seconds are in any of the spans, whose ends are rounded."""
    seconds = np.zeros(_LONGEST_S, dtype=bool)
    for start, end in spans:
        seconds[max(0, round(start)) : max(0, round(end))] = True
    return seconds


def _overall(scores: dict[str, dict[str, dict[str, float]]]) -> dict[str, float]:
    """Means over the data sets of a task, `Mean F1` over those of all grounding tasks, and, where all five are there,
    `F1 (gnd)`."""
    name = {task: "mRec" if task == "tem" else "F1" for task in ET_BENCH_TASKS}
    values = {task: [of[name[task]] for of in scores[task].values()] for task in ET_BENCH_TASKS if task in scores}
    means = {task: round(sum(of) / len(of), 5) for task, of in values.items()}
    overall = {f"{task.upper()} ({'Rec' if task == 'tem' else 'F1'})": round(100 * of, 1) for task, of in means.items()}
    grounding = [value for task in _GROUNDING for value in values.get(task, ())]
    if grounding:
        overall["Mean F1"] = round(sum(grounding) / len(grounding), 5)
    if all(task in means for task in _GROUNDING):
        overall["F1 (gnd)"] = round(sum(means[task] for task in _GROUNDING) * 100 / 5, 1)
    return overall
