"""`data import`."""

from __future__ import annotations

from video_opd.arguments.parts import Commands, Parser, add_command, json_flag, rate
from video_opd.arguments.paths import reads, reads_file_or_names, reads_videos, writes
from video_opd.data.importers._formats import ANNOTATORS, BEYOND, FORMATS, QUERIES, UNITS


def add_importing(group: Commands[Parser]) -> None:
    """`data import`."""
    command = add_command(
        group, "import", "make a manifest of a data set's own annotation files",
        "video-opd data import charades-sta charades_sta_test.txt --durations Charades_v1_test.csv --out test.jsonl",
        function="data_import",
    )  # fmt: skip
    command.add_argument("format", choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    command.add_argument("files", type=reads, nargs="+", metavar="FILE", help="annotations, as the data set has them")
    command.add_argument("--out", type=writes, required=True, help="manifest, JSON lines")
    command.add_argument("--durations", type=reads, help="CSV or JSON with the length of every video")
    command.add_argument("--videos", type=reads_videos, help="find every video there, and compare its length")
    command.add_argument(
        "--split", type=reads_file_or_names, help="only this split, by its name or by a file that lists its videos"
    )
    command.add_argument("--source", help="name of the data set in the manifest (default: the format's)")
    command.add_argument(
        "--queries", choices=QUERIES, default="as-is",
        help="as-is; blanks trimmed; cleaned as timelens or time-r1 do; what stands in quotes; without "
        "Ego4D's `Query Text:` (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--beyond", choices=BEYOND, default="keep", help="spans that end after the video (default: %(default)s)"
    )
    command.add_argument(
        "--without-duration", choices=("auto", "keep", "refuse", "drop"), default="auto",
        help="rows whose duration nobody knows; auto: kept without, unless --durations or --videos should know "
        "it (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--missing-videos", choices=("keep", "drop"), default="keep",
        help="rows whose video is not among --videos, or cannot be read (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--frame-rate", type=float, metavar="RATE", help="the videos are folders of pictures, so many a second"
    )
    command.add_argument(
        "--annotators", choices=ANNOTATORS, default="consensus",
        help="didemo: what several annotators amount to (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--template", default="",
        help="sft, video-opd: how questions are put: a preset's name, quoted, or a pattern such as \"…'{query}'…\" "
        "(default: whichever fits)",
    )  # fmt: skip
    command.add_argument(
        "--columns",
        nargs="+",
        default=(),
        metavar="ROLE=COLUMN",
        help="csv, json, jsonl: such as query=caption start=begin",
    )
    command.add_argument(
        "--unit", choices=UNITS, default="seconds",
        help="csv, json, jsonl: of the times of spans; durations and clips are seconds, with clock also clock times "
        "(default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--fps", type=rate, help="csv, json, jsonl: with --unit frames")
    json_flag(command)
