"""What the commands' arguments are made of."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from video_opd.arguments.paths import reads_model_or_names, refuse_losses
from video_opd.errors import ConfigurationError


class Parser(argparse.ArgumentParser):
    """Tells a user's mistake in the same way as the rest of the program."""

    late: str | None = None
    """An optional positional argument that may also follow options."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As usual, and nothing that is read may be written over. Before Python 3.12 an optional positional after an
        option counts as unknown."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if self.late and len(unknown) == 1 and not unknown[0].startswith("-") and not getattr(namespace, self.late):
            setattr(namespace, self.late, Path(unknown.pop()))
        refuse_losses(self._actions, namespace)
        return namespace, unknown

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
    command.add_argument("--device", default="auto", help="auto, cpu, cuda … (default: %(default)s)")
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
        from video_opd.recipe.file import recipe_keys

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
