"""Every command and its arguments. Parsing imports nothing heavy."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from video_opd import __version__
from video_opd.curriculum import STRATEGIES
from video_opd.errors import ConfigurationError

EPILOG = "Every command has its own --help with an example."


class _Parser(argparse.ArgumentParser):
    """Tells a user's mistake in the same way as the rest of the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"`{self.prog}`", reason=message, remedy=f"see `{self.prog} --help`")


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = _Parser(
        prog="video-opd",
        description="On-policy distillation for temporal video grounding.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"video-opd {__version__}")
    parser.set_defaults(takes_overrides=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_training(commands)
    _add_asking(commands)
    _add_choosing(commands)
    _add_looking(commands)
    _add_data(commands)
    return parser


Commands = argparse._SubParsersAction


def _add_training(commands: Commands[_Parser]) -> None:
    """`demo`, `train`, `compare`, `doctor`."""
    command = _command(
        commands, "demo", "watch a tiny model learn when things happen (about two minutes on a CPU)", "video-opd demo"
    )
    command.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default: %(default)s)")
    command.add_argument("--seed", type=int, help="seed of the training run (default: 0)")
    command.add_argument("--steps", type=_positive, help="optimiser steps (default: 60)")
    _json(command)

    command = _command(
        commands, "train", "train by a recipe, or go on where an interrupted run stopped",
        "video-opd train recipes/tiny-opd.toml --out runs/tiny --training.learning-rate 5e-4",
    )  # fmt: skip
    command.add_argument("recipe", type=Path, help="TOML file")
    command.add_argument("--out", type=Path, help="run folder (default: runs/NAME of the recipe)")
    command.add_argument("--name", help="name of the run")
    command.add_argument("--seed", type=int, help="seed of the run")
    command.add_argument("--steps", type=_positive, help="optimiser steps")
    _takes_recipe_keys(command)
    _json(command)

    command = _command(
        commands, "compare", "run several methods on the same data, student and seeds, and say what holds",
        "video-opd compare recipes/compare-tiny.toml --out runs/compare --seeds 0 1 --methods opd grpo",
    )  # fmt: skip
    command.add_argument("recipe", type=Path, help="TOML file of a comparison")
    command.add_argument("--out", type=Path, help="folder (default: runs/NAME of the comparison)")
    command.add_argument("--seeds", type=int, nargs="+", help="instead of the file's")
    command.add_argument("--methods", nargs="+", metavar="NAME", help="only these of the file's")
    command.add_argument(
        "--learning-rates", type=_rate, nargs="*", metavar="RATE", help="to try, instead of the file's; none: no sweep"
    )
    _takes_recipe_keys(command)
    _json(command)

    command = _command(
        commands, "doctor", "check models, prompts and teacher before the GPU hours are spent",
        "video-opd doctor recipes/tiny-opd.toml",
    )  # fmt: skip
    command.add_argument("recipe", type=Path, help="TOML file")
    command.add_argument(
        "--examples", type=_positive, default=8, help="training examples looked at (default: %(default)s)"
    )
    _takes_recipe_keys(command)
    _json(command)


def _add_asking(commands: Commands[_Parser]) -> None:
    """`evaluate`, `ground`."""
    command = _command(
        commands, "evaluate", "score a model's answers to a manifest",
        "video-opd evaluate tiny-teacher test.jsonl --videos clips --out predictions.jsonl",
    )  # fmt: skip
    _model(command)
    command.add_argument("manifest", type=Path, help="questions, JSON lines")
    command.add_argument("--videos", type=Path, required=True, help="folder the manifest's video paths are relative to")
    command.add_argument("--out", type=Path, required=True, help="predictions, JSON lines")
    command.add_argument("--batch-size", type=_positive, default=8, help="prompts read together (default: %(default)s)")
    command.add_argument(
        "--max-bad-share", type=_share, default=0.05, help="stop if more videos are unusable (default: %(default)s)"
    )
    _json(command)

    command = _command(
        commands, "ground", "ask one question about one video",
        'video-opd ground tiny-teacher clip.mp4 "the red circle"',
    )  # fmt: skip
    _model(command)
    command.add_argument("video", type=Path, help="video file")
    command.add_argument("query", help="what to look for, in words")
    _json(command)


def _add_choosing(commands: Commands[_Parser]) -> None:
    """`score`, `merge-scores`, `select`."""
    _add_scoring(commands)
    command = _command(
        commands, "merge-scores", "put the shards of one scoring into one file",
        "video-opd merge-scores scores-0.jsonl scores-1.jsonl --out scores.jsonl", function="merge_scores",
    )  # fmt: skip
    command.add_argument("scores", type=Path, nargs="+", help="all shards")
    command.add_argument("--out", type=Path, required=True, help="scores, JSON lines")

    command = _command(
        commands, "select", "choose what to train on from scores of teacher and student",
        "video-opd select --teacher teacher.jsonl --student student.jsonl --strategy top-k --count 2500 "
        "--threshold 0.7 --out selection.jsonl",
    )  # fmt: skip
    command.add_argument("--teacher", type=Path, nargs="+", metavar="SCORES", help="file of scores, or all its shards")
    command.add_argument("--student", type=Path, nargs="+", metavar="SCORES", help="file of scores, or all its shards")
    command.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="random",
        help="compared in docs/CURRICULUM.md (default: %(default)s)",
    )
    command.add_argument("--count", type=int, required=True, help="examples to choose")
    command.add_argument(
        "--threshold", type=_share, default=0.7, help="least reliability of the teacher; 0: none (default: %(default)s)"
    )
    command.add_argument(
        "--reliability", choices=("annotation", "agreement"), default="annotation",
        help="the teacher's mean IoU with the annotation, or among its own answers (default: %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--disagreement", choices=("iou", "reverse-kl", "reverse-kl-per-token"), default="iou",
        help="what a ranking ranks by (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--mean", type=_share, default=0.3, help="of strategy difficulty (default: %(default)s)")
    command.add_argument("--std", type=_rate, default=0.2, help="of strategy difficulty (default: %(default)s)")
    command.add_argument(
        "--density-corrected", action="store_true", help="strategy difficulty: as TimeLens draws, against the histogram"
    )
    command.add_argument("--seed", type=int, default=0, help="of ties and draws (default: %(default)s)")
    command.add_argument("--out", type=Path, required=True, help="selection, JSON lines")
    _json(command)


