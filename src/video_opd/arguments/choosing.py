"""`score`, `merge-scores`, `select`."""

from __future__ import annotations

from video_opd.arguments.parts import (
    Commands,
    Parser,
    add_command,
    json_flag,
    model_arguments,
    positive,
    rate,
    shard,
    share,
)
from video_opd.arguments.paths import goes_on, reads, reads_model_or_names, reads_videos, writes
from video_opd.curriculum import STRATEGIES


def add_choosing(commands: Commands[Parser]) -> None:
    """`score`, `merge-scores`, `select`."""
    _add_scoring(commands)
    command = add_command(
        commands, "merge-scores", "put the shards of one scoring into one file",
        "video-opd merge-scores scores-0.jsonl scores-1.jsonl --out scores.jsonl", function="merge_scores",
    )  # fmt: skip
    command.add_argument("scores", type=reads, nargs="+", help="all shards")
    command.add_argument("--out", type=writes, required=True, help="scores, JSON lines")

    command = add_command(
        commands, "select", "choose what to train on from scores of teacher and student",
        "video-opd select --teacher teacher.jsonl --student student.jsonl --strategy top-k --count 2500 "
        "--threshold 0.7 --out selection.jsonl",
    )  # fmt: skip
    command.add_argument("--teacher", type=reads, nargs="+", metavar="SCORES", help="file of scores, or all its shards")
    command.add_argument("--student", type=reads, nargs="+", metavar="SCORES", help="file of scores, or all its shards")
    command.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="random",
        help="compared in docs/CURRICULUM.md (default: %(default)s)",
    )
    command.add_argument("--count", type=int, required=True, help="examples to choose")
    command.add_argument(
        "--threshold", type=share, default=0.7, help="least reliability of the teacher; 0: none (default: %(default)s)"
    )
    command.add_argument(
        "--reliability", choices=("annotation", "agreement"), default="annotation",
        help="the teacher's mean IoU with the annotation, or among its own answers (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--disagreement", choices=("iou", "reverse-kl", "reverse-kl-per-token"), default="iou",
        help="what a ranking ranks by (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--mean", type=share, default=0.3, help="of strategy difficulty (default: %(default)s)")
    command.add_argument("--std", type=rate, default=0.2, help="of strategy difficulty (default: %(default)s)")
    command.add_argument(
        "--density-corrected", action="store_true", help="strategy difficulty: as TimeLens draws, against the histogram"
    )
    command.add_argument("--seed", type=int, default=0, help="of ties and draws (default: %(default)s)")
    command.add_argument("--out", type=writes, required=True, help="selection, JSON lines")
    json_flag(command)


def _add_scoring(commands: Commands[Parser]) -> None:
    """`score`."""
    command = add_command(
        commands, "score", "several answers of a model to every example of a manifest, for a curriculum",
        "video-opd score tiny-teacher train.jsonl --videos videos --answers 4 --out teacher-scores.jsonl",
    )  # fmt: skip
    model_arguments(command)
    command.add_argument("manifest", type=reads, help="questions, JSON lines")
    command.add_argument(
        "--videos",
        type=reads_videos,
        help="folder the video paths are relative to (default: videos beside the manifest)",
    )
    command.add_argument(
        "--out", type=goes_on, required=True, help="scores, JSON lines; goes on where a killed run was"
    )
    command.add_argument(
        "--answers", type=positive, default=4, help="of each example, from one reading (default: %(default)s)"
    )
    command.add_argument(
        "--top-k", choices=("sampled", "beam"), default="sampled",
        help="the greedy answer and draws, or the most probable distinct spans (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--seed", type=int, default=0,
        help="of the draws; with the same seed two models do not draw alike either (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--teacher",
        type=reads_model_or_names,
        help="also how far a teacher is from what the model writes, for reverse-kl",
    )
    command.add_argument(
        "--shard", type=shard, default=(0, 1), metavar="I/N", help="only every N-th example, from the I-th on"
    )
    command.add_argument("--batch-size", type=positive, default=8, help="prompts read together (default: %(default)s)")
    command.add_argument(
        "--max-bad-share", type=share, default=0.05, help="stop if more videos are unusable (default: %(default)s)"
    )
    command.add_argument(
        "--skip-below", type=share,
        help="no draws where the greedy answer's IoU is lower: it alone is the example's mean IoU then, and an example "
        "whose draws would be better is lost for a filter",
    )  # fmt: skip
    command.add_argument(
        "--race", action="store_true",
        help="score a random part of every source first, and give up a source of which surely fewer than --min-yield "
        "pass --threshold (error of 5 %% a source, over all looks)",
    )  # fmt: skip
    command.add_argument("--threshold", type=share, default=0.7, help="of the race, mean IoU (default: %(default)s)")
    command.add_argument(
        "--pilot",
        type=positive,
        default=40,
        help="of the race: examples of a source between two looks (default: %(default)s)",
    )
    command.add_argument("--min-yield", type=share, default=0.1, help="of the race (default: %(default)s)")
    command.add_argument("--enough", type=positive, help="stop once so many examples passed the threshold")
    json_flag(command)
