"""`evaluate`, `ground`."""

from __future__ import annotations

import argparse
from pathlib import Path

from video_opd.arguments.parts import Commands, Parser, add_command, json_flag, model_arguments, positive, rate, share


def add_asking(commands: Commands[Parser]) -> None:
    """`evaluate`, `ground`."""
    command = add_command(
        commands, "evaluate", "score a model's answers to a manifest",
        "video-opd evaluate tiny-teacher test.jsonl --videos clips --out predictions.jsonl",
    )  # fmt: skip
    model_arguments(command)
    command.add_argument("manifest", type=Path, nargs="?", help="questions, JSON lines")
    command.add_argument("--videos", type=Path, help="folder the manifest's video paths are relative to")
    command.add_argument("--out", type=Path, required=True, help="predictions, JSON lines; with lmms-eval a folder")
    command.add_argument("--batch-size", type=positive, help="prompts read together (default: 8; lmms-eval: 1)")
    command.add_argument(
        "--max-bad-share", type=share, default=0.05, help="stop if more videos are unusable (default: %(default)s)"
    )
    json_flag(command)
    _add_lmms_eval(command)

    command = add_command(
        commands, "ground", "ask one question about one video",
        'video-opd ground tiny-teacher clip.mp4 "the red circle"',
    )  # fmt: skip
    model_arguments(command)
    command.add_argument("video", type=Path, help="video file")
    command.add_argument("query", help="what to look for, in words")
    json_flag(command)


def _add_lmms_eval(command: argparse.ArgumentParser) -> None:
    """Tasks of lmms-eval in place of a manifest."""
    group = command.add_argument_group("tasks of lmms-eval in place of MANIFEST and --videos (docs/LMMS_EVAL.md)")
    group.add_argument("--with", dest="scorer", choices=("lmms-eval",), help="who asks and scores")
    group.add_argument("--tasks", metavar="NAME[,NAME…]", help="names of its tasks or groups")
    group.add_argument("--include-path", type=Path, metavar="DIR", help="folder with tasks of your own")
    group.add_argument("--lmms-python", metavar="PY", help="its environment's Python (default: VIDEO_OPD_LMMS_PYTHON)")
    group.add_argument("--lmms-model", metavar="CLASS", help="its model class (default: by the model's config.json)")
    group.add_argument("--model-args", metavar="K=V,…", help="more arguments of that class, or others than ours")
    group.add_argument("--limit", type=positive, metavar="N", help="only the first N questions of each task")
    group.add_argument("--timeout", type=rate, metavar="SECONDS", help="end it after so long (default: never)")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--write-only", action="store_true", help="write and print the command, for elsewhere")
    either.add_argument("--read-only", action="store_true", help="read what the command left in --out")
