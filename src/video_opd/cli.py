"""The command line. It parses before it imports torch, so `--help` and `metrics` answer at once.

Results go to stdout (or the file named by --out), progress and prose to stderr. Exit status: 0 done; 1 `doctor` found
something that would ruin the run; 2 something the user can mend (one sentence on stderr); 128 + n stopped by signal n,
with the state saved.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from video_opd import __version__
from video_opd.errors import ConfigurationError, EngineError, UserError

EPILOG = "Every command has its own --help with an example."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminated)
    try:
        words, overrides = take_overrides(sys.argv[1:] if argv is None else argv)
        arguments = build_parser().parse_args(words)
        if overrides and not arguments.takes_overrides:
            raise ConfigurationError(
                f"--{next(iter(overrides))}", reason="this command has no recipe", remedy="leave it out"
            )
        from video_opd import commands

        status = int(getattr(commands, arguments.function)(arguments, overrides))
        sys.stdout.flush()
    except UserError as error:
        print(f"video-opd: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which is not imported here
            raise
        print(f"video-opd: {_out_of_memory(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `video-opd … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
        return 141
    except KeyboardInterrupt:
        print("video-opd: interrupted", file=sys.stderr)
        return 130
    return status


def _terminated(*_: object) -> NoReturn:
    """Outside the training loop, which has its own way, a SIGTERM has nothing to save."""
    print("video-opd: terminated; the same command goes on where it was", file=sys.stderr)
    sys.exit(128 + signal.SIGTERM)


def _out_of_memory(error: RuntimeError) -> EngineError:
    return EngineError(
        "the device's memory is full",
        reason=str(error).splitlines()[0],
        remedy="lower the batch size (training.micro_batch_size) or the video tokens (video.max_tokens), or set "
        "student.freeze_vision; `video-opd doctor` estimates what a step needs",
    )


def take_overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The command line without its recipe keys, and those: `--training.learning-rate 1e-4`, or with `=`.

    A recipe key is told by its dot. They are taken out before argparse sees them, for it would take their values for
    arguments of the command.

    Raises:
        ConfigurationError: a key without a value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*rest, word, *words], overrides
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in key:
            rest.append(word)
            continue
        if not equals:
            following = next(words, None)
            if following is None:
                raise ConfigurationError(f"--{key}", reason="it has no value", remedy=f"write --{key} VALUE")
            value = following
        overrides[key.replace("-", "_")] = value
    return rest, overrides


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


_positive = _number(int, lambda number: number >= 1, "a whole number of at least 1")
_share = _number(float, lambda number: 0 <= number <= 1, "a number from 0 to 1")
_rate = _number(float, lambda number: number > 0, "a number above 0")
_seconds = _number(float, lambda number: number >= 0, "a number of at least 0")


if __name__ == "__main__":
    sys.exit(main())
