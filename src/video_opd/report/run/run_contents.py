"""What a run folder holds, read with the assumption that any part of it may be missing, unfinished or wrong.

A report is most wanted when something went wrong, so nothing found in here stops it: what cannot be read is left out,
and `notices` says so. Only a folder that holds no run is an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError, DataError
from video_opd.files.input_records import RecordedInputs
from video_opd.files.run_records import EvaluationReport, SampledAnswer, StepMetrics
from video_opd.files.strict_json import load_json
from video_opd.files.timeline_records import TIMELINES_FILE
from video_opd.files.toml_text import load_toml
from video_opd.report.run.advantage_contents import AdvantageStretch, AdvantageTally
from video_opd.report.run.curriculum_contents import CurriculumContents, read_curriculum
from video_opd.report.run.timeline_contents import TimelineContents, read_timelines
from video_opd.runs import RunDirectory, iterate_journal, read_journal, read_json
from video_opd.runs.inputs_file import read_inputs

_NUM_EXAMPLES_HELD = 8
_NUM_PAIRS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContents:
    """Everything the report is made of."""

    name: str
    recipe: str | None
    environments: dict[str, str]
    """By file name, oldest first; the texts as they stand in the folder."""
    rows: list[StepMetrics]
    """One a step, in the order of steps."""
    evaluations: list[EvaluationReport]
    examples: list[tuple[SampledAnswer, ...]]
    """Answers to show, grouped by query: the first answer and, if the query came again, the latest one."""
    notices: list[str]
    curriculum: CurriculumContents = field(default_factory=CurriculumContents)
    """How the examples were chosen; empty where the run took all of them."""
    timelines: TimelineContents = field(default_factory=TimelineContents)
    """The test queries to show."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The recipe as tables; empty where it cannot be read."""
    early: AdvantageStretch = field(default_factory=AdvantageStretch)
    """Advantages in the first tenth of the steps."""
    late: AdvantageStretch = field(default_factory=AdvantageStretch)
    """Advantages in the last tenth."""
    inputs: RecordedInputs | None = None
    """What the run was begun with; None: it is not recorded."""

    @property
    def device(self) -> str:
        """What the run last computed on, as its environment says; empty where it does not."""
        for text in reversed(self.environments.values()):
            with contextlib.suppress(ValueError, RecursionError, TypeError, LookupError):
                return str(load_json(text)["device"])
        return ""

    def series(self, key: str) -> list[tuple[float, float]]:
        """(step, value) wherever there is a value; a dotted key leads into the tables of a row."""
        values = ((row.step, row.find_number(key)) for row in self.rows)
        return [(float(step), value) for step, value in values if value is not None]

    def total(self, key: str) -> float:
        """The sum over all steps."""
        return sum(value for _, value in self.series(key))


def read_run(path: Path, *, with_answers: bool = True) -> RunContents:
    """Read a run folder.

    Args:
        path: the folder.
        with_answers: read also what the models answered, which takes longer than all else.

    Raises:
        ConfigurationError: the folder holds no run.
    """
    run = RunDirectory(path)
    if not any(part.exists() for part in (run.recipe, run.metrics, run.evaluation)):
        raise ConfigurationError(
            f"{path} is not the folder of a run",
            reason="it holds neither a recipe.toml nor a metrics.jsonl nor an evaluation folder",
            remedy="Name the folder that was given to `video-opd train --out`",
        )
    notices: list[str] = []
    try:
        rows = {row.step: row for row in StepMetrics.from_rows(read_journal(run.metrics))}
    except DataError as error:
        rows = {}
        notices.append(f"The curves are left out: {error}")
    recorded, recipe = _read_inputs(path, notices), _read_text(run.recipe)
    settings = _read_tables(recipe)
    tally = AdvantageTally(max(rows, default=0), settings)
    try:
        answers = SampledAnswer.from_rows(_pick_answers(iterate_journal(run.answers), tally))
        examples = _choose_examples(_count_all(answers, tally)) if with_answers else []
    except DataError as error:
        examples = []
        notices.append(f"The examples are left out: {error}")
    notices += _describe_changes(recorded)
    return RunContents(
        name=path.resolve().name,
        recipe=recipe,
        environments={file.name: _read_text(file) or "" for file in _list_environments(run)},
        rows=[rows[step] for step in sorted(rows)],
        evaluations=_read_evaluations(run.evaluation, notices),
        examples=examples,
        curriculum=read_curriculum(run.rounds, notices),
        timelines=read_timelines(run, settings, recorded) if with_answers else TimelineContents(),
        settings=settings,
        early=tally.early,
        late=tally.late,
        inputs=recorded,
        notices=notices,
    )


