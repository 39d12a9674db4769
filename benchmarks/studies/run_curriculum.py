"""Run the studies behind docs/CURRICULUM.md, keep their results, and write the page.

    python benchmarks/studies/run_curriculum.py --out runs/curriculum [--only main weak-teacher …]

A study whose results are kept in results/curriculum is not run again; remove its file for that. What is there below
--out is kept too: models, worlds, scores, finished runs. Started twice, on two cores, the processes share the work of a
study. The studies of the smaller students take their learning rate from those of run_claims.py, which are run first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pools
from curriculum_measures import measure
from curriculum_studies import as_comparison, studies
from kept_results import keep, keep_study, read_kept
from study import rates_of

from video_opd.cli import main as video_opd
from video_opd.compare import compare

HERE = Path(__file__).resolve().parent
BUILD_MODELS = HERE.parents[1] / "scripts" / "build_study_models.py"
MODELS = ("teacher-c", "teacher-of-primaries", "teacher-of-others", "student-1", "small-240", "small-560")


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
    names = arguments.only or list(all_studies)
    for name in names:  # what is missing is said before anything is run
        if rate_from := all_studies[name].rate_from:
            rates_of(rate_from)
    for name in names:
        if read_kept("curriculum", name) is None:
            recipe, tables = as_comparison(name, all_studies[name], out)
            compare(recipe, tables, out / name)
            keep_study(out / name, "curriculum", name)
        print(f"{name}: done", flush=True)
    if arguments.only is None:
        if read_kept("curriculum", "measures") is None:
            keep("curriculum", "measures", measure(out))
        subprocess.run([sys.executable, str(HERE / "curriculum_document.py")], check=True)


if __name__ == "__main__":
    main()
