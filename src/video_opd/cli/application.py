"""The tree of commands, on cyclopts. A command is a function: its parameters are the arguments, its docstring the help.

The module of a command is imported when the command is used. It imports heavy packages only within its functions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from cyclopts import App, Parameter
from cyclopts.argument import Argument
from cyclopts.exceptions import CycloptsError

from video_opd import __version__
from video_opd.cli.argument_types import RecipeKeys
from video_opd.cli.help_text import print_help, print_keys, read_first_line
from video_opd.cli.path_roles import refuse_losses
from video_opd.cli.refusals import (
    refusal_of,
    refuse_command,
    refuse_job,
    refuse_superfluous,
    refuse_unknown_flags,
)
from video_opd.ranks import num_started
from video_opd.terminal import show

COMMANDS: dict[str, str] = {
    "demo": "training_commands:demo",
    "init": "starting_commands:init",
    "recipes": "starting_commands:recipes",
    "train": "training_commands:train",
    "compare": "training_commands:compare",
    "plan": "planning_commands:plan",
    "doctor": "training_commands:doctor",
    "evaluate": "asking_commands:evaluate",
    "ground": "asking_commands:ground",
    "serve": "serving_commands:serve",
    "score": "scoring_commands:score",
    "merge": "merging_commands:merge",
    "merge-scores": "choosing_commands:merge_scores",
    "select": "choosing_commands:select",
    "metrics": "looking_commands:metrics",
    "report": "looking_commands:report",
    "track": "tracking_commands:track",
    "bug-report": "bug_report_commands:bug_report",
    "data import": "importing_commands:import_annotations",
    "data check": "checking_commands:check",
    "data stats": "manifest_commands:stats",
    "data split": "manifest_commands:split",
    "data sample": "manifest_commands:sample",
    "data merge": "manifest_commands:merge",
    "data overlap": "manifest_commands:overlap",
    "tiny-world build": "checking_commands:build_tiny_world",
    "completion": "completion_commands:completion",
}
"""Name -> "module:function" in this package. A command of a group has two words."""

IN_A_JOB = ("demo", "train", "compare", "evaluate", "score")
"""Commands that several processes of `torchrun` share. With any other, each process would do the whole work."""

GROUPS = {"data": "Make and look after manifests.", "tiny-world": "Look after the rendered data set."}

EPILOG = "Every command has its own --help with an example."
HELP_FLAGS = ("--help", "-h")


def _show_default(value: Any) -> Any:
    return None if value is False or value == "" or value == () else value


DEFAULTS = Parameter(
    negative_bool=(),
    negative_iterable=(),
    consume_multiple=1,  # `--seeds 0 1 2`
    allow_repeating=True,  # if an option is given several times, the last one counts
    show_default=_show_default,
)


@dataclass(frozen=True)
class Call:
    """A parsed command line."""

    function: Callable[..., Any]
    bound: inspect.BoundArguments
    recipe_keys: str | None
    """Name of the parameter that takes the recipe keys."""

    def run(self, recipe_keys: Mapping[str, str]) -> int:
        """Run the command; returns its exit status."""
        if self.recipe_keys is not None:
            self.bound.arguments[self.recipe_keys] = recipe_keys
        if self.is_given("offline"):
            from video_opd.policy.offline import go_offline

            go_offline()
        if self.is_given("decode_here"):
            from video_opd.data.video.decoding_workers import decode_here

            decode_here()
        return int(self.function(*self.bound.args, **self.bound.kwargs) or 0)

    def is_given(self, flag: str) -> bool:
        """Whether a flag was given to the command, directly or in one of its records."""
        given = self.bound.arguments
        return bool(given.get(flag)) or any(getattr(value, flag, False) for value in given.values())

    def has(self, name: str) -> bool:
        """Whether the command has an argument of this name, directly or in one of its records."""
        return any(name == given or hasattr(value, name) for given, value in self.bound.arguments.items())


def build_app(*, with_lines: bool = False) -> App:
    """Build the whole tree of commands. No module of a command is imported yet.

    Args:
        with_lines: describe each command in one line, for the help of a group.
    """
    app = App(
        name="video-opd",
        help="On-policy distillation for temporal video grounding.",
        version=f"video-opd {__version__}",
        version_flags="--version",
        help_format="plaintext",
        default_parameter=DEFAULTS,
        help_epilogue=EPILOG,
    )
    groups: dict[str, App] = {}
    for place, (name, function) in enumerate(COMMANDS.items()):
        group, _, word = name.rpartition(" ")
        if group and group not in groups:
            groups[group] = App(name=group, help=GROUPS[group], version_flags=(), help_epilogue="", sort_key=place)
            app.command(groups[group])
        within = groups.get(group, app)
        more: dict[str, Any] = {"help": read_first_line(function)} if with_lines else {}
        where = f"video_opd.cli.{function}"
        within.command(where, name=word, version_flags=(), help_epilogue="", sort_key=place, **more)
    return app


def list_commands() -> Iterator[tuple[str, App]]:
    """Every command by its name, such as "data check"."""
    app = build_app()
    for name in COMMANDS:
        found = app
        for word in name.split():
            found = found[word]
        yield name, found


def list_arguments(command: App) -> list[Argument]:
    """The arguments of a command, including those of its records."""
    found = command.assemble_argument_collection(default_parameter=DEFAULTS)
    return [argument for argument in found if argument.name != "*" and argument.parse]


_ARGUMENTS: dict[str, list[Argument]] = {}
"""The arguments of the commands that were called before: to list them takes as long as to parse them."""


def understand(words: Sequence[str]) -> Call:
    """Parse a command line without the keys of a recipe. With `--help`, print the help and exit.

    Raises:
        ConfigurationError: the command line is not valid, or the command would overwrite a file that it reads.
    """
    app = build_app()
    if words[:1] == ["__complete"]:  # the scripts of `completion` ask for the words that may follow
        function, bound, *_ = app.parse_known_args(list(words))
        return Call(function, bound, None)
    options = words[: words.index("--")] if "--" in words else words
    asks_help = any(flag in options for flag in HELP_FLAGS)
    chain, apps, rest = app.parse_commands([word for word in words if not (asks_help and word in HELP_FLAGS)])
    program, command = " ".join(["video-opd", *chain]), apps[-1]
    is_group = command.default_command is None
    if asks_help and not (is_group and rest):
        whole = build_app(with_lines=True) if is_group else app
        print_help(whole, chain, command, has_recipe=_recipe_keys_of(command) is not None)
        raise SystemExit(0)
    if words[:1] == ["--version"]:
        show(f"video-opd {__version__}")
        raise SystemExit(0)
    if command.default_command is None:
        names = [name for name in COMMANDS if name.split()[: len(chain)] == list(chain)]
        words_here = dict.fromkeys(name.split()[len(chain)] for name in names)
        within = () if chain else [name for name in COMMANDS if " " in name]
        raise refuse_command(program, rest[0] if rest else None, list(words_here), within)
    function = command.default_command
    arguments = _ARGUMENTS.get(program) or _ARGUMENTS.setdefault(program, list_arguments(command))
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
    if num_started() > 1 and " ".join(chain) not in IN_A_JOB:
        raise refuse_job(program, IN_A_JOB)
    refuse_losses(function, bound)
    return Call(function, bound, recipe_keys)


def _recipe_keys_of(command: App) -> str | None:
    """Find the parameter of a command that takes the recipe keys."""
    if command.default_command is None:
        return None
    hints = get_type_hints(command.default_command, include_extras=True)
    return next((name for name, hint in hints.items() if hint == RecipeKeys), None)
