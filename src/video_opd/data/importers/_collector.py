"""Make the rows of a manifest from annotations, by named policies, and count every change."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from video_opd.data.importers._account import (
    CONTROL,
    NO_DURATION,
    OTHER_CLIP,
    OTHER_DURATION,
    SAME_ID,
    UNKNOWN,
    ImportReport,
    Policies,
)
from video_opd.data.importers._annotation import Annotation, Times
from video_opd.data.importers._durations import find_key
from video_opd.data.importers._unit_suspicions import Lateness, find_suspicions, refuse_early_spans
from video_opd.data.importers._video_files import VideoFiles
from video_opd.data.manifest_rows import example_from_row, find_path_fault, row_from_example
from video_opd.data.query_words import CONTROL_CHARACTERS, QUERY_POLICIES, has_query_text_prefix
from video_opd.data.video.video_names import VIDEO_SUFFIXES, video_name
from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S, ROUNDING_S
from video_opd.errors import DataError
from video_opd.types import Example, Span

_NO_VIDEO = "the video is missing or cannot be read"


class Collector:
    """Takes annotations one by one and gives the rows of a manifest.

    Args:
        durations: seconds by name of the video or by path, as `read_durations` gives them, before what the annotations
            say of whole videos.
        files: the folder of the videos; None: they are not looked for.
    """

    def __init__(
        self, policies: Policies, durations: dict[str, float] | None = None, files: VideoFiles | None = None
    ) -> None:
        self.policies, self.durations, self.files = policies, durations, files
        self.report = ImportReport()
        self.examples: list[Example] = []
        self._ids: set[str] = set()
        self._last_number: dict[str, int] = {}
        """Id -> the number behind its last repetition, so that a thousand of them are not all tried again."""
        self._num_by_base: Counter[str] = Counter()
        self._asked: set[tuple[str, str]] = set()
        self._without_duration: list[Annotation] = []
        self._without = policies.without_duration
        if self._without == "auto":
            self._without = "keep" if durations is None and files is None else "refuse"
        self._lateness = Lateness()
        self._splits: set[str] = set()
        self._looked_for: dict[str, str | None] = {}

    def collect(self, annotations: Iterable[Annotation]) -> list[Example]:
        """All rows, in order.

        Raises:
            DataError: no rows at all, none left, unknown durations, times in another unit than seconds.
        """
        last: Annotation | None = None
        for last in annotations:
            self.report.rows_read += 1
            self._splits.add(last.split)
            self._take(last, "" if last.skipped else self._make_id(last))
        if last is None:
            raise DataError("the files hold no annotations", reason="there is nothing to import", remedy="Check them")
        self._refuse_unknown_durations()
        self._lateness.refuse_other_units()
        if not self.examples:
            self._refuse_empty(last)
        refuse_early_spans(self.examples, last)
        self.report.warnings = find_suspicions(self.examples)
        if named := sum(has_query_text_prefix(example.query) for example in self.examples):
            self.report.warnings.append(f"{named} queries begin with `Query Text:`; --queries ego4d takes it off")
        if self.files is not None:
            self.report.videos_unreadable = dict(self.files.unreadable)
            self.report.videos_ambiguous = dict(self.files.ambiguous)
        self.report.rows_kept = len(self.examples)
        return self.examples

    def _make_id(self, annotation: Annotation) -> str:
        """The id of a row. It is given before rows are dropped, so that an id means the same question under all
        policies."""
        base = f"{self._make_source(annotation)}/{video_name(annotation.video)}"
        name = annotation.name or str(self._num_by_base[base])
        self._num_by_base[base] += 1
        first = id = f"{base}/{name}"
        if id in self._ids:
            self.report.same_id += 1
            self.report.first.setdefault(SAME_ID, annotation.record.where)
        while id in self._ids:
            self._last_number[first] = number = self._last_number.get(first, 1) + 1
            id = f"{first}-{number}"
        self._ids.add(id)
        return id

    def _make_source(self, annotation: Annotation) -> str:
        return "/".join(part for part in (self.policies.source, annotation.source) if part)

    def _take(self, annotation: Annotation, id: str) -> None:
        policies, report = self.policies, self.report
        if annotation.skipped:
            return report.drop(annotation, annotation.skipped)
        if policies.split and annotation.split != policies.split:
            return report.drop(annotation, f"it is not of split {policies.split}")
        if policies.only_videos is not None and video_name(annotation.video) not in policies.only_videos:
            return report.drop(annotation, "its video is not in the list")
        query = QUERY_POLICIES[policies.queries](annotation.query)
        if not query.strip():
            return report.drop(annotation, "the query is empty")
        video, exists = self._find_video(annotation.video)
        if find_path_fault(video):
            return report.drop(annotation, "the video's path is not one inside a folder")
        if not exists and policies.missing_videos == "drop":
            return report.drop(annotation, _NO_VIDEO)
        if exists and self.files is not None and (target := self.files.resolve_outside(video)):
            report.videos_outside[video] = target
            if policies.missing_videos == "drop":
                return report.drop(annotation, "the video lies outside the folder, behind a link")
        duration = self._find_duration(annotation, video if exists else None)
        if duration is None:
            report.note(NO_DURATION, annotation)
            if self._without != "keep" or annotation.fractions:
                self._without_duration.append(annotation)
                return report.drop(annotation, NO_DURATION)
        elif not 0 < duration < math.inf:
            return report.drop(annotation, "the duration is not more than 0")
        spans = self._check_spans(annotation, duration)
        if not spans:
            return report.drop(annotation, "no span is left" if annotation.spans else "no span is annotated")
        clip = None if annotation.clip is None else Span(*annotation.clip)
        source = self._make_source(annotation)
        return self._keep(
            annotation,
            Example(
                id=id,
                video=video,
                query=query,
                spans=spans,
                duration=duration,
                source=source,
                clip=clip,
                frame_rate=annotation.frame_rate or self._find_frame_rate(video, exists),
            ),
        )

    def _keep(self, annotation: Annotation, example: Example) -> None:
        report = self.report
        _, faults = example_from_row(row_from_example(example))
        errors = [fault.message for fault in faults if fault.severity == "error"]
        if errors:  # what a manifest may not hold, beyond the cases above
            return report.drop(annotation, errors[0])
        asked = example.video, example.query
        report.same_question += asked in self._asked
        self._asked.add(asked)
        clip, duration = example.clip, example.duration
        if clip and duration and abs(clip.end_s - clip.start_s - duration) > DURATION_TOLERANCE_S:
            report.clips_unlike_duration += 1
            report.note(OTHER_CLIP, annotation)
        if CONTROL_CHARACTERS.search(example.query):
            report.control_characters += 1
            report.note(CONTROL, annotation)
        report.spans_without_length += sum(span.start_s == span.end_s for span in example.spans)
        report.several_spans += len(example.spans) > 1
        report.spans_kept += len(example.spans)
        if annotation.remark:
            report.remarks[annotation.remark] += 1
        self.examples.append(example)
        return None

    def _find_frame_rate(self, video: str, exists: bool) -> float | None:
        """Pictures per second of a video that is a folder: its own, or without --videos that of the policies."""
        return self.files.rate_of(video) if self.files and exists else self.policies.frame_rate

    def _find_video(self, name: str) -> tuple[str, bool]:
        """The path of a video in the manifest, and whether a file that can be used is there, if anybody looks."""
        named = name.strip().removeprefix("./")
        if named not in self._looked_for:
            found = self.files.find(named) if self.files else None
            if self.files and (found is None or self.files.read_duration(found) is None):
                if found is None and named not in self.files.ambiguous:
                    self.report.videos_missing.append(named)
                found = None
            self._looked_for[named] = found
        found = self._looked_for[named]
        if found is not None:
            return found, True
        if self.policies.frame_rate is None and not any(named.lower().endswith(suffix) for suffix in VIDEO_SUFFIXES):
            named = named.rstrip(".") + ".mp4"
        return named, self.files is None

    def _find_duration(self, annotation: Annotation, path: str | None) -> float | None:
        """The duration in seconds: from the durations file, else from the annotation, else from the video.

        What the two files say is about the whole video: of a clip, they only bound the end.
        """
        of_file = self.files.read_duration(path) if self.files and path is not None else None
        listed = (self.durations or {}).get(find_key(annotation.video, self.durations))
        if annotation.clip is not None:
            start, end = annotation.clip
            for name, whole in ((annotation.video, listed), (path, of_file)):
                if name is not None and whole is not None and end > whole + DURATION_TOLERANCE_S:
                    self.report.clips_off[name] = end, whole
            duration, origin = annotation.duration, "annotation"
            if duration is None:
                duration, origin = end - start, "clip"
        elif listed is not None:
            duration, origin = listed, "durations file"
            if annotation.duration is not None and abs(annotation.duration - listed) > DURATION_TOLERANCE_S:
                self.report.durations_disagree += 1
                self.report.first.setdefault(OTHER_DURATION, annotation.record.where)
        elif annotation.duration is not None:
            duration, origin = annotation.duration, "annotation"
        elif of_file is not None:
            duration, origin = of_file, "video"
        else:
            self.report.durations_from[UNKNOWN] += 1
            return None
        self.report.durations_from[origin] += 1
        if path is None or of_file is None or annotation.clip is not None:
            return duration
        if abs(of_file - duration) > DURATION_TOLERANCE_S:
            self.report.durations_off[path] = duration, of_file
        return duration

    def _check_spans(self, annotation: Annotation, duration: float | None) -> tuple[Span, ...]:
        report, kept = self.report, []
        for times in annotation.spans:
            start, end = (time * (duration or 1.0) for time in times) if annotation.fractions else times
            reason = _find_fault((start, end))
            if reason is None and duration is not None:
                self._lateness.add(annotation, start, end, duration)
            if reason is None and duration is not None and end > duration + ROUNDING_S:
                report.spans_beyond += 1
                report.spans_beyond_tolerance += end > duration + DURATION_TOLERANCE_S
                report.spans_off_scale += start >= duration
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
        fractions = any(annotation.fractions for annotation in self._without_duration)
        if not self._without_duration or self._without == "drop" or (self._without == "keep" and not fractions):
            return
        first = self._without_duration[0]
        videos = len({annotation.video for annotation in self._without_duration})
        others = f" (and of {videos - 1} other videos)" if videos > 1 else ""
        lacking = "the annotations have none" + ", and the times are shares of it" * fractions
        if self.durations is not None:
            lacking = "the durations file has none, or several of that name"
        first.record.refuse(
            f"the duration of video {first.video!r}{others} is unknown: {lacking}",
            "Give --durations with all of them or --videos with the files, or have such rows left out with "
            "--without-duration drop, or written without a duration with keep",
        )

    def _refuse_empty(self, last: Annotation) -> None:
        counts = [*self.report.dropped.most_common(), *self.report.spans_dropped.most_common()]
        reasons = "; ".join(f"{reason} ({count})" for reason, count in counts)
        remedy = "Check the files and the policies"
        if counts and counts[0][0] == _NO_VIDEO:
            remedy = "Check that --videos is the folder that the video paths start from"
        if self.policies.split and self.policies.split not in self._splits:
            there = ", ".join(sorted(self._splits - {""}))
            remedy = (
                f"The splits are {there}" if there else "The annotations name no split: leave --split out, or give a "
                "file that lists the videos"
            )  # fmt: skip
        last.record.refuse(f"none of the {self.report.rows_read} rows is left: {reasons}", remedy)


def _find_fault(times: Times) -> str | None:
    start, end = times
    if not (math.isfinite(start) and math.isfinite(end)):
        return "a time is out of range"
    if start < 0:
        return "it begins before 0 s"
    return "it ends before it begins" if end < start else None
