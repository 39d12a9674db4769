"""The command line. It parses before it imports torch, so `--help` and `metrics` answer at once.

Results go to stdout (or the file named by --out), progress and prose to stderr. Exit status: 0 done, 2 something the
user can mend (one sentence on stderr), 128 + n stopped by signal n with the state saved.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from video_opd import __version__
from video_opd.errors import ConfigurationError, UserError

EPILOG = "Every command has its own --help with an example."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    try:
        overrides = read_overrides(rest, allowed=getattr(arguments, "takes_overrides", False))
        from video_opd import commands

        return int(getattr(commands, arguments.function)(arguments, overrides) or 0)
    except UserError as error:
        print(f"video-opd: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 141
    except KeyboardInterrupt:
        print("video-opd: interrupted", file=sys.stderr)
        return 130


def read_overrides(rest: Sequence[str], *, allowed: bool) -> dict[str, str]:
    """`--training.learning-rate 1e-4` or `--training.learning-rate=1e-4` -> {"training.learning_rate": "1e-4"}.

    Raises:
        ConfigurationError: an argument that is not of that form, or a command that takes no recipe keys.
    """
    overrides: dict[str, str] = {}
    words = list(rest)
    while words:
        word = words.pop(0)
        if not allowed or not word.startswith("--"):
            raise ConfigurationError(
                f"argument {word!r}", reason="this command does not know it", remedy="see its --help"
            )
        key, equals, value = word[2:].partition("=")
        if not equals:
            if not words:
                raise ConfigurationError(f"--{key}", reason="it has no value", remedy=f"write --{key} VALUE")
            value = words.pop(0)
        overrides[key.replace("-", "_")] = value
    return overrides


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = argparse.ArgumentParser(
        prog="video-opd",
        description="On-policy distillation for temporal video grounding.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"video-opd {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = _command(
        commands, "demo", "watch a tiny model learn when things happen (about two minutes on a CPU)", "video-opd demo"
    )
    command.add_argument("--out", type=Path, default=Path("runs/demo"), help="run folder (default: %(default)s)")
    command.add_argument("--seed", type=int, help="seed of the training run")
    command.add_argument("--steps", type=_positive, help="optimiser steps (default: 60)")
    _json(command)

    command = _command(
        commands, "train", "train by a recipe, or go on where an interrupted run stopped",
        "video-opd train recipes/tiny-opd.toml --out runs/tiny --training.learning-rate 5e-4",
    )  # fmt: skip
    command.add_argument("recipe", type=Path)
    command.add_argument("--out", type=Path, help="run folder (default: runs/NAME of the recipe)")
    command.add_argument("--seed", type=int, help="seed of the run")
    command.add_argument("--steps", type=_positive, help="optimiser steps")
    command.set_defaults(takes_overrides=True)
    _recipe_keys_in_help(command)
    _json(command)

    command = _command(
        commands, "evaluate", "score a model's answers to a manifest",
        "video-opd evaluate tiny-teacher test.jsonl --videos clips --out predictions.jsonl",
    )  # fmt: skip
    _model(command)
    command.add_argument("manifest", type=Path)
    command.add_argument("--videos", type=Path, required=True, help="folder the manifest's video paths are relative to")
    command.add_argument("--out", type=Path, required=True, help="predictions, JSON lines")
    command.add_argument("--batch-size", type=_positive, default=8, help="prompts read together (default: %(default)s)")
    command.add_argument(
        "--max-bad-share", type=float, default=0.05, help="stop if more videos are unusable (default: %(default)s)"
    )
    _json(command)

    command = _command(
        commands,
        "ground",
        "ask one question about one video",
        'video-opd ground tiny-teacher clip.mp4 "the red circle"',
    )
    _model(command)
    command.add_argument("video", type=Path)
    command.add_argument("query")
    _json(command)

    command = _command(
        commands,
        "doctor",
        "check models, prompts and teacher before the GPU hours are spent",
        "video-opd doctor recipes/tiny-opd.toml",
    )
    command.add_argument("recipe", type=Path)
    command.add_argument(
        "--examples", type=_positive, default=8, help="training examples looked at (default: %(default)s)"
    )
    command.set_defaults(takes_overrides=True)
    _json(command)

    command = _command(
        commands, "metrics", "score a predictions file against a manifest",
        "video-opd metrics predictions.jsonl --ground-truth test.jsonl",
    )  # fmt: skip
    command.add_argument("predictions", type=Path)
    command.add_argument("--ground-truth", type=Path, required=True, help="manifest")
    _json(command)

    command = _command(commands, "report", "write report.html of a run", "video-opd report runs/demo")
    command.add_argument("run", type=Path)

    data = commands.add_parser(
        "data", help="look after manifests", description="Look after manifests.", allow_abbrev=False
    )
    command = _command(
        data.add_subparsers(title="commands", required=True, metavar="COMMAND"), "check",
        "list every bad row and file of a manifest", "video-opd data check train.jsonl --videos clips",
        function="data_check",
    )  # fmt: skip
    command.add_argument("manifest", type=Path)
    command.add_argument("--videos", type=Path, help="also look at every video")
    _json(command)

    world = commands.add_parser(
        "tiny-world", help="the rendered data set", description="The rendered data set.", allow_abbrev=False
    )
    command = _command(
        world.add_subparsers(title="commands", required=True, metavar="COMMAND"), "build",
        "render clips and write manifests", "video-opd tiny-world build --out data/tiny-world --wrong-share 0",
        function="tiny_world_build",
    )  # fmt: skip
    command.add_argument("--out", type=Path, default=Path("data/tiny-world"), help="folder (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0)
    for name, default in (("train", 960), ("validation", 96), ("test", 400)):
        command.add_argument(
            f"--{name}", type=_positive, default=default, help=f"{name} queries (default: %(default)s)"
        )
    command.add_argument(
        "--wrong-share", type=float, default=0.20, help="training spans of another event (default: %(default)s)"
    )
    command.add_argument(
        "--imprecise-share", type=float, default=0.35, help="training spans with moved ends (default: %(default)s)"
    )
    command.add_argument(
        "--jitter", type=float, default=1.0, help="standard deviation of the move, seconds (default: %(default)s)"
    )
    return parser


def _command(
    group: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    help: str,
    example: str,
    *,
    function: str | None = None,
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
    command.add_argument("--fps", type=float, help="frames per second looked at")
    command.add_argument("--template", help="name of a built-in prompt template")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _recipe_keys_in_help(command: argparse.ArgumentParser) -> None:
    command.epilog = f"{command.epilog}\n\nAny key of the recipe can be given as --KEY VALUE; `--help-keys` lists them."
    command.add_argument("--help-keys", action=_HelpKeys, nargs=0, help="list every key of a recipe and exit")


class _HelpKeys(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from video_opd.recipe import recipe_keys

        for key, meaning in recipe_keys().items():
            print(f"--{key:34} {' '.join(meaning.split())}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
