"""A rough estimate of the time of a step, and its memory."""

from __future__ import annotations

from collections.abc import Generator
from math import ceil

from video_opd.config import CouplingSettings, Recipe, RoundsSettings
from video_opd.doctor.patient import Finding, Patient, Verdict
from video_opd.errors import EngineError
from video_opd.methods.teachers import OneTeacher, Teacher
from video_opd.policy.device import find_device
from video_opd.policy.load import Policy
from video_opd.train.build import count_steps, list_step_sizes, make_method
from video_opd.train.build_models import load_reference
from video_opd.train.learner import Learner
from video_opd.train.loop import run_micro_batch
from video_opd.train.memory_choice import MARGIN, NOT_KNOWN, estimate_step, find_room, list_remedies
from video_opd.train.memory_estimate import GIB
from video_opd.train.run_inputs import Inputs
from video_opd.train.stopwatch import Stopwatch
from video_opd.types import Sampling


def estimate_cost(
    patient: Patient, teacher: Teacher | None = None, inputs: Inputs | None = None
) -> Generator[Finding, None, float | None]:
    """Estimate the seconds of a step, from one micro-batch that the learner takes and measures itself; and its memory.

    Args:
        patient: the models and the prompts.
        teacher: who judges in training, where that is not the patient's one teacher.
        inputs: keeps what was read of the recipe's files.

    Returns:
        seconds of a step, without decoding; None where they are not known.
    """
    if teacher is None and patient.teacher is not None:
        teacher = OneTeacher(patient.teacher)
    recipe, training = patient.recipe, patient.recipe.training
    checked = "rough cost (decoding apart)"
    try:
        reference = load_reference(recipe, patient.student)
    except EngineError as error:
        yield Finding(checked=checked, found=f"not known: {error.cause}", verdict="fail", remedy="free the device")
        return None
    piece = patient.prompts[: training.micro_batch_size]
    learner = Learner(patient.student, training, total_steps=1, temperature=recipe.training_temperature)
    learner.begin(piece)
    method = make_method(recipe, teacher, reference)
    with learner.precision():
        (rollout,), _ = learner.answer([tuple(piece)], method, recipe.seed)
        learner.add_gradient(run_micro_batch(learner, rollout, method))
    learner.drop_gradient()
    spent = learner.watch.seconds
    # A token loop takes about as long for the prompts of several micro-batches as for one.
    num_loops = ceil(training.batch_size / max(len(piece), training.most_together))
    num_pieces = training.batch_size / len(piece)
    seconds = (sum(spent.values()) - spent["answer"]) * num_pieces + spent["answer"] * num_loops
    if training.most_together > len(piece) and training.gradient_checkpointing is not True:
        seconds += spent["read"] * num_pieces
    inputs = inputs or Inputs()
    train = inputs.read_manifest(recipe, recipe.data.train)
    num_full = sum(list_step_sizes(recipe, count_steps(recipe, train, inputs))) / training.batch_size
    yield Finding(
        checked=checked,
        found=f"{seconds:.1f} s a step of {training.batch_size}, {seconds * num_full / 60:.1f} min in all; about "
        + estimate_step(recipe, inputs).describe(),
        verdict="ok",
    )
    if isinstance(recipe.curriculum, RoundsSettings | CouplingSettings):
        yield _estimate_selection(patient, teacher, len(train), seconds * num_full)
    return seconds


def _estimate_selection(patient: Patient, teacher: Teacher | None, num_pool: int, training_s: float) -> Finding:
    """Estimate the most that scoring the pool can cost, and compare it with the cost of training on the selection."""
    curriculum = patient.recipe.curriculum
    assert isinstance(curriculum, RoundsSettings | CouplingSettings)
    piece = patient.prompts[: patient.recipe.compute.evaluation_batch_size]

    def seconds(policy: Policy) -> float:
        watch, limit = Stopwatch(patient.student.model.device), patient.recipe.answers.max_new_tokens
        with watch.time_phase("score"):
            reading = policy.read(piece)
            sampling = Sampling(max_new_tokens=limit, first_is_greedy=True)
            policy.answer(reading, count=curriculum.num_answers, sampling=sampling)
        return watch.seconds["score"] / len(piece) * num_pool

    asked = curriculum.needs_teacher and curriculum.teacher_scores is None
    teacher_s = sum(map(seconds, teacher.policies)) if asked and teacher is not None else 0.0
    often = curriculum.num_rounds if isinstance(curriculum, RoundsSettings) else 1
    asks_student = isinstance(curriculum, CouplingSettings) or curriculum.is_student_asked
    student_s = often * seconds(patient.student) if asks_student else 0.0
    ratio = (teacher_s + student_s) / training_s
    return Finding(
        checked=f"cost of selecting: scoring the pool of {num_pool} (decoding apart)",
        found=f"at most {teacher_s / 60:.1f} min of the teacher, once, and {student_s / 60:.1f} min of the student; "
        f"{ratio:.2f} of the training's time",
        verdict="warn" if ratio > 1 else "ok",
        remedy="choosing costs more than training: try curriculum.race_enough, curriculum.race, a strategy that asks "
        "no student, or suspend_at in place of a selection (docs/CURRICULUM.md)"
        if ratio > 1
        else "",
    )


def judge_memory(recipe: Recipe, inputs: Inputs) -> Finding:
    """Compare the peak of a step in one process with the memory of the device, before any weights are read."""
    estimate = estimate_step(recipe, inputs)
    total, _ = find_room(find_device(recipe.compute.device))
    load = estimate.load
    verdict: Verdict = "ok" if estimate.peak * MARGIN <= total else "fail" if estimate.least > total else "warn"
    return Finding(
        checked="memory of a step in one process, at the most",
        found=f"{estimate.peak / GIB:.2f} GiB"
        + (f" of {total / GIB:.1f}" if total < NOT_KNOWN else "")
        + f" in the phase `{estimate.phase}`, with {load.tokens} prompt tokens at once"
        + (" and gradient checkpointing" if estimate.is_checkpointed else "")
        + f": {estimate.describe()}",
        verdict=verdict,
        remedy="" if verdict == "ok" else "; or ".join(list_remedies(recipe, 1, for_prompts=verdict == "warn")),
    )
