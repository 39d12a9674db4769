"""`data stats`, `data split`, `data sample`, `data merge`, `data overlap`."""

from __future__ import annotations

import argparse

from video_opd.arguments.parts import Commands, Parser, add_command, json_flag, positive, share
from video_opd.arguments.paths import reads, reads_videos, writes


def add_arranging(group: Commands[Parser]) -> None:
    """The commands of `data …` that look at whole manifests and make others of them."""
    command = add_command(
        group, "stats", "say what manifests are like, in numbers and pictures",
        "video-opd data stats train.jsonl test.jsonl --picture statistics.html", function="data_stats",
    )  # fmt: skip
    command.add_argument("manifests", type=reads, nargs="+", metavar="MANIFEST", help="questions, JSON lines")
    _videos(command)
    command.add_argument("--picture", type=writes, metavar="FILE", help="also draw them: FILE.svg or FILE.html")
    json_flag(command)

    command = add_command(
        group, "split", "cut a manifest into parts that share no video",
        "video-opd data split all.jsonl --out parts --parts train=0.8 validation=0.1 test=0.1", function="data_split",
    )  # fmt: skip
    _manifest(command)
    command.add_argument("--out", type=writes, required=True, help="folder for PART.jsonl, one file a part")
    command.add_argument(
        "--parts", nargs="+", required=True, metavar="NAME=SHARE",
        help="shares add up to 1; sizes are about that, since later rows must not move earlier ones",
    )  # fmt: skip
    command.add_argument(
        "--by", choices=("video", "row"), default="video",
        help="video: all rows about a video, and its crops, in one part (default: %(default)s)",
    )  # fmt: skip
    _seed(command)
    json_flag(command)

    command = add_command(
        group, "sample", "draw rows; a smaller sample is part of a larger one",
        "video-opd data sample all.jsonl --count 30000 --by duration --filter timelens --out sample.jsonl",
        function="data_sample",
    )  # fmt: skip
    _manifest(command)
    _videos(command)
    command.add_argument("--count", type=positive, required=True, help="rows to draw")
    command.add_argument("--out", type=writes, required=True, help="manifest to write")
    command.add_argument(
        "--by", choices=("none", "source", "duration"), default="none",
        help="equally many of each source, or of each of TimeLens's nine buckets of duration (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--filter", choices=("timelens",),
        help="first leave out what TimeLens does not train on: under 5 s or over 500 s, over 200 words, no span within "
        "the video, questions about sound",
    )  # fmt: skip
    _seed(command)
    json_flag(command)

    _add_merge(group)
    _add_overlap(group)


def _add_merge(group: Commands[Parser]) -> None:
    """`data merge`."""
    command = add_command(
        group, "merge", "put manifests together",
        "video-opd data merge charades.jsonl activitynet.jsonl --out all.jsonl", function="data_merge",
    )  # fmt: skip
    command.add_argument("manifests", type=reads, nargs="+", metavar="MANIFEST", help="questions, JSON lines")
    command.add_argument("--out", type=writes, required=True, help="manifest to write")
    command.add_argument(
        "--on-conflict", choices=("refuse", "keep-first", "rename"), default="refuse",
        help="when an id stands for two different rows; rename appends the name of the later file "
        "(default: %(default)s)",
    )  # fmt: skip
    json_flag(command)


def _add_overlap(group: Commands[Parser]) -> None:
    """`data overlap`."""
    command = add_command(
        group, "overlap", "find rows of one manifest that ask about a moment that another asks about too",
        "video-opd data overlap train.jsonl test.jsonl --without clean.jsonl", function="data_overlap",
    )  # fmt: skip
    command.add_argument("first", type=reads, metavar="A", help="manifest, such as what is trained on")
    command.add_argument("second", type=reads, metavar="B", help="manifest, such as what is tested on")
    command.add_argument(
        "--threshold", type=share, default=0.5,
        help="least temporal IoU to count; 0: any overlap (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--without", type=writes, metavar="FILE", help="write the rows of A that do not overlap so far"
    )
    command.add_argument("--out", type=writes, metavar="FILE", help="write the overlapping pairs, JSON lines")
    json_flag(command)


def _manifest(command: argparse.ArgumentParser) -> None:
    command.add_argument("manifest", type=reads, help="questions, JSON lines")


def _videos(command: argparse.ArgumentParser) -> None:
    command.add_argument("--videos", type=reads_videos, help="folder of the videos, for rows without a duration")


def _seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
