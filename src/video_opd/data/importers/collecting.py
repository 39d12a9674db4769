"""From annotations to rows of a manifest, by named policies, with an account of everything that was done."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from video_opd.data.importers.annotation import Annotation, Times
from video_opd.data.importers.durations import VIDEO_SUFFIXES, stem
from video_opd.data.importers.video_files import VideoFiles
from video_opd.data.manifest_rows import example_from_row, path_fault, row_from_example
from video_opd.data.queries import QUERY_POLICIES
from video_opd.data.video_sampling import DURATION_TOLERANCE_S, ROUNDING_S
from video_opd.errors import DataError
from video_opd.vocabulary import Example, Span

SAME_ID = "the id is taken"
_OFF_SCALE_SHARE, _FEW, _SHORT_S = 0.05, 3, 2.0
"""More spans than this share that begin after their video ends, and more than a few of them, are in another unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What is done where annotation sets differ. Everything but the defaults changes scores."""

    source: str
    """Name of the data set in the manifest, and the beginning of every id."""
    queries: str = "as-is"
    """Name of one of `queries.QUERY_POLICIES`."""
    beyond: str = "keep"
    """Spans that end after the video: kept as they are (the field's scorers keep them), cut there, or dropped."""
    without_duration: str = "refuse"
    """Rows whose duration nobody knows: `refuse` the import, or `drop` them."""
    missing_videos: str = "keep"
    """Rows whose file is not in the videos folder or cannot be read: `keep` or `drop`."""
    split: str = ""
    """Only rows of this split; "": all."""
    only_videos: frozenset[str] | None = None
    """Only videos of these stems."""


@dataclass(kw_only=True)
class ImportReport:
    """What became of the rows."""

    rows_read: int = 0
    rows_kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """Reason why a row or a span was dropped, or `SAME_ID` -> file and line of the first."""
    spans_kept: int = 0
    spans_dropped: Counter[str] = field(default_factory=Counter)
    spans_beyond: int = 0
    """Spans that end after their video, whatever was done about them."""
    spans_beyond_tolerance: int = 0
    """Those that end more than a second after it."""
    spans_off_scale: int = 0
    """Those that begin after it ends."""
    several_spans: int = 0
    """Rows with more than one span."""
    same_question: int = 0
    """Rows that ask what an earlier one asked of the same video."""
    same_id: int = 0
    """Rows whose own id in the data set was taken; they were numbered."""
    durations_from: Counter[str] = field(default_factory=Counter)
    videos_missing: list[str] = field(default_factory=list)
    videos_unreadable: dict[str, str] = field(default_factory=dict)
    durations_off: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Video -> duration by annotation and by file, where they are more than a second apart."""
    clips_off: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Video -> end of the clip and duration of the file, where the clip ends more than a second after it."""

    def drop(self, annotation: Annotation, reason: str) -> None:
        """Count a row out."""
        self.dropped[reason] += 1
        self.first.setdefault(reason, annotation.record.where)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "rows": {"read": self.rows_read, "kept": self.rows_kept, "dropped": dict(self.dropped)},
            "first": self.first,
            "spans": {
                "kept": self.spans_kept,
                "dropped": dict(self.spans_dropped),
                "end_after_video": self.spans_beyond,
                "end_more_than_1_s_after_video": self.spans_beyond_tolerance,
                "begin_after_video": self.spans_off_scale,
                "rows_with_several": self.several_spans,
            },
            "same_question": self.same_question,
            "same_id": self.same_id,
            "durations_from": dict(self.durations_from),
            "videos": {
                "missing": self.videos_missing,
                "unreadable": self.videos_unreadable,
                "duration_off": {video: list(pair) for video, pair in self.durations_off.items()},
                "clip_ends_after_file": {video: list(pair) for video, pair in self.clips_off.items()},
            },
        }


