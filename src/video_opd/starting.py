"""The first steps with the user's own data: a new folder with manifests and a recipe.

No existing file is ever overwritten.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from video_opd.config.recipe_file import load_grounding_defaults
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.data.importers._account import Policies
from video_opd.data.importers._annotation import ReadOptions
from video_opd.data.importers._collector import Collector
from video_opd.data.importers._read_annotations import read_annotations
from video_opd.data.importers._video_files import VideoFiles
from video_opd.data.importers.generic import parse_columns
from video_opd.data.manifest import check_manifest, read_manifest, resolve_video, write_manifest
from video_opd.data.same_video import source_video
from video_opd.data.split_and_merge import SplitBy, split
from video_opd.errors import ConfigurationError, DataError, explain_write_errors
from video_opd.files.outputs import create
from video_opd.policy.location import BUNDLED, find_local_folder
from video_opd.sample_size import count_of
from video_opd.types import Example

PARTS = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Part -> its share of the videos."""

_SEEDS_TRIED = 1000
"""Number of seeds that are tried until no part of a small set is empty."""

_LEAST_STEPS = 10

_TINY_VALUES = {
    "training.learning_rate": 5e-4,
    "training.micro_batch_size": 4,
    "compute.precision": "float32",
    "compute.device": "cpu",
    "compute.evaluation_batch_size": 8,
}
"""Settings of a trial with the tiny models, which run on a CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnData:
    """A user's videos and queries, and the models to train on them."""

    videos: Path
    csv: Path | None = None
    """A table with a header: video, query, start, end."""
    manifest: Path | None = None
    """A manifest, in place of the table."""
    columns: Sequence[str] = ()
    """ROLE=COLUMN for each column of the table whose name is not its role."""
    student: str = "Qwen/Qwen3-VL-2B-Instruct"
    teacher: str = "Qwen/Qwen3-VL-8B-Instruct"
    seed: int = 0
    """Seed of the split and of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A new folder that is ready for training."""

    folder: Path
    rows: Mapping[str, int]
    """Part -> number of its rows."""
    num_videos: Mapping[str, int]
    """Part -> number of its videos."""
    left_out: Mapping[str, int]
    """Reason -> number of rows that were left out for it."""
    notes: tuple[str, ...] = field(default=())
    """What the user should know about the data, one sentence each."""

    @property
    def recipe(self) -> Path:
        """The path of the recipe for training."""
        return self.folder / "recipe.toml"


def start_project(data: OwnData, out: Path) -> Started:
    """Write manifests for training, validation and test and a recipe into a new folder.

    Raises:
        ConfigurationError: the folder exists and is not empty, or the models cannot be used.
        DataError: the table or the manifest cannot be used, or has too few rows.
    """
    _refuse_used(out)
    if (data.csv is None) == (data.manifest is None):
        raise ConfigurationError(
            "the queries must come from one file", reason="none or two were given", remedy="give --csv or --manifest"
        )
    examples, left_out = _read_table(data) if data.csv else _read_rows(data)
    parts, notes = _split(examples, data.seed)
    place = out.resolve()
    values = _make_values(data, place, len(parts["train"]))
    recipe = fill_in(shipped_recipes()["own-data"].read_text(encoding="utf-8"), values)
    recipe = _replace_heading(recipe, place)
    with _undo_on_failure(place) as made, explain_write_errors(place):
        for name, rows in parts.items():
            made.append(place / f"{name}.jsonl")
            write_manifest(made[-1], rows)
        warnings = _describe_warnings(made)
        made.append(place / "recipe.toml")
        create(made[-1], recipe.encode())
    return Started(
        folder=out,
        rows={name: len(rows) for name, rows in parts.items()},
        num_videos={name: len({source_video(row.video).key for row in rows}) for name, rows in parts.items()},
        left_out=left_out,
        notes=(*notes, *warnings),
    )


def _describe_warnings(manifests: Sequence[Path]) -> list[str]:
    """The number of warnings about the rows that were written, and the first of them; nothing where there is none."""
    found = [(path.name, problem) for path in manifests for problem in check_manifest(path)]
    if not found:
        return []
    name, first = found[0]
    return [
        f"{count_of(len(found), 'warning', 'warnings')} about the rows of the manifests. The first is in {name}, row "
        f"{first.id}: {first.message}. Correct the table if this is a mistake; `video-opd data check` lists all."
    ]


def fill_in(recipe: str, values: Mapping[str, Any]) -> str:
    """Change values in a recipe's text. Comments remain, and a missing key is added."""
    lines: list[str] = []
    table, left = "", dict(values)

    def add_missing() -> None:
        """Add the missing keys of this table after its last key, before the next table begins."""
        end = len(lines)
        while end and not lines[end - 1].strip():
            end -= 1
        for key in [key for key in left if key.rpartition(".")[0] == table]:
            lines.insert(end, f"{key.rpartition('.')[2]} = {_as_toml(left.pop(key))}")
            end += 1

    for line in recipe.splitlines():
        if header := re.match(r"\[(\w+)\]", line):
            add_missing()
            table = header[1]
        elif assignment := re.match(r"(\w+) = (\"[^\"]*\"|[^#\s]+)(\s*)(#.*)?$", line):
            key = f"{table}.{assignment[1]}".removeprefix(".")
            if key in left:
                said = f"{assignment[1]} = {_as_toml(left.pop(key))}"
                line = f"{said:31} {assignment[4]}" if assignment[4] else said
        lines.append(line)
    add_missing()
    if left:
        raise ValueError(f"the recipe has no table for {', '.join(left)}")
    return "\n".join(lines) + "\n"


