"""The recipes that ship with the package: in a wheel they lie in `video_opd/recipes`, in a checkout in `recipes`."""

from __future__ import annotations

import re
from pathlib import Path

from video_opd.suggestions import nearest

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_recipes() -> dict[str, Path]:
    """Every shipped recipe by its name, in alphabetical order."""
    installed, checkout = _PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes"
    folder = installed if installed.is_dir() else checkout
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def find_recipe(said: str | Path) -> Path:
    """The file that is meant by a path or by the name of a shipped recipe.

    A file that exists is meant before a shipped recipe of the same name. What is neither is given back as it is, so
    that whoever reads it refuses it; see `recipe_meant`.
    """
    path = Path(said)
    return path if path.is_file() else shipped_recipes().get(str(said), path)


def recipe_meant(said: str | Path) -> str | None:
    """The name of the shipped recipe that is most like what was said; None if none is."""
    return nearest(Path(said).stem, shipped_recipes())


def describe_recipe(path: Path) -> str:
    """What a recipe says of itself: the first sentence of the comment at its top."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#   "):
            break
        lines.append(line.removeprefix("# "))
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(lines))[0]
