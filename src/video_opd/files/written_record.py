"""A record of a file that this package writes: one class names its keys and types, for the writer and every reader.

A writer builds the record and writes its `to_json()`: a key that the record lacks is a mistake in this package, and
raises. A reader takes `from_json(value)`. Any program may have changed the file, so an unexpected value counts as
missing and is not an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from video_opd.types import Span

_TOLERANT = "tolerant"
LARGEST = 1e300
"""A larger number overflows in the next calculation."""
_LARGEST_COUNT = 2**53
"""Up to here a float says the same as the whole number."""


class WrittenRecord(BaseModel):
    """The base of all records. A field without a default is required: without it the record is not valid."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Make the record from a value of a file; unexpected parts count as missing.

        Raises:
            ValueError: a field without a default is missing or not valid.
        """
        return cls.model_validate(value if isinstance(value, Mapping) else {}, context=_TOLERANT)

    @classmethod
    def from_rows(cls, rows: Iterable[object]) -> Iterator[Self]:
        """The records among the rows of a file; the others are left out."""
        for row in rows:
            try:
                yield cls.from_json(row)
            except ValueError:
                continue

    def to_json(self) -> dict[str, Any]:
        """The content for the file: the given keys, in the order of the fields."""
        return self.model_dump(exclude_unset=True, warnings=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_unknown_keys(cls, value: Any, info: ValidationInfo) -> Any:
        if info.context is not _TOLERANT or not isinstance(value, Mapping):
            return value
        return {key: each for key, each in value.items() if key in cls.model_fields}

    @field_validator("*", mode="wrap")
    @classmethod
    def _drop_foreign_values(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Replace an invalid value by the field's default; a list or a table loses only its invalid items."""
        if info.context is not _TOLERANT:
            return handler(value)
        try:
            return _drop_foreign_items(value, handler)
        except ValueError:
            field = cls.model_fields[info.field_name or ""]
            if field.is_required():
                raise
            return field.get_default(call_default_factory=True)


def _drop_foreign_items(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError as error:
        foreign = {fault["loc"][0] for fault in error.errors(include_url=False) if fault["loc"]}
        if isinstance(value, list):
            return handler([each for index, each in enumerate(value) if index not in foreign])
        if isinstance(value, Mapping):
            return handler({key: each for key, each in value.items() if key not in foreign})
        raise


def _require_number(value: object, info: ValidationInfo) -> int | float:
    """Return the number as it was given, so that 12 does not become 12.0 in a file."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    if info.context is not _TOLERANT:
        return value
    if not abs(value) < LARGEST:
        raise ValueError("not a number to calculate with")
    return float(value)


def _require_count(value: object, info: ValidationInfo) -> int:
    if not isinstance(value, int) or not abs(_require_number(value, info)) <= _LARGEST_COUNT:
        raise ValueError("not a whole number")
    return value


def _require_span(value: object, info: ValidationInfo) -> Span:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("not a pair of numbers")
    return Span(*(_require_number(end, info) for end in value))


def _require_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _require_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


Number = Annotated[float, PlainValidator(_require_number)]
"""Whole or not; what a reader gets is finite."""
Count = Annotated[int, PlainValidator(_require_count)]
Text = Annotated[str, PlainValidator(_require_text)]
Flag = Annotated[bool, PlainValidator(_require_flag)]
Seconds = Annotated[Span, PlainValidator(_require_span)]
"""A stretch of time; in a file a pair of numbers."""
Pair = tuple[Number, Number]
"""Ends of an interval."""
