"""The part of `evaluate` that leaves asking and scoring to lmms-eval."""

from __future__ import annotations

import argparse

from video_opd.arguments.parts import rate
from video_opd.arguments.paths import reads, reads_file_or_names


def lmms_arguments(command: argparse.ArgumentParser) -> None:
    """Tasks of lmms-eval in place of a manifest."""
    group = command.add_argument_group("tasks of lmms-eval in place of MANIFEST and --videos (docs/LMMS_EVAL.md)")
    group.add_argument("--with", dest="harness", choices=("lmms-eval",), help="who asks and scores")
    group.add_argument("--tasks", metavar="NAME[,NAME…]", help="names of its tasks or groups")
    group.add_argument("--include-path", type=reads, metavar="DIR", help="folder with tasks of your own")
    group.add_argument(
        "--lmms-python",
        type=reads_file_or_names,
        metavar="PY",
        help="its environment's Python (default: VIDEO_OPD_LMMS_PYTHON)",
    )
    group.add_argument("--lmms-model", metavar="CLASS", help="its model class (default: by the model's config.json)")
    group.add_argument("--model-args", metavar="K=V,…", help="more arguments of that class, or others than ours")
    group.add_argument("--timeout", type=rate, metavar="SECONDS", help="end it after so long (default: never)")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--write-only", action="store_true", help="write and print the command, for elsewhere")
    either.add_argument("--read-only", action="store_true", help="read what the command left in --out")
