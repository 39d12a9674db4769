"""The first record of a file, by which its format is recognised, without reading the others."""

from __future__ import annotations

from pathlib import Path

from video_opd.files.record import Record
from video_opd.files.strict_json import StrictError, decode

_LONGEST_LINE = 10_000_000


def read_first_line(path: Path) -> Record | None:
    """The first row of a file of JSON lines.

    Args:
        path: any file.

    Returns:
        The row, if it is an object and other rows follow; None where the file must be read whole to know its form, or
        to say what is wrong with it.
    """
    if not path.is_file():  # a pipe gives its content once
        return None
    try:
        with path.open("rb") as file:
            number, line = 0, b"\n"
            while line and not line.strip():
                number, line = number + 1, file.readline(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf")
            another = b"\n"
            while another and not another.strip():
                another = file.readline(_LONGEST_LINE)
        value = decode(line.strip()) if another else None
    except (OSError, StrictError):
        return None
    return Record(path, number, value) if isinstance(value, dict) else None
