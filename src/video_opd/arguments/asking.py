"""`evaluate`, `ground`."""

from __future__ import annotations

from video_opd.arguments.benchmarks import benchmark_arguments
from video_opd.arguments.lmms import lmms_arguments
from video_opd.arguments.parts import Commands, Parser, add_command, json_flag, model_arguments, positive, share
from video_opd.arguments.paths import reads, reads_videos, writes


def add_asking(commands: Commands[Parser]) -> None:
    """`evaluate`, `ground`."""
    command = add_command(
        commands, "evaluate", "score a model's answers to a manifest, to a public benchmark, or to tasks of lmms-eval",
        "video-opd evaluate tiny-teacher test.jsonl --videos clips --out predictions.jsonl\n"
        "  video-opd evaluate MODEL --benchmark tempcompass --data TempCompass --before BASE --out answers.jsonl\n"
        "  video-opd evaluate MODEL --with lmms-eval --tasks timelens_charades --out scores",
    )  # fmt: skip
    model_arguments(command)
    command.add_argument("manifest", type=reads, nargs="?", help="questions, JSON lines")
    command.late = "manifest"
    command.add_argument("--videos", type=reads_videos, help="folder the manifest's video paths are relative to")
    command.add_argument(
        "--out",
        type=writes,
        required=True,
        help="predictions, JSON lines, written as they come; goes on where a killed run was; with lmms-eval a folder",
    )
    command.add_argument("--batch-size", type=positive, help="prompts read together (default: 8; lmms-eval: 1)")
    command.add_argument(
        "--max-bad-share",
        type=share,
        default=0.05,
        help="stop if more rows cannot be asked; they count as unanswered (default: %(default)s)",
    )
    command.add_argument(
        "--limit", type=positive, metavar="N", help="of --benchmark and --with: the first N questions of every task"
    )
    benchmark_arguments(command)
    lmms_arguments(command)
    json_flag(command)

    command = add_command(
        commands, "ground", "ask one question about one video",
        'video-opd ground tiny-teacher clip.mp4 "the red circle"',
    )  # fmt: skip
    model_arguments(command)
    command.add_argument("video", type=reads, help="video file, or a folder of numbered pictures")
    command.add_argument("query", help="what to look for, in words")
    command.add_argument("--frame-rate", type=float, metavar="RATE", help="pictures per second, of a folder of them")
    json_flag(command)
