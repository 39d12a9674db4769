"""`metrics`, `report`."""

from __future__ import annotations

from video_opd.arguments.parts import Commands, Parser, add_command, json_flag
from video_opd.arguments.paths import goes_on, reads
from video_opd.eval.scorers import RESULT_FORMATS, SCORERS

UNITS = ("seconds", "fraction", "percent", "milliseconds", "minutes", "frames")
"""Written out, because to import them from `evaluation.official` would slow down every command; a test compares."""


def add_looking(commands: Commands[Parser]) -> None:
    """`metrics`, `report`."""
    command = add_command(
        commands, "metrics", "score a predictions file against annotations",
        "video-opd metrics predictions.jsonl --ground-truth test.jsonl\n"
        "  video-opd metrics results.json --ground-truth test.jsonl --as timelens --compare other-results.json",
    )  # fmt: skip
    command.add_argument(
        "predictions", type=reads, nargs="?", help='JSON lines with "id" and "answer", or see --format'
    )
    command.add_argument(
        "--ground-truth", type=reads,
        help="manifest, made with `video-opd data import`; or an original file of QVHighlights, VUE-TR, E.T. Bench, "
        "NExT-GQA, CG-Bench, DiDeMo or HiREST, for what a manifest does not keep (default: what the predictions carry "
        "in their keys or rows)",
    )  # fmt: skip
    command.add_argument(
        "--as", dest="scorer", choices=("ours", *SCORERS), default="ours",
        help="whose rule: comparator, rounding, parser, spans, denominator (default: %(default)s); docs/DATA.md has "
        "them side by side",
    )  # fmt: skip
    command.add_argument(
        "--format", choices=tuple(RESULT_FORMATS), help="of the predictions (default: told by their content)"
    )
    command.add_argument(
        "--unit",
        choices=UNITS,
        help="of the predicted times; fraction and percent are of the video (default: seconds; percent for vtimellm)",
    )
    command.add_argument("--fps", type=float, help="frames in a second, for `--unit frames`")
    command.add_argument(
        "--compare", type=reads, nargs="+", default=[], metavar="FILE",
        help="a second file, or both where none stands before, for the paired bootstrap of the difference, first file "
        "minus second",
    )  # fmt: skip
    json_flag(command)

    command = add_command(
        commands, "report", "write report.html of a run or a comparison", "video-opd report runs/demo"
    )
    command.add_argument("run", type=goes_on, help="folder")
