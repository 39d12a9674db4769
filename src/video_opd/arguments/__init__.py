"""Every command and its arguments. Parsing imports nothing heavy."""

from __future__ import annotations

import argparse

from video_opd import __version__
from video_opd.arguments.asking import add_asking
from video_opd.arguments.choosing import add_choosing
from video_opd.arguments.data import add_data
from video_opd.arguments.looking import add_looking
from video_opd.arguments.parts import Parser
from video_opd.arguments.training import add_training

__all__ = ["build_parser"]

EPILOG = "Every command has its own --help with an example."


def build_parser() -> argparse.ArgumentParser:
    """All commands and their arguments."""
    parser = Parser(
        prog="video-opd",
        description="On-policy distillation for temporal video grounding.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"video-opd {__version__}")
    parser.set_defaults(takes_overrides=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add_training(commands)
    add_asking(commands)
    add_choosing(commands)
    add_looking(commands)
    add_data(commands)
    return parser
