"""The policies for the rows of an import, and the counts of what happened to the rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from video_opd.data.importers._annotation import Annotation

SAME_ID = "the id is taken"
OTHER_DURATION = "another duration than the durations file"
OTHER_CLIP = "the clip is not as long as the duration"
CONTROL = "control characters in the query"
UNKNOWN = "nobody"
NO_DURATION = "the video's duration is unknown"
KEPT = (OTHER_DURATION, OTHER_CLIP, CONTROL, NO_DURATION)
"""Facts that are counted and do not change a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """The choices on which annotation sets differ. Any choice but the default changes scores."""

    source: str
    """Name of the data set in the manifest, and the beginning of every id."""
    queries: str = "as-is"
    """Name of one of `queries.QUERY_POLICIES`."""
    beyond: str = "keep"
    """Spans that end after the video: kept as they are (the field's scorers keep them), cut there, or dropped."""
    without_duration: str = "auto"
    """Rows whose duration is unknown: `keep` them without, `refuse` the import, or `drop` them; `auto` keeps them,
    unless a durations file or the videos were given, which should know it."""
    missing_videos: str = "keep"
    """Rows whose file is not in the videos folder or cannot be read: `keep` or `drop`."""
    frame_rate: float | None = None
    """Pictures per second of the videos that are folders of numbered pictures; None: all are files."""
    split: str = ""
    """Only rows of this split; "": all."""
    only_videos: frozenset[str] | None = None
    """Only videos of these names."""


@dataclass(kw_only=True)
class ImportReport:
    """Counts of what happened to the rows."""

    rows_read: int = 0
    rows_kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """Reason why a row or a span was dropped, or one of the words above -> file and line of the first."""
    spans_kept: int = 0
    spans_dropped: Counter[str] = field(default_factory=Counter)
    spans_beyond: int = 0
    """Spans that end after their video, whatever was done about them."""
    spans_beyond_tolerance: int = 0
    """Those that end more than a second after it."""
    spans_off_scale: int = 0
    """Those that begin after it ends."""
    spans_without_length: int = 0
    """Kept spans that end where they begin: no answer has anything in common with them."""
    several_spans: int = 0
    """Rows with more than one span."""
    same_question: int = 0
    """Rows that ask what an earlier one asked of the same video."""
    same_id: int = 0
    """Rows whose own id in the data set was taken; they were numbered."""
    durations_disagree: int = 0
    """Rows whose own duration is more than a second from that of the durations file, which was taken."""
    clips_unlike_duration: int = 0
    """Rows whose clip is more than a second longer or shorter than their duration."""
    control_characters: int = 0
    """Rows whose query, kept unchanged, has control characters."""
    warnings: list[str] = field(default_factory=list)
    """Possible errors of the whole import, one sentence each."""
    remarks: Counter[str] = field(default_factory=Counter)
    """What importers did to read rows, and how many."""
    durations_from: Counter[str] = field(default_factory=Counter)
    videos_missing: list[str] = field(default_factory=list)
    videos_ambiguous: dict[str, list[str]] = field(default_factory=dict)
    """Video -> the several files of that name, none of which was taken."""
    videos_unreadable: dict[str, str] = field(default_factory=dict)
    videos_outside: dict[str, str] = field(default_factory=dict)
    """Video -> file that its link leads to, outside the folder, where nothing is read from."""
    durations_off: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Video -> duration by annotation and by file, where they are more than a second apart."""
    clips_off: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Video -> end of the clip and duration of the whole video, by the durations file or (as its path) by itself, where
    the clip ends more than a second after it."""

    def drop(self, annotation: Annotation, reason: str) -> None:
        """Count a row as dropped."""
        self.dropped[reason] += 1
        self.note(reason, annotation)

    def note(self, what: str, annotation: Annotation) -> None:
        """Remember the first place of a fact."""
        self.first.setdefault(what, annotation.record.where)

    def to_dict(self) -> dict[str, Any]:
        """The whole account as JSON, for `--json`."""
        return {
            "rows": {"read": self.rows_read, "kept": self.rows_kept, "dropped": dict(self.dropped)},
            "first": self.first,
            "spans": {
                "kept": self.spans_kept,
                "dropped": dict(self.spans_dropped),
                "end_after_video": self.spans_beyond,
                "end_more_than_1_s_after_video": self.spans_beyond_tolerance,
                "begin_after_video": self.spans_off_scale,
                "without_length": self.spans_without_length,
                "rows_with_several": self.several_spans,
            },
            "same_question": self.same_question,
            "same_id": self.same_id,
            "remarks": dict(self.remarks),
            "durations_from": dict(self.durations_from),
            "durations_disagree": self.durations_disagree,
            "clips_unlike_duration": self.clips_unlike_duration,
            "control_characters": self.control_characters,
            "warnings": self.warnings,
            "videos": {
                "missing": self.videos_missing,
                "ambiguous": self.videos_ambiguous,
                "unreadable": self.videos_unreadable,
                "outside": self.videos_outside,
                "duration_off": {video: list(pair) for video, pair in self.durations_off.items()},
                "clip_ends_after_file": {video: list(pair) for video, pair in self.clips_off.items()},
            },
        }
