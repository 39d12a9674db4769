"""The five commands that `chaos.py` disturbs, as small as they can be, and what two of their folders differ in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_RECIPES = Path(__file__).resolve().parents[1] / "recipes"

_SIZES = {"train": 4, "validation": 2, "test": 2}
"""Queries of the world. It lies beside the folder of a trial, as nothing of it is written there."""

_WORLD = "../world"


def _as_flags(keys: dict[str, Any]) -> list[str]:
    return [word for key, value in keys.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def _name_data(world: str) -> dict[str, Any]:
    paths = {f"data.{split}": f"{world}/{split}.jsonl" for split in _SIZES}
    sizes = {f"data.tiny_world.num_{split}": number for split, number in _SIZES.items()}
    return {"data.videos": f"{world}/videos", **paths, **sizes}


_SMALL = {
    "training.batch_size": 2,
    "training.micro_batch_size": 2,
    "schedule.keep_checkpoints": 1,
    "compute.evaluation_batch_size": 2,
}

_COMPARISON = f"""
name = "small"
recipe = "{_RECIPES}/tiny-opd.toml"
seeds = [0]
[shared.training]
steps = 1
batch_size = 2
[shared.schedule]
evaluate_every = 1
probe_every = 0
[shared.data]
workers = 0
[methods.way1.method]
name = "opd"
[methods.way2.method]
name = "sft"
"""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A command; it runs in a folder of its own."""

    name: str
    words: tuple[str, ...]
    """The command line."""
    share: int
    """How many of fifty trials it gets."""
    files: dict[str, str]
    """What lies in the folder before."""

    def make_folder(self, folder: Path) -> None:
        """Make the folder in which it runs."""
        (folder / "tmp").mkdir(parents=True)
        for name, text in self.files.items():
            (folder / name).write_text(text)


def list_scenes() -> list[Scene]:
    """All commands that go on where they stopped."""
    train = _SMALL | _name_data("world") | {"schedule.checkpoint_every": 2, "schedule.evaluate_every": 2}
    rounds = _SMALL | _name_data(_WORLD) | {
        "schedule.checkpoint_every": 1, "schedule.evaluate_every": 0, "schedule.probe_every": 0,
        "curriculum.num_rounds": 2, "curriculum.count": 2, "curriculum.num_answers": 2, "curriculum.threshold": 0.1,
        "curriculum.suspend_at": 0.9, "curriculum.cache": "cache", "data.workers": 0,
    }  # fmt: skip
    compare = {**_SMALL, **_name_data(_WORLD)}
    del compare["training.batch_size"]
    ask = (f"{_WORLD}/train.jsonl", "--videos", f"{_WORLD}/videos", "--batch-size", "2")
    words = {
        "train": ("train", f"{_RECIPES}/tiny-opd.toml", "--out", "run", "--steps", "4", *_as_flags(train)),
        "rounds": ("train", f"{_RECIPES}/tiny-tvdf.toml", "--out", "run", "--steps", "2", *_as_flags(rounds)),
        "score": ("score", "tiny-teacher", *ask, "--answers", "2", "--out", "scores.jsonl"),
        "compare": ("compare", "compare.toml", "--out", "runs", *_as_flags(compare)),
        "evaluate": ("evaluate", "tiny-student", *ask, "--out", "predictions.jsonl"),
    }
    shares = {"train": 17, "rounds": 13, "compare": 14, "score": 3, "evaluate": 3}
    files = {"compare": {"compare.toml": _COMPARISON}}
    here = dict.fromkeys(("rounds", "compare"), ("--decode-here",))  # a process takes 0.3 s to start
    return [
        Scene(name=name, words=(*line, *here.get(name, ()), "--json"), share=shares[name], files=files.get(name, {}))
        for name, line in words.items()
    ]


def make_world(folder: Path) -> None:
    """Render the world that the commands share."""
    from video_opd.data import tiny_world

    tiny_world.build(folder, tiny_world.BuildSettings(num_queries=_SIZES, seed=0))


_TIMES = re.compile(r".*seconds.*|.*_s|.*_mb|.*bytes.*|.*memory.*|num_cpus|.*_per_second")
"""Keys of what may differ between two runs: how long things took, and how much room."""

_TIMES_IN_TEXT = re.compile(r"[\d.]+(?= (?:CPU )?seconds| of its time)")

_TIMED_FILES = ("state.json",)
"""Files of a checkpoint that hold times, so that their hashes differ."""


def read_timeless(path: Path) -> Any:
    """The content of a file, without what differs between two runs of the same command that nobody disturbs."""
    if path.name in (".run.lock", "report.html"):
        return "there"
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [without_times(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes()


def without_times(value: Any) -> Any:
    """What a file or an output says, without times."""
    if isinstance(value, dict):
        return {
            key: "of a file with times" if key in _TIMED_FILES else without_times(each)
            for key, each in value.items()
            if not _TIMES.fullmatch(key)
        }
    if isinstance(value, list):
        return [without_times(each) for each in value]
    return _TIMES_IN_TEXT.sub("some", value) if isinstance(value, str) else value


def find_differences(folder: Path, undisturbed: Path) -> Iterator[str]:
    """What there is in one folder and not in the other, or is not the same."""
    mine, theirs = (
        {str(path.relative_to(top)): path for path in sorted(top.rglob("*"))} for top in (folder, undisturbed)
    )
    for name in sorted(mine.keys() - theirs.keys()):
        yield f"{name} is left over"
    for name in sorted(theirs.keys() - mine.keys()):
        yield f"{name} is missing"
    for name in sorted(mine.keys() & theirs.keys()):
        if mine[name].is_dir() or theirs[name].is_dir():
            continue
        one, other = read_timeless(mine[name]), read_timeless(theirs[name])
        if one != other:
            yield f"{name}: {describe_difference(one, other)}"


def describe_difference(one: Any, other: Any, place: str = "") -> str:
    """Where two contents differ first."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if one.get(key) != other.get(key):
                return describe_difference(one.get(key), other.get(key), f"{place}.{key}")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            if mine != theirs:
                return describe_difference(mine, theirs, f"{place}[{number}]")
    mine, theirs = str(one), str(other)
    first = next((at for at, pair in enumerate(zip(mine, theirs, strict=False)) if pair[0] != pair[1]), 0)
    part = slice(max(first - 20, 0), first + 60)
    return f"{place or 'content'} is {mine[part]!r} instead of {theirs[part]!r}"
