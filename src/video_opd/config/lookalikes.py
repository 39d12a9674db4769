"""Recognises what a path is if it is not the expected recipe, so that the error message can name it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_opd.data.video.video_names import VIDEO_SUFFIXES
from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json

OF_A_RECIPE = ("student", "teacher", "teachers", "data", "method", "training", "answers", "video", "schedule")
"""Tables that every recipe has."""

_BY_ENDING = {
    ".safetensors": ("a file of weights", "name their folder as student.model in a recipe"),
    ".bin": ("a file of weights", "name their folder as student.model in a recipe"),
    ".csv": ("a table", "make a manifest of it with `video-opd data import csv`, and name that in a recipe"),
    ".yaml": ("a YAML file", "write the recipe as TOML, as recipes/tiny-opd.toml is"),
    ".yml": ("a YAML file", "write the recipe as TOML, as recipes/tiny-opd.toml is"),
    ".py": ("a Python file", "write the recipe as TOML, as recipes/tiny-opd.toml is"),
    **dict.fromkeys(VIDEO_SUFFIXES, ("a video", "name its folder as data.videos in a recipe")),
}


def refuse_what_is_no_recipe(path: Path, *, expected: str = "a recipe") -> None:
    """Refuse a path that is not a TOML file, and name what it is.

    Args:
        expected: what the command expects, such as "a recipe".

    Raises:
        ConfigurationError: it is a folder (of a run, a comparison, a checkpoint or a model), a manifest, weights, a
            video …
    """
    found = _recognise_folder(path) if path.is_dir() else _recognise_file(path)
    if found is not None:
        what, remedy = found
        raise ConfigurationError(f"{path} is {what}", reason=f"{expected} is expected, a TOML file", remedy=remedy)


def refuse_other_tables(path: Path, tables: Mapping[str, Any], *, comparison: bool) -> None:
    """Refuse a comparison in place of a recipe, a recipe in place of a comparison, and any other TOML file.

    Raises:
        ConfigurationError: names what the file is and what is expected.
    """
    is_recipe = any(key in tables for key in OF_A_RECIPE)
    if comparison and "methods" not in tables and is_recipe:
        raise ConfigurationError(
            f"{path} is the recipe of one run",
            reason="a comparison is expected, which names such a recipe and has a table [methods.NAME] for each method",
            remedy=f"run `video-opd train {path}`, or write a comparison as recipes/compare-tiny.toml is",
        )
    if not comparison and "methods" in tables:
        raise ConfigurationError(
            f"{path} is a comparison",
            reason="it has several methods",
            remedy=f"run `video-opd compare {path}`, or give the recipe that it names",
        )
    if tables and not is_recipe and not (comparison and {"methods", "recipe"} & tables.keys()):
        what, example = ("comparison", "compare-tiny") if comparison else ("recipe", "tiny-opd")
        lacking = "[methods.NAME]" if comparison else "[student] and [data]"
        raise ConfigurationError(
            f"{path} is not a {what}",
            reason=f"it has no tables {lacking}; its keys are {', '.join(list(tables)[:5])}",
            remedy=f"give a {what}, such as recipes/{example}.toml",
        )


def _recognise_folder(path: Path) -> tuple[str, str] | None:
    if (path / "comparison.json").exists():
        return "the folder of a comparison", "give the TOML file of the comparison; `video-opd report` writes its page"
    if (path / "recipe.toml").exists():
        again = f"to continue it, give {path / 'recipe.toml'} and --out {path}"
        return "the folder of a run", f"{again}; `video-opd report {path}` writes its page"
    if (path / "COMPLETE.json").exists() or (path / "model").is_dir():
        return "a checkpoint", "name its folder `model` as student.model in a recipe"
    if (path / "config.json").exists() or (path / "adapter_config.json").exists():
        return "the folder of a model", "name it as student.model in a recipe"
    if files := sorted(path.glob("*.toml")):
        return "a folder", f"give one of its files, such as {files[0]}"
    return None


def _recognise_file(path: Path) -> tuple[str, str] | None:
    ending = path.suffix.lower()
    if ending in _BY_ENDING:
        return _BY_ENDING[ending]
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline(1_000_000).strip()
    except (OSError, UnicodeDecodeError):
        return None
    if ending in (".json", ".jsonl") or first.startswith("{"):
        return _recognise_json(first)
    return None


def _recognise_json(first: str) -> tuple[str, str]:
    """The kind of a JSON file, by its first line."""
    try:
        row = load_json(first)
    except (ValueError, RecursionError):
        return "a JSON file", "give the TOML file"
    row = row if isinstance(row, dict) else {}
    if "scores" in row:
        return "a file of scores", "choose examples from it with `video-opd select`, or name it in a [curriculum]"
    if "query" in row or {"video", "spans"} <= row.keys():
        return "a manifest", "name it as data.train in a recipe"
    if "answer" in row:
        return "a file of predictions", "score it with `video-opd metrics`"
    return "a JSON file", "give the TOML file"
