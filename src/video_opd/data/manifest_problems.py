"""What is wrong in a manifest, and where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from video_opd.data.manifest_rows import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem of a manifest or of a video that it names."""

    line: int
    """Line in the file, or row in its list, from 1; 0: the file as a whole."""
    id: str | None
    """Id of the row, where it could be read."""
    severity: Literal["error", "warning"]
    """Errors stop `read_manifest` or the reading of the video; warnings stop nothing."""
    message: str
    """One sentence, without the file and line."""
    remedy: str
    """What to do about it."""
    in_list: bool = False
    """The rows stand in one JSON list, or over several lines each: `line` is the number of the row."""

    @property
    def place(self) -> str:
        """The row of the problem."""
        return f"{'row' if self.in_list else 'line'} {self.line}"

    def __str__(self) -> str:
        row = "" if self.id is None else f" (id {self.id!r})"
        return f"{self.place}{row}: {self.severity}: {self.message}"


def make_problem(line: int, row_id: str | None, fault: Fault, in_list: bool = False) -> Problem:
    """Make the problem of a fault in a row.

    Args:
        line: of the row, from 1; or its number in a JSON list.
        row_id: id of the row, where it could be read.
        fault: what is wrong, how bad it is, and what to do about it.
        in_list: the rows stand in one JSON list.
    """
    return Problem(
        line=line, id=row_id, severity=fault.severity, message=fault.message, remedy=fault.remedy, in_list=in_list
    )
