"""The only place where a recipe becomes objects. Nobody else knows concrete classes."""

from __future__ import annotations

import hashlib
import math
import platform
from importlib.metadata import version
from typing import Any

import torch

from video_opd.assemble.inputs import (
    PromptMemories,
    budget_of,
    make_source,
    manifests_of,
    prepare_data,
    side_questions_file,
    template_of,
    to_be_rendered,
)
from video_opd.assemble.methods import answer_template_of, make_method, refuse_timeless_answers, reward_of
from video_opd.assemble.models import (
    autocast_of,
    device_of,
    load_reference,
    load_student,
    require_common_tokens,
)
from video_opd.assemble.teachers import load_teacher, refuse_unrouted
from video_opd.data.manifest import read_manifest
from video_opd.data.side_questions import read_side_questions
from video_opd.data.source import require_folder
from video_opd.errors import ConfigurationError
from video_opd.policy.location import resolve_model
from video_opd.recipe import ComputeSettings, Recipe, RewardSettings
from video_opd.runs.checkpoint import latest_checkpoint
from video_opd.runs.directory import RunDirectory
from video_opd.training.learner import Learner
from video_opd.training.loop import Parts
from video_opd.training.state import TrainingState, load_state

__all__ = [
    "PromptMemories",
    "assemble",
    "autocast_of",
    "budget_of",
    "device_of",
    "environment",
    "load_student",
    "load_teacher",
    "make_method",
    "make_source",
    "manifests_of",
    "prepare_compute",
    "prepare_data",
    "refuse_early",
    "require_common_tokens",
    "sha256_of_data",
    "steps_of",
    "template_of",
    "to_be_rendered",
]


def refuse_early(recipe: Recipe) -> None:
    """Look for what is wrong with a recipe before a run folder is made and the models are loaded.

    Raises:
        ConfigurationError: a model that is not there, a template nobody knows, a video budget nothing fits.
        DataError: a manifest that cannot be used, no videos folder, or an example that no teacher would judge.
    """
    template_of(recipe.prompt)
    budget_of(recipe.video)
    for model in (recipe.student.model, *(teacher.model for teacher in recipe.named_teachers().values())):
        resolve_model(model)
    if isinstance(recipe.method, RewardSettings):
        reward_of(recipe, recipe.method)
    if recipe.method.writes_annotations:
        refuse_timeless_answers(answer_template_of(recipe))
    side_file = side_questions_file(recipe)
    if recipe.side_questions is not None:
        template_of(recipe.side_questions)
    if not to_be_rendered(recipe):
        require_folder(recipe.data.videos)
        for path in manifests_of(recipe.data):
            examples = read_manifest(path)
            if path == recipe.data.train:
                refuse_unrouted(recipe, examples)
        if side_file is not None:
            read_side_questions(side_file)


def assemble(recipe: Recipe, run: RunDirectory, memories: PromptMemories | None = None) -> tuple[Parts, TrainingState]:
    """Everything a run needs, at the point where its newest checkpoint left off.

    Raises:
        ConfigurationError: models that do not belong together, or a template nobody knows.
        DataError: a manifest that cannot be used, or an example that no teacher would judge.
    """
    prepare_data(recipe)
    train, validation, test = (
        read_manifest(path) if path else [] for path in (recipe.data.train, recipe.data.validation, recipe.data.test)
    )
    refuse_unrouted(recipe, train)
    side_file = side_questions_file(recipe)
    checkpoint = latest_checkpoint(run.checkpoints)
    student = load_student(recipe, str(checkpoint.folder / "model") if checkpoint else recipe.student.model)
    teacher = load_teacher(recipe)
    for policy in teacher.policies if teacher else ():
        require_common_tokens(student, policy)
    reference = load_reference(recipe)
    learner = Learner(student, recipe.training, total_steps=steps_of(recipe, len(train)))
    parts = Parts(
        recipe=recipe,
        student=student,
        teacher=teacher,
        reference=reference,
        method=make_method(recipe, teacher, reference),
        learner=learner,
        source=make_source(recipe, student, train, memories=memories),
        validation_source=make_source(recipe, student, validation, memories=memories),
        train=train,
        validation=validation,
        test=test,
        side_questions=read_side_questions(side_file) if side_file else [],
    )
    data_sha256 = sha256_of_data(recipe)
    if checkpoint is None:
        return parts, TrainingState(data_sha256=data_sha256)
    state = load_state(checkpoint, learner)
    if state.data_sha256 != data_sha256:
        raise ConfigurationError(
            f"the manifests have changed since {run.path} was begun",
            reason="the run would go on with other examples than it was begun with",
            remedy="restore them, or choose another folder with --out",
        )
    return parts, state


def sha256_of_data(recipe: Recipe) -> str:
    """Of the recipe's manifests: whether two runs saw the same examples."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in manifests_of(recipe.data))).hexdigest()


def steps_of(recipe: Recipe, num_train: int) -> int:
    """Optimiser steps of a run: as many as the recipe says, or one pass over the training examples."""
    return recipe.training.steps or math.ceil(num_train / recipe.training.batch_size)


def prepare_compute(compute: ComputeSettings) -> None:
    """Threads and determinism."""
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)


def environment() -> dict[str, Any]:
    """What may change the numbers without standing in the recipe."""
    packages = ("video-opd", "torch", "transformers", "av", "numpy", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        **{name: version(name) for name in packages},
    }
