"""Measurements of a step: the on-policy control, the counts of work, time, memory, and rows of its answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from video_opd.eval.ask import ask_in_batches, make_batches
from video_opd.files.run_records import TEACHER_CHANGE
from video_opd.grounding import best_iou, parse_answer
from video_opd.policy.load import Policy, Work
from video_opd.seeds import generator
from video_opd.train.probe import Probe
from video_opd.train.run_parts import RunParts
from video_opd.train.step_metrics import make_answer_rows, make_metrics_row
from video_opd.train.stopwatch import PeakMemory, Stopwatch
from video_opd.train.trained_batch import StepOutcome
from video_opd.types import Example, Prompt, Sampling

NUM_ANSWERED = 16
"""Training examples that a teacher that changes answers in its view."""
MEMORY_EVERY = 10
"""Steps between measurements of the memory a step needs: giving memory back first costs some time."""


@dataclass(kw_only=True, eq=False)
class MeasuredStep:
    """One step. The loop puts its outcome here; the rest is there when the measurement has ended."""

    outcome: StepOutcome | None = None
    seconds: float = 0.0
    """Wall time, from the first video of the batch that was asked for."""
    row: dict[str, Any] = field(default_factory=dict)
    """For metrics.jsonl."""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """For answers.jsonl."""


@contextmanager
def measure_step(
    parts: RunParts, batch: Sequence[Example], prompts: Sequence[Prompt], *, step: int, seed: int, began: float
) -> Iterator[MeasuredStep]:
    """Measure the step that is taken inside the `with` block.

    Args:
        parts: of the run.
        batch: the examples of the step.
        prompts: made of those whose video can be used.
        step: steps taken before.
        seed: of the step. The control draws its answers with it too.
        began: time on the monotonic clock before the prompts were asked for.
    """
    measured, waited = MeasuredStep(), time.monotonic() - began
    schedule, student, by_part = parts.recipe.schedule, parts.models.student, parts.models.group_by_part()
    probe = _take_probe(parts, prompts, seed) if prompts and is_due(step, schedule.probe_every) else None
    control = {"reverse_kl_before": probe.reverse_kl()} if probe else {}
    before = {part: _sum_work(policies) for part, policies in by_part.items()}
    memory = PeakMemory(student.model.device)
    with memory.watch() if prompts and is_due(step, MEMORY_EVERY) else nullcontext():
        yield measured
    outcome = measured.outcome
    assert outcome is not None
    if outcome.batches or outcome.suspended:
        work = {part: _sum_work(policies).count_since(before[part]) for part, policies in by_part.items()}
        control |= {"reverse_kl_after": probe.reverse_kl()} if probe else {}
        if is_due(step, schedule.answers_every):
            measured.answers = make_answer_rows(outcome, student, schedule.answers_kept)
        starts = parts.data.source.renderer.template.answer_starts
        measured.row = {
            **make_metrics_row(outcome, student, answer_starts=starts),
            **control,
            **({"coupling": parts.gate.coupling.metrics()} if parts.gate else {}),
            "work": work,
            "model_bytes": _sum_bytes(by_part, work),
            **({"extra_memory_bytes": memory.extra_bytes} if memory.extra_bytes is not None else {}),
        }
    else:  # no video of the batch could be used
        measured.row = {"num_answers": 0}
    seconds, cpu_seconds = parts.data.source.cost(batch)
    num_damaged = sum(prompt.num_concealed > 0 for prompt in prompts)
    measured.row |= {
        "seconds_by_phase": {**outcome.seconds_by_phase, "decode": waited},
        "cpu_seconds_by_phase": {**outcome.cpu_seconds_by_phase, "decode": cpu_seconds},
        "seconds_to_decode": seconds,
        **({"num_retries": outcome.num_retries} if outcome.num_retries else {}),
        **({"num_damaged": num_damaged} if num_damaged else {}),
    }
    measured.seconds = time.monotonic() - began


def change_teacher(parts: RunParts, measured: MeasuredStep, *, step: int) -> None:
    """Let a teacher that changes follow the student, and add to the row of the step how well it answers in its view.

    That is measured after the first step, at every refresh, and of an average whenever the student is evaluated, or
    else once in a window of the watch. A frozen teacher always answers alike.

    Args:
        parts: of the run.
        measured: the step; its row gets the mIoU and the time of all this.
        step: steps taken by now.
    """
    changing = parts.changing
    if changing is None:
        return
    stopwatch = Stopwatch(parts.models.student.model.device)
    with stopwatch.time_phase(TEACHER_CHANGE):
        changing.follow(step)
        every = changing.settings.refresh_every or parts.recipe.schedule.evaluate_every or parts.watch.settings.window
        if step == 1 or is_due(step, every):
            measured.row |= _measure_in_view(parts)
    for key, spent in (("seconds_by_phase", stopwatch.seconds), ("cpu_seconds_by_phase", stopwatch.cpu_seconds)):
        measured.row[key] = {**measured.row[key], **spent}
    measured.seconds += stopwatch.seconds[TEACHER_CHANGE]


def _measure_in_view(parts: RunParts) -> dict[str, float]:
    """The mIoU of the teacher's greedy answers to some training examples, always the same ones, in its view; nothing
    where none of their videos can be used."""
    recipe, teacher = parts.recipe, parts.models.teacher
    assert teacher is not None
    order = generator(recipe.seed, "teacher's own answers").permutation(len(parts.data.train))[:NUM_ANSWERED]
    prompts = parts.data.source.prompts([parts.data.train[place] for place in order.tolist()])
    (policy,), (view,) = teacher.policies, teacher.views
    assert view is not None
    sampling = Sampling(max_new_tokens=recipe.answers.max_new_tokens, greedy=True)
    batches = make_batches([view(prompt) for prompt in prompts], parts.learner.settings.micro_batch_size)
    ious = [
        best_iou(spans[0], prompt.example.spans) if (spans := parse_answer(group.answers[0].text).spans) else 0.0
        for asked in ask_in_batches(policy, batches, lambda reading: policy.answer(reading, sampling=sampling))
        for prompt, group in zip(asked.batch.prompts, asked.answers, strict=True)
    ]
    return {"teacher_view_miou": sum(ious) / len(ious)} if ious else {}


def is_due(step: int, every: int) -> bool:
    """Whether something that is done at every so many steps is done after `step` of them; never where `every` is 0."""
    return every > 0 and step % every == 0


def _take_probe(parts: RunParts, prompts: Sequence[Prompt], seed: int) -> Probe | None:
    recipe, models = parts.recipe, parts.models
    if models.teacher is None:
        return None
    sampling = Sampling(max_new_tokens=recipe.answers.max_new_tokens, seed=seed)
    chosen = prompts[: recipe.schedule.probe_size]
    return Probe.take(models.student, models.teacher, chosen, sampling, parts.learner.settings.micro_batch_size)


def _sum_bytes(by_part: Mapping[str, Sequence[Policy]], work: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """The size of the models that had something to read in a step."""
    return {
        part: sum(policy.num_bytes for policy in policies)
        for part, policies in by_part.items()
        if work[part]["prompt_passes"]
    }


def _sum_work(policies: Sequence[Policy]) -> Work:
    """The work of all of them together, so far."""
    return sum((policy.work for policy in policies), Work())
