"""The only place where a recipe becomes objects. Nobody else knows concrete classes."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from video_opd.data import tiny_world
from video_opd.data.manifest import read_manifest
from video_opd.data.prompts import TEMPLATES, PromptRenderer, PromptTemplate
from video_opd.data.side_questions import read_side_questions
from video_opd.data.source import PromptSource, require_folder
from video_opd.data.video import VideoBudget
from video_opd.errors import ConfigurationError, writing
from video_opd.methods import Method
from video_opd.methods.on_policy_distillation import OnPolicyDistillation
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import resolve_model
from video_opd.recipe import (
    ComputeSettings,
    DataSettings,
    OnPolicyDistillationSettings,
    PromptSettings,
    Recipe,
    VideoSettings,
)
from video_opd.runs.checkpoint import latest_checkpoint
from video_opd.runs.directory import RunDirectory
from video_opd.training.learner import Learner
from video_opd.training.loop import Parts
from video_opd.training.state import TrainingState, load_state

REMEMBERED_TOKENS = 100_000
"""Video tokens worth of prompts kept in memory: 25 KB of patches each, so about 2.5 GB."""


def refuse_early(recipe: Recipe) -> None:
    """Look for what is wrong with a recipe before a run folder is made and the models are loaded.

    Raises:
        ConfigurationError: a model that is not there, a template nobody knows, a video budget nothing fits.
        DataError: a manifest that cannot be used, or no videos folder.
    """
    template_of(recipe.prompt)
    budget_of(recipe.video)
    for model in (recipe.student.model, recipe.teacher.model):
        resolve_model(model)
    side_file = side_questions_file(recipe)
    if recipe.side_questions is not None:
        template_of(recipe.side_questions)
    if not to_be_rendered(recipe):
        require_folder(recipe.data.videos)
        for path in manifests_of(recipe.data):
            read_manifest(path)
        if side_file is not None:
            read_side_questions(side_file)


def assemble(recipe: Recipe, run: RunDirectory) -> tuple[Parts, TrainingState]:
    """Everything a run needs, at the point where its newest checkpoint left off.

    Raises:
        ConfigurationError: models that do not belong together, or a template nobody knows.
        DataError: a manifest that cannot be used.
    """
    prepare_data(recipe)
    train, validation, test = (
        read_manifest(path) if path else [] for path in (recipe.data.train, recipe.data.validation, recipe.data.test)
    )
    side_file = side_questions_file(recipe)
    checkpoint = latest_checkpoint(run.checkpoints)
    student = load_student(recipe, str(checkpoint.folder / "model") if checkpoint else recipe.student.model)
    teacher = load_teacher(recipe)
    require_common_tokens(student, teacher)
    learner = Learner(student, recipe.training, total_steps=steps_of(recipe, len(train)))
    parts = Parts(
        recipe=recipe,
        student=student,
        teacher=teacher,
        method=make_method(recipe, teacher),
        learner=learner,
        source=make_source(recipe, student, train),
        validation_source=make_source(recipe, student, validation),
        train=train,
        validation=validation,
        test=test,
        side_questions=read_side_questions(side_file) if side_file else [],
    )
    data_sha256 = hashlib.sha256(b"".join(path.read_bytes() for path in manifests_of(recipe.data))).hexdigest()
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


def steps_of(recipe: Recipe, num_train: int) -> int:
    """Optimiser steps of a run: as many as the recipe says, or one pass over the training examples."""
    return recipe.training.steps or math.ceil(num_train / recipe.training.batch_size)


def make_method(recipe: Recipe, teacher: Policy) -> Method:
    """The method a recipe names."""
    match recipe.method:
        case OnPolicyDistillationSettings() as settings:
            return OnPolicyDistillation(
                teacher=teacher,
                estimator=settings.estimator,
                credit_clamp=settings.credit_clamp,
                max_new_tokens=recipe.answers.max_new_tokens,
            )


def load_student(recipe: Recipe, model: str) -> Policy:
    """The student, with float32 weights; gradient for what the recipe trains."""
    student = load_policy(model, device=device_of(recipe.compute.device), autocast=autocast_of(recipe.compute))
    for name, parameter in student.model.named_parameters():
        parameter.requires_grad_(not (recipe.student.freeze_vision and ".visual." in f".{name}"))
    return student


def load_teacher(recipe: Recipe) -> Policy:
    """The teacher, frozen, in the type it computes in."""
    weights = {"float32": torch.float32, "bfloat16": torch.bfloat16}[recipe.compute.precision]
    return load_policy(recipe.teacher.model, device=device_of(recipe.compute.device), weights=weights).freeze()


def require_common_tokens(student: Policy, teacher: Policy) -> None:
    """Student and teacher must speak of the same token ids and see pictures cut the same way.

    Raises:
        ConfigurationError: they do not.
    """
    if student.fingerprint() != teacher.fingerprint() or student.support.end_token_id != teacher.support.end_token_id:
        raise ConfigurationError(
            f"student {student.name} ({student.support.num_tokens} tokens) and teacher {teacher.name} "
            f"({teacher.support.num_tokens} tokens) have different tokenizers",
            reason="the teacher scores the student's token ids, and they would mean something else to it",
            remedy="take both from one family, such as Qwen3-VL-8B and Qwen3-VL-32B",
        )
    names = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    theirs = [
        {name: getattr(policy.processor.video_processor, name, None) for name in names} for policy in (student, teacher)
    ]
    different = [
        f"{name}: {theirs[0][name]} / {theirs[1][name]}" for name in names if theirs[0][name] != theirs[1][name]
    ]
    if different:
        raise ConfigurationError(
            f"student {student.name} and teacher {teacher.name} prepare video differently ({', '.join(different)})",
            reason="both get the same prepared frames, so one of them would see nonsense",
            remedy="take both from one family",
        )


def make_source(
    recipe: Recipe,
    policy: Policy,
    examples: Sequence[object],
    prompt: PromptSettings | None = None,
) -> PromptSource:
    """Prompts for the recipe's examples, rendered with one policy's processor for all."""
    renderer = PromptRenderer(policy.processor, template_of(prompt or recipe.prompt), budget_of(recipe.video))
    return PromptSource(
        recipe.data.videos,
        renderer,
        num_examples=len(examples),
        remember=REMEMBERED_TOKENS // recipe.video.max_tokens,
        workers=recipe.data.workers,
        max_bad_share=recipe.data.max_bad_share,
    )


def template_of(settings: PromptSettings) -> PromptTemplate:
    """The template a recipe names or spells out."""
    if settings.user is not None:
        return PromptTemplate(user=settings.user)
    if settings.template not in TEMPLATES:
        raise ConfigurationError(
            f"template = {settings.template!r}",
            reason="no built-in template has that name",
            remedy=f"choose one of {', '.join(TEMPLATES)}, or write your own as `user`",
        )
    return TEMPLATES[settings.template]


def budget_of(settings: VideoSettings) -> VideoBudget:
    """How much of a video a prompt may hold."""
    return VideoBudget(
        fps=settings.fps,
        max_frames=settings.max_frames,
        max_tokens=settings.max_tokens,
        max_frame_tokens=settings.max_frame_tokens,
    )


def manifests_of(data: DataSettings) -> list[Path]:
    """The manifests a recipe names."""
    return [path for path in (data.train, data.validation, data.test) if path]


def to_be_rendered(recipe: Recipe) -> bool:
    """Whether the recipe asks for the tiny world and it is not there yet."""
    if recipe.data.tiny_world is None:
        return False
    finished = tiny_world.settings_in(recipe.data.videos.parent) is not None
    return not finished or not all(path.exists() for path in manifests_of(recipe.data))


def side_questions_file(recipe: Recipe) -> Path | None:
    """The file of side questions; the tiny world's own where the recipe names none.

    Raises:
        ConfigurationError: side questions are asked for and there is no file of them.
    """
    if recipe.side_questions is None:
        return None
    if recipe.side_questions.file is not None:
        return recipe.side_questions.file
    if recipe.data.tiny_world is None:
        raise ConfigurationError(
            "side_questions has no file",
            reason="only the tiny world brings its own",
            remedy="name one as side_questions.file, or leave the table out",
        )
    return recipe.data.videos.parent / f"{tiny_world.SIDE_QUESTIONS}.jsonl"


def prepare_data(recipe: Recipe) -> None:
    """Render the tiny world where a recipe asks for it and it is not there yet.

    Raises:
        ConfigurationError: another tiny world lies in its place.
    """
    world = recipe.data.tiny_world
    if world is None:
        return
    folder = recipe.data.videos.parent
    settings = tiny_world.BuildSettings(
        seed=world.seed,
        noise=tiny_world.LabelNoise(
            wrong_share=world.wrong_share, imprecise_share=world.imprecise_share, jitter_s=world.jitter_s
        ),
        num_queries={"train": world.num_train, "validation": world.num_validation, "test": world.num_test},
    )
    built = tiny_world.settings_in(folder)
    if built is not None and built != settings.describe():
        raise ConfigurationError(
            f"{folder} holds a tiny world of other settings",
            reason=f"the recipe asks for {settings.describe()}, and there is {built}",
            remedy="give the recipe another folder with --data.videos and the manifests, or remove this one",
        )
    if to_be_rendered(recipe):
        with writing(folder):
            tiny_world.build(folder, settings)


def prepare_compute(compute: ComputeSettings) -> None:
    """Threads and determinism."""
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)


def device_of(name: str) -> str:
    """The device of that name; `auto` is CUDA where there is one."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def autocast_of(compute: ComputeSettings) -> torch.dtype | None:
    """The type the student computes in, where it is not that of its weights."""
    return torch.bfloat16 if compute.precision == "bfloat16" else None


def environment() -> dict[str, Any]:
    """What may change the numbers without standing in the recipe."""
    packages = ("video-opd", "torch", "transformers", "av", "numpy", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        **{name: version(name) for name in packages},
    }
