"""`demo`, `train`, `compare`, `doctor`."""

from __future__ import annotations

from pathlib import Path

from video_opd.arguments.parts import Commands, Parser, add_command, json_flag, positive, rate, takes_recipe_keys
from video_opd.arguments.paths import goes_on, reads


def add_training(commands: Commands[Parser]) -> None:
    """`demo`, `train`, `compare`, `doctor`."""
    command = add_command(
        commands, "demo", "watch a tiny model learn when things happen (about two minutes on a CPU)", "video-opd demo"
    )
    command.add_argument("--out", type=goes_on, default=Path("runs/demo"), help="run folder (default: %(default)s)")
    command.add_argument("--seed", type=int, help="seed of the training run (default: 0)")
    command.add_argument("--steps", type=positive, help="optimiser steps (default: 60)")
    json_flag(command)

    command = add_command(
        commands, "train", "train by a recipe, or go on where an interrupted run stopped",
        "video-opd train recipes/tiny-opd.toml --out runs/tiny --training.learning-rate 5e-4",
    )  # fmt: skip
    command.add_argument("recipe", type=reads, help="TOML file")
    command.add_argument("--out", type=goes_on, help="run folder (default: runs/NAME of the recipe)")
    command.add_argument("--name", help="name of the run")
    command.add_argument("--seed", type=int, help="seed of the run")
    command.add_argument("--steps", type=positive, help="optimiser steps")
    takes_recipe_keys(command)
    json_flag(command)

    command = add_command(
        commands, "compare", "run several methods on the same data, student and seeds, and say what holds",
        "video-opd compare recipes/compare-tiny.toml --out runs/compare --seeds 0 1 --methods opd grpo",
    )  # fmt: skip
    command.add_argument("recipe", type=reads, help="TOML file of a comparison")
    command.add_argument("--out", type=goes_on, help="folder (default: runs/NAME of the comparison)")
    command.add_argument("--seeds", type=int, nargs="+", help="instead of the file's")
    command.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the file's")
    command.add_argument(
        "--learning-rates", type=rate, nargs="*", metavar="RATE", help="to try, instead of the file's; none: no sweep"
    )
    takes_recipe_keys(command)
    json_flag(command)

    command = add_command(
        commands, "doctor", "check models, prompts and teacher before the GPU hours are spent",
        "video-opd doctor recipes/tiny-opd.toml",
    )  # fmt: skip
    command.add_argument("recipe", type=reads, help="TOML file")
    command.add_argument(
        "--examples", type=positive, default=8, help="training examples looked at (default: %(default)s)"
    )
    takes_recipe_keys(command)
    json_flag(command)
