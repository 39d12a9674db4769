"""Whether the run was sound, as far as its files say: each check passed, deserves a look, or could not be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from video_opd.report.run.run_contents import RunContents
from video_opd.report.run.teacher_sight import measure_sight
from video_opd.report.run.verdict import Standing
from video_opd.runs.collapse_watch import CollapseWatch
from video_opd.sample_size import count_of

ROUNDING_NATS = {"float32": 1e-3, "bfloat16": 0.1}
"""As in `doctor.checks`, which this page does not load: how far two computations of one log-prob may lie apart."""
BLIND_NATS = 0.02
"""As there: a teacher whose log-probs change by less than this per token without the video does not use it."""
_MOSTLY = 0.75
"""Share of the probes in which an update should lower the reverse KL of its own batch."""
_READABLE = 0.9
"""An output format rate that is lower deserves a look."""

Outcome = Literal["passed", "look", "not made"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCheck:
    """One check."""

    checked: str
    outcome: Outcome
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChecks:
    """All checks, and how they went in one line."""

    checks: list[RunCheck]

    @property
    def summary(self) -> str:
        """How many had which outcome."""
        counts = {outcome: sum(each.outcome == outcome for each in self.checks) for outcome in ("passed", "look")}
        not_made = len(self.checks) - sum(counts.values())
        said = [f"{counts['passed']} of {len(self.checks)} checks passed"]
        if counts["look"]:
            said.append(f"{counts['look']} {'deserves' if counts['look'] == 1 else 'deserve'} a look")
        if not_made:
            said.append(f"{not_made} {'was' if not_made == 1 else 'were'} not made")
        return ", ".join(said) + "."

    @property
    def has_findings(self) -> bool:
        """Whether one deserves a look."""
        return any(each.outcome == "look" for each in self.checks)


def make_checks(contents: RunContents, standing: Standing) -> RunChecks:
    """Look at everything that the files of a run say about its soundness.

    Args:
        contents: of the run folder.
        standing: its evaluations.
    """
    looks: Sequence[tuple[str, Callable[[RunContents, Standing], tuple[Outcome, str]]]] = (
        ("The loss is a finite number in every step", _check_loss),
        ("The model that writes is the model that learns", _check_gap),
        ("The student did not collapse", _check_collapse),
        ("An update lowers the reverse KL of its own batch", _check_probes),
        ("Answers name a span", _check_format),
        ("Answers are in seconds", _check_unit),
        ("Every example could be used", _check_examples),
        ("The inputs stayed as they were", _check_inputs),
        ("The teacher uses the video", _check_sight),
    )
    made = ((checked, look(contents, standing)) for checked, look in looks)
    return RunChecks(checks=[RunCheck(checked=checked, outcome=how, found=found) for checked, (how, found) in made])


def _judge(is_well: bool, found: str) -> tuple[Outcome, str]:
    return ("passed" if is_well else "look"), found


def _check_loss(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    broken = [row.step for row in contents.rows if row.is_broken]
    if not contents.rows:
        return "not made", "No step has been taken."
    count = len(contents.rows)
    steps = count_of(count, "step", "steps")
    if broken:
        return "look", f"In {len(broken)} of {steps} it was not, first in step {broken[0]}."
    return "passed", f"All {steps} have a finite loss." if count > 1 else "The only step has a finite loss."


def _check_gap(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    gaps = contents.series("sampler_learner_gap")
    if not gaps:
        return "not made", "The student wrote no answers, or none was recorded."
    compute = contents.settings.get("compute")
    precision = compute.get("precision") if isinstance(compute, Mapping) else None
    limit = ROUNDING_NATS.get(str(precision), ROUNDING_NATS["float32"])
    step, largest = max(gaps, key=lambda point: point[1])
    found = f"Sampler and learner differ by at most {largest:.1e} nats per token, in step {step:.0f}; limit {limit:g}."
    return _judge(largest <= limit, found)


def _check_collapse(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    from video_opd.config.watch_settings import WatchSettings

    if not contents.series("output_format_rate"):
        return "not made", "The student wrote no answers, or none was recorded."
    table: Any = contents.settings.get("watch")
    try:
        settings = WatchSettings(**table) if isinstance(table, Mapping) else WatchSettings()
    except ValidationError:
        settings = WatchSettings()
    if len(contents.rows) < settings.window:
        return "not made", f"The watch needs {settings.window} steps."
    watch = CollapseWatch(settings)
    passed = [excess for row in contents.rows for excess in watch.note(row.to_json())]
    if not passed:
        return "passed", "Variety, form and length of the answers stayed within the limits of the watch."
    return "look", f"At step {passed[0].step} {passed[0].describe()}."


def _check_probes(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    after = dict(contents.series("reverse_kl_after"))
    pairs = [(value, after[step]) for step, value in contents.series("reverse_kl_before") if step in after]
    if not pairs:
        return "not made", "No step was probed (schedule.probe_every)."
    fell = sum(later < before for before, later in pairs)
    return _judge(fell >= _MOSTLY * len(pairs), f"It fell in {fell} of {count_of(len(pairs), 'probe', 'probes')}.")


def _check_format(_: RunContents, standing: Standing) -> tuple[Outcome, str]:
    newest = standing.after or standing.before
    rate = newest.scores.get("output_format_rate") if newest else None
    if rate is None:
        return "not made", "The student was not evaluated."
    return _judge(rate >= _READABLE, f"{100 * rate:.1f} % of them.")


def _check_unit(contents: RunContents, standing: Standing) -> tuple[Outcome, str]:
    if not standing.known:
        return "not made", "No model was evaluated."
    warned = [f"{each.name}: {each.warnings[0]}" for each in contents.evaluations if each.warnings]
    return _judge(not warned, warned[0] if warned else "No evaluation gave a warning about units.")


def _check_examples(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    set_aside = contents.series("num_set_aside")
    if not set_aside and not contents.evaluations:
        return "not made", "Nothing was read."
    said = []
    if set_aside and set_aside[-1][1]:
        said.append(f"{set_aside[-1][1]:,.0f} in training")
    for each in contents.evaluations:
        if each.set_aside:
            id, why = next(iter(each.set_aside.items()))
            said.append(f"{len(each.set_aside)} in {each.name}, such as {id}: {why}")
    damaged = {video for each in contents.evaluations for video in each.damaged_videos}
    if damaged or contents.total("num_damaged"):
        said.append("some videos have damaged pictures, which were used")
    return _judge(
        not said, f"Set aside: {'; '.join(said)}." if said else "None was set aside, and no video is damaged."
    )


def _check_inputs(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    if contents.inputs is None:
        return "not made", "The run does not record its inputs."
    if not (count := len(contents.inputs.changes)):
        return "passed", "Manifests, models and videos are those that it was begun with."
    return "look", f"{count_of(count, 'change was accepted', 'changes were accepted')} during the run."


def _check_sight(contents: RunContents, _: Standing) -> tuple[Outcome, str]:
    sight = measure_sight(contents.timelines.timelines)
    if sight is None:
        return "not made", "No answers were scored with and without the video."
    queries = count_of(sight.num_queries, "test query", "test queries")
    found = (
        f"With grey frames its log-probs change by {sight.change:.3f} nats per token on average, on answers to "
        f"{queries} drawn at random."
    )
    return _judge(sight.change >= BLIND_NATS, found)
