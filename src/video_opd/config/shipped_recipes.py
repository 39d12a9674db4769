"""The recipes that ship with the package: in `video_opd/recipes` of a wheel, in `recipes` of a checkout."""

from __future__ import annotations

import re
from pathlib import Path

from video_opd.suggestions import find_nearest

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
