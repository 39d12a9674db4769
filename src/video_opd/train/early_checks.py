"""What is checked of recipes before a run folder is made and models are loaded."""

from __future__ import annotations

from importlib.util import find_spec

from video_opd.config import Recipe
from video_opd.data.prompt_source import refuse_tight_budget, require_folder
from video_opd.errors import ConfigurationError
from video_opd.eval.how_asked import resolve_budget, resolve_template
from video_opd.policy.description import require_device
from video_opd.policy.device import find_device
from video_opd.policy.location import find_local_folder
from video_opd.trackers.unfit_trackers import is_tracked, refuse_unfit_tracker
from video_opd.train.build_curriculum import refuse_early_curriculum, refuse_scores_of_other_models
from video_opd.train.build_inputs import list_manifests, needs_rendering, refuse_unrenderable
from video_opd.train.build_method import refuse_unfit_method
from video_opd.train.build_models import refuse_unfit_models, refuse_unfit_places
from video_opd.train.build_teachers import refuse_unrouted
from video_opd.train.build_views import refuse_unfit_views
from video_opd.train.run_inputs import Inputs


def refuse_early(*recipes: Recipe, inputs: Inputs | None = None) -> None:
    """Check recipes for errors before a run folder is made and the models are loaded.

    First everything on this machine is checked, for all recipes; then the small files of models on the hub. Weights are
    downloaded only after all other checks have passed.

    Args:
        recipes: what is looked at.
        inputs: keeps what was read of their files.

    Raises:
        ConfigurationError: a model or a tracker that cannot be used, an unknown template or device, or a video budget
            that nothing fits.
        DataError: a manifest that cannot be used, no videos folder, or an example that no teacher would judge.
    """
    inputs = inputs or Inputs()
    for recipe in recipes:  # before anything that takes long, such as reading large manifests
        require_device(find_device(recipe.compute.device))
        if recipe.tracker is not None and is_tracked(recipe.tracker):
            refuse_unfit_tracker(recipe.tracker, is_beside=True)
    for recipe in recipes:
        _refuse_early_here(recipe, inputs)
    for recipe in recipes:
        refuse_unfit_places(recipe)
    refuse_unfit_models(recipes)
    for recipe in recipes:
        if not needs_rendering(recipe):
            refuse_scores_of_other_models(recipe, inputs)


def refuse_unfit_job(recipe: Recipe, num_processes: int) -> None:
    """Refuse a recipe that so many processes cannot share.

    Raises:
        ConfigurationError: some of them would have nothing to do, or the weights cannot be split over them as is asked.
    """
    size, shards = recipe.training.batch_size, recipe.compute.shards
    if num_processes > size:
        raise ConfigurationError(
            f"{num_processes} processes for a batch of {size} examples",
            reason="every process needs an example at every step",
            remedy=f"start at most {size} processes, or raise training.batch_size",
        )
    if shards is not None and num_processes > 1 and num_processes % shards:
        raise ConfigurationError(
            f"compute.shards = {shards} in a job of {num_processes} processes",
            reason="every copy of the weights needs so many processes, and some would be left over",
            remedy=f"give a divisor of {num_processes}, or leave it out",
        )
    if recipe.compute.device not in ("auto", "cpu", "cuda") and num_processes > 1:
        raise ConfigurationError(
            f"compute.device = {recipe.compute.device!r} in a job of {num_processes} processes",
            reason="every process has a device of its own",
            remedy="give auto, cpu or cuda; on a GPU every process takes the one of its number",
        )
    if recipe.student.lora and recipe.student.lora.quantise and num_processes > 1:
        raise ConfigurationError(
            f"student.lora.quantise in a job of {num_processes} processes",
            reason="the frozen weights are split over the processes, and 4-bit weights cannot be split",
            remedy="leave it out, or start one process, without torchrun",
        )
    if num_processes > 1 and any(teacher.is_changing for teacher in recipe.name_teachers().values()):
        raise ConfigurationError(
            f"teacher.refresh_every or teacher.average in a job of {num_processes} processes",
            reason="the weights are split over the processes, and the teacher's do not follow the student's there",
            remedy="leave it out, or start one process, without torchrun",
        )
    for name, teacher in recipe.name_teachers().items():
        given = [key for key in ("device", "devices", "offload") if getattr(teacher, key)]
        if given and num_processes > 1:
            raise ConfigurationError(
                f"{given[0]} of the {name} in a job of {num_processes} processes",
                reason="every process has one device, and the weights of the teacher are split over all of them",
                remedy="leave it out, or start one process, without torchrun",
            )
    if num_processes > 1 and not find_spec("accelerate"):
        raise ConfigurationError(
            f"a job of {num_processes} processes needs accelerate, which is not installed",
            reason="transformers splits weights over processes with its help",
            remedy="run `pip install 'video-opd[distributed]'`",
        )


def _refuse_early_here(recipe: Recipe, inputs: Inputs) -> None:
    """Check everything that needs no access to the hub."""
    resolve_template(recipe.prompt)
    budget = resolve_budget(recipe.video)
    for model in (recipe.student.model, *(teacher.model for teacher in recipe.name_teachers().values())):
        find_local_folder(model)
    refuse_unfit_method(recipe)
    inputs.find_side_questions_file(recipe)
    if recipe.side_questions is not None:
        resolve_template(recipe.side_questions)
    refuse_unrenderable(recipe)
    if not needs_rendering(recipe):
        require_folder(recipe.data.videos)
        for path in list_manifests(recipe.data):
            examples = inputs.read_manifest(recipe, path)
            refuse_tight_budget(recipe.data.videos, examples, budget)
            if path == recipe.data.train:
                for video in recipe.list_dense_videos():
                    refuse_tight_budget(recipe.data.videos, examples, resolve_budget(video))
                refuse_unrouted(recipe, examples, inputs)
                refuse_unfit_views(recipe, examples)
        refuse_early_curriculum(recipe, inputs)
        inputs.read_side_questions(recipe)
