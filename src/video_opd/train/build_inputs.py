"""The data of a recipe: manifests, prompts, the rendered world."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from video_opd.config import (
    DataSettings,
    PromptSettings,
    Recipe,
    TinyWorldSettings,
)
from video_opd.config.recipe_file import DATA_PATHS
from video_opd.data import tiny_world
from video_opd.data.prompt_source import PromptMemory, PromptSource
from video_opd.data.prompts import PromptRenderer
from video_opd.data.world_folder import read_record
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.eval.how_asked import resolve_budget, resolve_template
from video_opd.policy.load import Policy

REMEMBERED_TOKENS = 100_000
"""Video tokens worth of prompts kept in memory: 25 KB of patches each, so about 2.5 GB."""

PromptMemories = dict[tuple[object, ...], PromptMemory]
"""By videos folder, template, budget and processor: whatever a prompt depends on besides its example."""


def make_source(
    recipe: Recipe,
    policy: Policy,
    examples: Sequence[object],
    prompt: PromptSettings | None = None,
    memories: PromptMemories | None = None,
    *,
    for_teachers: bool = False,
) -> PromptSource:
    """Prompts for the recipe's examples, rendered with one policy's processor for all.

    Args:
        recipe: says how a question is put, and how a video is shown.
        policy: whose processor it is.
        examples: that may be asked for.
        prompt: in place of the recipe's.
        memories: of earlier runs; prompts they rendered in the same way are not rendered again.
        for_teachers: render also what teachers with a dense view see.
    """
    memories = {} if memories is None else memories
    videos = recipe.list_dense_videos() if for_teachers else []
    denser = [make_source(recipe.model_copy(update={"video": v}), policy, examples, prompt, memories) for v in videos]
    renderer = PromptRenderer(policy.processor, resolve_template(prompt or recipe.prompt), resolve_budget(recipe.video))
    key = (
        recipe.data.videos.resolve(),
        renderer.template,
        renderer.budget,
        policy.fingerprint(),
        policy.processor.to_json_string(),
    )
    memory = memories.setdefault(key, PromptMemory(REMEMBERED_TOKENS // recipe.video.max_tokens))
    return PromptSource(
        recipe.data.videos,
        renderer,
        num_examples=len(examples),
        memory=memory,
        workers=recipe.data.workers,
        max_bad_share=recipe.data.max_bad_share,
        in_processes=True,
        denser=denser,
    )


def list_manifests(data: DataSettings) -> list[Path]:
    """List the manifests that a recipe names."""
    return [path for path in (data.train, data.validation, data.test) if path]


def needs_rendering(recipe: Recipe) -> bool:
    """Whether the recipe renders the tiny world and not all of it is there yet."""
    if recipe.data.tiny_world is None or not recipe.data.tiny_world.render:
        return False
    folder = recipe.data.videos.parent
    record = read_record(folder)
    if record is not None and (not record.is_finished or not record.has_all_manifests(folder)):
        return True
    return _find_first_missing(recipe.data) is not None


def _find_first_missing(data: DataSettings) -> tuple[str, Path] | None:
    """Return the first data path that does not exist, with its key."""
    paths = ((key, getattr(data, key)) for key in DATA_PATHS)
    return next(((key, path) for key, path in paths if path is not None and not os.path.exists(path)), None)


def find_side_questions_file(recipe: Recipe) -> Path | None:
    """The file of side questions; the tiny world's own where the recipe names none.

    None where the recipe asks none, or none can be asked: those of the tiny world are about its own clips.

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
            reason="only the tiny world comes with side questions",
            remedy="give a file as side_questions.file, or remove the table [side_questions]",
        )
    folder = recipe.data.videos.parent
    name = f"{tiny_world.SIDE_QUESTIONS}.jsonl"
    if needs_rendering(recipe):
        return folder / name
    record = read_record(folder)
    if record is None or not (recipe.data.tiny_world.render or record.is_unchanged(folder, name)):
        return None  # beside data of the user's own a record, or a file of this name, may be left over or theirs
    return folder / name


def prepare_data(recipe: Recipe) -> None:
    """Render the tiny world where a recipe asks for it and it is not there yet.

    Raises:
        ConfigurationError: as `refuse_unrenderable`.
    """
    refuse_unrenderable(recipe)
    if recipe.data.tiny_world is not None and needs_rendering(recipe):
        folder = recipe.data.videos.parent
        with explain_write_errors(folder):
            tiny_world.build(folder, _make_world_settings(recipe.data.tiny_world))


def _make_world_settings(world: TinyWorldSettings) -> tiny_world.BuildSettings:
    return tiny_world.BuildSettings(
        seed=world.seed,
        noise=world,
        num_queries=world.map_to_splits(),
    )


def refuse_unrenderable(recipe: Recipe) -> None:
    """Refuse to render the tiny world where anything else lies, or where the recipe would not look for it.

    Raises:
        ConfigurationError: there is another tiny world or something else, the recipe's data paths are not those of one
            world, or data of the user's own are missing.
    """
    data = recipe.data
    if data.tiny_world is None:
        return
    folder, missing = data.videos.parent, _find_first_missing(data)
    if not data.tiny_world.render:
        if missing:
            raise ConfigurationError(
                "data.{} = {}: this file or folder does not exist".format(*missing),
                reason="you gave the paths of the data, so no tiny world is rendered there",
                remedy="correct the path; `video-opd tiny-world build --out FOLDER` renders a tiny world",
            )
        return
    record, settings = read_record(folder), _make_world_settings(data.tiny_world)
    if record is not None and record.settings != settings.describe():
        raise ConfigurationError(
            f"{folder} holds a tiny world of other settings",
            reason=f"the recipe asks for {settings.describe()}, and the folder holds {record.settings}",
            remedy="choose another folder with --data.videos and the keys of the manifests, or remove this one",
        )
    if not needs_rendering(recipe):
        return
    places = {"videos": folder / "videos"} | {split: folder / f"{split}.jsonl" for split in tiny_world.SPLITS}
    for key, place in places.items():
        given = getattr(data, key)
        if given is not None and given != place:
            raise ConfigurationError(
                "data.{} = {}: this file or folder does not exist".format(*(missing or ("videos", data.videos))),
                reason=f"the tiny world is rendered into one folder with {place}, but data.{key} is {given}",
                remedy="give paths inside one folder, or remove [data.tiny_world] if the data are your own",
            )
    with explain_write_errors(folder):
        tiny_world.refuse_foreign(folder, settings)
