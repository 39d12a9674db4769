"""One run from beginning to end: score the student, train it, score it again, write the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from video_opd.config import Recipe, ScoringSettings
from video_opd.consoles import EscapingConsole
from video_opd.data.batches import choose_batch
from video_opd.errors import explain_disk_failures, explain_write_errors
from video_opd.eval.ask_side_questions import ask
from video_opd.eval.evaluate_into_file import evaluate_into
from video_opd.eval.progress_bar import say
from video_opd.files.durable import write_durably
from video_opd.files.input_records import RecordedInputs
from video_opd.files.journal import truncate_journal
from video_opd.files.run_records import EvaluationReport
from video_opd.methods.wording import IMPROBABLE_NATS, NUM_WORDED, measure_surprise_at_wording
from video_opd.output_streams import tolerate_lost_output
from video_opd.policy.description import require_device
from video_opd.policy.device import find_device
from video_opd.policy.load import Policy
from video_opd.ranks import current_job, join_job, num_started
from video_opd.report import write_report
from video_opd.report.page import refuse_foreign_page
from video_opd.runs.directory import RunDirectory
from video_opd.runs.evaluation_files import read_evaluation
from video_opd.runs.leftovers import remove_leftovers
from video_opd.runs.round_files import read_cost_of_selection
from video_opd.trackers.start_tracking import track_beside
from video_opd.train.answering_choice import is_answering_open, settle_answering
from video_opd.train.build import (
    PromptMemories,
    assemble,
    describe_environment,
    load_student,
    make_source,
    needs_rendering,
    prepare_compute,
    render_data,
    resolve_checkpoints,
)
from video_opd.train.changed_inputs import note_inputs, settle_inputs
from video_opd.train.early_checks import refuse_early, refuse_unfit_job
from video_opd.train.input_identity import digest_inputs, refuse_unknown_inputs
from video_opd.train.loop import make_keep_rule
from video_opd.train.lost_checkpoints import (
    describe_repeated_steps,
    refuse_lost_checkpoints,
    set_aside_for_restart,
)
from video_opd.train.memory_choice import settle_memory
from video_opd.train.ranked_learner import forget_part
from video_opd.train.run_inputs import Inputs
from video_opd.train.run_parts import RunParts
from video_opd.train.score_timelines import score_timelines
from video_opd.train.shared_work import SharedWork
from video_opd.train.train_in_rounds import train_in_rounds
from video_opd.train.training_state import TrainingState

MAY_CHANGE = frozenset(
    {
        "compute.evaluation_batch_size",
        "compute.shards",
        "data.max_bad_share",
        "data.tiny_world.render",
        "data.workers",
        "schedule.keep_checkpoints",
        "tracker",
        "watch",
    }
)
"""Keys that may differ when a run goes on: they change when it stops and how fast it is, not what it learns. (Threads
are not among them: sums come out in another order, and the weights differ in their last bits. So they do with another
number of processes, which may change too: a run must be able to go on where there are fewer, and `compute.shards` with
it.)"""


YOUNGER_KEYS = {"student.freeze_merger": "student.freeze_vision"}
"""Keys that runs begun by an earlier version do not have, and the key that decided before: one froze both."""


def list_changeable_keys(recipe: Recipe) -> frozenset[str]:
    """`MAY_CHANGE`, less what a curriculum that scores is sensitive to: answers are written in batches of that size,
    padding changes last bits, and a draw may hang on them."""
    scores = isinstance(recipe.curriculum, ScoringSettings)
    return MAY_CHANGE - {"compute.evaluation_batch_size"} if scores else MAY_CHANGE


def identify_run(recipe: Recipe) -> dict[str, Any]:
    """What tells whether a folder holds this very run, for `RunDirectory`."""
    ignored = list_changeable_keys(recipe)
    if recipe.training.gradient_checkpointing == "auto":  # what an earlier start has chosen stays
        ignored |= {"training.gradient_checkpointing"}
    if is_answering_open(recipe):
        ignored |= {"training.answer_together"}
    return {"recipe_toml": recipe.to_toml(), "ignore_keys": ignored, "younger_keys": YOUNGER_KEYS}


@dataclass(kw_only=True, eq=False)
class HeldOut:
    """Scores of the run's models on the test manifest, and their answers to the side questions."""

    parts: RunParts
    run: RunDirectory
    memories: PromptMemories
    console: Console
    results: dict[str, Any] = field(default_factory=dict)
    """The scores by model, `side_questions` by model where there are some."""

    def score(self, name: str, policy: Policy | None) -> None:
        """Add the scores of a model, from the run folder if they are there; without a test manifest, do nothing.

        Args:
            name: of the evaluation, such as `student-before`.
            policy: the model; None: the recipe's student, as it was before training.
        """
        if not self.parts.data.test:
            return
        path = self.run.evaluation / f"{name}.json"
        if not path.exists():
            policy = policy or load_student(self.parts.recipe, self.parts.recipe.student.model)
            write_durably(path, (json.dumps(self._evaluate(name, policy), indent=2) + "\n").encode())
        report, key = read_evaluation(path), name.replace("-", "_")
        self.results[key] = report["scores"]
        if "side_questions" in report:
            self.results.setdefault("side_questions", {})[key] = report["side_questions"]

    def score_teachers(self) -> None:
        """Add the scores of the teachers, if the run has some."""
        if (teacher := self.parts.models.teacher) is not None:
            for name, policy in zip(self.parts.recipe.name_teachers(), teacher.policies, strict=True):
                is_as_before = not self.parts.changing  # what an interrupted run goes on with has changed
                self.score(name, policy if is_as_before else None)

    def _evaluate(self, name: str, policy: Policy) -> dict[str, Any]:
        recipe, test, questions = self.parts.recipe, self.parts.data.test, self.parts.data.side_questions
        with closing(make_source(recipe, policy, test, memories=self.memories)) as source:
            evaluation = evaluate_into(
                self.run.evaluation / f"{name}.predictions.jsonl",
                None,  # the run says what it is of
                policy,
                test,
                source,
                max_new_tokens=recipe.answers.max_new_tokens,
                batch_size=recipe.compute.evaluation_batch_size,
                title=name.replace("-", ", "),
                console=self.console,
            )
        for id, reason in evaluation.set_aside.items():
            say(self.console, f"{name}: {id} was set aside and counts as unanswered: {reason}")
        report = evaluation.to_report(name=name, step=None, split="test", model=policy.name)
        if questions:
            with closing(make_source(recipe, policy, questions, recipe.side_questions, self.memories)) as source:
                asked = ask(policy, questions, source, batch_size=recipe.compute.evaluation_batch_size)
            report["side_questions"] = asked.to_dict()
        return EvaluationReport(**report).to_json()


