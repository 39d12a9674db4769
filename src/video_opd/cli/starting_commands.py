"""`init`, `recipes`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from textwrap import fill
from typing import Annotated, Literal

from cyclopts import Parameter

from video_opd.cli.argument_types import MODEL_NAMES, Json, Offline, Whole
from video_opd.cli.path_roles import Reads, ReadsModelOrNames, ReadsVideos, Writes
from video_opd.errors import ConfigurationError
from video_opd.terminal import show


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Queries:
    """The file with the queries about the videos."""

    csv: Reads | None = None
    """a table with the columns video, query, start, end (seconds)"""
    manifest: Reads | None = None
    """a manifest, in place of a table"""
    columns: list[str] | None = None
    """columns with other names, each as ROLE=COLUMN, such as query=caption"""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Pair:
    """The student and the teacher of the training."""

    student: Annotated[ReadsModelOrNames, MODEL_NAMES] = "Qwen/Qwen3-VL-2B-Instruct"
    """the model that learns: a folder, a hub name, or tiny-student for a trial on a CPU"""
    teacher: Annotated[ReadsModelOrNames, MODEL_NAMES] = "Qwen/Qwen3-VL-8B-Instruct"
    """the model that judges the student"""
    offline: Offline = False


NO_QUERIES = Queries()
DEFAULT_PAIR = Pair()


def init(
    *,
    videos: ReadsVideos,
    queries: Queries = NO_QUERIES,
    out: Writes = Path("grounding"),
    models: Pair = DEFAULT_PAIR,
    seed: Whole = 0,
    json: Json = False,
) -> int:
    """Write a new folder with manifests and a recipe for your own videos.

    Args:
        videos: folder that the video paths start from
        out: folder to write; it must be new or empty
        seed: seed of the split into train (0.8), validation (0.1) and test (0.1), and of the run

    Example:
        video-opd init --videos clips --csv mine.csv --out kitchen
    """
    from video_opd.sample_size import count_of
    from video_opd.starting import OwnData, start_project

    data = OwnData(
        videos=videos,
        csv=queries.csv,
        manifest=queries.manifest,
        columns=queries.columns or (),
        student=models.student,
        teacher=models.teacher,
        seed=seed,
    )
    started = start_project(data, out)
    for reason, count in started.left_out.items():
        show(f"{count} row{'s' * (count != 1)} left out: {reason}", file=sys.stderr)
    for note in started.notes:
        show(f"video-opd: warning: {note}", file=sys.stderr)
    if json:
        facts = {"rows": started.rows, "videos": started.num_videos, "left_out": started.left_out}
        show(dumps({"folder": str(out), "recipe": str(started.recipe), **facts}, indent=2))
        return 0
    for part, count in started.rows.items():
        videos_in_part = count_of(started.num_videos[part], "video", "videos")
        show(f"{out / f'{part}.jsonl'}: {count_of(count, 'row', 'rows')} about {videos_in_part}")
    show(f"{started.recipe}: look at it, then run")
    show(f"  video-opd doctor {started.recipe}")
    show(f"  video-opd train {started.recipe}")
    return 0


def recipes(
    action: Literal["copy"] | None = None,
    name: str | None = None,
    /,
    *,
    out: Writes | None = None,
    json: Json = False,
) -> int:
    """List the recipes that ship with the program, or copy one to change it.

    Args:
        action: `copy`; without it, the recipes are listed
        name: the recipe to copy, with those that it is based on
        out: file or folder for the copy (default: NAME.toml in this folder)

    Example:
        video-opd recipes copy own-data
    """
    from video_opd.config.shipped_recipes import copy_recipe, describe_recipe, shipped_recipes

    if action is not None:
        if name is None:
            raise ConfigurationError(
                "`video-opd recipes copy` needs the name of a recipe",
                reason="nothing is copied",
                remedy="name a recipe; `video-opd recipes` lists them",
            )
        for path in copy_recipe(name, out):
            show(path)
        return 0
    if out is not None:
        raise ConfigurationError(
            f"--out {out}", reason="nothing is copied", remedy="write `video-opd recipes copy NAME --out FILE`"
        )
    known = {name: describe_recipe(path) for name, path in shipped_recipes().items()}
    if json:
        show(dumps(known, indent=2))
    else:
        width = max(map(len, known))
        for name, description in known.items():
            margin = " " * (width + 2)
            show(fill(description, 100, initial_indent=f"{name:{width}}  ", subsequent_indent=margin))
        show("\nTrain with a recipe: video-opd train NAME. Copy a recipe to change it: video-opd recipes copy NAME.")
    return 0
