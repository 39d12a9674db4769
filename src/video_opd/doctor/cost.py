"""What a step will cost, roughly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from video_opd.assemble import autocast_of, make_method, steps_of
from video_opd.data.manifest import read_manifest
from video_opd.doctor.patient import Finding, Patient
from video_opd.methods.teachers import OneTeacher, Teacher
from video_opd.policy.load import Policy
from video_opd.training.cost import Stopwatch
from video_opd.vocabulary import Prompt


def cost(patient: Patient, teacher: Teacher | None = None) -> Iterator[Finding]:
    """Seconds and memory of a step, from one measured micro-batch.

    Args:
        teacher: who judges in training, where that is not the patient's one teacher.
    """
    if teacher is None and patient.teacher is not None:
        teacher = OneTeacher(patient.teacher)
    recipe, training = patient.recipe, patient.recipe.training
    piece = patient.prompts[: training.micro_batch_size]
    method = make_method(recipe, teacher)
    watch = Stopwatch(patient.student.model.device)
    with watch.phase("piece"):
        reading = patient.student.read(piece, grad=True)
        groups = method.write(patient.student, reading, recipe.seed)
        judgement = method.judge(piece, groups)
        scores = patient.student.score(reading, groups, distribution=method.needs_distribution, grad=True)
        method.losses(scores, scores.logprobs.detach(), judgement).loss.sum().backward()
    patient.student.model.zero_grad(set_to_none=True)
    seconds = watch.seconds["piece"] * training.batch_size / len(piece)
    gib = _memory_gib(patient, teacher.policies if teacher else (), piece)
    steps = steps_of(recipe, read_manifest(recipe.data.train))
    yield Finding(
        checked="rough cost (decoding apart)",
        found=f"{seconds:.1f} s a step of {training.batch_size}, {seconds * steps / 60:.1f} min in all; about "
        + ", ".join(f"{part} {size:.2f} GiB" for part, size in gib.items()),
        verdict="ok",
    )


def _memory_gib(patient: Patient, teachers: Sequence[Policy], piece: Sequence[Prompt]) -> dict[str, float]:
    """Weights with gradient and AdamW state, the teachers, and the activations one micro-batch keeps."""
    parameters = list(patient.student.model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    text = patient.student.model.config.get_text_config()
    width = 2 if autocast_of(patient.recipe.compute) else 4
    tokens = sum(len(prompt) for prompt in piece)
    # Kept per token and layer: about ten hidden-sized tensors and three of the MLP's width.
    kept = tokens * text.num_hidden_layers * (10 * text.hidden_size + 3 * text.intermediate_size) * width
    weights = 4 * sum(p.numel() for p in parameters) + 12 * trained
    if autocast_of(patient.recipe.compute):
        weights += 4 * trained  # the graphs of reading and scoring each hold a bfloat16 copy until the backward pass
    sizes = {"student": weights, "teacher": sum(policy.num_bytes for policy in teachers), "activations": kept}
    return {name: size / 2**30 for name, size in sizes.items()}
