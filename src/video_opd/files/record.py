"""One record of a file, with its place in the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from video_opd.errors import DataError
from video_opd.files.faults import find_first_fault
from video_opd.files.strict_json import name_kind

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file."""

    path: Path
    line: int
    """The line on which it begins, from 1."""
    value: Any
    key: str | None = None
    """Its key, where the file is one JSON object."""
    parent: str | None = None
    """The key that it was found under, of `json_entries`."""

    @property
    def where(self) -> str:
        """File and line, for a sentence."""
        return f"{self.path}, line {self.line}"

    def refuse(self, reason: str, remedy: str = "Correct the entry, or leave it out") -> NoReturn:
        """Raise an error that names this record.

        Raises:
            DataError: always.
        """
        raise DataError(self.where, reason=reason, remedy=remedy)

    def read_as(self, model: type[_M], value: Any = None, called: Mapping[str, str] | None = None) -> _M:
        """The record as a model, or a part of it (`value`).

        Args:
            called: place of a value in the model -> what the file calls it, for the sentence.

        Raises:
            DataError: a key that is missing or a value of the wrong kind.
        """
        value = self.value if value is None else value
        if not isinstance(value, dict):
            self.refuse(f"it is {name_kind(value)}, not an object with keys")
        try:
            return TypeAdapter(model).validate_python(value)
        except ValidationError as error:
            self.refuse(find_first_fault(error, called or {}))
        except RecursionError:
            self.refuse("it is nested too deep")
