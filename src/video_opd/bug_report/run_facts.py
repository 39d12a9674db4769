"""The state of a run folder for a bug report. Any part of it may be missing or damaged, which is then said.

Queries, answers, ids of examples and names of videos may be private: they are counted and never shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_opd.errors import UserError
from video_opd.files.strict_json import load_json
from video_opd.report.run.run_contents import read_run
from video_opd.runs.checkpoint_folders import MARKER, list_saved
from video_opd.runs.directory import RunDirectory
from video_opd.runs.evaluation_files import is_of_run
from video_opd.runs.inputs_file import read_inputs

_NUM_ROWS, _NUM_RESTARTS = 3, 5
_MOST_CHARACTERS = 8_000
"""Of a section: an issue takes 65,536 in all."""
_KNOWN = {
    ".recipe.sha256", ".run.lock", ".tracker.lock", "answers.jsonl", "checkpoints", "evaluation", "finished.json",
    "inputs.json", "live.html", "memory.json", "metrics.jsonl", "recipe.toml", "report.html", "restarts.jsonl",
    "result.json", "rounds", "tensorboard", "tiny-world", "tracker.json",
}  # fmt: skip
_KNOWN_WITH_NUMBERS = ("environment*.json", "before-restart-[0-9]*", "tensorboard-[0-9]*")
_UNREADABLE = (OSError, ValueError, RecursionError, TypeError, KeyError, AttributeError, UserError)


@dataclass(frozen=True)
class ReportBlock:
    """A part of the report: a heading and its text."""

    title: str
    text: str


def list_run_facts(folder: Path) -> Iterator[ReportBlock]:
    """The sections about a run.

    Args:
        folder: of the run, in whatever state.
    """
    run = RunDirectory(folder)
    parts: dict[str, Callable[[], str]] = {
        "Files of the run": lambda: _describe_files(folder),
        "Recipe of the run (recipe.toml)": lambda: _cut(run.recipe.read_text(encoding="utf-8", errors="replace")),
        "Environment of the run": lambda: _cut(
            "\n".join(
                f"{path.name}: {path.read_text(encoding='utf-8', errors='replace').strip()}"
                for path in sorted(folder.glob("environment*.json"))
            )
        ),
        "Last rows of metrics.jsonl (numbers only)": lambda: _show_last_rows(run.metrics),
        "Answers (counts only)": lambda: _count_answers(run.answers),
        "Evaluations": lambda: _show_evaluations(run.evaluation),
        "Checkpoints": lambda: _show_checkpoints(run.checkpoints),
        "Notices and warnings": lambda: _cut("\n".join(_list_notices(folder))),
        "Crashes (restarts.jsonl)": lambda: _show_restarts(folder / "restarts.jsonl"),
        "Other runs below this folder": lambda: _show_runs_below(folder),
    }
    for title, describe in parts.items():
        try:
            text = describe()
        except FileNotFoundError:
            text = "not there" if "recipe" in title or "metrics" in title else ""
        except _UNREADABLE as error:
            text = f"cannot be read: {type(error).__name__}: {error}"
        if text:
            yield ReportBlock(title, text)


def _describe_files(folder: Path) -> str:
    lines, num_others = [], 0
    for path in sorted(folder.iterdir()):
        if path.name in _KNOWN or any(path.match(pattern) for pattern in _KNOWN_WITH_NUMBERS):
            lines.append(f"{path.name}/" if path.is_dir() else f"{path.name}  {path.lstat().st_size} bytes")
        else:
            num_others += 1
    return "\n".join([*lines, *([f"and {num_others} that no run writes"] if num_others else [])])


def _cut(text: str) -> str:
    more = len(text) - _MOST_CHARACTERS
    return text if more <= 0 else f"{text[:_MOST_CHARACTERS]}\n… and {more} characters more"


def _show_last_rows(path: Path) -> str:
    lines = path.read_bytes().splitlines()
    shown = [f"{len(lines)} lines"]
    for line in lines[-_NUM_ROWS:]:
        try:
            shown.append(json.dumps(_keep_numbers(load_json(line))))
        except (ValueError, RecursionError) as error:
            shown.append(f"a line of {len(line)} bytes that is no row: {type(error).__name__}")
    return _cut("\n".join(shown))


def _keep_numbers(value: Any) -> Any:
    """The numbers of a row, and nothing that is text."""
    if isinstance(value, dict):
        kept = {key: _keep_numbers(each) for key, each in value.items() if isinstance(each, dict | int | float | None)}
        return {key: each for key, each in kept.items() if each != {}}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _count_answers(path: Path) -> str:
    num = num_broken = num_without = num_truncated = 0
    with path.open("rb") as file:
        for line in file:
            num += 1
            try:
                row = load_json(line)
                num_without += not row.get("spans")
                num_truncated += row.get("truncated") is True
            except (ValueError, RecursionError, AttributeError):
                num_broken += 1
    return f"{num} answers; {num_without} without a span, {num_truncated} cut at their limit, {num_broken} broken lines"


def _show_evaluations(folder: Path) -> str:
    lines = []
    for path in sorted(folder.glob("*.json")):
        if not is_of_run(path.stem):
            continue
        try:
            found = load_json(path.read_bytes())
            counts = {key: len(found.get(key) or ()) for key in ("set_aside", "damaged_videos", "warnings")}
            numbers = _keep_numbers(found["scores"]) | {key: count for key, count in counts.items() if count}
            lines.append(f"{path.stem}: {json.dumps(numbers)}")
        except _UNREADABLE as error:
            lines.append(f"{path.stem}: cannot be read ({type(error).__name__})")
    return _cut("\n".join(lines))


def _show_checkpoints(folder: Path) -> str:
    lines = []
    for step, path in sorted(list_saved(folder)):
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        lines.append(f"step {step}: {'complete' if (path / MARKER).exists() else 'not complete'}, {size} bytes")
    return "\n".join(lines) or "none"


def _list_notices(folder: Path) -> Iterator[str]:
    """What a report page would notice, the warnings of the curriculum, and what is noted of memory and inputs."""
    contents = read_run(folder)
    # What is wrong with an evaluation is told among them; a file there may have any name.
    yield from (notice for notice in contents.notices if not notice.startswith("evaluation/"))
    for round_ in contents.curriculum.rounds:
        yield from (f"round {round_.number}: {warning}" for warning in round_.facts.warnings)
    if num := sum(row.is_broken for row in contents.rows):
        yield f"the loss of {num} steps was not a finite number"
    if lost := [row.progress_lost for row in contents.rows if row.progress_lost]:
        yield lost[-1]
    recorded = read_inputs(folder)
    if recorded is None:
        yield "inputs.json is not there"
    memory = RunDirectory(folder).memory
    if memory.exists():
        note = load_json(memory.read_bytes())
        yield f"memory ran out: {_keep_numbers(note)}, {len(note.get('too_large') or ())} examples too large"


def _show_restarts(path: Path) -> str:
    return _cut("\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_NUM_RESTARTS:]))


def _show_runs_below(folder: Path) -> str:
    below = [path for path in sorted(folder.glob("runs/*")) if path.is_dir()]
    lines = []
    for path in below:
        metrics = path / "metrics.jsonl"
        num = metrics.read_bytes().count(b"\n") if metrics.is_file() else 0
        lines.append(f"{path.name}: {num} rows, {'finished' if (path / 'finished.json').exists() else 'not finished'}")
    return _cut("\n".join(lines))