def _add_scoring(commands: Commands[_Parser]) -> None:
    """`score`."""
    command = _command(
        commands, "score", "several answers of a model to every example of a manifest, for a curriculum",
        "video-opd score tiny-teacher train.jsonl --videos videos --answers 4 --out teacher-scores.jsonl",
    )  # fmt: skip
    _model(command)
    command.add_argument("manifest", type=Path, help="questions, JSON lines")
    command.add_argument(
        "--videos", type=Path, help="folder the video paths are relative to (default: videos beside the manifest)"
    )
    command.add_argument("--out", type=Path, required=True, help="scores, JSON lines; goes on where a killed run was")
    command.add_argument(
        "--answers", type=_positive, default=4, help="of each example, from one reading (default: %(default)s)"
    )
    command.add_argument(
        "--top-k", choices=("sampled", "beam"), default="sampled",
        help="the greedy answer and draws, or the most probable distinct spans (default: %(default)s)",
    )  # fmt: skip
    command.add_argument("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    command.add_argument("--teacher", help="also how far a teacher is from what the model writes, for reverse-kl")
    command.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="only every N-th example, from the I-th on"
    )
    command.add_argument("--batch-size", type=_positive, default=8, help="prompts read together (default: %(default)s)")
    command.add_argument(
        "--max-bad-share", type=_share, default=0.05, help="stop if more videos are unusable (default: %(default)s)"
    )
    command.add_argument("--skip-below", type=_share, help="no draws where the greedy answer's IoU is lower")
    command.add_argument(
        "--race", action="store_true",
        help="score a random part of every source first, and give up a source of which surely fewer than --min-yield "
        "pass --threshold",
    )  # fmt: skip
    command.add_argument("--threshold", type=_share, default=0.7, help="of the race, mean IoU (default: %(default)s)")
    command.add_argument("--pilot", type=_positive, default=40, help="of the race: examples between two looks")
    command.add_argument("--min-yield", type=_share, default=0.1, help="of the race (default: %(default)s)")
    command.add_argument("--enough", type=_positive, help="stop once so many examples passed the threshold")
    _json(command)


