"""`data import`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_opd.commands.asking import Overrides, require_writable
from video_opd.commands.earlier_outputs import Kind
from video_opd.data.importers._formats import FORMATS
from video_opd.errors import ConfigurationError, writing

if TYPE_CHECKING:
    from video_opd.data.importers._account import ImportReport, Policies


def data_import(arguments: argparse.Namespace, _: Overrides) -> int:
    """Annotations to a manifest, and what became of every row."""
    from video_opd.data.importers._account import Policies
    from video_opd.data.importers._annotation import Reading
    from video_opd.data.importers._collector import Collector
    from video_opd.data.importers._durations import read_durations
    from video_opd.data.importers._read_annotations import read_annotations, read_video_list
    from video_opd.data.importers._video_files import VideoFiles
    from video_opd.data.importers.generic import columns_of
    from video_opd.data.manifest import write_manifest

    _refuse_what_does_not_apply(arguments)
    if arguments.frame_rate is not None:
        from video_opd.data.video.picture_folder import require_rate

        require_rate(arguments.frame_rate)
    is_list = bool(arguments.split) and Path(arguments.split).is_file()
    policies = Policies(
        source=arguments.source or arguments.format,
        queries=arguments.queries,
        beyond=arguments.beyond,
        without_duration=arguments.without_duration,
        missing_videos=arguments.missing_videos,
        frame_rate=arguments.frame_rate,
        split="" if is_list else arguments.split or "",
        only_videos=read_video_list(Path(arguments.split)) if is_list else None,
    )
    reading = Reading(
        annotators=arguments.annotators,
        columns=columns_of(arguments.columns),
        unit=arguments.unit,
        fps=arguments.fps,
        template=arguments.template,
    )
    durations = read_durations(arguments.durations) if arguments.durations else None
    files = VideoFiles(arguments.videos, arguments.frame_rate) if arguments.videos else None
    annotations = read_annotations(arguments.format, arguments.files, reading)
    # It makes the folder, so not before the files were there; videos are read below.
    require_writable(arguments.out, Kind.MANIFEST)
    collector = Collector(policies, durations, files)
    examples = collector.collect(annotations)
    with writing(arguments.out):
        write_manifest(arguments.out, examples, are_checked=True)
    for warning in collector.report.warnings:
        print(f"video-opd: warning: {warning}", file=sys.stderr)
    if arguments.json:
        convention: dict[str, Any] = {"format": arguments.format, "files": [str(file) for file in arguments.files]}
        named = (
            "queries",
            "beyond",
            "without_duration",
            "missing_videos",
            "annotators",
            "unit",
            "fps",
            "frame_rate",
            "split",
            "template",
        )
        convention |= {"source": policies.source, "columns": dict(reading.columns)}
        convention |= {name: getattr(arguments, name) for name in named}
        convention |= {name: str(getattr(arguments, name) or "") for name in ("durations", "videos")}
        report = {"manifest": str(arguments.out), "convention": convention, **collector.report.to_dict()}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _show(collector.report, policies)
        print(f"manifest: {arguments.out}")
    return 0


def _refuse_what_does_not_apply(arguments: argparse.Namespace) -> None:
    """An option that would do nothing was meant to do something."""
    heeds = FORMATS[arguments.format].heeds
    idle = {
        "--columns": bool(arguments.columns) and "columns" not in heeds,
        "--unit": arguments.unit != "seconds" and "unit" not in heeds,
        "--fps": arguments.fps is not None and arguments.unit != "frames",
        "--template": bool(arguments.template) and "template" not in heeds,
        "--annotators": arguments.annotators != "consensus" and "annotators" not in heeds,
        "--missing-videos": arguments.missing_videos != "keep" and arguments.videos is None,
    }
    for option, does_nothing in idle.items():
        if does_nothing:
            raise ConfigurationError(
                option, reason=f"it does nothing for `data import {arguments.format}` as called", remedy="leave it out"
            )


def _show(report: ImportReport, policies: Policies) -> None:
    """What became of every row, in the order a reader wants to know it."""
    from video_opd.data.importers._account import CONTROL, OTHER_CLIP, OTHER_DURATION, SAME_ID, UNKNOWN

    print(f"{report.rows_kept} of {report.rows_read} rows kept")
    for reason, count in report.dropped.most_common():
        print(f"- {count} dropped: {reason} (first: {report.first[reason]})")
    print(f"{report.spans_kept} spans, {report.several_spans} rows with several")
    for reason, count in report.spans_dropped.most_common():
        print(f"- {count} dropped: {reason} (first: {report.first[reason]})")
    if report.spans_beyond:
        done = {"keep": "kept as annotated", "clip": "clipped", "drop": "dropped"}[policies.beyond]
        late = f", {report.spans_off_scale} begin after it" if report.spans_off_scale else ""
        print(
            f"- {report.spans_beyond} end after their video, {report.spans_beyond_tolerance} of them by more than a "
            f"second{late}: {done} (--beyond)"
        )
    if report.spans_without_length:
        print(f"- {report.spans_without_length} have no length, and no answer reaches them: kept")
    if report.control_characters:
        print(
            f"- {report.control_characters} queries hold control characters, kept as they are; any --queries but as-is "
            f"makes blanks of them (first: {report.first[CONTROL]})"
        )
    if report.clips_unlike_duration:
        print(
            f"- {report.clips_unlike_duration} rows have a clip whose length is more than a second from their duration "
            f"(first: {report.first[OTHER_CLIP]})"
        )
    if report.same_question:
        print(f"- {report.same_question} rows ask what another row asks of the same video")
    if report.same_id:
        print(f"- {report.same_id} rows had an id that was taken, and were numbered (first: {report.first[SAME_ID]})")
    if report.durations_disagree:
        print(
            f"- {report.durations_disagree} rows have another duration than the durations file, by more than a second: "
            f"the file's was taken (first: {report.first[OTHER_DURATION]})"
        )
    known = [f"{count} from the {origin}" for origin, count in report.durations_from.items() if origin != UNKNOWN]
    if missing := report.durations_from[UNKNOWN]:
        known.append(f"{missing} unknown and left out (--durations or --videos fill them in; see --without-duration)")
    print("durations: " + ", ".join(known))
    for remark, count in report.remarks.most_common():
        print(f"- {count} rows: {remark}")
    _show_videos(report)


def _show_videos(report: ImportReport) -> None:
    """What is the matter with the files."""
    off = [f"{video} {said:g} s, file {real:.2f} s" for video, (said, real) in report.durations_off.items()]
    short = [f"{video} {end:g} s, file {real:.2f} s" for video, (end, real) in report.clips_off.items()]
    for what, items in (
        ("videos are not in the folder", report.videos_missing),
        (
            "videos have several files of their name, and none was taken",
            [f"{video} ({', '.join(paths[:2])})" for video, paths in report.videos_ambiguous.items()],
        ),
        ("videos cannot be read", [f"{video} ({reason})" for video, reason in report.videos_unreadable.items()]),
        (
            "videos are links out of the folder, which no other command follows: copy them, or give the folder that "
            "the links point into",
            [f"{video} ({target})" for video, target in report.videos_outside.items()],
        ),
        ("videos differ from their duration by more than a second", off),
        ("videos end more than a second before their clip", short),
    ):
        if items:
            print(f"- {len(items)} {what}: {'; '.join(items[:3])}{'; …' if len(items) > 3 else ''}")