def _pick_answers(rows: Iterable[dict[str, Any]], tally: AdvantageTally) -> Iterator[dict[str, Any]]:
    """The rows of answers.jsonl that are looked at; to check all of a long run takes most of the time of a report.

    They are the first ones, those that are counted, those to the first queries, and those of the last step.
    """
    ids: set[object] = set()
    newest: list[dict[str, Any]] = []
    first: object = None
    for row in rows:
        step, id = row.get("step"), row.get("id")
        first = step if first is None else first
        if step == first and isinstance(id, str):
            ids.add(id)
        if not isinstance(step, int) or step == first or tally.is_counted(step) or (isinstance(id, str) and id in ids):
            yield row
        elif newest and newest[0]["step"] == step:
            newest.append(row)
        else:
            newest = [row]
    yield from newest


def _count_all(answers: Iterable[SampledAnswer], tally: AdvantageTally) -> Iterator[SampledAnswer]:
    """The same answers, each of them counted: they are read once."""
    for answer in answers:
        tally.add(answer)
        yield answer


def _read_inputs(run: Path, notices: list[str]) -> RecordedInputs | None:
    try:
        return read_inputs(run)
    except DataError as error:
        notices.append(f"Whether the run's inputs changed is not known: {error}")
        return None


def _describe_changes(recorded: RecordedInputs | None) -> list[str]:
    """Say which manifests, models or videos changed during the run: its numbers are then not all of the same data."""
    return [
        f"The run went on with other inputs than before, accepted by name ({', '.join(change.accepted)}): "
        f"{'; '.join(change.differences)}."
        + (f" Evaluations with the former ones are in {change.evaluations}." if change.evaluations else "")
        for change in (recorded.changes if recorded else ())
    ]


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _read_tables(recipe: str | None) -> Mapping[str, Any]:
    try:
        return load_toml(recipe or "")
    except ValueError:
        return {}


def _list_environments(run: RunDirectory) -> list[Path]:
    """environment.json, environment-2.json, … environment-10.json, in that order."""
    return sorted(run.path.glob("environment*.json"), key=lambda path: (len(path.name), path.name))


def _read_evaluations(folder: Path, notices: list[str]) -> list[EvaluationReport]:
    evaluations = []
    for path in sorted(folder.glob("*.json")):
        if path.name == TIMELINES_FILE:
            continue
        try:
            found = EvaluationReport.from_json(read_json(path.read_bytes()))
            if not found.is_evaluation:
                raise ValueError("it holds no mIoU")
            evaluations.append(found if found.name else found.model_copy(update={"name": path.stem}))
        except (OSError, ValueError) as error:
            notices.append(f"evaluation/{path.name} is left out: {error}.")
    return evaluations


def _choose_examples(answers: Iterable[SampledAnswer]) -> list[tuple[SampledAnswer, ...]]:
    """The first queries of the first step, each with the latest answer to it; if none came again, of the last step too.

    They come in the order in which they were sampled; none is preferred.
    """
    early: dict[str, SampledAnswer] = {}
    again: dict[str, SampledAnswer] = {}
    late: dict[str, SampledAnswer] = {}
    first_step: int | None = None
    last_step = -1
    for answer in answers:
        first_step = answer.step if first_step is None else first_step
        if answer.step > last_step:
            late, last_step = {}, answer.step
        if answer.step == first_step and len(early) < _NUM_EXAMPLES_HELD:
            early.setdefault(answer.id, answer)
        elif answer.id in early and answer.step > again.get(answer.id, early[answer.id]).step:
            again[answer.id] = answer
        if answer.step == last_step and len(late) < _NUM_EXAMPLES_HELD:
            late.setdefault(answer.id, answer)
    if last_step == first_step:
        late = {}
    pairs = [(first, again[id]) for id, first in early.items() if id in again]
    if len(pairs) >= _NUM_PAIRS:
        return [*pairs[:_NUM_PAIRS]]
    return [(answer,) for answer in [*list(early.values())[:_NUM_PAIRS], *list(late.values())[:_NUM_PAIRS]]]
