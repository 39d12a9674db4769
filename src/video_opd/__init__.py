"""On-policy distillation for temporal video grounding: teach a video-language model when things happen.

    import video_opd

    model = video_opd.load("tiny-teacher")                  # or a model folder, a run folder, a hub name
    found = model.ground("clip.mp4", "the red circle")      # found.spans, found.answer, found.reason
    result = video_opd.train("tiny-opd", out="runs/tiny")   # or the path of a recipe

The names in `__all__` are the public API; docs/API.md describes it with examples. A name is imported when it is first
used: `import video_opd` loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video_opd.api.files_to_scores import evaluate, metrics, score, select
    from video_opd.api.grounding_model import GroundedAnswer, GroundingModel, load
    from video_opd.config.shipped_recipes import shipped_recipes
    from video_opd.data.importers._formats import register_importer
    from video_opd.errors import UserError
    from video_opd.eval.scorers import register_scorer
    from video_opd.grounding.parser import ParsedAnswer, parse_answer
    from video_opd.grounding.reward import register_reward
    from video_opd.grounding.span import temporal_iou
    from video_opd.methods import register_method
    from video_opd.plugins import load_plugin
    from video_opd.trackers import register_tracker
    from video_opd.train.from_recipe import TrainedRun, train
    from video_opd.types import Example, Span

__version__ = "0.1.0"

_HOME = {
    "Example": "types",
    "GroundedAnswer": "api.grounding_model",
    "GroundingModel": "api.grounding_model",
    "ParsedAnswer": "grounding.parser",
    "Span": "types",
    "TrainedRun": "train.from_recipe",
    "UserError": "errors",
    "evaluate": "api.files_to_scores",
    "load": "api.grounding_model",
    "load_plugin": "plugins",
    "metrics": "api.files_to_scores",
    "parse_answer": "grounding.parser",
    "register_importer": "data.importers._formats",
    "register_method": "methods",
    "register_reward": "grounding.reward",
    "register_scorer": "eval.scorers",
    "register_tracker": "trackers",
    "score": "api.files_to_scores",
    "select": "api.files_to_scores",
    "shipped_recipes": "config.shipped_recipes",
    "temporal_iou": "grounding.span",
}
"""Public name -> the module that defines it."""

__all__ = [
    "Example",
    "GroundedAnswer",
    "GroundingModel",
    "ParsedAnswer",
    "Span",
    "TrainedRun",
    "UserError",
    "evaluate",
    "load",
    "load_plugin",
    "metrics",
    "parse_answer",
    "register_importer",
    "register_method",
    "register_reward",
    "register_scorer",
    "register_tracker",
    "score",
    "select",
    "shipped_recipes",
    "temporal_iou",
    "train",
]


def _import_public(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "train":  # the package `video_opd.train` is itself callable; see its `__init__`
        return import_module("video_opd.train")
    if name not in _HOME:
        raise AttributeError(f"module 'video_opd' has no attribute {name!r}")
    value = getattr(import_module(f"video_opd.{_HOME[name]}"), name)
    globals()[name] = value
    return value


if not TYPE_CHECKING:  # a type checker that sees it takes every misspelt name for a public one
    __getattr__ = _import_public


def __dir__() -> list[str]:
    """What completion offers: the public API, not what this module imports."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
