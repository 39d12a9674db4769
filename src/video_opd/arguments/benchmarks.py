"""The part of `evaluate` that asks a public benchmark."""

from __future__ import annotations

import argparse

from video_opd.arguments.paths import reads, reads_model_or_names
from video_opd.eval.benchmarks import BENCHMARKS

KINDS = ("multi-choice", "yes_no", "caption_matching")
RULES = ("strict", "official", "lmms-eval", "vlmevalkit")


def benchmark_arguments(command: argparse.ArgumentParser) -> None:
    """`--benchmark` and what goes with it. None has a default, so that it can be told what was given."""
    group = command.add_argument_group(
        "general video understanding", "in place of a manifest: a public benchmark, from a local copy"
    )
    group.add_argument(
        "--benchmark", choices=tuple(BENCHMARKS), help="multiple-choice questions, with the official prompts"
    )
    group.add_argument("--data", type=reads, metavar="DIR", help="folder of the benchmark's own files and videos")
    group.add_argument(
        "--before",
        type=reads_model_or_names,
        metavar="MODEL",
        help="ask this one too, and say what changed from it to MODEL",
    )
    group.add_argument(
        "--rule", choices=RULES, help="how answers are rated (default: official for tempcompass, strict for the others)"
    )
    group.add_argument(
        "--score", choices=("generation", "options"),
        help="let the model write, or take the option it finds most probable (default: generation)",
    )  # fmt: skip
    group.add_argument(
        "--option-form", choices=("label", "text", "text-mean"),
        help="of --score options: score the letter, the whole option, or its mean per token (default: label)",
    )  # fmt: skip
    group.add_argument("--kinds", choices=KINDS, nargs="+", help="of tempcompass (default: all whose files are there)")
    group.add_argument("--subtitles", action="store_true", default=None, help="of video-mme: put before the question")
