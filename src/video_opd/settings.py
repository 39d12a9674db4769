"""Settings: frozen records. The type, the default and the meaning of every field are declared once.

The key of a recipe, the flag of a command, `--help` and `--help-keys` all come from the field (`list_fields`). This
module imports neither torch nor NumPy.
"""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from video_opd.errors import ConfigurationError
from video_opd.plugin_table import PluginTable


class Settings(BaseModel):
    """A frozen record that refuses unknown keys.

    A field that a subclass declares again keeps its description, unless the subclass gives a new one."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # `--name 7`: the command line cannot tell that a name is meant
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        super().__pydantic_init_subclass__(**more)
        for name, info in cls.model_fields.items():
            if info.description is None:
                above = (base.model_fields.get(name) for base in cls.__mro__[1:] if issubclass(base, Settings))
                info.description = next((field.description for field in above if field and field.description), None)


# Strict: the text "60" is not a number, and `true` is not 1. A whole number is valid for a float.
Integer = Annotated[int, Field(strict=True)]
Count = Annotated[Integer, Field(ge=0)]
Positive = Annotated[Integer, Field(ge=1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
MoreThanZero = Annotated[Number, Field(gt=0)]
MoreThanOne = Annotated[Number, Field(gt=1)]
Share = Annotated[Number, Field(ge=0, le=1)]
Momentum = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]


@dataclass(frozen=True)
class Flagged:
    """Marks a field whose flag has another name than its key: `Annotated[Positive, Flagged("answers")]`."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Knob:
    """One field of a record, with what a recipe, a command and their help need."""

    name: str
    """The key in a recipe, and the name of the record's field."""
    flag: str
    """The name on the command line, without the leading dashes."""
    type: Any
    """The type with its bounds: an annotation for pydantic."""
    plain_type: type
    """`int`, `float`, `bool`, `str` or `Path`."""
    choices: tuple[str, ...]
    """The valid values; none: any value of the type."""
    default: Any
    """None if the field is required or not set by default."""
    is_required: bool
    help: str
    """The meaning in one paragraph, without the default."""
    records: type[Settings] | OneOf[Any] | None
    """The record, or the possible records, if the key is a table; None if the key has a value."""

    @property
    def default_text(self) -> str:
        """The text of the default, as `--help-keys` shows it."""
        if self.is_required:
            return "required"
        return "not set by default" if self.default is None else f"default: {json.dumps(self.default, default=str)}"


def list_fields(record: type[Settings], *names: str) -> list[Knob]:
    """The fields of a record, each with its key, flag, type, default and meaning.

    Args:
        record: a class of settings.
        names: only these fields, in this order; none: all of them.
    """
    return [_knob(name, record.model_fields[name]) for name in names or record.model_fields]


def _knob(name: str, info: FieldInfo) -> Knob:
    flags = [mark.name for mark in info.metadata if isinstance(mark, Flagged)]
    plain, choices = _plain(info.annotation)
    return Knob(
        name=name,
        flag=flags[0] if flags else name.replace("_", "-"),
        type=Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation,
        plain_type=plain,
        choices=choices,
        default=None if info.is_required() else info.get_default(call_default_factory=True),
        is_required=info.is_required(),
        help=" ".join((info.description or "").split()),
        records=next((mark for mark in info.metadata if isinstance(mark, OneOf)), None) or _record(info.annotation),
    )


def _record(annotation: Any) -> type[Settings] | None:
    """The record of a key that is a table; None for a value."""
    kinds = (annotation, *get_args(annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def _plain(annotation: Any) -> tuple[type, tuple[str, ...]]:
    """The Python type of an annotation, and the choices if it is a literal."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(arguments[0])
    if origin is Literal:
        return str, tuple(arguments)
    if origin in (Union, types.UnionType):
        return _plain(next(argument for argument in arguments if argument is not type(None)))
    return (annotation if annotation in (int, float, bool, str, Path) else str), ()


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def make_checked(record: type[SomeSettings], **values: Any) -> SomeSettings:
    """Make a record from values that a user gave.

    Args:
        record: a class of settings.
        values: field -> value.

    Raises:
        ConfigurationError: names the first value that is not valid.
    """
    try:
        return record(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        if problem["type"] == "value_error":
            cause, reason = "these settings do not fit together", str(problem["ctx"]["error"])
        else:
            key = ".".join(map(str, problem["loc"]))
            cause = f"no {key}" if problem["type"] == "missing" else f"{key} = {problem['input']!r}"
            reason = problem["msg"][0].lower() + problem["msg"][1:]
        raise ConfigurationError(cause, reason=reason, remedy="give a value that fits") from None


class OneOf(PluginTable[type[SomeSettings]]):
    """Records of which a table of a recipe is one, told by its `name`. Used as the annotation of the table's field:
    `method: Annotated[MethodSettings, METHODS]`. The first is meant where a table says no name."""

    _users: tuple[type[BaseModel], ...] = ()

    def add_user(self, model: type[BaseModel]) -> None:
        """Name a model with such a table, which is told of every record that is registered later."""
        self._users += (model,)

    def _replace(self, entries: dict[str, str | type[SomeSettings]]) -> None:
        super()._replace(entries)
        for model in self._users:
            model.model_rebuild(force=True)

    def __get_pydantic_core_schema__(self, _source: Any, handler: Any) -> Any:
        records: Sequence[type[SomeSettings]] = tuple(self.values())
        if len(records) == 1:
            return handler.generate_schema(records[0])
        return handler.generate_schema(Annotated[Union[tuple(records)], Field(discriminator="name")])  # noqa: UP007
