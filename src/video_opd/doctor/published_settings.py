"""How a recipe differs from the settings of the authors' release and of the paper's text.

Nothing is declared twice: both are shipped recipes, where a comment on each line says where its value comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from video_opd.config import Recipe
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import read_origins

RELEASED = "paper/video-opd-8b-as-released"
"""The recipe of the release, which has one method."""
PAPERS = ("paper/video-opd-8b", "paper/grpo-8b", "paper/op-rkd-8b", "paper/op-fkd-8b")
"""The recipes of the paper's text, each with another method."""

COMPARED = (
    "training.normalise", "training.normalise_by", "training.clip_norm", "training.updates_per_batch",
    "training.steps", "training.batch_size",
    "training.learning_rate", "training.warmup_steps", "training.warmup_share", "training.decay",
    "training.weight_decay", "training.betas", "answers.temperature", "answers.top_p", "answers.top_k",
    "answers.max_new_tokens", "video.fps", "video.max_frames", "video.min_frames", "video.max_tokens",
    "video.max_frame_tokens", "video.min_frame_tokens", "student.freeze_vision", "student.freeze_merger",
    "student.lora.rank",
)  # fmt: skip
"""What is compared, beside the settings of the method. Models and data always differ in small runs."""
UNSET: Mapping[str, Any] = {
    "training.normalise": "tokens",
    "training.steps": "one pass",
    "training.warmup_share": 0,
    "answers.temperature": 1.0,
    "video.min_frames": 2,
    "video.min_frame_tokens": 1,
    "student.lora.rank": "no adapter",
}
"""What a key means that is not set."""
NOT_STATED, NO_METHOD = "not stated", "not released"


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingSetting:
    """A setting in which a recipe differs from the release or from the paper's text."""

    setting: str
    """The key."""
    recipe: str
    """Its value in the recipe."""
    released: str
    """Its value in the release; `(inferred)` where it is a default of the packages that the release uses."""
    paper: str
    """Its value in the paper's text, or that it is not stated there."""


@dataclass(frozen=True, kw_only=True)
class PublishedSettings:
    """What a recipe was compared with, and what differs."""

    paper: str
    """Name of the recipe of the paper's text."""
    released: str | None
    """Name of the recipe of the release; None: the method was not released."""
    differences: tuple[DifferingSetting, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, for --json."""
        return asdict(self)


def compare_with_published(recipe: Recipe) -> PublishedSettings | None:
    """Compare a recipe with the release and with the paper's text; None where neither has its method."""
    papers = {name: load_recipe(Path(name)) for name in PAPERS}
    paper_name = next((name for name, each in papers.items() if each.method.name == recipe.method.name), None)
    if paper_name is None:
        return None
    paper, paper_origins = papers[paper_name], read_origins(paper_name)
    released, release_origins = None, {}
    if recipe.method.name == load_recipe(Path(RELEASED)).method.name:
        released, release_origins = load_recipe(Path(RELEASED)), read_origins(RELEASED)

    def compare() -> Iterator[DifferingSetting]:
        for key in _list_keys(recipe, paper_origins):
            own = _show_value(recipe, key)
            is_stated = paper_origins.get(key) == "paper"
            theirs = _show_value(released, key) if released else own
            texts = _show_value(paper, key) if is_stated else own
            if own != theirs or own != texts:
                mark = " (inferred)" if release_origins.get(key) == "inferred" else ""
                yield DifferingSetting(
                    setting=key,
                    recipe=own,
                    released=theirs + mark if released else NO_METHOD,
                    paper=texts if is_stated else NOT_STATED,
                )

    return PublishedSettings(paper=paper_name, released=RELEASED if released else None, differences=tuple(compare()))


def _list_keys(recipe: Recipe, paper_origins: Mapping[str, str]) -> list[str]:
    """What is compared: the settings of the method too, and those of the curriculum that the paper states."""
    method = [f"method.{name}" for name in type(recipe.method).model_fields if name != "name"]
    stated = [key for key in paper_origins if key.startswith("curriculum.") and paper_origins[key] == "paper"]
    return [*COMPARED, *method, *stated]


def _show_value(recipe: Recipe, key: str) -> str:
    value: Any = recipe
    for part in key.split("."):
        value = getattr(value, part, None)
    if value is None:
        value = UNSET.get(key, "not set")
    if isinstance(value, tuple):
        return ", ".join(f"{each:g}" for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
