"""The only place where a recipe becomes objects. No other module names concrete classes."""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from video_opd import __version__
from video_opd.config import (
    ComputeSettings,
    CouplingSettings,
    Recipe,
    RoundsSettings,
    SelectionFileSettings,
)
from video_opd.eval.how_asked import (
    describe_asking,
    explain_prompt_mismatch,
    explain_tiny_on_real,
    resolve_budget,
    resolve_template,
)
from video_opd.methods.teachers import View
from video_opd.policy.common_tokens import require_common_tokens
from video_opd.policy.device import find_device
from video_opd.policy.load import Policy
from video_opd.policy.ranked_policy import key_of
from video_opd.policy.shared_vision import share_vision
from video_opd.ranks import current_job
from video_opd.runs.collapse_watch import CollapseWatch, read_steps
from video_opd.runs.directory import RunDirectory
from video_opd.train.answer_gate import AnswerGate
from video_opd.train.build_curriculum import (
    make_curriculum,
    make_gate,
)
from video_opd.train.build_inputs import (
    PromptMemories,
    list_manifests,
    make_source,
    needs_rendering,
    prepare_data,
)
from video_opd.train.build_method import make_method
from video_opd.train.build_models import (
    choose_autocast,
    find_fitting_checkpoint,
    load_frozen,
    load_reference,
    load_student,
    resolve_checkpoints,
)
from video_opd.train.build_teachers import (
    load_teacher,
    make_changing_teacher,
    make_teacher,
    read_taus,
    refuse_unrouted,
    warn_of_experiments,
)
from video_opd.train.build_views import refuse_unfit_views
from video_opd.train.learner import Learner
from video_opd.train.normalisation import Normalisation
from video_opd.train.ranked_learner import LearnerPart, RankedLearner
from video_opd.train.run_inputs import Inputs
from video_opd.train.run_parts import Data, Models, RunParts
from video_opd.train.training_state import TrainingState, load_state
from video_opd.types import Example

_log = logging.getLogger(__name__)

__all__ = [
    "PromptMemories",
    "assemble",
    "choose_autocast",
    "count_steps",
    "describe_asking",
    "describe_environment",
    "explain_prompt_mismatch",
    "explain_tiny_on_real",
    "find_device",
    "list_manifests",
    "list_step_sizes",
    "load_frozen",
    "load_student",
    "load_teacher",
    "make_method",
    "make_source",
    "needs_rendering",
    "prepare_compute",
    "prepare_data",
    "render_data",
    "require_common_tokens",
    "resolve_budget",
    "resolve_checkpoints",
    "resolve_template",
]


def render_data(recipe: Recipe, inputs: Inputs) -> None:
    """Render the tiny world where a recipe asks for it and it is not there yet, and check what only then is known.

    Raises:
        ConfigurationError: as `prepare_data`.
        DataError: an example that no teacher would judge.
    """
    if needs_rendering(recipe):
        prepare_data(recipe)
        examples = inputs.read_manifest(recipe, recipe.data.train)
        refuse_unrouted(recipe, examples, inputs)
        refuse_unfit_views(recipe, examples)


def assemble(
    recipe: Recipe, run: RunDirectory, inputs: Inputs, memories: PromptMemories | None = None
) -> tuple[RunParts, TrainingState]:
    """Make everything a run needs, at the point where its newest checkpoint left off.

    Args:
        recipe: a recipe that `refuse_early` accepted; its data are rendered.
        run: the folder of the run.
        inputs: what was read then.
        memories: prompts of earlier runs.

    Raises:
        ConfigurationError: models that do not belong together, or an unknown template.
        DataError: a manifest that cannot be used.
    """
    paths = (recipe.data.train, recipe.data.validation, recipe.data.test)
    train, validation, test = (inputs.read_manifest(recipe, path) for path in paths)
    _warn_of_prompts(recipe, inputs)
    _warn_of_truncation(recipe)
    warn_of_experiments(recipe)
    names = (recipe.student.model, *(named.model for named in recipe.name_teachers().values()))
    if warning := explain_tiny_on_real(names, recipe.data.videos, train):
        _log.warning("%s", warning)
    checkpoint = find_fitting_checkpoint(recipe, run.checkpoints)
    student = load_student(recipe, str(checkpoint.folder / "model") if checkpoint else recipe.student.model)
    teacher = load_teacher(recipe, inputs, student)
    for policy in teacher.policies if teacher else ():
        require_common_tokens(student, policy)
    reference = load_reference(recipe, student, teacher.policies if teacher else ())
    models = Models(student=student, teacher=teacher, reference=reference)
    gate, total_steps = make_gate(recipe), count_steps(recipe, train, inputs)
    learner = make_learner(recipe, models, total_steps=total_steps, gate=gate, note=run.memory)
    changing = make_changing_teacher(recipe, models)
    state = TrainingState() if checkpoint is None else load_state(checkpoint, learner, changing)
    parts = RunParts(
        recipe=recipe,
        models=models,
        data=Data(
            train=train,
            validation=validation,
            test=test,
            side_questions=inputs.read_side_questions(recipe),
            source=make_source(recipe, student, train, memories=memories, for_teachers=True),
            validation_source=make_source(recipe, student, validation, memories=memories),
        ),
        method=make_method(recipe, teacher, models.reference),
        learner=learner,
        gate=gate,
        curriculum=make_curriculum(recipe, run, inputs, models, total_steps=total_steps, memories=memories),
        watch=CollapseWatch(recipe.watch, read_steps(run.metrics, until=state.step)),
        changing=changing,
    )
    return parts, state


