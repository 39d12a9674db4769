"""THE loop. Every method of the package runs through it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_opd.config import Recipe
from video_opd.data.batches import Batches
from video_opd.data.prompt_source import PromptSource
from video_opd.data.side_questions import SideQuestion
from video_opd.eval.evaluate import evaluate
from video_opd.files.durable import write_durably
from video_opd.files.journal import Journal, truncate_journal
from video_opd.methods import Method
from video_opd.methods.teachers import Teacher
from video_opd.policy.load import Policy, Work
from video_opd.runs.directory import RunDirectory
from video_opd.seeds import derive_seed
from video_opd.train.answer_gate import AnswerGate
from video_opd.train.interruption import Interrupted, StopRequest
from video_opd.train.learner import Learner
from video_opd.train.lessons import Curriculum
from video_opd.train.probe import Probe
from video_opd.train.progress import TrainingProgress
from video_opd.train.step_metrics import answer_rows, metrics_row
from video_opd.train.stopwatch import PeakMemory
from video_opd.train.training_state import TrainingState, save_state
from video_opd.types import Example, Prompt, Sampling

MEMORY_EVERY = 10
"""Steps between measurements of the memory a step needs: giving memory back first costs some time."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts:
    """What a run is made of; `assemble` makes it from a recipe."""

    recipe: Recipe
    student: Policy
    teacher: Teacher | None
    """None where the method asks no teacher and the recipe has none to measure by."""
    reference: Policy | None
    """The student as it was at first, where the method keeps near it."""
    method: Method
    learner: Learner
    gate: AnswerGate | None
    """Of the learner, where a curriculum suspends examples."""
    curriculum: Curriculum
    source: PromptSource
    validation_source: PromptSource
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    side_questions: Sequence[SideQuestion] = ()

    def workers(self) -> dict[str, tuple[Policy, ...]]:
        """The models by the part they play: `student` and, where there are some, `teacher` and `reference`."""
        return {
            "student": (self.student,),
            **({"teacher": self.teacher.policies} if self.teacher else {}),
            **({"reference": (self.reference,)} if self.reference else {}),
        }


def train(parts: Parts, state: TrainingState, run: RunDirectory, *, batches: Batches, until: int) -> None:
    """From `state` to step `until`, the end of a round; there a checkpoint and an evaluation are certain.

    Raises:
        Interrupted: SIGTERM or SIGINT came; the state is saved.
    """
    recipe, schedule, defaults = parts.recipe, parts.recipe.schedule, parts.recipe.grounding_defaults()

    def save() -> None:
        state.coupling = parts.gate.coupling.state_dict() if parts.gate else {}
        save_state(run.checkpoints, state, parts.learner, defaults, keep_last=schedule.keep_checkpoints)

    parts.source.set_aside.update(state.set_aside)
    for journal in (run.metrics, run.answers):
        truncate_journal(journal, after_step=state.step)
    with ExitStack() as stack:
        metrics, answers = (stack.enter_context(Journal(path)) for path in (run.metrics, run.answers))
        progress = stack.enter_context(TrainingProgress(parts.learner.total_steps, state.step))
        stop = stack.enter_context(StopRequest().listening())
        while True:
            if not stop.signal_number and (_due(state.step, schedule.evaluate_every) or state.step == until):
                progress.evaluated(_evaluate(parts, state.step, run))
            if stop.signal_number:  # also one that came while evaluating
                save()
                raise Interrupted(stop.signal_number, state.step)
            if state.step == until:
                break
            began, seed = time.monotonic(), derive_seed(recipe.seed, "step", state.step)
            batch = batches(state.step)
            prompts = parts.source.prompts(batch)
            if state.step + 1 < until:
                parts.source.prefetch(batches(state.step + 1))
            waited = time.monotonic() - began
            row, rows = _update(parts, prompts, state.step, seed)
            state.step, state.seconds = state.step + 1, state.seconds + time.monotonic() - began
            state.set_aside = dict(parts.source.set_aside)
            row["seconds_by_phase"]["decode"] = waited
            row["seconds_to_decode"], row["cpu_seconds_by_phase"]["decode"] = parts.source.memory.cost(batch)
            row |= {"step": state.step, "seconds": state.seconds, "num_set_aside": len(state.set_aside)}
            metrics.append(row)
            for answer in rows:
                answers.append({"step": state.step, **answer})
            progress.show(state.step, row)
            if _due(state.step, schedule.checkpoint_every) or state.step == until:
                save()


def _update(parts: Parts, prompts: list[Prompt], step: int, seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One optimiser step with its measurements; a batch without a usable video changes nothing."""
    schedule = parts.recipe.schedule
    if not prompts:
        return {"num_answers": 0, "seconds_by_phase": {}, "cpu_seconds_by_phase": {}}, []
    probe = None
    if parts.teacher is not None and _due(step, schedule.probe_every):
        sampling = Sampling(max_new_tokens=parts.recipe.answers.max_new_tokens, seed=seed)
        size = parts.recipe.training.micro_batch_size
        probe = Probe.take(parts.student, parts.teacher, prompts[: schedule.probe_size], sampling, size)
    control = {"reverse_kl_before": probe.reverse_kl()} if probe else {}
    workers = parts.workers()
    before = {name: _work_of(policies) for name, policies in workers.items()}
    memory = PeakMemory(parts.student.model.device)
    with memory.watching() if _due(step, MEMORY_EVERY) else nullcontext():
        outcome = parts.learner.step(prompts, parts.method, step=step, seed=seed)
    work = {name: _work_of(policies).since(before[name]) for name, policies in workers.items()}
    control |= {"reverse_kl_after": probe.reverse_kl()} if probe else {}
    rows = answer_rows(outcome, parts.student, schedule.answers_kept) if _due(step, schedule.answers_every) else []
    starts = parts.source.renderer.template.answer_starts
    asked = {
        name: sum(policy.num_bytes for policy in policies)
        for name, policies in workers.items()
        if work[name]["prompt_passes"]
    }
    return {
        **metrics_row(outcome, parts.student, answer_starts=starts),
        **control,
        **({"coupling": parts.gate.coupling.metrics()} if parts.gate else {}),
        "work": work,
        "model_bytes": asked,
        **({"extra_memory_bytes": memory.extra_bytes} if memory.extra_bytes is not None else {}),
        "seconds_by_phase": outcome.seconds_by_phase,
        "cpu_seconds_by_phase": outcome.cpu_seconds_by_phase,
    }, rows


def _evaluate(parts: Parts, step: int, run: RunDirectory) -> float:
    """The student's mIoU on the validation manifest, from the run folder if this step was evaluated before."""
    recipe, path = parts.recipe, evaluation_file(run, step)
    if path.exists():
        return float(json.loads(path.read_text(encoding="utf-8"))["scores"]["miou"])
    evaluation = evaluate(
        parts.student,
        parts.validation,
        parts.validation_source,
        max_new_tokens=recipe.answers.max_new_tokens,
        batch_size=recipe.compute.evaluation_batch_size,
    )
    report = evaluation.to_report(name=path.stem, step=step, split="validation")
    write_durably(path, (json.dumps(report, indent=2) + "\n").encode())
    return evaluation.scores.miou


def evaluation_file(run: RunDirectory, step: int) -> Path:
    """Where the evaluation on the validation manifest after `step` steps is."""
    return run.evaluation / f"validation-{step:06d}.json"


def _work_of(policies: Sequence[Policy]) -> Work:
    """Of all of them together, so far."""
    return sum((policy.work for policy in policies), Work())


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