def _join_others(recipe: Recipe) -> None:
    """Join the processes that `torchrun` started, if there are several. All but the first serve from here on."""
    if num_started() == 1:
        return
    device = find_device(recipe.compute.device)
    require_device(device)
    refuse_unfit_job(recipe, num_started())
    prepare_compute(recipe.compute)
    join_job(device)


@tolerate_lost_output()
@explain_disk_failures()
def run_recipe(
    recipe: Recipe,
    out: Path,
    *,
    evaluate_teacher: bool = False,
    shared: SharedWork | None = None,
    restart: bool = False,
    accept_changed: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Train by a recipe into the folder `out`, or go on where an earlier call stopped.

    Args:
        recipe: what is trained, by whom, on what.
        out: the run folder.
        evaluate_teacher: score the teacher on the test manifest too.
        shared: what earlier runs on the same data have done already.
        restart: begin again at step 1 where the run has lost its checkpoints; the old files are set aside.
        accept_changed: names of inputs that may have changed, such as `test`; None: the caller cannot name any.

    Returns:
        `student_before`, `student_after` and, if asked for, `teacher`, or of several `teacher_1` …: scores on the test
        manifest, absent without one; `side_questions` by the same names, where the recipe has some; `steps`,
        `train_seconds`, `run`.

    Raises:
        Interrupted: a signal asked for a stop; the state is saved.
        UserError: anything the user can mend.
    """
    console, shared, recipe = EscapingConsole(stderr=True), shared or SharedWork(), resolve_checkpoints(recipe)
    _join_others(recipe)  # from here on only the first process goes on
    if job := current_job():
        job.call_all(forget_part)
    same, inputs = identify_run(recipe), Inputs()
    refuse_unknown_inputs(recipe, accept_changed or ())
    RunDirectory.refuse_unusable(out, **same)
    with explain_write_errors(out):
        refuse_foreign_page(RunDirectory(out).report)
    refuse_early(recipe, inputs=inputs)
    prepare_compute(recipe.compute)
    recipe = _settle_open_keys(recipe, inputs, out, console)
    same = identify_run(recipe)
    with RunDirectory.create_or_resume(out, environment=describe_environment(), **same) as run:
        recorded = _settle_folder(recipe, run, inputs, console, restart=restart, accept=accept_changed)
        shared.take_over(recipe, run)
        memories = shared.memories.setdefault(digest_inputs(recorded, ()), {})
        parts, state = _take_up(recipe, run, inputs, memories, recorded)
        held_out = HeldOut(parts=parts, run=run, memories=memories, console=console)
        # Before its first step the student under training is the student to be measured.
        held_out.score("student-before", None if state.step else parts.models.student)
        if evaluate_teacher:
            held_out.score_teachers()
        _say_where_it_begins(parts, state, run, console)
        _train_and_score(parts, state, run, held_out)
        _score_and_report(parts, state, run, memories, console)
        shared.note(recipe, run)
        return held_out.results | {"steps": state.step, "train_seconds": state.seconds, "run": str(run.path)}


def _settle_open_keys(recipe: Recipe, inputs: Inputs, out: Path, console: Console) -> Recipe:
    """Choose what the recipe leaves to the run, and say what was chosen."""
    asked, is_open = recipe.training.gradient_checkpointing, is_answering_open(recipe)
    recipe = settle_memory(recipe, inputs, num_processes=num_started(), run=out)
    if asked == "auto":
        say(console, f"gradient checkpointing is {'on' if recipe.training.gradient_checkpointing else 'off'} (auto)")
    recipe = settle_answering(recipe, inputs, num_processes=num_started(), run=out)
    if is_open and recipe.training.most_together:
        say(console, f"{recipe.training.most_together} prompts are answered together on each device (auto)")
    return recipe


def _settle_folder(
    recipe: Recipe, run: RunDirectory, inputs: Inputs, console: Console, *, restart: bool, accept: Sequence[str] | None
) -> RecordedInputs:
    """Before anything is loaded, see that the run has not lost its checkpoints and reads what it was begun with."""
    if needs_rendering(recipe):
        say(console, "rendering the tiny world's clips")
    if restart and (folder := set_aside_for_restart(run)):
        say(console, f"the run begins again at step 1; its old files are in {folder}")
    refuse_lost_checkpoints(recipe, run, inputs)
    render_data(recipe, inputs)
    return settle_inputs(recipe, run, inputs, accept=accept, tell=partial(say, console))


def _take_up(
    recipe: Recipe, run: RunDirectory, inputs: Inputs, memories: PromptMemories, recorded: RecordedInputs
) -> tuple[RunParts, TrainingState]:
    """Load everything, and remove what a killed process left, once the newest checkpoint is accepted."""
    parts, state = assemble(recipe, run, inputs, memories)
    parts = note_inputs(parts, state, run, recorded)
    remove_leftovers(run, make_keep_rule(parts, run), newest=state.step)
    return parts, state


def _train_and_score(parts: RunParts, state: TrainingState, run: RunDirectory, held_out: HeldOut) -> None:
    """Train to the last step and score the student, while a tracker shows what is written."""
    tell = partial(say, held_out.console)
    for journal in (run.metrics, run.answers):
        truncate_journal(journal, after_step=state.step)
    with track_beside(run.path, parts.recipe.tracker, resumes_after=state.step, tell=tell):
        train_in_rounds(parts, state, run, lambda line: tell(f"warning: {line}"))
        held_out.score("student-after", parts.models.student)


def _say_where_it_begins(parts: RunParts, state: TrainingState, run: RunDirectory, console: Console) -> None:
    """Say it before the first row of a journal is removed."""
    if line := describe_repeated_steps(run, state.step):
        say(console, line)
    if state.step:
        say(console, f"resuming after step {state.step} of {parts.learner.total_steps}")
    else:
        _warn_of_wording(parts, console)


def _score_and_report(
    parts: RunParts, state: TrainingState, run: RunDirectory, memories: PromptMemories, console: Console
) -> None:
    """Score the answers that the report shows, say what happened, and write the report."""
    score_timelines(parts, run, memories)
    _say_what_happened(state, run, console)
    write_report(run.path)


def _say_what_happened(state: TrainingState, run: RunDirectory, console: Console) -> None:
    """Say at the end what was set aside, and what the selection cost."""
    if state.set_aside:
        id, reason = next(iter(state.set_aside.items()))
        say(console, f"{len(state.set_aside)} examples were set aside, such as {id}: {reason}")
    if line := _write_cost_of_selecting(run, state.seconds):
        say(console, line)


def _write_cost_of_selecting(run: RunDirectory, train_seconds: float) -> str:
    """Compare the time of choosing the examples with that of training, in a sentence; empty where none were chosen."""
    selecting = sum(read_cost_of_selection(run.rounds, "seconds").values())
    if not selecting or not train_seconds:
        return ""
    return f"selection took {selecting:.0f} s, training {train_seconds:.0f} s: {selecting / train_seconds:.2f} to 1"


def _warn_of_wording(parts: RunParts, console: Console) -> None:
    """Off-policy methods learn from annotated text: say so if the teacher would never write it."""
    recipe = parts.recipe
    if parts.models.teacher is None or not recipe.method.has_annotations:
        return
    prompts = parts.data.source.prompts(
        choose_batch(parts.data.train, 0, recipe.training.batch_size, recipe.seed)[:NUM_WORDED]
    )
    if not prompts:
        return
    nats, example = measure_surprise_at_wording(parts.method.write, parts.models.student, parts.models.teacher, prompts)
    if nats > IMPROBABLE_NATS:
        say(
            console,
            f"warning: the teacher would hardly write the annotated answers: one word costs it {nats:.0f} nats, such "
            f"as in {example!r}. Put them into its words with method.answer, or use opd, which "
            "needs none.",
        )
