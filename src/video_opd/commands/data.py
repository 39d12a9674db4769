"""`data …`, `tiny-world …`."""

from __future__ import annotations

import argparse
import json
import sys

from video_opd.commands.asking import Overrides
from video_opd.errors import ConfigurationError, writing


def data_check(arguments: argparse.Namespace, _: Overrides) -> int:
    """List every problem; exit status 2 if one is an error."""
    from video_opd.data.manifest import check_manifest

    if arguments.decode and arguments.videos is None:
        raise ConfigurationError(
            "--decode without --videos", reason="there is nothing to decode", remedy="give the folder of the videos"
        )
    problems = check_manifest(arguments.manifest, arguments.videos, decode=arguments.decode)
    if arguments.json:
        rows = [
            {"line": p.line, "id": p.id, "severity": p.severity, "message": p.message, "remedy": p.remedy}
            for p in problems
        ]
        print(json.dumps({"manifest": str(arguments.manifest), "problems": rows}, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            print(f"{arguments.manifest}: {problem}. {problem.remedy}.")
        if not problems:
            print(f"{arguments.manifest}: nothing wrong")
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}", file=sys.stderr)
    return 2 if errors else 0


def tiny_world_build(arguments: argparse.Namespace, _: Overrides) -> int:
    """Render the tiny world."""
    from video_opd.data.tiny_world import BuildSettings, LabelNoise, build

    noise = LabelNoise(
        wrong_share=arguments.wrong_share, imprecise_share=arguments.imprecise_share, jitter_s=arguments.jitter
    )
    sizes = {"train": arguments.train, "validation": arguments.validation, "test": arguments.test}
    with writing(arguments.out):
        manifests = build(arguments.out, BuildSettings(seed=arguments.seed, noise=noise, num_queries=sizes))
    for split, path in manifests.items():
        print(f"{split}: {path}")
    return 0