class Collector:
    """Takes annotations one by one and gives the rows of a manifest.

    Args:
        durations: seconds by stem of the video, before what the annotations say.
        files: where the videos lie; None: nobody looks.
    """

    def __init__(
        self, policies: Policies, durations: dict[str, float] | None = None, files: VideoFiles | None = None
    ) -> None:
        self.policies, self.durations, self.files = policies, durations, files
        self.report = ImportReport()
        self.examples: list[Example] = []
        self._ids: set[str] = set()
        self._num_by_base: Counter[str] = Counter()
        self._asked: set[tuple[str, str]] = set()
        self._without_duration: list[Annotation] = []
        self._first_off_scale: Annotation | None = None
        self._splits: set[str] = set()
        self._looked_for: dict[str, str | None] = {}

    def collect(self, annotations: Iterable[Annotation]) -> list[Example]:
        """All rows, in order.

        Raises:
            DataError: no rows at all, none left, durations that nobody knows, times in another unit than seconds.
        """
        last: Annotation | None = None
        for last in annotations:
            self.report.rows_read += 1
            self._splits.add(last.split)
            self._take(last)
        if last is None:
            raise DataError("the files hold no annotations", reason="there is nothing to import", remedy="Check them")
        self._refuse_unknown_durations()
        self._refuse_other_units(last)
        if not self.examples:
            self._refuse_empty(last)
        if self.files is not None:
            self.report.videos_unreadable = dict(self.files.unreadable)
        self.report.rows_kept = len(self.examples)
        return self.examples

    def _take(self, annotation: Annotation) -> None:
        policies, report = self.policies, self.report
        if policies.split and annotation.split != policies.split:
            return report.drop(annotation, f"it is not of split {policies.split}")
        if policies.only_videos is not None and stem(annotation.video) not in policies.only_videos:
            return report.drop(annotation, "its video is not in the list")
        query = QUERY_POLICIES[policies.queries](annotation.query)
        if not query.strip():
            return report.drop(annotation, "the query is empty")
        video, exists = self._video(annotation.video)
        if path_fault(video):
            return report.drop(annotation, "the video's path is not one inside a folder")
        if not exists and policies.missing_videos == "drop":
            return report.drop(annotation, "the video is missing or cannot be read")
        duration = self._duration(annotation, video if exists else None)
        if duration is None:
            self._without_duration.append(annotation)
            return report.drop(annotation, "nobody knows the video's duration")
        if not 0 < duration < math.inf:
            return report.drop(annotation, "the duration is not more than 0")
        spans = self._spans(annotation, duration)
        if not spans:
            return report.drop(annotation, "no span is left" if annotation.spans else "no span is annotated")
        clip = None if annotation.clip is None else Span(*annotation.clip)
        return self._keep(annotation, query=query, video=video, duration=duration, spans=spans, clip=clip)

    def _keep(self, annotation: Annotation, *, query: str, video: str, **values: Any) -> None:
        report = self.report
        source = "/".join(part for part in (self.policies.source, annotation.source) if part)
        base = f"{source}/{stem(annotation.video)}"
        id = f"{base}/{annotation.name or self._num_by_base[base]}"
        self._num_by_base[base] += 1
        taken = id in self._ids
        number = 2
        while id in self._ids:
            id, number = f"{base}/{annotation.name or self._num_by_base[base]}-{number}", number + 1
        example = Example(id=id, query=query, video=video, source=source, **values)
        _, faults = example_from_row(row_from_example(example))
        errors = [fault.message for fault in faults if fault.severity == "error"]
        if errors:  # whatever a manifest may not hold and nobody thought of above
            return report.drop(annotation, errors[0])
        self._ids.add(id)
        if taken:
            report.same_id += 1
            report.first.setdefault(SAME_ID, annotation.record.where)
        report.same_question += (video, query) in self._asked
        self._asked.add((video, query))
        report.several_spans += len(example.spans) > 1
        report.spans_kept += len(example.spans)
        self.examples.append(example)
        return None

    def _video(self, name: str) -> tuple[str, bool]:
        """The path of a video in the manifest, and whether a file that can be used is there, if anybody looks."""
        named = name.removeprefix("./")
        if named not in self._looked_for:
            found = self.files.find(named) if self.files else None
            if self.files and (found is None or self.files.duration(found) is None):
                self.report.videos_missing += [named] if found is None else []
                found = None
            self._looked_for[named] = found
        found = self._looked_for[named]
        if found is not None:
            return found, True
        ending = "" if any(named.lower().endswith(suffix) for suffix in VIDEO_SUFFIXES) else ".mp4"
        return named + ending, self.files is None

    def _duration(self, annotation: Annotation, path: str | None) -> float | None:
        """Seconds: by the durations file, else by the annotation, else by the video (which is compared)."""
        of_file = self.files.duration(path) if self.files and path is not None else None
        name = stem(annotation.video)
        if self.durations is not None and name in self.durations:
            duration, origin = self.durations[name], "durations file"
        elif annotation.duration is not None:
            duration, origin = annotation.duration, "annotation"
        elif of_file is not None and annotation.clip is None:
            duration, origin = of_file, "video"
        else:
            return None
        self.report.durations_from[origin] += 1
        if of_file is not None and path is not None:
            if annotation.clip is not None:
                if annotation.clip[1] > of_file + DURATION_TOLERANCE_S:
                    self.report.clips_off[path] = annotation.clip[1], of_file
            elif abs(of_file - duration) > DURATION_TOLERANCE_S:
                self.report.durations_off[path] = duration, of_file
        return duration

    def _spans(self, annotation: Annotation, duration: float) -> tuple[Span, ...]:
        report, kept = self.report, []
        for times in annotation.spans:
            start, end = (time * duration for time in times) if annotation.fractions else times
            reason = _fault((start, end))
            if reason is None and end > duration + ROUNDING_S:
                report.spans_beyond += 1
                report.spans_beyond_tolerance += end > duration + DURATION_TOLERANCE_S
                if start >= duration:
                    report.spans_off_scale += 1
                    self._first_off_scale = self._first_off_scale or annotation
                if self.policies.beyond == "drop":
                    reason = "it ends after the video"
                elif self.policies.beyond == "clip":
                    reason = "it begins after the video" if start >= duration else None
                    end = min(end, duration)
            if reason is None:
                kept.append(Span(start, end))
            else:
                report.spans_dropped[reason] += 1
                report.first.setdefault(reason, annotation.record.where)
        return tuple(kept)

    def _refuse_unknown_durations(self) -> None:
        if not self._without_duration or self.policies.without_duration == "drop":
            return
        first = self._without_duration[0]
        videos = len({annotation.video for annotation in self._without_duration})
        others = f" (and of {videos - 1} other videos)" if videos > 1 else ""
        lacking = "the durations file has none" if self.durations is not None else "the annotations have none"
        first.record.refuse(
            f"nobody knows the duration of video {first.video!r}{others}: {lacking}",
            "Give --durations with all of them or --videos with the files, or leave such rows out with "
            "--without-duration drop",
        )

    def _refuse_other_units(self, last: Annotation) -> None:
        report = self.report
        total = report.spans_kept + sum(report.spans_dropped.values())
        if self._first_off_scale is not None and report.spans_off_scale > max(_FEW, _OFF_SCALE_SHARE * total):
            self._first_off_scale.record.refuse(
                f"this and {report.spans_off_scale - 1} more of {total} spans begin after their video has ended, so "
                "times or durations are not all in seconds",
                "Check the unit (milliseconds, frame numbers) and the durations; for csv and jsonl there is --unit",
            )
        spans = [span for example in self.examples for span in example.spans]
        if len(spans) <= _FEW or max(example.duration for example in self.examples) <= _SHORT_S:
            return
        if 0 < max(span.end_s for span in spans) <= 1.0:
            last.record.refuse(
                f"this and all {len(spans)} spans end within the first second, so they are fractions of the video",
                "Convert them to seconds; for csv and jsonl there is --unit fraction",
            )

    def _refuse_empty(self, last: Annotation) -> None:
        counts = [*self.report.dropped.most_common(), *self.report.spans_dropped.most_common()]
        reasons = "; ".join(f"{reason} ({count})" for reason, count in counts)
        remedy = "Check the files and the policies"
        if self.policies.split and self.policies.split not in self._splits:
            there = ", ".join(sorted(self._splits - {""}))
            remedy = (
                f"The splits are {there}" if there else "The annotations name no split: leave --split out, or give a "
                "file that lists the videos"
            )  # fmt: skip
        last.record.refuse(f"none of the {self.report.rows_read} rows is left: {reasons}", remedy)


def _fault(times: Times) -> str | None:
    start, end = times
    if not (math.isfinite(start) and math.isfinite(end)):
        return "a time is out of range"
    if start < 0:
        return "it begins before 0 s"
    return "it ends before it begins" if end < start else None
