"""The types of the commands' arguments: which values are valid, and the message for a value that is not."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token

from video_opd.cli.path_roles import Reads, Role
from video_opd.policy.location import BUNDLED, check_device_name
from video_opd.trackers import NO_TRACKER, TRACKERS


def number_type(
    kind: type[int] | type[float], *, ge: float | None = None, gt: float | None = None, le: float | None = None
) -> Parameter:
    """Make the parser for a number, or a list of numbers, with bounds.

    Args:
        kind: `int` or `float`.
        ge: the smallest valid number.
        gt: every valid number is greater than this.
        le: the largest valid number.
    """
    size = f" of at least {ge:g}" if ge is not None else f" above {gt:g}" if gt is not None else ""
    if ge is not None and le is not None:
        size = f" from {ge:g} to {le:g}"
    description = f"a {'whole ' * (kind is int)}number{size}"

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        is_small_enough = math.isfinite(number) and (le is None or number <= le)
        if not (is_small_enough and (ge is None or number >= ge) and (gt is None or number > gt)):
            raise ValueError(f"{text!r} is not {description}")
        return number

    def convert(type_: Any, tokens: Sequence[Token]) -> Any:
        numbers = [parse(token.value) for token in tokens]
        return numbers[0] if type_ in (int, float) else numbers

    return Parameter(converter=convert)


def _parse_whole(_: Any, tokens: Sequence[Token]) -> int:
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"invalid int value: {tokens[0].value!r}") from None


def _parse_number(_: Any, tokens: Sequence[Token]) -> float:
    try:
        return float(tokens[0].value)
    except ValueError:
        raise ValueError(f"invalid float value: {tokens[0].value!r}") from None


def _parse_shard(_: Any, tokens: Sequence[Token]) -> tuple[int, int]:
    text = tokens[0].value
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise ValueError(f"{text!r} is not a shard: write I/N with I from 0 to N - 1, such as 0/4")
    return int(number), int(count)


def _parse_device(_: Any, tokens: Sequence[Token]) -> str:
    return check_device_name(tokens[0].value)


_RATE = number_type(float, gt=0)

Whole = Annotated[int, Parameter(converter=_parse_whole)]
Number = Annotated[float, Parameter(converter=_parse_number)]
Positive = Annotated[int, number_type(int, ge=1)]
Share = Annotated[float, number_type(float, ge=0, le=1)]
Rate = Annotated[float, _RATE]
Rates = Annotated[list[float], _RATE, Parameter(consume_multiple=True)]
"""The list may be empty."""
Seconds = Annotated[float, number_type(float, ge=0)]
Shard = Annotated[tuple[int, int], Parameter(converter=_parse_shard, n_tokens=1, metavar="I/N", show_default=False)]
Device = Annotated[str, Parameter(converter=_parse_device)]


def offer_names(names: Iterable[str], help: str) -> Parameter:
    """Names that the help lists and a shell completes. A plug-in may register more names, so the command checks the
    name."""
    names = tuple(names)
    return Parameter(completer=lambda _: names, metavar="NAME", help=f"{help}. One of {', '.join(names)}")


def _offer_recipes(context: Any) -> Iterable[str]:
    """The shipped recipes, after the first letter also without their folders; the shell adds the files."""
    from video_opd.config.shipped_recipes import shipped_recipes

    names = list(shipped_recipes())
    return names + [name.rpartition("/")[2] for name in names if "/" in name and context.incomplete]


def _offer_models(context: Any) -> Iterable[str]:
    """The models that ship with the package, and the folders that begin with what was typed."""
    beginning = str(context.incomplete)
    parent = beginning[: beginning.rfind("/") + 1]
    names = list(BUNDLED)
    with contextlib.suppress(OSError):
        names += [f"{parent}{path.name}/" for path in sorted(Path(parent or ".").iterdir()) if path.is_dir()]
    return names


RecipeName = Annotated[Reads, Parameter(completer=_offer_recipes)]
"""The path of a recipe, or the name of a shipped one."""
MODEL_NAMES = Parameter(completer=_offer_models)
"""Completes the path of a model or the name of a bundled one."""

Json = Annotated[bool, Parameter(help="one JSON object on stdout")]
Plugins = Annotated[
    tuple[Path, ...],
    Parameter(
        consume_multiple=False,
        metavar="FILE",
        help="Python file that registers a method, a reward, an importer, a scorer or a tracker; the program runs it. "
        "May be given several times",
    ),
    Role.READS,
]
Offline = Annotated[
    bool, Parameter(help="download nothing: a model is a folder or in the hub's cache (as HF_HUB_OFFLINE=1)")
]
DecodeHere = Annotated[bool, Parameter(help="decode in this process, without limits on time and memory")]
TrackerName = Annotated[
    str,
    offer_names((NO_TRACKER, *TRACKERS), "who shows the numbers while the run is trained; as tracker.name in a recipe"),
]
RecipeKeys = Annotated[Mapping[str, str], Parameter(parse=False)]
"""Any key of a recipe, given as an argument: `--training.learning-rate 1e-4`. Every command with a recipe has this."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """The options of every command that has a recipe."""

    help_keys: Annotated[bool, Parameter(help="list every key of a recipe and exit")] = False
    plugin: Plugins = ()
    offline: Offline = False
    json: Json = False


DEFAULT_OPTIONS = RecipeOptions()


def load_plugins(files: Sequence[Path]) -> None:
    """Run the files given with `--plugin`, before the names that they register are looked up."""
    if files:
        from video_opd.plugins import load_plugin

        for file in files:
            load_plugin(file)
