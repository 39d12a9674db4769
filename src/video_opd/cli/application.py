"""The tree of commands, on cyclopts. A command is a function: its parameters are the arguments, its docstring the help.

Modules of commands are imported when they are asked for, and import what is heavy within their functions.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cyclopts import App, Parameter
from cyclopts.argument import Argument
from cyclopts.exceptions import CycloptsError

from video_opd import __version__
from video_opd.cli.path_roles import refuse_losses
from video_opd.cli.refusals import refusal_of, refuse_command, refuse_superfluous, refuse_unknown_flags

COMMANDS: dict[str, str] = {
    "demo": "training_commands:demo",
    "train": "training_commands:train",
    "compare": "training_commands:compare",
    "doctor": "training_commands:doctor",
    "init": "starting_commands:init",
    "recipes": "starting_commands:recipes",
}
"""Name -> module of this package and function; two words for a command of a group."""

GROUPS = {"data": "Make and look after manifests.", "tiny-world": "Look after the rendered data set."}

EPILOG = "Every command has its own --help with an example."
KEYS_EPILOG = "Any key of the recipe can be given as --KEY VALUE; --help-keys lists them."
HELP_FLAGS = ("--help", "-h")


def _shown_default(value: Any) -> Any:
    return None if value is False or value == "" or value == () else value


DEFAULTS = Parameter(
    negative_bool=(),
    negative_iterable=(),
    consume_multiple=1,  # `--seeds 0 1 2`
    allow_repeating=True,  # the last one counts
    show_default=_shown_default,
)


@dataclass(frozen=True)
class Call:
    """A command line that was understood."""

    function: Callable[..., Any]
    bound: inspect.BoundArguments
    recipe_keys: str | None
    """The parameter that takes keys of a recipe."""

    def run(self, recipe_keys: Mapping[str, str]) -> int:
        """Run the command; returns its exit status."""
        if self.recipe_keys is not None:
            self.bound.arguments[self.recipe_keys] = recipe_keys
        return int(self.function(*self.bound.args, **self.bound.kwargs))

    def has(self, name: str) -> bool:
        """Whether the command has an argument of that name, itself or in one of its records."""
        return any(name == given or hasattr(value, name) for given, value in self.bound.arguments.items())


def build_app() -> App:
    """The whole tree; nothing of it is imported yet."""
    app = App(
        name="video-opd",
        help="On-policy distillation for temporal video grounding.",
        version=f"video-opd {__version__}",
        version_flags="--version",
        help_format="plaintext",
        default_parameter=DEFAULTS,
        help_epilogue=EPILOG,
    )
    groups = {name: App(name=name, help=help, version_flags=(), help_epilogue="") for name, help in GROUPS.items()}
    for group in groups.values():
        app.command(group)
    for name, place in COMMANDS.items():
        first, _, second = name.rpartition(" ")
        within = groups[first] if first else app
        within.command(f"video_opd.cli.{place}", name=second, version_flags=(), help_epilogue="")
    return app


def every_command() -> Iterator[tuple[str, App]]:
    """Every command by its name, such as "data check"."""
    app = build_app()
    for name in COMMANDS:
        found = app
        for word in name.split():
            found = found[word]
        yield name, found


def arguments_of(command: App) -> list[Argument]:
    """The arguments of a command, those of its records included."""
    found = command.assemble_argument_collection(default_parameter=DEFAULTS)
    return [argument for argument in found if argument.name != "*" and argument.parse]


def understand(words: Sequence[str]) -> Call:
    """Parse a command line, without the keys of a recipe; prints a help and exits where that is asked for.

    Raises:
        ConfigurationError: it cannot be understood, or it would write over what it reads.
    """
    app = build_app()
    options = words[: words.index("--")] if "--" in words else words
    asks_help = any(flag in options for flag in HELP_FLAGS)
    chain, apps, rest = app.parse_commands([word for word in words if not (asks_help and word in HELP_FLAGS)])
    program, command = " ".join(["video-opd", *chain]), apps[-1]
    if asks_help:
        _print_help(app, chain, command)
    if command.default_command is None:
        if command is app and rest[:1] == ["--version"]:
            print(f"video-opd {__version__}")
            raise SystemExit(0)
        names = [name for name in command if not name.startswith("-")]
        within = [name for name in COMMANDS if name.partition(" ")[0] in names and " " in name]
        raise refuse_command(program, rest[0] if rest else None, names, within if command is app else ())
    function = command.default_command
    arguments = arguments_of(command)
    recipe_keys = _recipe_keys_of(command)
    if recipe_keys and "--help-keys" in options:
        print_keys()
        raise SystemExit(0)
    refuse_unknown_flags(program, rest, arguments, has_recipe=recipe_keys is not None)
    try:
        _, bound, unused, _ = app.parse_known_args(list(words))
    except CycloptsError as error:
        raise refusal_of(program, error) from error
    if unused:
        raise refuse_superfluous(program, unused, bound)
    bound.apply_defaults()
    refuse_losses(function, bound)
    return Call(function, bound, recipe_keys)


def _recipe_keys_of(command: App) -> str | None:
    """The parameter of a command that takes keys of a recipe; it is the only one that is not parsed."""
    found = command.assemble_argument_collection(default_parameter=DEFAULTS)
    return next((argument.field_info.name for argument in found if not argument.parse), None)


def _print_help(app: App, chain: Sequence[str], command: App) -> None:
    """What the library says, and the example of the docstring, whose lines are not broken."""
    app.help_print(list(chain))
    function = command.default_command
    if function is not None:
        _, _, example = (inspect.getdoc(function) or "").partition("Example:\n")
        lines = [line.strip() for line in example.splitlines() if line.strip()]
        print("\nexample:", *(f"  {line}" for line in lines), sep="\n")
        if _recipe_keys_of(command):
            print(f"\n{KEYS_EPILOG}")
    raise SystemExit(0)


def print_keys() -> None:
    """Every key of a recipe, under a heading for its table."""
    import textwrap

    from video_opd.config.recipe_file import recipe_keys

    width = min(shutil.get_terminal_size().columns, 120)
    keys = sorted(recipe_keys().items(), key=lambda item: "." in item[0])
    heading = ""
    for key, meaning in keys:
        table = key.rpartition(".")[0]
        if table != heading:
            heading = table
            print(f"\n[{table}]")
        text = f"--{key}  {meaning}"
        print(textwrap.fill(text, width, initial_indent="  ", subsequent_indent=" " * 6, break_on_hyphens=False))
