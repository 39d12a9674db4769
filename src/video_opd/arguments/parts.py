"""What the commands' arguments are made of."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from video_opd.arguments.paths import reads_model_or_names, refuse_losses
from video_opd.errors import ConfigurationError
from video_opd.policy.location import device_name
from video_opd.suggestions import nearest, perhaps


class Parser(argparse.ArgumentParser):
    """Tells a user's mistake in the same way as the rest of the program."""

    late: str | None = None
    """An optional positional argument that may also follow options."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As usual, and nothing that is read may be written over. Before Python 3.12 an optional positional after an
        option counts as unknown."""
        args = sys.argv[1:] if args is None else list(args)
        self._refuse_unknown_flags(args)
        namespace, unknown = super().parse_known_args(args, namespace)
        if self.late and len(unknown) == 1 and not unknown[0].startswith("-") and not getattr(namespace, self.late):
            setattr(namespace, self.late, Path(unknown.pop()))
        if unknown and self._is_command:
            self._refuse_superfluous(namespace, unknown)
        refuse_losses(self._actions, namespace)
        return namespace, unknown

    @property
    def _is_command(self) -> bool:
        """And not a group of commands."""
        return self.get_default("function") is not None

    def _refuse_unknown_flags(self, words: Sequence[str]) -> None:
        """Before argparse looks: it would complain of something else first, or take the value of an unknown flag for an
        argument of the command."""
        if not self._is_command:
            return
        for word in words:
            if word == "--":
                return
            flag = word.partition("=")[0]
            if re.match(r"--?[A-Za-z]", flag) and flag not in self._option_string_actions:
                raise ConfigurationError(
                    f"`{self.prog}`", reason=f"unrecognized arguments: {word}", remedy=self._perhaps_flag(flag)
                )

    def _perhaps_flag(self, flag: str) -> str:
        """Which flag, or which key of a recipe, was probably meant."""
        flags = [name for name in self._option_string_actions if name.startswith("--") and name != "--help"]
        positional = [str(action.metavar or action.dest).upper() for action in self._get_positional_actions()]
        see = f"see `{self.prog} --help`"
        meant = nearest(flag, [*flags, *positional])
        if meant in positional:
            return f"give {meant} without a flag; {see}"
        if meant is None and self.get_default("takes_overrides"):
            from video_opd.config.recipe_file import recipe_keys

            key = nearest(flag, recipe_keys())
            meant = key and f"--{key.replace('_', '-')}"
            see = f"see `{self.prog} --help` and `{self.prog} --help-keys`"
        return f"perhaps {meant} is meant; {see}" if meant else see

    def _refuse_superfluous(self, namespace: argparse.Namespace, unknown: Sequence[str]) -> NoReturn:
        """Words beyond the arguments of a command. A query of several words that nobody quoted is the commonest."""
        given = [action.dest for action in self._get_positional_actions()]
        if given and given[-1] == "query" and not any(word.startswith("-") for word in unknown):
            query = " ".join([namespace.query, *unknown])
            raise ConfigurationError(
                f"`{self.prog}`",
                reason=f"the query has {len(unknown) + 1} words, and they came one by one",
                remedy=f'put it in quotes: {self.prog} {" ".join(given[:-1]).upper()} "{query}"',
            )
        raise ConfigurationError(
            f"`{self.prog}`",
            reason=f"unrecognized arguments: {' '.join(unknown)}",
            remedy=f"leave them out, or put what belongs together in quotes; see `{self.prog} --help`",
        )

    def _check_value(self, action: argparse.Action, value: object) -> None:
        """As usual, and say which choice was probably meant."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        called = action.metavar if not action.option_strings else "/".join(action.option_strings)
        within = {
            f"{name} {below}": name
            for name, parser in (action.choices.items() if isinstance(action, Commands) else ())
            for sub in parser._actions
            if isinstance(sub, Commands)
            for below in sub.choices
        }
        raise ConfigurationError(
            f"`{self.prog}`",
            reason=f"argument {called or action.dest}: invalid choice: {str(value)!r} (choose from "
            f"{', '.join(map(repr, names))})",
            remedy=perhaps(str(value), [*names, *within], f"see `{self.prog} --help`"),
        )

    def error(self, message: str) -> NoReturn:
        """A refusal, where argparse would print and exit."""
        raise ConfigurationError(f"`{self.prog}`", reason=message, remedy=f"see `{self.prog} --help`")


Commands = argparse._SubParsersAction


def add_group(commands: Commands[Parser], name: str, help: str) -> Commands[Parser]:
    """A group of commands, such as `data …`."""
    group = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
    return group.add_subparsers(title="commands", required=True, metavar="COMMAND")


def add_command(group: Commands[Parser], name: str, help: str, example: str, *, function: str | None = None) -> Parser:
    """One command, with an example in its help; `function` is its name in `video_opd.commands`."""
    command = group.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", epilog=f"example:\n  {example}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(function=function or name)
    return command


def json_flag(command: argparse.ArgumentParser) -> None:
    """`--json`."""
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def model_arguments(command: argparse.ArgumentParser) -> None:
    """A model, where it runs and how it is asked."""
    command.add_argument(
        "model",
        type=reads_model_or_names,
        help="a folder, a run folder (its newest checkpoint), a hub name, tiny-student or tiny-teacher",
    )
    command.add_argument("--device", type=device_name, default="auto", help="auto, cpu, cuda … (default: %(default)s)")
    command.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on CUDA, float32 elsewhere"
    )
    command.add_argument("--max-tokens", type=positive, help="most video tokens of a prompt")
    command.add_argument("--max-new-tokens", type=positive, help="most tokens of an answer")
    command.add_argument("--fps", type=rate, help="frames per second looked at")
    command.add_argument("--template", help="name of a prompt preset (default: the model's own, else timelens)")


def takes_recipe_keys(command: argparse.ArgumentParser) -> None:
    """Any key of a recipe as an argument."""
    command.epilog = f"{command.epilog}\n\nAny key of the recipe can be given as --KEY VALUE; --help-keys lists them."
    command.add_argument("--help-keys", action=_HelpKeys, nargs=0, help="list every key of a recipe and exit")
    command.set_defaults(takes_overrides=True)


class _HelpKeys(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from video_opd.config.recipe_file import recipe_keys

        for key, meaning in recipe_keys().items():
            print(f"--{key:34} {meaning}")
        parser.exit()


def number(kind: Callable[[str], float], allowed: Callable[[float], bool], description: str) -> Callable[[str], float]:
    """An argument's type: a number of a certain kind and size."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and allowed(number)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {description}")
        return number

    return parse


def shard(text: str) -> tuple[int, int]:
    """I/N as (I, N)."""
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard: write I/N with I from 0 to N - 1, such as 0/4")
    return int(number), int(count)


positive = number(int, lambda number: number >= 1, "a whole number of at least 1")
share = number(float, lambda number: 0 <= number <= 1, "a number from 0 to 1")
rate = number(float, lambda number: number > 0, "a number above 0")
seconds = number(float, lambda number: number >= 0, "a number of at least 0")