def _as_toml(value: Any) -> str:
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def _refuse_used(out: Path) -> None:
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise ConfigurationError(
            f"{out} is there already",
            reason="`init` writes only into a new or empty folder",
            remedy="give another folder with --out",
        )


@contextlib.contextmanager
def _undo_on_failure(folder: Path) -> Iterator[list[Path]]:
    """Remove the listed files if the block fails, and also the folder if it was new."""
    made: list[Path] = []
    was_there = folder.is_dir()
    try:
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        yield made
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        if not was_there:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _read_table(data: OwnData) -> tuple[list[Example], Mapping[str, int]]:
    assert data.csv is not None
    files = VideoFiles(data.videos)
    annotations = read_annotations("csv", [data.csv], ReadOptions(columns=parse_columns(data.columns)))
    collector = Collector(Policies(source=data.csv.stem, missing_videos="drop", without_duration="drop"), None, files)
    examples = collector.collect(annotations)
    return examples, dict(collector.report.dropped)


def _read_rows(data: OwnData) -> tuple[list[Example], Mapping[str, int]]:
    assert data.manifest is not None
    if data.columns:
        raise ConfigurationError(
            "--columns with --manifest",
            reason="a manifest has fixed keys",
            remedy="leave it out, or give --csv",
        )
    VideoFiles(data.videos)  # refuses a folder that does not exist
    kept: list[Example] = []
    left_out: Counter[str] = Counter()
    for example in read_manifest(data.manifest, data.videos):
        try:
            is_there = resolve_video(data.videos, example).exists()
        except DataError:
            is_there = False
        if not is_there:
            left_out["no such video in the folder"] += 1
        elif example.duration is None:
            left_out["the video cannot be read"] += 1
        else:
            kept.append(example)
    return kept, dict(left_out)


def _split(examples: Sequence[Example], seed: int) -> tuple[dict[str, list[Example]], tuple[str, ...]]:
    """Split the examples into parts that are not empty, with notes for the user."""
    num_videos = len({source_video(example.video).key for example in examples})
    by: SplitBy = "video" if num_videos >= len(PARTS) else "row"
    if len(examples) < len(PARTS):
        raise DataError(
            f"{count_of(len(examples), 'row', 'rows')} can be used",
            reason="training, validation and test need one each at least",
            remedy="add rows, or check that --videos is the folder that the video paths start from",
        )
    notes = []
    if by == "row":
        notes.append(
            f"The rows are about only {count_of(num_videos, 'video', 'videos')}, so rows of one video are in several "
            "parts: what is learned from one shows in another."
        )
    for draw in range(seed, seed + _SEEDS_TRIED):
        with contextlib.suppress(ConfigurationError):
            parts = split(examples, PARTS, by=by, seed=draw)
            if draw != seed:
                notes.append(f"The split was drawn with seed {draw}: with {seed} a part was empty.")
            return {name: list(rows) for name, rows in parts.items()}, tuple(notes)
    raise DataError(
        f"{len(examples)} rows about {num_videos} videos",
        reason=f"none of {_SEEDS_TRIED} draws gave every part a row",
        remedy="add videos, or split the manifest yourself with `video-opd data split`",
    )


def _make_values(data: OwnData, folder: Path, num_train: int) -> dict[str, Any]:
    """The values for the recipe."""
    tiny = data.student in BUNDLED
    batch_size = min(16 if tiny else 32, num_train)
    steps = max(_LEAST_STEPS, math.ceil(num_train / batch_size))
    values: dict[str, Any] = {
        "name": folder.name.lstrip(".") or "own-data",
        "seed": data.seed,
        "student.model": _make_absolute(data.student),
        "teacher.model": _make_absolute(data.teacher),
        "data.videos": str(data.videos.resolve()),
        **{f"data.{part}": str(folder / f"{part}.jsonl") for part in PARTS},
        "training.steps": steps,
        "training.batch_size": batch_size,
        "schedule.evaluate_every": max(1, min(20, steps // 2)),
        **(_TINY_VALUES if tiny else {}),
    }
    where = find_local_folder(data.student)
    find_local_folder(data.teacher)  # refuses a folder without a model
    if where is not None and (where / "grounding.json").exists():
        asked = load_grounding_defaults(where).model_dump(exclude_none=True)
        values |= {f"{table}.{key}": value for table, keys in asked.items() for key, value in keys.items()}
    return values


def _make_absolute(model: str) -> str:
    """A model's name; for a folder its absolute path, so that the recipe works from every folder."""
    return (
        str(Path(model).expanduser().resolve()) if model not in BUNDLED and Path(model).expanduser().is_dir() else model
    )


def _replace_heading(recipe: str, folder: Path) -> str:
    """The recipe with a new heading in place of the shipped heading."""
    path = folder / "recipe.toml"
    body = recipe[re.search(r"^name = ", recipe, re.MULTILINE).start() :]  # type: ignore[union-attr]
    return (
        "# Video-OPD on your own videos. You may change every line; `video-opd train --help-keys` lists all keys.\n"
        f"#   video-opd doctor {path}\n#   video-opd train {path}\n{body}"
    )
