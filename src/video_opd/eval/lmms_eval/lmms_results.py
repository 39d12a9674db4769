"""What lmms-eval's files of results and samples say (those of 0.7.3), as this package reports scores.

They are read leniently where it does not matter: NaN in a task's configuration or in one sample is no fault of the
scores. A score itself is a finite number, or is reported as not scored: null and "N/A", which lmms-eval writes for
answers that only a server can score, and so lists, truth values and other texts. A score that is not finite is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from video_opd.errors import DataError
from video_opd.eval.lmms_eval.lmms_command import Job
from video_opd.files.records import read_text, text_lines
from video_opd.files.strict_json import load_json

_NUMBER = re.compile(r"[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)(e[+-]?[0-9]+)?|nan|[+-]?inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One question of a task and what the model answered."""

    doc_id: int
    input: str
    answer: str
    target: str


def list_result_files(out: Path) -> list[Path]:
    """Every file of results below `out`, the newest last: their names begin with date and time."""
    return sorted((out / "lmms-eval").rglob("*_results.json"), key=lambda path: path.name)


def read_report(path: Path, job: Job, command: list[str]) -> dict[str, Any]:
    """lmms-eval's results as this package reports scores.

    Returns:
        `convention`: who scored what and how; `scores`: task -> metric -> `value` and `stderr`, as lmms-eval has them
        (fractions or per cent, as each task likes), None for what is not scored; where a metric is a table of scores,
        each of them is a metric, `name/key`; `samples`: task -> file, number of questions and of empty answers.

    Raises:
        DataError: a file that is cut off, of another command, without scores, or with one that is not finite.
    """
    found = _read_object(path)
    config = found.get("config") or {}
    theirs = (config.get("model"), config.get("model_args"))
    if theirs != (job.model_class, job.model_args_text) and "[REDACTED]" not in str(theirs):
        raise DataError(
            f"{path} belongs to another command",
            reason=f"its results come from {theirs[0]} and {theirs[1]}",
            remedy="run command.sh of this folder, or evaluate into another folder",
        )
    scores = {task: _read_scores(path, task, metrics) for task, metrics in (found.get("results") or {}).items()}
    scores = {task: metrics for task, metrics in scores.items() if metrics}  # a group that sums nothing up has none
    if not scores:
        raise DataError(
            f"{path} has no scores",
            reason="no task in it has a metric",
            remedy="check `metric_list` and `process_results` of the task",
        )
    version = str(found.get("lmms_eval_version") or "unknown")  # a version only where lmms-eval is a git checkout
    counts = found.get("n-samples") or {}
    return {
        "convention": {
            "scorer": "lmms-eval",
            "version": job.version if "unknown" in version else version,
            "tasks": list(job.tasks),
            "task_versions": found.get("versions") or {},
            "model_class": job.model_class,
            "model_args": job.model_args,
            "frames": asdict(job.frames),
            "prompt": "the tasks' own, after the class's system turn",
            "limit": job.limit,
            "command": command,
        },
        "scores": scores,
        "samples": {task: _count_samples(path, task, counts.get(task) or {}) for task in scores if task in counts},
        "results": str(path),
    }


def _read_scores(path: Path, task: str, metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics of one task. Their keys are `metric,filter`; one that no filter prepared is called by its name."""
    scores = {}
    for key, value in metrics.items():
        name, comma, filter_name = key.rpartition(",")
        if not comma or re.search(r"_stderr(_clt|_clustered)?$", name):
            continue
        stderr = _read_number(metrics.get(f"{name}_stderr,{filter_name}"))
        if stderr is not None and (isinstance(value, dict) or not math.isfinite(stderr)):
            stderr = None
        for called, score in _list_leaves(name if filter_name == "none" else key, value):
            number = _read_number(score)
            if number is not None and not abs(number) < math.inf:
                raise DataError(
                    f"{path}: metric {called} of task {task} is {score}",
                    reason="a score must be a finite number",
                    remedy="look at the answers in the file of samples beside it; an empty or unscored task gives this",
                )
            scores[called] = {"value": number, "stderr": stderr}
    return scores


def _list_leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A metric, or every score of a table of them: videoevalpro has one by kind of question, scivideobench two deep."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _list_leaves(f"{name}/{key}", part)
    else:
        yield name, value


def _read_number(value: Any) -> float | None:
    """A score as a number, or None.

    numpy's float32 is a text: lmms-eval writes as one whatever JSON does not know.
    """
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count_samples(path: Path, task: str, counts: Mapping[str, Any]) -> dict[str, Any]:
    file = find_samples_file(path, task)
    if not file.is_file():  # lmms-eval goes on without it when the disk is full
        return {"file": None, "num": counts.get("effective"), "num_empty": None}
    samples = list(read_samples(file))
    if len(samples) < (counts.get("effective") or 0):
        raise DataError(
            f"{file} has {len(samples)} of {counts['effective']} samples",
            reason="lmms-eval did not write it to its end",
            remedy="free some space on the disk and run the command again",
        )
    num_empty = sum(not sample.answer.strip() for sample in samples)
    return {"file": str(file), "num": len(samples), "num_empty": num_empty}


def find_samples_file(results: Path, task: str) -> Path:
    """Where lmms-eval writes what was answered, question by question."""
    return results.with_name(results.name.removesuffix("results.json") + f"samples_{task}.jsonl")


def read_samples(path: Path) -> Iterator[Sample]:
    """The questions of a file of samples, in its order.

    Raises:
        DataError: a line that is not a sample.
    """
    for record in text_lines(path):
        try:
            row = load_json(record.value)  # not strictly: a metric of a single sample may be NaN
            yield Sample(
                doc_id=row["doc_id"],
                input=str(row["input"]),
                answer=_first_text(row["filtered_resps"]),
                target=str(row["target"]),
            )
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            record.refuse(f"it is not a sample of lmms-eval ({type(error).__name__}: {error})", "run the command again")


def _first_text(answers: Any) -> str:
    """lmms-eval flattens a list of one answer, and keeps one of several. Where there is none, that is an empty one."""
    while isinstance(answers, list):
        answers = answers[0] if answers else None
    if answers is None:
        return ""
    return answers if isinstance(answers, str) else json.dumps(answers)


def _read_object(path: Path) -> dict[str, Any]:
    """Not strictly: NaN somewhere in a task's configuration is no fault of the scores."""
    try:
        value = load_json(read_text(path))
        if isinstance(value, dict):
            return value
        reason = f"it holds a {type(value).__name__}"
    except (ValueError, RecursionError) as error:
        reason = f"it is cut off or not JSON ({error})"
    raise DataError(f"{path} is not a file of results", reason=reason, remedy="run the command again")
