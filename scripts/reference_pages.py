"""The reference pages of the documentation, made from what the program itself says.

Commands: the text of their `--help`. Recipe keys: the docstrings of the settings. Python: the docstrings of the public
names, read by griffe without importing the package.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

import video_opd
from video_opd import objectives
from video_opd.cli import main as run_command_line
from video_opd.cli.application import COMMANDS
from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.config.recipe_file import list_recipe_keys

SOURCE = Path(video_opd.__file__).parents[1]


def commands_page() -> str:
    """Every command with its help."""
    parts = [
        "# Commands, in full\n\nThe text of `video-opd COMMAND --help`. [COMMANDS](COMMANDS.md) is the overview.\n"
    ]
    for name in COMMANDS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            run_command_line([*name.split(), "--help"])
        parts.append(f"## `{name}`\n\n```text\n{said.getvalue().strip()}\n```\n")
    return "\n".join(parts)


def settings_page() -> str:
    """Every key of a recipe and of a comparison, with its meaning and its default."""
    parts = [
        "# Recipe keys\n\nA key is set in its table of the recipe, or on the command line as `--table.key VALUE`.\n"
    ]
    parts += _tables_of(list_recipe_keys())
    parts.append(
        "## Comparisons\n\nA recipe of `video-opd compare` has these keys. It names one recipe for all runs.\n"
    )
    parts += _rows({key: said for key, said in list_recipe_keys(ComparisonRecipe).items() if "." not in key})
    return "\n".join(parts)


def _tables_of(keys: dict[str, str]) -> Iterator[str]:
    tables: dict[str, dict[str, str]] = {}
    for key, said in keys.items():
        tables.setdefault(key.rpartition(".")[0], {})[key] = said
    for table, rows in tables.items():
        yield f"## `[{table}]`\n" if table else "## At the top of the file\n"
        yield from _rows(rows)


def _rows(keys: dict[str, str]) -> Iterator[str]:
    yield "| key | meaning |\n| --- | --- |"
    yield "\n".join(f"| `{key.rpartition('.')[2]}` | {_in_a_cell(said)} |" for key, said in keys.items()) + "\n"


def _in_a_cell(text: str) -> str:
    """Markdown of a cell: nothing in it ends the cell, and nothing is markup but code."""
    escaped = " ".join(text.split()).replace("|", "\\|")
    return re.sub(r"(`[^`]*`)|([*_\[\]<])", lambda found: found[1] or f"\\{found[2]}", escaped)


def python_page() -> str:
    """The public names, and the objectives."""
    package = griffe.load("video_opd", search_paths=[str(SOURCE)], allow_inspection=False, resolve_aliases=True)
    parts = ["# Python, in full\n\n[API](API.md) shows these names at work.\n"]
    parts += [_describe(package[name], f"video_opd.{name}") for name in video_opd.__all__ if name != "train"]
    parts.append(_describe(package["train.from_recipe.train"], "video_opd.train"))
    shapes = "B answers, T tokens of an answer, V tokens of the vocabulary, P prompts, G answers of a prompt"
    parts.append(f"## Objectives\n\n`video_opd.objectives`. Shapes: {shapes}.\n")
    for name in objectives.__all__:
        home = next(
            module for module in package["objectives"].modules.values() if name in module.members
            and not module[name].is_alias
        )  # fmt: skip
        parts.append(_describe(home[name], name))
    return "\n".join(parts)


def _describe(found: Any, name: str) -> str:
    """A function or class: its heading, its signature and its docstring; of a class also its public members."""
    target = found.final_target if found.is_alias else found
    lines = [f"### `{name}`\n"]
    if target.is_function:
        lines.append(f"```python\n{_signature(target)}\n```\n")
    lines.append(_docstring(target))
    if target.is_class:
        for member in target.members.values():
            if member.name.startswith("_") or member.is_alias or not member.has_docstring:
                continue
            if member.is_function:
                lines.append(f"#### `{member.name}`\n\n```python\n{_signature(member)}\n```\n")
                lines.append(_docstring(member))
            else:
                lines.append(f"- **`{member.name}`**: {' '.join(member.docstring.value.split())}\n")
    return "\n".join(lines)


def _signature(function: Any) -> str:
    text = str(function.signature())
    return re.sub(r"\bself, |\bself\b", "", text, count=1)


def _docstring(found: Any) -> str:
    if found.docstring is None:
        return ""
    said: list[str] = []
    for section in found.docstring.parse("google", warnings=False):
        if section.kind is griffe.DocstringSectionKind.text:
            said.append(section.value)
        elif section.kind is griffe.DocstringSectionKind.parameters:
            said.append("\n".join(f"- `{row.name}`: {_joined(row)}" for row in section.value))
        elif section.kind is griffe.DocstringSectionKind.raises:
            said.append("\n".join(f"- raises `{row.annotation}`: {_joined(row)}" for row in section.value))
        elif section.kind is griffe.DocstringSectionKind.returns:
            said.append("Returns: " + " ".join(_joined(row) for row in section.value))
    return "\n\n".join(said) + "\n"


def _joined(row: Any) -> str:
    return " ".join(row.description.split())


PAGES = {"COMMANDS_IN_FULL.md": commands_page, "RECIPE_KEYS.md": settings_page, "PYTHON.md": python_page}
"""By file name: what makes the page."""
