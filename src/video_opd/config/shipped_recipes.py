"""The recipes that ship with the package: in `video_opd/recipes` of a wheel, in `recipes` of a checkout.

The name of a recipe in a subfolder begins with the folder: `paper/grpo-8b`. `grpo-8b` also finds it. A copy of a recipe
never overwrites a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.files.outputs import create
from video_opd.files.toml_text import load_toml
from video_opd.suggestions import find_nearest

_PACKAGE = Path(__file__).resolve().parents[1]


def shipped_recipes() -> dict[str, Path]:
    """Every shipped recipe by its name, in alphabetical order."""
    installed, checkout = _PACKAGE / "recipes", _PACKAGE.parents[1] / "recipes"
    folder = installed if installed.is_dir() else checkout
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.toml"))}


def find_shipped_name(said: str) -> str | None:
    """The whole name of a shipped recipe that was named with or without its folder; None if no recipe or several ones
    have this name."""
    names = list(shipped_recipes())
    if said in names:
        return said
    ends = [name for name in names if _drop_folder(name) == said]
    return ends[0] if len(ends) == 1 else None


def find_recipe(said: str | Path) -> Path:
    """The file for a path or for the name of a shipped recipe.

    An existing file comes before a shipped recipe of the same name. Any other path is returned unchanged, and the
    reader of the recipe refuses it; see `advise_on_recipe`.
    """
    path = Path(said)
    name = None if path.is_file() else find_shipped_name(path.as_posix())
    return path if name is None else shipped_recipes()[name]


def suggest_recipe(said: str | Path) -> str | None:
    """The name of the shipped recipe that is most similar to what was given; None if none is similar."""
    path = Path(said)
    is_ending = path.suffix[1:].isalpha()  # `.5-lora` is no ending
    ends = {_drop_folder(name): name for name in shipped_recipes()}
    nearest = find_nearest(path.stem if is_ending else path.name, ends)
    return None if nearest is None else ends[nearest]


def advise_on_recipe(said: str | Path) -> str:
    """The remedy where a recipe cannot be read."""
    within = [name for name in shipped_recipes() if name.startswith(f"{Path(said).as_posix()}/")]
    if within:
        return f"name one of the shipped recipes in {said}: {', '.join(within)}"
    if meant := suggest_recipe(said):
        return f"perhaps {meant} is meant; `video-opd recipes` lists the shipped ones"
    return "give the path of a recipe, or the name of a shipped one: `video-opd recipes` lists them"


def _drop_folder(name: str) -> str:
    return name.rpartition("/")[2]


def describe_recipe(path: Path) -> str:
    """The description of a recipe: the first sentence of the comment at its top."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# ") or line.startswith("#   "):
            break
        lines.append(line.removeprefix("# "))
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(lines))[0]


def read_origins(name: str) -> dict[str, str]:
    """Where the values of a shipped recipe and of its base come from.

    Args:
        name: the whole name of the recipe.

    Returns:
        by dotted key the first word of the comment on its line, such as `paper`, `ours` or `release`; an empty text
        where the line has no comment.
    """
    files = [shipped_recipes()[name]]
    while named := _find_named_recipe(files[0]):
        files.insert(0, files[0].parent / named)
    origins: dict[str, str] = {}
    for file in files:
        table = ""
        for line in file.read_text(encoding="utf-8").splitlines():
            if header := re.match(r"\[([\w.]+)\]", line):
                table = f"{header[1]}."
            elif setting := re.match(r"(\w+) = [^#]*(?:# (\w+))?", line):
                origins[f"{table}{setting[1]}"] = setting[2] or ""
    return origins


def copy_recipe(name: str, out: Path | None = None) -> list[Path]:
    """Copy a shipped recipe, and the recipes that it is based on, which must be in its folder or in a folder of that.

    Args:
        name: the name of the recipe, with or without its folder.
        out: the new file, or a folder for it; by default NAME.toml in the present folder.

    Returns:
        The files that were written, the named one first. An existing, identical copy of a base is not written again.

    Raises:
        ConfigurationError: no recipe has that name, or a file exists already.
    """
    found = find_shipped_name(name)
    if found is None:
        raise ConfigurationError(
            f"recipe {name!r}", reason="no shipped recipe has that name", remedy=advise_on_recipe(name)
        )
    source = shipped_recipes()[found]
    target = Path(source.name) if out is None else out
    if target.is_dir() or target.suffix != ".toml":  # a folder that is there, or a new one
        target = target / source.name
    copies = {target: source}
    copy = target
    while named := _find_named_recipe(source):
        source, copy = source.parent / named, copy.parent / named
        copies[copy] = source
    wanted = {path: source.read_bytes() for path, source in copies.items()}
    missing = {path: content for path, content in wanted.items() if path == target or not _is_there(path, content)}
    for path in missing:
        if os.path.lexists(path):
            raise ConfigurationError(
                f"{path} is there already", reason="the copy would overwrite it", remedy="give another name with --out"
            )
    with explain_write_errors(target):
        for path, content in missing.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            create(path, content)
    return list(missing)


def _find_named_recipe(recipe: Path) -> str | None:
    """The path of the recipe that a recipe or a comparison names, from its own folder."""
    tables = load_toml(recipe.read_text(encoding="utf-8"))
    name = tables.get("base") or tables.get("recipe")
    return name if isinstance(name, str) else None


def _is_there(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False
