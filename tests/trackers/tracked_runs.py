"""Run folders with numbers, and a tracker that writes down what it is told and fails as a test wants."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECIPE = '[training]\nlearning_rate = 0.001\n\n[data]\nvideos = "https://me:s3cretword@host/x"\n'

FAKE = """
import json, os, sys, time
from pathlib import Path

import video_opd
from video_opd.trackers import StartedRun


@video_opd.register_tracker("fake")
class Fake:
    def start(self, run):
        self.path = run.folder / "told.jsonl"
        told = {"name": run.name, "project": run.project, "group": run.group, "id": run.id, "replaces": run.replaces,
                "next_step": run.next_step, "is_live": run.is_live, "rate": run.config["training"]["learning_rate"],
                "videos": run.config["data"]["videos"]}
        self.tell("start", told)
        return StartedRun(id="id-1", where="on the wall")

    def log(self, step, numbers):
        print("a tracker that prints")
        print("and complains", file=sys.stderr)
        self.tell("log", [step, numbers])

    def finish(self):
        self.tell("finish", None)

    def tell(self, call, told):
        fails = os.environ.get("FAKE_FAILS", "")
        once = self.path.with_name("failed")
        if fails == f"{call} hangs":
            time.sleep(600)
        if fails == f"{call} exits":
            sys.exit(3)
        if fails == f"{call} raises" or (fails == f"{call} raises once" and not once.exists()):
            once.touch()
            raise RuntimeError("the wall is wet\\nand more")
        with self.path.open("a") as file:
            file.write(json.dumps([call, told]) + "\\n")
"""


def make_run(folder: Path, steps: int = 4, *, is_done: bool = True) -> Path:
    """A run folder with a row a step, validations after steps 0 and 2, and evaluations on the test manifest."""
    (folder / "evaluation").mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    add_rows(folder, *range(1, steps + 1))
    add_evaluation(folder, "student-before", 0.1)
    add_evaluation(folder, "validation-000000", 0.2)
    add_evaluation(folder, "validation-000002", 0.3)
    if is_done:
        add_evaluation(folder, "student-after", 0.4, side_questions={"accuracy": 0.5})
    return folder


def add_rows(folder: Path, *steps: int) -> None:
    rows = [{"loss": 0.5 * step, "seconds_by_phase": {"teacher change": 1}, "step": step} for step in steps]
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def add_evaluation(folder: Path, name: str, miou: float, **more: Any) -> None:
    report = {"name": name, "scores": {"miou": miou, "r1@0.5": 1.0, "num_queries": 4}, **more}
    (folder / "evaluation" / f"{name}.json").write_text(json.dumps(report))


def told(folder: Path, call: str) -> list[Any]:
    """What the tracker was told by one of its calls."""
    path = folder / "told.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [what for name, what in rows if name == call]


def told_steps(folder: Path) -> list[str]:
    """Step and kind of all numbers, in the order in which they came."""
    return [f"{step} {next(iter(numbers)).rpartition('/')[0]}" for step, numbers in told(folder, "log")]


ALL_STEPS = [
    "0 evaluation/student-before", "0 evaluation/validation", "1 train", "2 train", "2 evaluation/validation",
    "3 train", "4 train", "4 evaluation/student-after",
]  # fmt: skip
