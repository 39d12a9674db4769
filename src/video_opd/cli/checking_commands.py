"""`data check`, `tiny-world build`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path

from cyclopts import Parameter

from video_opd.cli.argument_types import Json, Whole
from video_opd.cli.path_roles import GoesOn, Reads, ReadsVideos
from video_opd.cli.record_flags import add_record_flags
from video_opd.data.label_noise import LabelNoise
from video_opd.data.world_sizes import WorldSizes
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.terminal import show


def check(manifest: Reads, /, *, videos: ReadsVideos | None = None, decode: bool = False, json: Json = False) -> int:
    """List every bad row and file of a manifest. The exit status is 2 if one is an error.

    Args:
        manifest: questions, JSON lines
        videos: folder of the videos; checks every video too: its packets and its first frame
        decode: also decode every video completely, which takes long

    Example:
        video-opd data check train.jsonl --videos clips --decode
    """
    from video_opd.data.manifest import check_manifest

    if decode and videos is None:
        raise ConfigurationError(
            "--decode without --videos", reason="there is nothing to decode", remedy="give the folder of the videos"
        )
    problems = check_manifest(manifest, videos, decode=decode)
    if json:
        rows = [
            {"line": p.line, "id": p.id, "severity": p.severity, "message": p.message, "remedy": p.remedy}
            for p in problems
        ]
        show(dumps({"manifest": str(manifest), "problems": rows}, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            show(f"{manifest}: {problem}. {problem.remedy}.")
        if not problems:
            show(f"{manifest}: no problem found")
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    show(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}", file=sys.stderr)
    return 2 if errors else 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class World:
    """The world that is rendered."""

    out: GoesOn = Path("data/tiny-world")
    """folder"""
    seed: Whole = 0
    """draws clips, questions and noise"""


THE_WORLD = World()
THE_SIZES = WorldSizes()
THE_NOISE = LabelNoise()


@add_record_flags
def build_tiny_world(*, world: World = THE_WORLD, sizes: WorldSizes = THE_SIZES, noise: LabelNoise = THE_NOISE) -> int:
    """Render clips and write manifests.

    Example:
        video-opd tiny-world build --out data/tiny-world --wrong-share 0
    """
    from video_opd.data.tiny_world import BuildSettings, build

    with explain_write_errors(world.out):
        manifests = build(world.out, BuildSettings(seed=world.seed, noise=noise, num_queries=sizes.map_to_splits()))
    for split, path in manifests.items():
        show(f"{split}: {path}")
    return 0
