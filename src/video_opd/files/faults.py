"""The errors that pydantic finds in a record, in words for the writer of the file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from video_opd.files.strict_json import SHOWN

_EXPECTED = {
    "tuple_type": "a pair was expected",
    "list_type": "a list was expected",
    "dict_type": "an object with keys was expected",
    "model_type": "an object with keys was expected",
    "string_type": "a text was expected",
    "string_too_short": "it is empty",
    "too_short": "it has too few values",
}
"""Kind of error -> the sentence in place of the library's own."""
_MEMBERS = ("int", "str")
"""Parts that pydantic adds to the place of a value that may be one of several kinds."""


def find_first_fault(error: ValidationError, called: Mapping[str, str]) -> str:
    """The first error, with its place in the record.

    Args:
        called: place, as `spans.0.0` -> what the file calls it.
    """
    faults = error.errors(include_url=False)
    fault = faults[0]
    loc = fault["loc"]
    of_several = bool(loc) and loc[-1] in _MEMBERS and len(faults) > 1 and faults[1]["loc"][:-1] == loc[:-1]
    loc = loc[:-1] if of_several else loc
    if fault["type"] == "missing" and loc and isinstance(loc[-1], int):  # of a pair, not of an object
        place = ".".join(map(str, loc[:-1]))
        return f"`{called.get(place, place)}` has {loc[-1]} value{'s' * (loc[-1] != 1)}, where a pair was expected"
    place = ".".join(map(str, loc))
    place = called.get(place, place)
    if fault["type"] == "missing":
        return f"the key `{place}` is missing" if place else "it is missing"
    shown = repr(fault["input"])
    shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
    if of_several:
        message = "a number or a text was expected"
    elif fault["type"] == "too_long":
        message = f"it has {fault['ctx']['actual_length']} values, where {fault['ctx']['max_length']} were expected"
    else:
        message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        message = _EXPECTED.get(fault["type"], message[:1].lower() + message[1:])
    return f"`{place}` is {shown}: {message}" if place else f"{shown}: {message}"
