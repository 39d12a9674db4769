"""Walk the house: which modules one batch of training, one evaluation and one import execute, and how often they cross
from one room to another.

    python scripts/walk.py                              # this checkout
    python scripts/walk.py --source OTHER/src --json    # another one, also an earlier one with other rooms

Each walk is a command of `video-opd` in a fresh process under `sys.setprofile`. A room is a module or a package
directly under the package. An arrow is a pair of rooms of which one called the other; a call through other packages
counts as one from the nearest frame of ours. Times say nothing here: a profiled run is slow.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

COUNTED = ("read_manifest", "template_of", "read_selection", "read_scores", "parse_answer")
"""Functions whose calls are counted by name, wherever they are."""

FIRST_STEP = ("learner.py", "step")
"""File and function with which training begins."""

WORLD = {"num_train": 8, "num_validation": 2, "num_test": 4}


class Walk:
    """What a process executes of one package, from now on."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.modules: list[str] = []
        """Executed, in their order."""
        self.arrows: Counter[tuple[str, str]] = Counter()
        self.counted: Counter[str] = Counter()
        self.opened: Counter[str] = Counter()
        """Manifests, by name."""
        self.before_first_step: dict[str, Any] | None = None

    def begin(self) -> None:
        """Count from here to the end of the process."""
        sys.addaudithook(self._audit)
        sys.setprofile(self._profile)

    def found(self) -> dict[str, Any]:
        """What has been counted up to now."""
        rooms = Counter(_room(name) for name in self.modules)
        entered: Counter[str] = Counter()
        for (_, room), calls in self.arrows.items():
            entered[room] += calls
        return {
            "modules": len(self.modules),
            "modules_by_room": dict(rooms.most_common()),
            "arrows": len(self.arrows),
            "calls_across_rooms": sum(self.arrows.values()),
            "entered": dict(entered.most_common()),
            "functions": dict(self.counted),
            "opened": dict(self.opened),
        }

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".jsonl") and "r" in str(arguments[1] or "r"):
            self.opened[Path(str(arguments[0])).name] += 1

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(self.package):
            return
        code, file = frame.f_code, frame.f_code.co_filename.removeprefix(self.package)
        if code.co_name == "<module>":
            self.modules.append(file)
            return
        if code.co_name in COUNTED:
            self.counted[code.co_name] += 1
        if (Path(file).name, code.co_name) == FIRST_STEP and self.before_first_step is None:
            self.before_first_step = self.found()
        caller = frame.f_back
        while caller is not None and not caller.f_code.co_filename.startswith(self.package):
            caller = caller.f_back
        if caller is not None and caller.f_code.co_name != "<module>":
            pair = _room(caller.f_code.co_filename.removeprefix(self.package)), _room(file)
            if pair[0] != pair[1]:
                self.arrows[pair] += 1


def _room(file: str) -> str:
    return file.partition(os.sep)[0].removesuffix(".py")


def walk_here(out: Path, words: list[str]) -> int:
    """Run one command of the package that this process finds, and write what it executed."""
    import importlib.util

    spec = importlib.util.find_spec("video_opd")
    assert spec is not None
    assert spec.origin is not None
    walk = Walk(Path(spec.origin).parent)
    walk.begin()
    from video_opd.cli import main

    status = main(words)
    sys.setprofile(None)
    found = walk.found()
    if walk.before_first_step is not None:
        found["before_first_step"] = walk.before_first_step
    out.write_text(json.dumps(found))
    return status


def run(source: Path, words: list[str], walked: Path | None = None) -> None:
    """Run a command of the checkout in a fresh process, under the profiler where `walked` is given."""
    begin = [__file__, "--here", str(walked)] if walked else ["-c", "import sys; from video_opd.cli import main; raise "
                                                              "SystemExit(main(sys.argv[1:]))"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, *begin, *words],
        env={**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: exit status {done.returncode}\n{done.stderr}")


def walks(source: Path, folder: Path) -> dict[str, Any]:
    """The three walks, on a small tiny world that is rendered before them."""
    world, videos = folder / "tiny-world", str(folder / "tiny-world" / "videos")
    settings = {
        "data.videos": videos,
        **{f"data.{split}": str(world / f"{split}.jsonl") for split in ("train", "validation", "test")},
        **{f"data.tiny_world.{key}": str(value) for key, value in WORLD.items()},
        "training.batch_size": "2",
        "training.steps": "1",
    }
    train = ["train", str(source.parent / "recipes" / "tiny-opd.toml")]
    train += [word for key, value in settings.items() for word in (f"--{key}", value)]
    run(source, [*train, "--data.tiny_world.render", "true", "--out", str(folder / "rendered")])
    two = folder / "two.jsonl"
    two.write_text("".join((world / "test.jsonl").read_text().splitlines(keepends=True)[:2]))
    evaluate = ["evaluate", "tiny-student", str(two), "--videos", videos, "--out", str(folder / "answers.jsonl")]
    commands = {
        "train": [*train, "--data.tiny_world.render", "true", "--out", str(folder / "run")],
        "evaluate": evaluate,
        "import": ["data", "import", "jsonl", str(world / "test.jsonl"), "--out", str(folder / "imported.jsonl")],
    }
    found = {}
    for name, words in commands.items():
        run(source, words, folder / f"{name}.json")
        found[name] = json.loads((folder / f"{name}.json").read_text())
    return found


def show(found: dict[str, Any]) -> None:
    """A few lines a walk."""
    for name, walk in found.items():
        parts = {name: walk}
        if "before_first_step" in walk:
            parts[f"{name}, before the first step"] = walk["before_first_step"]
        for title, part in parts.items():
            print(f"{title}: {part['modules']} modules, {part['arrows']} arrows between rooms, "
                  f"{part['calls_across_rooms']} calls across")  # fmt: skip
            for key in ("modules_by_room", "entered", "functions", "opened"):
                print(f"  {key}: " + ", ".join(f"{room} {count}" for room, count in part[key].items()))


def main() -> int:
    """Walk a checkout, or, in a process of its own, one command."""
    if sys.argv[1:2] == ["--here"]:
        return walk_here(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parents[1] / "src"
    parser.add_argument("--source", type=Path, default=here, help="a checkout's src")
    parser.add_argument("--json", action="store_true", help="all that was counted, as JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = walks(arguments.source.resolve(), Path(folder))
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
