"""`data import`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from video_opd.cli.argument_types import Json, Number, Plugins, Rate, load_plugins, offer_names
from video_opd.cli.asking import require_writable
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.path_roles import Reads, ReadsFileOrNames, ReadsVideos, Writes
from video_opd.cli.refusals import require_choice
from video_opd.data.importers._formats import ANNOTATORS, BEYOND, FORMATS, QUERIES, UNITS
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.data.importers._account import ImportReport, Policies
    from video_opd.data.importers._annotation import ReadOptions


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Importing:
    """How annotations become a manifest."""

    out: Writes
    """manifest, JSON lines"""
    durations: Reads | None = None
    """CSV or JSON file with the duration of every video"""
    videos: ReadsVideos | None = None
    """folder of the videos; finds every video, and compares its duration"""
    split: ReadsFileOrNames | None = None
    """only this split, by its name or by a file that lists its videos"""
    source: str | None = None
    """name of the data set in the manifest (default: the format's)"""
    queries: Annotated[str, Parameter(choices=QUERIES)] = "as-is"
    """unchanged; blanks trimmed; cleaned as timelens or time-r1 do; only the text in quotes; without Ego4D's `Query
    Text:`"""
    beyond: Annotated[str, Parameter(choices=BEYOND)] = "keep"
    """what to do with spans that end after the video"""
    without_duration: Literal["auto", "keep", "refuse", "drop"] = "auto"
    """what to do with rows of unknown duration; auto: keep them, unless --durations or --videos should have it"""
    missing_videos: Literal["keep", "drop"] = "keep"
    """what to do with rows whose video is not in --videos or cannot be read"""
    frame_rate: Annotated[Number | None, Parameter(metavar="RATE")] = None
    """the videos are folders of pictures with this many pictures per second"""
    annotators: Annotated[str, Parameter(choices=ANNOTATORS)] = "consensus"
    """didemo: how to combine several annotators"""
    template: str = ""
    """sft, video-opd: the form of the questions: a preset's name, quoted, or a pattern such as "…'{query}'…" (default:
    the form that fits)"""
    columns: Annotated[tuple[str, ...], Parameter(metavar="ROLE=COLUMN")] = ()
    """csv, json, jsonl: the column of a role, such as query=caption start=begin"""
    unit: Annotated[str, Parameter(choices=UNITS)] = "seconds"
    """csv, json, jsonl: unit of the spans; durations and clips are in seconds, with clock also clock times"""
    fps: Rate | None = None
    """csv, json, jsonl: frames per second, with --unit frames"""
    plugin: Plugins = ()
    json: Json = False


def import_annotations(
    format: Annotated[str, offer_names(FORMATS, "format of the files")],
    files: Annotated[tuple[Reads, ...], Parameter(metavar="FILE")] = (),
    /,
    *,
    by: Importing,
) -> int:
    """Make a manifest from a data set's own annotation files.

    Args:
        files: annotation files, as the data set provides them

    Example:
        video-opd data import charades-sta charades_sta_test.txt --durations Charades_v1_test.csv --out test.jsonl
    """
    from video_opd.data.importers._collector import Collector
    from video_opd.data.importers._durations import read_durations
    from video_opd.data.importers._read_annotations import read_annotations
    from video_opd.data.importers._video_files import VideoFiles
    from video_opd.data.manifest import write_manifest

    load_plugins(by.plugin)
    require_choice("FORMAT", format, FORMATS, of="video-opd data import")
    if not files:  # after the check of the format, because the format may be the mistake
        raise ConfigurationError(
            "`video-opd data import`",
            reason="the following arguments are required: FILE",
            remedy="see `video-opd data import --help`",
        )
    _refuse_what_does_not_apply(format, by)
    if by.frame_rate is not None:
        from video_opd.data.video.picture_folder import require_rate

        require_rate(by.frame_rate)
    policies, reading = _make_policies(format, by), _make_reading(by)
    durations = read_durations(by.durations) if by.durations else None
    video_files = VideoFiles(by.videos, by.frame_rate) if by.videos else None
    annotations = read_annotations(format, files, reading)
    # This makes the folder, so it comes after the check of the input files. The videos are read below.
    require_writable(by.out, Kind.MANIFEST)
    collector = Collector(policies, durations, video_files)
    examples = collector.collect(annotations)
    with explain_write_errors(by.out):
        write_manifest(by.out, examples, are_checked=True)
    for warning in collector.report.warnings:
        show(f"video-opd: warning: {warning}", file=sys.stderr)
    if by.json:
        convention = _describe_convention(format, files, by, policies.source, dict(reading.columns))
        report = {"manifest": str(by.out), "convention": convention, **collector.report.to_dict()}
        show(dumps(report, indent=2, ensure_ascii=False))
    else:
        _show(collector.report, policies)
        show(f"manifest: {by.out}")
    return 0


def _make_policies(format: str, by: Importing) -> Policies:
    """How the rows are treated. `--split` names a split, or a file that lists videos."""
    from video_opd.data.importers._account import Policies
    from video_opd.data.importers._read_annotations import read_video_list

    video_list = Path(by.split) if by.split and Path(by.split).is_file() else None
    return Policies(
        source=by.source or format,
        queries=by.queries,
        beyond=by.beyond,
        without_duration=by.without_duration,
        missing_videos=by.missing_videos,
        frame_rate=by.frame_rate,
        split="" if video_list else by.split or "",
        only_videos=read_video_list(video_list) if video_list else None,
    )


def _make_reading(by: Importing) -> ReadOptions:
    """How the files are read."""
    from video_opd.data.importers._annotation import ReadOptions
    from video_opd.data.importers.generic import parse_columns

    return ReadOptions(
        annotators=by.annotators,
        columns=parse_columns(by.columns),
        unit=by.unit,
        fps=by.fps,
        template=by.template,
    )


def _describe_convention(
    format: str, files: Sequence[Path], by: Importing, source: str, columns: dict[str, str]
) -> dict[str, Any]:
    """The rules by which the manifest was made, for the report."""
    named = (
        "queries", "beyond", "without_duration", "missing_videos", "annotators", "unit", "fps", "frame_rate", "split",
        "template",
    )  # fmt: skip
    return {
        "format": format,
        "files": [str(file) for file in files],
        "source": source,
        "columns": columns,
        **{name: getattr(by, name) for name in named},
        **{name: str(getattr(by, name) or "") for name in ("durations", "videos")},
    }


def _refuse_what_does_not_apply(format: str, by: Importing) -> None:
    """Refuse an option that has no effect here: the user expects an effect."""
    heeds = FORMATS[format].heeds
    idle = {
        "--columns": bool(by.columns) and "columns" not in heeds,
        "--unit": by.unit != "seconds" and "unit" not in heeds,
        "--fps": by.fps is not None and by.unit != "frames",
        "--template": bool(by.template) and "template" not in heeds,
        "--annotators": by.annotators != "consensus" and "annotators" not in heeds,
        "--missing-videos": by.missing_videos != "keep" and by.videos is None,
    }
    for option, does_nothing in idle.items():
        if does_nothing:
            raise ConfigurationError(
                option, reason=f"it does nothing for `data import {format}` with these arguments", remedy="leave it out"
            )


def _show(report: ImportReport, policies: Policies) -> None:
    """Print what happened to the rows, the most important facts first."""
    from video_opd.data.importers._account import CONTROL, OTHER_CLIP, OTHER_DURATION, SAME_ID, UNKNOWN

    show(f"{report.rows_kept} of {report.rows_read} rows kept")
    for reason, count in report.dropped.most_common():
        show(f"- {count} dropped: {reason} (first: {report.first[reason]})")
    show(f"{report.spans_kept} spans, {report.several_spans} rows with several")
    for reason, count in report.spans_dropped.most_common():
        show(f"- {count} dropped: {reason} (first: {report.first[reason]})")
    if report.spans_beyond:
        done = {"keep": "kept as annotated", "clip": "clipped", "drop": "dropped"}[policies.beyond]
        late = f", {report.spans_off_scale} begin after it" if report.spans_off_scale else ""
        show(
            f"- {report.spans_beyond} end after their video, {report.spans_beyond_tolerance} of them by more than a "
            f"second{late}: {done} (--beyond)"
        )
    if report.spans_without_length:
        show(f"- {report.spans_without_length} have zero length, so no answer can overlap them: kept")
    if report.control_characters:
        show(
            f"- {report.control_characters} queries hold control characters, kept as they are; any --queries but as-is "
            f"makes blanks of them (first: {report.first[CONTROL]})"
        )
    if report.clips_unlike_duration:
        show(
            f"- {report.clips_unlike_duration} rows have a clip whose length is more than a second from their duration "
            f"(first: {report.first[OTHER_CLIP]})"
        )
    if report.same_question:
        show(f"- {report.same_question} rows ask what another row asks of the same video")
    if report.same_id:
        first = report.first[SAME_ID]
        show(f"- {report.same_id} rows had the id of another row, and a number was appended (first: {first})")
    if report.durations_disagree:
        show(
            f"- {report.durations_disagree} rows have another duration than the durations file, by more than a second: "
            f"the file's was taken (first: {report.first[OTHER_DURATION]})"
        )
    known = [f"{count} from the {origin}" for origin, count in report.durations_from.items() if origin != UNKNOWN]
    if missing := report.durations_from[UNKNOWN]:
        known.append(f"{missing} unknown and left out (--durations or --videos fill them in; see --without-duration)")
    show("durations: " + ", ".join(known))
    for remark, count in report.remarks.most_common():
        show(f"- {count} rows: {remark}")
    _show_videos(report)


def _show_videos(report: ImportReport) -> None:
    """Print the problems of the video files."""
    off = [f"{video} {said:g} s, file {real:.2f} s" for video, (said, real) in report.durations_off.items()]
    short = [f"{video} {end:g} s, file {real:.2f} s" for video, (end, real) in report.clips_off.items()]
    for what, items in (
        ("videos are not in the folder", report.videos_missing),
        (
            "videos match several files by name, and none was used",
            [f"{video} ({', '.join(paths[:2])})" for video, paths in report.videos_ambiguous.items()],
        ),
        ("videos cannot be read", [f"{video} ({reason})" for video, reason in report.videos_unreadable.items()]),
        (
            "videos are links out of the folder, and other commands do not follow such links: copy the videos, or give "
            "the folder that the links point to",
            [f"{video} ({target})" for video, target in report.videos_outside.items()],
        ),
        ("videos differ from their duration by more than a second", off),
        ("videos end more than a second before their clip", short),
    ):
        if items:
            show(f"- {len(items)} {what}: {'; '.join(items[:3])}{'; …' if len(items) > 3 else ''}")
