"""The test queries that a run's page shows: those that the run chose and scored, or, of an older run, chosen now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.errors import DataError
from video_opd.files.input_records import RecordedInputs
from video_opd.files.strict_json import load_json
from video_opd.files.timeline_records import (
    FORMAT,
    NUM_SHOWN,
    QUERY_KINDS,
    TIMELINES_FILE,
    QueryTimeline,
    Timelines,
)
from video_opd.runs import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineContents:
    """Everything that the section of timelines is made of."""

    timelines: Timelines = field(default_factory=Timelines)
    why_not: str = ""
    """Why there are no queries, or no tokens."""
    videos: Path | None = None
    """The folder that their videos are relative to; None: the run does not say."""

    def list_shown(self) -> list[QueryTimeline]:
        """The queries that a page shows: of each kind no more than a run chooses, whatever the file holds."""
        by_kind = {kind: [each for each in self.timelines.queries if each.kind == kind] for kind in QUERY_KINDS}
        return [each for queries in by_kind.values() for each in queries[:NUM_SHOWN]]


def read_timelines(run: RunDirectory, tables: Mapping[str, Any], recorded: RecordedInputs | None) -> TimelineContents:
    """Read or choose the queries; whatever is missing or wrong is said and stops nothing.

    Args:
        run: the folder.
        tables: of its recipe.
        recorded: which inputs the run had; None: it is not recorded.
    """
    videos = Path(recorded.videos.folder) if recorded else _find_path(tables, "videos")
    why_not = ""
    try:
        timelines, why_not = _read_chosen(run.evaluation / TIMELINES_FILE)
        if timelines is None:
            if not (run.evaluation / "student-after.predictions.jsonl").exists():
                return TimelineContents(why_not=why_not)
            timelines = _choose(run, _find_manifest(tables, recorded), tables)
            why_not += _explain_no_tokens(remove_first=bool(why_not))
    except DataError as error:
        return TimelineContents(why_not=f"{why_not}The test queries cannot be shown: {error}")
    except OSError as error:
        reason = f"{error.filename}: {error.strerror or error}"
        return TimelineContents(why_not=f"{why_not}The test queries cannot be shown: {reason}.")
    return TimelineContents(timelines=timelines, why_not=why_not, videos=videos)


def _read_chosen(path: Path) -> tuple[Timelines | None, str]:
    """The queries that the run chose, None where they cannot be read; and what must be said of the file."""
    if not path.exists():
        return None, ""
    try:
        timelines = Timelines.from_json(load_json(path.read_bytes()))
        if (timelines.format or 0) > FORMAT:
            raise ValueError(f"its format is {timelines.format}, and this version reads up to {FORMAT}")
    except (OSError, ValueError, RecursionError) as error:
        return None, f"evaluation/{TIMELINES_FILE} is left out: {error}. "
    if timelines.queries and not any(each.tokens for each in timelines.queries):
        return timelines, _explain_no_tokens(remove_first=True)
    return timelines, _explain_no_teacher(timelines)


def _explain_no_teacher(timelines: Timelines) -> str:
    """Why a teacher answered queries and judged no token; empty where it did, or where there is none."""
    answered = any(name.startswith("teacher") for each in timelines.queries for name in each.answers)
    if not answered or any(each.tokens and each.tokens.teacher_logprobs for each in timelines.queries):
        return ""
    return (
        "The teacher did not score the tokens of these answers: which teacher judges an example is known for the "
        "training examples only."
    )


def _explain_no_tokens(*, remove_first: bool) -> str:
    first = f"remove evaluation/{TIMELINES_FILE} and " if remove_first else ""
    return (
        "The tokens of these answers are not scored. Scoring failed or is not finished, or an earlier version made the "
        f"run. To score them, {first}run the same `video-opd train` command again."
    )


def _choose(run: RunDirectory, manifest: Path, tables: Mapping[str, Any]) -> Timelines:
    from video_opd.data.manifest import read_manifest
    from video_opd.eval.timeline_choice import choose_timelines, read_texts

    seed = tables.get("seed")
    return choose_timelines(read_manifest(manifest), read_texts(run.evaluation), seed if isinstance(seed, int) else 0)


def _find_manifest(tables: Mapping[str, Any], recorded: RecordedInputs | None) -> Path:
    """The test manifest of a run, certain to be the one that it was made with, where that is recorded.

    Raises:
        DataError: it is not at hand, or it has changed.
    """
    known = recorded.files.get("test") if recorded else None
    path = Path(known.path) if known else _find_path(tables, "test")
    if path is None or not path.is_file():
        raise DataError(
            f"the test manifest {path or ''} is not there",
            reason="the queries stand in it",
            remedy="run `video-opd report` where the recipe's paths lead to it",
        )
    try:
        is_same = known is None or hashlib.sha256(path.read_bytes()).hexdigest() == known.sha256
    except OSError as error:
        raise DataError(
            f"{path} cannot be read", reason=error.strerror or str(error), remedy="repair its permissions"
        ) from error
    if not is_same:
        raise DataError(
            f"{path} has changed since the run",
            reason="its queries may not be those that were answered",
            remedy="restore it",
        )
    return path


def _find_path(tables: Mapping[str, Any], key: str) -> Path | None:
    data = tables.get("data")
    value = data.get(key) if isinstance(data, Mapping) else None
    return Path(value) if isinstance(value, str) and value else None