def _add_looking(commands: Commands[_Parser]) -> None:
    """`metrics`, `report`."""
    command = _command(
        commands, "metrics", "score a predictions file against a manifest",
        "video-opd metrics predictions.jsonl --ground-truth test.jsonl",
    )  # fmt: skip
    command.add_argument("predictions", type=Path, help='JSON lines with "id" and "answer"')
    command.add_argument("--ground-truth", type=Path, required=True, help="manifest")
    _json(command)

    command = _command(commands, "report", "write report.html of a run or a comparison", "video-opd report runs/demo")
    command.add_argument("run", type=Path, help="folder")


def _add_data(commands: Commands[_Parser]) -> None:
    """`data …`, `tiny-world …`."""
    command = _command(
        _group(commands, "data", "look after manifests"), "check", "list every bad row and file of a manifest",
        "video-opd data check train.jsonl --videos clips", function="data_check",
    )  # fmt: skip
    command.add_argument("manifest", type=Path, help="questions, JSON lines")
    command.add_argument("--videos", type=Path, help="also look at every video")
    _json(command)

    command = _command(
        _group(commands, "tiny-world", "look after the rendered data set"), "build",
        "render clips and write manifests", "video-opd tiny-world build --out data/tiny-world --wrong-share 0",
        function="tiny_world_build",
    )  # fmt: skip
    command.add_argument("--out", type=Path, default=Path("data/tiny-world"), help="folder (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="draws clips, questions and noise (default: %(default)s)")
    for name, default in (("train", 960), ("validation", 96), ("test", 400)):
        command.add_argument(
            f"--{name}", type=_positive, default=default, help=f"{name} queries (default: %(default)s)"
        )
    command.add_argument(
        "--wrong-share", type=_share, default=0.20, help="training spans of another event (default: %(default)s)"
    )
    command.add_argument(
        "--imprecise-share", type=_share, default=0.35, help="training spans with moved ends (default: %(default)s)"
    )
    command.add_argument(
        "--jitter", type=_seconds, default=1.0, help="standard deviation of the move, seconds (default: %(default)s)"
    )


def _group(commands: Commands[_Parser], name: str, help: str) -> Commands[_Parser]:
    group = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False)
    return group.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _command(
    group: Commands[_Parser], name: str, help: str, example: str, *, function: str | None = None
) -> argparse.ArgumentParser:
    command = group.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", epilog=f"example:\n  {example}",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(function=function or name)
    return command


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")


def _model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", help="a folder, a hub name, tiny-student or tiny-teacher")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda … (default: %(default)s)")
    command.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: bfloat16 on CUDA, float32 elsewhere"
    )
    command.add_argument("--max-tokens", type=_positive, help="most video tokens of a prompt")
    command.add_argument("--max-new-tokens", type=_positive, help="most tokens of an answer")
    command.add_argument("--fps", type=_rate, help="frames per second looked at")
    command.add_argument("--template", help="name of a built-in prompt template")


def _takes_recipe_keys(command: argparse.ArgumentParser) -> None:
    command.epilog = f"{command.epilog}\n\nAny key of the recipe can be given as --KEY VALUE; --help-keys lists them."
    command.add_argument("--help-keys", action=_HelpKeys, nargs=0, help="list every key of a recipe and exit")
    command.set_defaults(takes_overrides=True)


class _HelpKeys(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from video_opd.recipe.file import recipe_keys

        for key, meaning in recipe_keys().items():
            print(f"--{key:34} {meaning}")
        parser.exit()


def _number(kind: Callable[[str], float], allowed: Callable[[float], bool], description: str) -> Callable[[str], float]:
    """An argument's type: a number of a certain kind and size."""

    def parse(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = math.nan
        if not (math.isfinite(number) and allowed(number)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {description}")
        return number

    return parse


def _shard(text: str) -> tuple[int, int]:
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and int(number) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard: write I/N with I from 0 to N - 1, such as 0/4")
    return int(number), int(count)


_positive = _number(int, lambda number: number >= 1, "a whole number of at least 1")
_share = _number(float, lambda number: 0 <= number <= 1, "a number from 0 to 1")
_rate = _number(float, lambda number: number > 0, "a number above 0")
_seconds = _number(float, lambda number: number >= 0, "a number of at least 0")
