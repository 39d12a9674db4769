"""How a model is asked: the template and the frames that settings name, and whether they suit the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from video_opd.config import GROUNDING_FILE, GroundingDefaults, PromptSettings, VideoSettings
from video_opd.config.recipe_file import load_grounding_defaults
from video_opd.data import tiny_world
from video_opd.data.manifest import resolve_video
from video_opd.data.prompt_templates import TEMPLATES, PromptTemplate, explain_mismatch, is_trained_with
from video_opd.data.video.picture_folder import probe_video
from video_opd.data.video.video_io import VideoBudget
from video_opd.data.video.video_sampling import MIN_VIDEO_FRAMES
from video_opd.errors import ConfigurationError, DataError
from video_opd.files.strict_json import load_json
from video_opd.policy.location import BUNDLED, resolve_model, resolve_parts
from video_opd.suggestions import suggest
from video_opd.types import Example


@cache
def resolve_template(settings: PromptSettings) -> PromptTemplate:
    """The template that settings name or spell out; each is resolved once in a process.

    Raises:
        ConfigurationError: no template has that name, or the user's own text has no place for the query or the video.
    """
    if settings.template not in TEMPLATES:
        raise ConfigurationError(
            f"template = {settings.template!r}",
            reason="no built-in template has that name",
            remedy=suggest(
                settings.template, TEMPLATES, f"choose one of {', '.join(TEMPLATES)}, or write your own as `user`"
            ),
        )
    template = TEMPLATES[settings.template]
    return template if settings.user is None else replace(template, user=settings.user)


def resolve_budget(settings: VideoSettings) -> VideoBudget:
    """How much of a video a prompt may hold."""
    return VideoBudget(
        fps=settings.fps,
        max_frames=settings.max_frames,
        max_tokens=settings.max_tokens,
        max_frame_tokens=settings.max_frame_tokens,
        min_frames=settings.min_frames or MIN_VIDEO_FRAMES,
        min_frame_tokens=settings.min_frame_tokens or 1,
    )


def describe_asking(defaults: GroundingDefaults, precision: str) -> dict[str, Any]:
    """How questions are put, as far as a score depends on it: for the header of a file of scores."""
    template = resolve_template(defaults.prompt)
    return {
        "user": template.user,
        "queries": template.queries,
        "video": asdict(resolve_budget(defaults.video)),
        "precision": precision,
    }


def explain_prompt_mismatch(settings: PromptSettings, model: str) -> str | None:
    """Why a model should be asked in other words, by what stands beside its weights, else by its name; one sentence.

    Scores fall, and nothing fails, when a model is asked in words it was not trained with.
    """
    asked, folder = resolve_template(settings), resolve_model(model, weights=False)
    if (folder / GROUNDING_FILE).exists():
        trained = load_grounding_defaults(folder).prompt
        wanted = resolve_template(trained)
        if (wanted.user, wanted.queries) == (asked.user, asked.queries):
            return None
        if model in BUNDLED and is_trained_with(settings.template, model):
            return None  # the tiny models know more than one
        return f"{model} was trained with the prompt {_show_name(trained)}, and is asked with {_show_name(settings)}"
    if settings.user is not None:
        return None
    base = resolve_parts(model, weights=False).base
    family = load_json((base / "config.json").read_text(encoding="utf-8")).get("model_type")
    return explain_mismatch(settings.template, model, family)


def _show_name(settings: PromptSettings) -> str:
    return settings.template if settings.user is None else repr(settings.user)


def explain_tiny_on_real(models: Iterable[str], videos: Path, examples: Sequence[Example]) -> str | None:
    """As `explain_tiny_on_size`, by the video of the first example. What cannot be read says nothing here."""
    tiny = [model for model in models if model in BUNDLED]
    if not tiny or not examples:
        return None
    try:
        found = probe_video(resolve_video(videos, examples[0]), examples[0].frame_rate)
    except DataError:
        return None
    return explain_tiny_on_size(tiny, examples[0].video, (found.width, found.height))


def explain_tiny_on_size(models: Iterable[str], video: str, size: tuple[int, int]) -> str | None:
    """That the tiny models can make nothing of videos that the tiny world did not render; one sentence.

    Args:
        models: names, the tiny ones perhaps among them.
        video: its name, for the sentence.
        size: its width and height in pixels. The tiny world's clips are known by it, which no real video has.
    """
    tiny, side = [model for model in models if model in BUNDLED], tiny_world.TinyWorld().side
    if not tiny or size == (side, side):
        return None
    return (
        f"{tiny[0]} knows nothing but the shapes that the tiny world renders, and {video} is none of its "
        "clips, so its answers mean nothing here. For real videos take a model such as Qwen/Qwen3-VL-2B-Instruct"
    )
