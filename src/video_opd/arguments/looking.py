"""`metrics`, `report`."""

from __future__ import annotations

from pathlib import Path

from video_opd.arguments.parts import Commands, Parser, add_command, json_flag


def add_looking(commands: Commands[Parser]) -> None:
    """`metrics`, `report`."""
    command = add_command(
        commands, "metrics", "score a predictions file against a manifest",
        "video-opd metrics predictions.jsonl --ground-truth test.jsonl",
    )  # fmt: skip
    command.add_argument("predictions", type=Path, help='JSON lines with "id" and "answer"')
    command.add_argument("--ground-truth", type=Path, required=True, help="manifest")
    json_flag(command)

    command = add_command(
        commands, "report", "write report.html of a run or a comparison", "video-opd report runs/demo"
    )
    command.add_argument("run", type=Path, help="folder")
