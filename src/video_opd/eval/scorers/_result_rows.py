"""A row of a result file: one answer, and what it says about whom it answers."""

from __future__ import annotations

from dataclasses import dataclass

from video_opd.eval.scorers._keys import QueryKey
from video_opd.eval.scorers._scorer_types import ResultAnswer
from video_opd.types import Span


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One answer, and what it says about whom it answers."""

    written: str
    """The id or key as the file has it."""
    key: QueryKey | None
    """None: `written` is an id, or, in all formats but ours, the end of one."""
    answer: ResultAnswer
    video: str | None = None
    """What the row says it is about beside its id, where it does."""
    query: str | None = None
    truth: tuple[Span, ...] = ()
    """The annotated spans, where the file carries them."""
    duration: float | None = None
    place: int | None = None
    """Where the file numbers queries through: the number, from 0, of the row in the annotations."""
    place_in_video: int | None = None
    """The same among the queries of its video."""
    own_ids: bool = True
    """False: `written` is a number of the project's own and says nothing of the annotations' ids."""
