"""A rough estimate of the cost of a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from video_opd.config import CouplingSettings, RoundsSettings
from video_opd.doctor.patient import Finding, Patient
from video_opd.errors import EngineError
from video_opd.methods.teachers import OneTeacher, Teacher
from video_opd.policy.load import Policy
from video_opd.policy.weights import num_bytes
from video_opd.train.build import choose_autocast, count_steps, make_method
from video_opd.train.build_models import load_reference
from video_opd.train.learner import Learner
from video_opd.train.loop import run_micro_batch
from video_opd.train.run_inputs import Inputs
from video_opd.train.stopwatch import Stopwatch
from video_opd.types import Prompt, Sampling


def estimate_cost(patient: Patient, teacher: Teacher | None = None, inputs: Inputs | None = None) -> Iterator[Finding]:
    """Estimate the seconds and the memory of a step, from one micro-batch that the learner takes and measures itself.

    Args:
        patient: the models and the prompts.
        teacher: who judges in training, where that is not the patient's one teacher.
        inputs: keeps what was read of the recipe's files.
    """
    if teacher is None and patient.teacher is not None:
        teacher = OneTeacher(patient.teacher)
    recipe, training = patient.recipe, patient.recipe.training
    checked = "rough cost (decoding apart)"
    try:
        reference = load_reference(recipe, patient.student)
    except EngineError as error:
        yield Finding(checked=checked, found=f"not known: {error.cause}", verdict="fail", remedy="free the device")
        return
    piece = patient.prompts[: training.micro_batch_size]
    learner = Learner(patient.student, training, total_steps=1)
    learner.begin(piece)
    batch, _ = run_micro_batch(learner, piece, make_method(recipe, teacher, reference), recipe.seed)
    assert batch is not None  # there is no gate
    learner.add_gradient(batch)
    learner.drop_gradient()
    seconds = sum(learner.watch.seconds.values()) * training.batch_size / len(piece)
    frozen = {"teacher": sum(policy.num_bytes for policy in teacher.policies) if teacher else 0}
    if reference is not None:
        frozen["reference"] = reference.num_bytes
    gib = _estimate_memory_gib(patient, frozen, piece)
    inputs = inputs or Inputs()
    train = inputs.read_manifest(recipe, recipe.data.train)
    steps = count_steps(recipe, train, inputs)
    yield Finding(
        checked=checked,
        found=f"{seconds:.1f} s a step of {training.batch_size}, {seconds * steps / 60:.1f} min in all; about "
        + ", ".join(f"{part} {size:.2f} GiB" for part, size in gib.items()),
        verdict="ok",
    )
    if isinstance(recipe.curriculum, RoundsSettings | CouplingSettings):
        yield _estimate_selection(patient, teacher, len(train), seconds * steps)


def _estimate_selection(patient: Patient, teacher: Teacher | None, num_pool: int, training_s: float) -> Finding:
    """Estimate the most that scoring the pool can cost, and compare it with the cost of training on the selection."""
    curriculum = patient.recipe.curriculum
    assert isinstance(curriculum, RoundsSettings | CouplingSettings)
    piece = patient.prompts[: patient.recipe.compute.evaluation_batch_size]

    def seconds(policy: Policy) -> float:
        watch, limit = Stopwatch(patient.student.model.device), patient.recipe.answers.max_new_tokens
        with watch.time_phase("score"):
            reading = policy.read(piece)
            policy.answer(reading, sampling=Sampling(max_new_tokens=limit, greedy=True))
            if curriculum.num_answers > 1:
                policy.answer(reading, count=curriculum.num_answers - 1, sampling=Sampling(max_new_tokens=limit))
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


def _estimate_memory_gib(patient: Patient, frozen: Mapping[str, int], piece: Sequence[Prompt]) -> dict[str, float]:
    """Estimate memory: weights with gradient and AdamW state, the frozen models, and the activations of one
    micro-batch.

    Args:
        patient: the models.
        frozen: the bytes of each frozen model.
        piece: the prompts of one micro-batch.
    """
    parameters = list(patient.student.model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    text = patient.student.model.config.get_text_config()
    width = 2 if choose_autocast(patient.recipe.compute) else 4
    tokens = sum(len(prompt) for prompt in piece)
    # Kept per token and layer: about ten hidden-sized tensors and three of the MLP's width.
    kept = tokens * text.num_hidden_layers * (10 * text.hidden_size + 3 * text.intermediate_size) * width
    weights = sum(map(num_bytes, parameters)) + 12 * trained
    if choose_autocast(patient.recipe.compute):
        weights += 2 * trained  # the graph holds a bfloat16 copy until the backward pass
    sizes = {"student": weights, **frozen, "activations": kept}
    return {name: size / 2**30 for name, size in sizes.items()}
