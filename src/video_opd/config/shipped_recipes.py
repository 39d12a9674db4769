"""The recipes that ship with the package: in `video_opd/recipes` of a wheel, in `recipes` of a checkout.

A copy of one never overwrites a file.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.files.outputs import create
from video_opd.suggestions import find_nearest, suggest

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_recipes() -> dict[str, Path]:
    """Every shipped recipe by its name, in alphabetical order."""
    installed, checkout = _PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes"
    folder = installed if installed.is_dir() else checkout
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(said: str | Path) -> Path:
    """The file for a path or for the name of a shipped recipe.

    An existing file comes before a shipped recipe of the same name. Any other path is returned unchanged, and the
    reader of the recipe refuses it; see `suggest_recipe`.
    """
    path = Path(said)
    return path if path.is_file() else shipped_recipes().get(str(said), path)


def suggest_recipe(said: str | Path) -> str | None:
    """The name of the shipped recipe that is most similar to what was given; None if none is similar."""
    return find_nearest(Path(said).stem, shipped_recipes())


def describe_recipe(path: Path) -> str:
    """The description of a recipe: the first sentence of the comment at its top."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#   "):
            break
        lines.append(line.removeprefix("# "))
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(lines))[0]


def copy_recipe(name: str, out: Path | None = None) -> list[Path]:
    """Copy a shipped recipe, and the recipes that it is based on, which must be in the same folder.

    Args:
        name: the name of the recipe.
        out: the new file, or a folder for it; by default NAME.toml in the present folder.

    Returns:
        The files that were written, the named one first. An existing, identical copy of a base is not written again.

    Raises:
        ConfigurationError: no recipe has that name, or a file exists already.
    """
    recipes = shipped_recipes()
    if name not in recipes:
        raise ConfigurationError(
            f"recipe {name!r}",
            reason="no shipped recipe has that name",
            remedy=suggest(name, recipes, "`video-opd recipes` lists them"),
        )
    target = Path(f"{name}.toml") if out is None else out
    if target.is_dir() or target.suffix != ".toml":  # a folder that is there, or a new one
        target = target / f"{name}.toml"
    copies = {target: recipes[name]}
    below = _find_named_recipe(recipes[name])
    while below is not None:
        copies[target.parent / below.name] = below
        below = _find_named_recipe(below)
    wanted = {path: source.read_bytes() for path, source in copies.items()}
    missing = {path: content for path, content in wanted.items() if path == target or not _is_there(path, content)}
    for path in missing:
        if os.path.lexists(path):
            raise ConfigurationError(
                f"{path} is there already", reason="the copy would overwrite it", remedy="give another name with --out"
            )
    with explain_write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        for path, content in missing.items():
            create(path, content)
    return list(missing)


def _find_named_recipe(recipe: Path) -> Path | None:
    """The recipe that a recipe or a comparison names, in the same folder."""
    tables = tomllib.loads(recipe.read_text(encoding="utf-8"))
    name = tables.get("base") or tables.get("recipe")
    return recipe.parent / name if isinstance(name, str) else None


def _is_there(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
