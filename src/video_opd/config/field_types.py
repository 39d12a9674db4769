"""What the values of a recipe may be: kinds of numbers, and a table that refuses unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """A frozen table of a recipe."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # `--name 7`: the command line cannot tell that a name is meant
    )


# Strict: the text "60" is no number and `true` is not 1. A whole number will do where a fraction may stand.
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