def make_learner(recipe: Recipe, models: Models, *, total_steps: int, gate: AnswerGate | None, note: Path) -> Learner:
    """The learner of a run; in a job of several processes the one that has all of them do their part.

    Args:
        recipe: of the run.
        models: of the run.
        total_steps: of the run.
        gate: where a curriculum suspends examples.
        note: file in the run folder for what is learned when memory runs out.
    """
    ranks, normalisation = current_job(), Normalisation.of_recipe(recipe)
    if ranks is None:
        _share_vision(recipe, models.group_by_part())
        return Learner(
            models.student,
            recipe.training,
            total_steps=total_steps,
            gate=gate,
            normalisation=normalisation,
            temperature=recipe.training_temperature,
        )
    keys = {part: [key_of(policy) for policy in policies] for part, policies in models.group_by_part().items()}
    views = models.teacher.views if models.teacher else ()
    ranks.call_all(build_part, (recipe, keys, total_steps, note, views))
    return RankedLearner(ranks.kept["learner"], gate=gate, ranks=ranks, normalisation=normalisation)


def build_part(
    kept: dict[str, Any], share: tuple[Recipe, dict[str, list[str]], int, Path, tuple[View | None, ...]]
) -> None:
    """Make this process's part of the learner, of the parts of the models that it holds."""
    recipe, keys, total_steps, note, views = share
    policies = {part: [kept[key] for key in names] for part, names in keys.items()}
    _share_vision(recipe, policies)
    teachers, reference = policies.get("teacher", []), policies.get("reference", [None])[0]
    teacher = make_teacher(recipe, teachers, read_taus(recipe, Inputs()), views) if teachers else None
    temperature = recipe.training_temperature
    learner = Learner(policies["student"][0], recipe.training, total_steps=total_steps, temperature=temperature)
    judges = [*teachers, reference] if reference else teachers
    kept["learner"] = LearnerPart(learner, make_method(recipe, teacher, reference), judges=judges, note=note)


def _share_vision(recipe: Recipe, policies: Mapping[str, Sequence[Policy]]) -> None:
    """Let the student's tower, if it is frozen, run once per clip and step, for all models of the run."""
    others = (*policies.get("teacher", ()), *policies.get("reference", ()))
    training = recipe.training
    # Of prompts that are answered together, a teacher reads each when the student has read all.
    reads_later = training.gradient_checkpointing is not True or bool(others)
    num_clips = training.batch_size if training.updates_per_batch > 1 else reads_later * training.most_together
    views = [teacher.view for teacher in recipe.name_teachers().values()]
    if any(view and view.kind != "hint" for view in views):
        num_clips *= 2  # what a teacher sees are other clips, and those of the student are wanted again
    share_vision(policies["student"][0], others, num_clips=num_clips)


def _warn_of_truncation(recipe: Recipe) -> None:
    if recipe.answers.is_truncated and not recipe.method.writes_annotations:
        _log.warning(
            "the sampled distribution differs from the one that log-probs are of: with answers.top_p or answers.top_k "
            "answers are drawn from the most probable tokens only, and log-probs are those of all tokens"
        )


def _warn_of_prompts(recipe: Recipe, inputs: Inputs) -> None:
    if recipe.side_questions is not None and inputs.find_side_questions_file(recipe) is None:
        _log.warning(
            "no side questions are asked: the recipe's questions are about the tiny world, and its data are "
            "not the tiny world"
        )
    for model in dict.fromkeys((recipe.student.model, *(named.model for named in recipe.name_teachers().values()))):
        warning = explain_prompt_mismatch(recipe.prompt, model)
        if warning is not None:
            _log.warning("%s", warning)


def count_steps(recipe: Recipe, train: Sequence[Example], inputs: Inputs | None = None) -> int:
    """Count the optimiser steps of a run: what the recipe says, or in each round one pass over what is trained on."""
    curriculum = recipe.curriculum
    match curriculum:
        case RoundsSettings():
            examples, rounds = curriculum.count, curriculum.num_rounds
        case CouplingSettings():
            examples, rounds = curriculum.num_candidates, 1
        case SelectionFileSettings():
            examples, rounds = len((inputs or Inputs()).read_selection(recipe, curriculum.file).ids), 1
        case _:
            examples, rounds = len(train), 1
    return recipe.training.steps or rounds * math.ceil(examples / recipe.training.batch_size)


def list_step_sizes(recipe: Recipe, num_steps: int) -> list[int]:
    """The number of examples of every step of a run.

    Args:
        recipe: of the run.
        num_steps: as `count_steps` counts them.
    """
    curriculum = recipe.curriculum
    if isinstance(curriculum, CouplingSettings) and curriculum.is_front_loaded:
        return curriculum.size_steps(num_steps, curriculum.num_candidates)
    return [recipe.training.batch_size] * num_steps


def prepare_compute(compute: ComputeSettings) -> None:
    """Set the number of threads."""
    if compute.threads is not None:
        torch.set_num_threads(compute.threads)


def describe_environment() -> dict[str, Any]:
    """Describe what may change the numbers and is not in the recipe: versions and machine."""
    packages = ("torch", "transformers", "av", "numpy", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "accelerator": "cuda" if torch.cuda.is_available() else "cpu",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "video-opd": __version__,  # of the code that runs, installed or not
        **{name: version(name) for name in packages},
    }
