"""Run everything behind docs/CURRICULUM.md and write it.

    python benchmarks/curriculum/run.py --out runs/curriculum [--only main weak-teacher …]

What is there already is kept: models, worlds, scores, finished runs. Started twice, on two cores, the processes share
the work. About two and a half hours on one core, and half an hour for the models.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pools
from studies import as_comparison, studies

from video_opd.cli import main as video_opd
from video_opd.compare import compare

HERE = Path(__file__).resolve().parent
BUILD_MODELS = HERE.parents[1] / "scripts" / "build_study_models.py"
MODELS = ("teacher-c", "teacher-of-primaries", "teacher-of-others", "student-1")


def score(out: Path, name: str, model: str, pool: str, answers: int) -> None:
    """A file of scores, by the command that a user has."""
    path = out / "scores" / f"{name}.jsonl"
    manifest, videos = str(pools.manifest(out, pool)), str(out / "worlds")
    words = ["score", model, manifest, "--videos", videos, "--answers", str(answers), "--out", str(path)]
    if video_opd([*words, "--batch-size", "32"]):
        raise SystemExit(f"{name} could not be scored")


def scores(out: Path) -> None:
    """What the measures and the routed teachers are made of."""
    for name in ("teacher-of-primaries", "teacher-of-others"):
        score(out, name, str(out / "models" / name), "two-colours", 4)
    for name, model in {"tiny-teacher": "tiny-teacher", "teacher-c": str(out / "models" / "teacher-c"),
                        "tiny-student": "tiny-student"}.items():  # fmt: skip
        score(out, f"{name}-16", model, "audit", 17)


def main() -> None:
    """Run what is missing, then write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/curriculum"))
    parser.add_argument("--only", nargs="*", help="these comparisons, in this order, and no document")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if arguments.only is None:
        subprocess.run([sys.executable, str(BUILD_MODELS), "--out", str(out / "models"), "--only", *MODELS], check=True)
        pools.build(out)
        scores(out)
    all_studies = studies(out)
    for name in arguments.only or all_studies:
        recipe, tables = as_comparison(name, all_studies[name], out)
        compare(recipe, tables, out / name)
        print(f"{name}: done", flush=True)
    if arguments.only is None:
        subprocess.run([sys.executable, str(HERE / "document.py"), "--out", str(out)], check=True)


if __name__ == "__main__":
    main()
