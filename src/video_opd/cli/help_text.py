"""What `--help` and `--help-keys` print."""

from __future__ import annotations

import ast
import inspect
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_opd.terminal import show

if TYPE_CHECKING:
    from cyclopts import App

KEYS_EPILOG = "Any key of the recipe can be given as --KEY VALUE; --help-keys lists them."


def print_help(app: App, words: Sequence[str], command: App, *, has_recipe: bool) -> None:
    """Print the library's help, and the example of the docstring with its own line breaks.

    Args:
        app: the whole tree.
        words: the words of the command or the group, such as `["data", "check"]`.
        command: the command that the words name.
        has_recipe: whether recipe keys are arguments too.
    """
    app.help_formatter = _formatter()
    app.help_print(list(words))
    if command.default_command is None:
        return
    _, _, example = (inspect.getdoc(command.default_command) or "").partition("Example:\n")
    show(f"\nexample:\n{textwrap.indent(textwrap.dedent(example).rstrip(), '  ')}")
    if has_recipe:
        show(f"\n{KEYS_EPILOG}")


def read_first_line(place: str) -> str:
    """The first sentence of a command's docstring, read without importing its module.

    The help of a group needs no more, and some modules are slow to import.

    Args:
        place: "module:function" in this folder.
    """
    module, _, function = place.partition(":")
    tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
    found = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return " ".join((ast.get_docstring(next(found)) or "").partition("\n\n")[0].split())


def _formatter() -> Any:
    """The library's formatter, changed so that it wraps our docstrings anew."""
    from cyclopts.help import HelpPanel, InlineText
    from cyclopts.help.formatters import DefaultFormatter
    from rich.text import Text

    class Rewrapping(DefaultFormatter):
        def __call__(self, console: Any, options: Any, panel: HelpPanel) -> None:
            for entry in panel.entries:
                if isinstance(entry.description, InlineText):
                    text = entry.description.primary_renderable
                    if isinstance(text, Text):
                        entry.description.primary_renderable = Text(" ".join(text.plain.split()))
            super().__call__(console, options, panel)

    return Rewrapping()


def print_keys() -> None:
    """Every key of a recipe, under a heading for its table."""
    from video_opd.config.recipe_file import list_recipe_keys

    width = min(shutil.get_terminal_size().columns, 120)
    heading = ""
    for key, meaning in sorted(list_recipe_keys().items(), key=lambda item: "." in item[0]):
        table = key.rpartition(".")[0]
        if table != heading:
            heading = table
            show(f"\n[{table}]")
        text = f"--{key}  {meaning}"
        show(textwrap.fill(text, width, initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False))
