"""`data …`, `tiny-world …`."""

from __future__ import annotations

from pathlib import Path

from video_opd.arguments.arranging import add_arranging
from video_opd.arguments.importing import add_importing
from video_opd.arguments.parts import Commands, Parser, add_command, add_group, json_flag, positive, seconds, share
from video_opd.arguments.paths import goes_on, reads, reads_videos


def add_data(commands: Commands[Parser]) -> None:
    """`data …`, `tiny-world …`."""
    group = add_group(commands, "data", "make and look after manifests")
    add_importing(group)
    command = add_command(
        group, "check", "list every bad row and file of a manifest",
        "video-opd data check train.jsonl --videos clips --decode", function="data_check",
    )  # fmt: skip
    command.add_argument("manifest", type=reads, help="questions, JSON lines")
    command.add_argument("--videos", type=reads_videos, help="look at every video too: its packets, its first frame")
    command.add_argument("--decode", action="store_true", help="decode the videos to their ends too, which takes long")
    json_flag(command)
    add_arranging(group)

    command = add_command(
        add_group(commands, "tiny-world", "look after the rendered data set"), "build",
        "render clips and write manifests", "video-opd tiny-world build --out data/tiny-world --wrong-share 0",
        function="tiny_world_build",
    )  # fmt: skip
    command.add_argument("--out", type=goes_on, default=Path("data/tiny-world"), help="folder (default: %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="draws clips, questions and noise (default: %(default)s)")
    for name, default in (("train", 960), ("validation", 96), ("test", 400)):
        command.add_argument(f"--{name}", type=positive, default=default, help=f"{name} queries (default: %(default)s)")
    command.add_argument(
        "--wrong-share", type=share, default=0.20, help="training spans of another event (default: %(default)s)"
    )
    command.add_argument(
        "--imprecise-share", type=share, default=0.35, help="training spans with moved ends (default: %(default)s)"
    )
    command.add_argument(
        "--jitter", type=seconds, default=1.0, help="standard deviation of the move, seconds (default: %(default)s)"
    )
