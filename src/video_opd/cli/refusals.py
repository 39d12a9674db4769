"""The message for an invalid command line: one sentence, with what was probably meant."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cyclopts.exceptions import CoercionError, ConsumeMultipleError, CycloptsError, MissingArgumentError

from video_opd.errors import ConfigurationError
from video_opd.suggestions import find_nearest, suggest

if TYPE_CHECKING:
    from cyclopts.argument import Argument


def refuse_command(program: str, word: str | None, names: Sequence[str], within: Iterable[str]) -> ConfigurationError:
    """Refuse a missing or an unknown command.

    Args:
        program: the words before the command, such as `video-opd data`.
        word: the word in the place of the command.
        names: the existing commands.
        within: the commands of groups, such as "data check", which may also be meant.
    """
    see = f"see `{program} --help`"
    if word is None:
        return ConfigurationError(f"`{program}`", reason="the following arguments are required: COMMAND", remedy=see)
    reason = f"argument COMMAND: {_describe_choices(word, names)}"
    return ConfigurationError(f"`{program}`", reason=reason, remedy=suggest(word, [*names, *within], see))


def refuse_unknown_flags(
    program: str, words: Sequence[str], arguments: Sequence[Argument], *, has_recipe: bool
) -> None:
    """Refuse unknown flags before the words are parsed.

    A parser would take the value of an unknown flag for an argument of the command, or report another argument first.

        Args:
            program: the words of the command, such as `video-opd data check`.
            words: the words that follow them.
            arguments: the arguments of the command.
            has_recipe: whether recipe keys are arguments too.

        Raises:
            ConfigurationError: names the first unknown flag.
    """
    known = {name for argument in arguments for name in argument.names} | {"--help", "-h"}
    for word in words:
        if word == "--":
            return
        flag = word.partition("=")[0]
        if re.match(r"--?[A-Za-z]", flag) and flag not in known:
            raise ConfigurationError(
                f"`{program}`",
                reason=f"unrecognized arguments: {word}",
                remedy=_suggest_flag(program, flag, arguments, has_recipe=has_recipe),
            )


def _suggest_flag(program: str, flag: str, arguments: Sequence[Argument], *, has_recipe: bool) -> str:
    """The remedy, with the flag or the recipe key that was probably meant."""
    names = [argument.name for argument in arguments]
    positional = [name for name in names if not name.startswith("-")]
    see = f"see `{program} --help`"
    meant = find_nearest(flag, [*(name for name in names if name.startswith("--")), *positional])
    if meant in positional:
        return f"give {meant} without a flag; {see}"
    if meant is None and has_recipe:
        from video_opd.config.recipe_file import list_recipe_keys

        key = find_nearest(flag, list_recipe_keys())
        meant = key and f"--{key.replace('_', '-')}"
        see = f"see `{program} --help` and `{program} --help-keys`"
    return f"perhaps {meant} is meant; {see}" if meant else see


def refuse_superfluous(program: str, unused: Sequence[str], bound: inspect.BoundArguments) -> ConfigurationError:
    """Refuse words beyond the arguments of a command. Most often this is a query of several words without quotes."""
    positional = [
        name for name, parameter in bound.signature.parameters.items() if parameter.kind is parameter.POSITIONAL_ONLY
    ]
    if positional and positional[-1] == "query" and not any(word.startswith("-") for word in unused):
        words = [bound.arguments["query"], *unused]
        if any(" " in word for word in words):  # there were quotes
            return ConfigurationError(
                f"`{program}`",
                reason=f"it answers one query, and there are {len(words)}",
                remedy="ask them one after the other; `video-opd serve` and Python's `ground` answer several at once",
            )
        query = " ".join(words)
        return ConfigurationError(
            f"`{program}`",
            reason=f"the query has {len(words)} words, but no quotes around them",
            remedy=f'put it in quotes: {program} {" ".join(positional[:-1]).upper()} "{query}"',
        )
    return ConfigurationError(
        f"`{program}`",
        reason=f"unrecognized arguments: {' '.join(unused)}",
        remedy=f"leave them out, or put words that belong together in quotes; see `{program} --help`",
    )


def refusal_of(program: str, error: CycloptsError) -> ConfigurationError:
    """The error of the library in our words."""
    see = f"see `{program} --help`"
    argument = error.argument
    name = "" if argument is None else argument.name
    if isinstance(error, ConsumeMultipleError):
        reason = f"argument {name}: expected at least one argument"
    elif isinstance(error, MissingArgumentError):
        given = error.unused_tokens and name in {word.partition("=")[0] for word in error.unused_tokens}
        required = name if name.startswith("-") else name.lower()
        reason = (
            f"argument {name}: expected one argument" if given else f"the following arguments are required: {required}"
        )
    elif isinstance(error, CoercionError) and error.token is not None:
        choices = argument.get_choices(force=True) if argument is not None else None
        if choices:
            return ConfigurationError(
                f"`{program}`",
                reason=f"argument {name}: {_describe_choices(error.token.value, choices)}",
                remedy=suggest(error.token.value, choices, see),
            )
        kind = getattr(error.target_type, "__name__", "")
        reason = f"argument {name}: {error.msg or f'invalid {kind} value: {error.token.value!r}'}"
    else:
        error.verbose = False
        reason = str(error)
    return ConfigurationError(f"`{program}`", reason=reason, remedy=see)


def _describe_choices(word: str, names: Iterable[str]) -> str:
    return f"invalid choice: {word!r} (choose from {', '.join(map(repr, names))})"


def require_choice(argument: str, word: str, names: Iterable[str], *, of: str) -> None:
    """Refuse an unknown name. The names are looked up when the command runs, because plug-ins may register more.

    Args:
        argument: the flag or the name of the positional argument.
        word: the given name.
        names: the existing names.
        of: the command, such as `video-opd metrics`.

    Raises:
        ConfigurationError: the name does not exist.
    """
    names = list(names)
    if word not in names:
        raise ConfigurationError(
            f"`{of}`",
            reason=f"argument {argument}: {_describe_choices(word, names)}",
            remedy=suggest(word, names, f"see `{of} --help`"),
        )


def refuse_job(program: str, shared: Sequence[str]) -> ConfigurationError:
    """A command that one process does, in a job of several.

    Args:
        program: the command as the user writes it.
        shared: commands that a job can do.
    """
    return ConfigurationError(
        f"`{program}` under torchrun",
        reason=f"one process does it; only {', '.join(shared)} share their work among several",
        remedy="start it without torchrun",
    )
