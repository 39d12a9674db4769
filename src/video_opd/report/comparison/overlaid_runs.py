"""Several runs on one page: those whose recipes differ by the seed alone are one line with a band.

The page is that of a comparison, made from the runs' folders. It claims nothing: which of two methods is better,
`compare` decides with the answers query by query.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.files.comparison_records import Comparison, CurvePoint, Estimate, Ledger, MethodResult
from video_opd.files.dotted_keys import flatten_tables, is_covered
from video_opd.files.run_records import EvaluationReport
from video_opd.report.comparison.comparison_contents import CLOCKS
from video_opd.report.run.run_contents import RunContents, read_run
from video_opd.report.run.verdict import Standing
from video_opd.report.visible_text import make_visible
from video_opd.runs.run_costs import Clock, add_up_costs, average_ledgers, measure_time

_MOST_KEYS = 2
"""Keys that name a group; where the recipes differ in more, the name of the recipe says it better."""
_LONGEST_NAME = 60
_FREE_KEYS = (
    "name", "seed",
    "compute.evaluation_batch_size", "compute.shards", "data.max_bad_share", "data.tiny_world.render", "data.workers",
    "schedule.keep_checkpoints", "tracker", "watch",
)  # fmt: skip
"""Keys and tables that may differ between runs of one group: `train.run`, which this page does not load, lets them
change when a run goes on (`MAY_CHANGE`)."""
_COSTS = (
    "step", "seconds_by_phase", "cpu_seconds_by_phase", "seconds_to_decode", "num_prompts", "num_answer_tokens",
    "extra_memory_bytes", "model_bytes", "work",
)  # fmt: skip
"""Keys of a row of metrics.jsonl that are added up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGroup:
    """Runs with one recipe and different seeds."""

    name: str
    folders: list[Path]
    runs: list[RunContents]
    standings: list[Standing]

    def count_steps(self) -> int:
        """Steps of the longest run."""
        return max((run.rows[-1].step for run in self.runs if run.rows), default=0)


def read_groups(folders: Sequence[Path]) -> list[RunGroup]:
    """Read run folders and group them, in the order in which they are given.

    Raises:
        ConfigurationError: a folder holds no run, or a comparison.
    """
    for folder in folders:
        if (folder / "comparison.json").exists():
            raise ConfigurationError(
                f"{folder} holds a comparison", reason="only runs can be shown together", remedy="give folders of runs"
            )
    read = [(folder, read_run(folder, with_answers=False)) for folder in folders]
    groups: dict[str, list[tuple[Path, RunContents]]] = {}
    for folder, contents in read:
        # A folder without a recipe is a group of its own.
        groups.setdefault(_identify(contents) or str(folder), []).append((folder, contents))
    names = _name_groups([[contents for _, contents in members] for members in groups.values()])
    return [
        RunGroup(
            name=name,
            folders=[folder for folder, _ in members],
            runs=[contents for _, contents in members],
            standings=[Standing.sort_evaluations(contents.evaluations) for _, contents in members],
        )
        for name, members in zip(names, groups.values(), strict=True)
    ]


def _identify(contents: RunContents) -> str:
    """The recipe without what may differ between seeds; empty where it is not known."""
    shared = _flatten(contents.settings)
    return json.dumps(shared, sort_keys=True) if shared else ""


