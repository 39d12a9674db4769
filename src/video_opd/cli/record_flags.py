"""Flags that are the fields of a record of settings: name, default, choices, bounds and help come from the record."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import field, make_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Parameter

from video_opd.cli.argument_types import number_type
from video_opd.cli.path_roles import GoesOn
from video_opd.settings import Knob, Settings, list_fields, make_checked


def add_record_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command a flag for every field of a parameter that is a record; the command gets the record.

    The command line sees a plain dataclass in place of the record. Its fields have the command line's own types, so
    that every command refuses an invalid value in the same words.
    """
    hints = get_type_hints(command, include_extras=True)
    records = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, Settings)}
    signature = inspect.signature(command)
    parameters = []
    for name, parameter in signature.parameters.items():
        if name in records:
            flags = _as_dataclass(records[name])
            default = parameter.empty if parameter.default is parameter.empty else flags()
            parameter = parameter.replace(annotation=flags, default=default)
        else:
            parameter = parameter.replace(annotation=hints[name])
        parameters.append(parameter)

    @wraps(command)
    def call(*arguments: Any, **more: Any) -> int:
        made = {name: make_checked(record, **vars(more[name])) for name, record in records.items() if name in more}
        return command(*arguments, **more | made)

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters} | {"return": int}
    del call.__wrapped__  # the wrapper must not show the annotations of the original
    return call


def _as_dataclass(record: type[Settings]) -> type:
    fields: list[Any] = []
    for knob in list_fields(record):
        kind: Any = Annotated[_type_of(knob), Parameter(name=f"--{knob.flag}", help=knob.help)]
        fields.append((knob.name, kind) if knob.is_required else (knob.name, kind, field(default=knob.default)))
    made = make_dataclass(f"FlagsOf{record.__name__}", fields, frozen=True, kw_only=True)
    made.__module__ = __name__
    return Parameter(name="*")(made)


def _type_of(knob: Knob) -> Any:
    if knob.choices:
        return Literal[knob.choices]
    if knob.plain_type not in (int, float):
        # A folder that a record names is written, and read again.
        plain: Any = GoesOn if knob.plain_type is Path else knob.plain_type
        return plain if knob.is_required or knob.default is not None else plain | None
    bounds: dict[str, float] = {}
    for mark in get_args(knob.type)[1:]:
        bounds |= {name: getattr(mark, name) for name in ("ge", "gt", "le") if hasattr(mark, name)}
    return Annotated[knob.plain_type, number_type(knob.plain_type, **bounds)]