def _flatten(table: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> value as text, without the free keys."""
    flat = {key: value for key, value in flatten_tables(table).items() if not is_covered(key, _FREE_KEYS)}
    return {key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in flat.items()}


def _name_groups(groups: Sequence[Sequence[RunContents]]) -> list[str]:
    """Name each group by the keys in which the recipes differ; where these are many, by the first recipe's name."""
    flat = [_flatten(members[0].settings) for members in groups]
    keys = [key for key in dict.fromkeys(key for each in flat for key in each) if len({e.get(key) for e in flat}) > 1]
    if 0 < len(keys) <= _MOST_KEYS:
        names = [", ".join(_say(key, each.get(key, "–")) for key in keys) for each in flat]
    else:
        names = [_read_name(members[0]) for members in groups]
    if len(set(names)) < len(names):
        names = [members[0].name for members in groups]
    counts: Counter[str] = Counter()
    for place, name in enumerate(names):
        counts[name] += 1
        names[place] = make_visible(name, _LONGEST_NAME) + (f" ({counts[name]})" if counts[name] > 1 else "")
    return names


def _read_name(contents: RunContents) -> str:
    """The recipe's name, without the seed that `compare` puts at its end."""
    name = str(contents.settings.get("name") or contents.name)
    return name.removesuffix(f"-{contents.settings.get('seed')}") or name


def _say(key: str, value: str) -> str:
    """`method.name` says itself; other keys have their last word before the value."""
    return value if key == "method.name" else f"{key.rpartition('.')[2].replace('_', ' ')} {value}"


def make_comparison(groups: Sequence[RunGroup]) -> Comparison:
    """The groups as the record that the page of a comparison shows.

    Args:
        groups: with names that differ.
    """
    standings = [standing for group in groups for standing in group.standings]
    comparable = _is_one({(known.split, known.num_queries) for each in standings for known in each.known})
    before = _find_common(standing.before for standing in standings) if comparable else None
    teacher = _find_common(each.teacher for each in standings) if comparable else None
    return Comparison(
        name=f"{sum(len(group.runs) for group in groups)} runs",
        device=", ".join(sorted({run.device for group in groups for run in group.runs if run.device})),
        time="cpu_seconds" if all(map(_is_on_cpu, (run for group in groups for run in group.runs))) else "seconds",
        student_before=before,
        teacher=teacher,
        methods={group.name: _summarise(group) for group in groups},
        sentences=list(warn_of_data(groups)),
    )


def _is_one(values: set[Any]) -> bool:
    return len(values) == 1


def _find_common(evaluations: Iterable[EvaluationReport | None]) -> EvaluationReport | None:
    """The evaluation that all runs have of one model; None where they differ, or one has none."""
    found = list(evaluations)
    scores = {json.dumps(each.scores, sort_keys=True) if each else "" for each in found}
    return found[0] if _is_one(scores) else None


def _is_on_cpu(contents: RunContents) -> bool:
    return contents.device == "cpu" and all(row.cpu_seconds_by_phase for row in contents.rows)


def warn_of_data(groups: Sequence[RunGroup]) -> Iterable[str]:
    """What must be known before the lines are compared."""
    runs = [run for group in groups for run in group.runs]
    for name, what in (("test", "scores"), ("validation", "validation curves"), ("train", "costs")):
        hashes = {run.inputs.files[name].sha256 for run in runs if run.inputs and name in run.inputs.files}
        if len(hashes) > 1:
            yield f"The runs have different {name} manifests: their {what} cannot be compared."
    if any(run.inputs is None for run in runs):
        yield "Whether all runs used the same data is not known, because not all of them record their inputs."
    if len({run.device for run in runs}) > 1:
        yield "The runs were made on different devices: their times cannot be compared."
    yield from (f"{run.name}: {notice}" for run in runs for notice in run.notices)


def _summarise(group: RunGroup) -> MethodResult:
    training = group.runs[0].settings.get("training")
    rate = training.get("learning_rate") if isinstance(training, Mapping) else None
    ledgers = [add_up_costs(_list_costs(run), _list_selecting(run)) for run in group.runs]
    return MethodResult(
        learning_rate=rate if isinstance(rate, float) else None,
        curve=_build_curve(group),
        scores=_build_scores([standing.after for standing in group.standings]),
        side_questions=_find_side_accuracy([standing.after for standing in group.standings]),
        ledger=Ledger(**average_ledgers(ledgers)),
    )


def _build_scores(evaluations: Sequence[EvaluationReport | None]) -> dict[str, Estimate]:
    """The test scores at the end, where all runs have them; of a single run with its interval over queries."""
    after = [each for each in evaluations if each is not None]
    if len(after) < len(evaluations) or not after:
        return {}
    names = [name for name in after[0].scores if name != "num_queries" and all(name in each.scores for each in after)]
    scores = {}
    for name in names:
        estimate = estimate_over_seeds([each.scores[name] for each in after])
        interval = after[0].interval(name) if len(after) == 1 else None
        scores[name] = estimate.model_copy(update={"interval": interval}) if interval else estimate
    return scores


def _find_side_accuracy(evaluations: Sequence[EvaluationReport | None]) -> Estimate | None:
    """The share of side questions answered right at the end, where all runs were asked them."""
    found = [each.side_questions for each in evaluations if each is not None and each.side_questions is not None]
    if not found or len(found) < len(evaluations):
        return None
    estimate = estimate_over_seeds([each.accuracy for each in found])
    return estimate.model_copy(update={"interval": found[0].interval}) if len(found) == 1 else estimate


def estimate_over_seeds(values: Sequence[float]) -> Estimate:
    """Mean, spread and range of one value per run.

    Args:
        values: at least one.
    """
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(mean=statistics.fmean(values), sd=spread, lowest=min(values), highest=max(values))


def _build_curve(group: RunGroup) -> list[CurvePoint]:
    """Validation mIoU at the steps at which all runs of the group were evaluated."""
    curves = [{each.step or 0: each.miou for each in standing.curve} for standing in group.standings]
    clocks = {name: [measure_time_of(run, name) for run in group.runs] for name in CLOCKS}
    common = set.intersection(*(set(curve) for curve in curves)) if curves else set()
    points = []
    for step in sorted(common):
        times = {}
        for name, clock in clocks.items():
            taken = [seconds[step] for seconds in clock if step in seconds]
            if len(taken) == len(clock):
                times[name] = estimate_over_seeds(taken)
        points.append(CurvePoint(step=step, miou=estimate_over_seeds([curve[step] for curve in curves]), **times))
    return points


def measure_time_of(contents: RunContents, clock: Clock) -> dict[int, float]:
    """Time of selecting and training until the end of each step; 0 at step 0.

    Args:
        contents: of the run folder.
        clock: the clock that the time is measured by.
    """
    return measure_time(_list_costs(contents), _list_selecting(contents)[clock], clock)


def _list_costs(contents: RunContents) -> list[dict[str, Any]]:
    """What the rows say of costs."""
    return [{key: getattr(row, key) for key in _COSTS} for row in contents.rows]


def _list_selecting(contents: RunContents) -> dict[Clock, dict[int, float]]:
    """By clock: the step before which a round was selected, and what that took."""
    facts = [round.facts for round in contents.curriculum.rounds]
    return {
        clock: {each.first_step or 0: sum(getattr(cost, clock) for cost in each.cost.values()) for each in facts}
        for clock in CLOCKS
    }
