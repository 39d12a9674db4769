"""Run the comparisons behind docs/CLAIMS.md and write it.

    python benchmarks/claims/run.py --out runs/claims [--only main long-1 …]

Everything that is there already is kept: models, rendered worlds, finished runs. Started twice, on two cores, the
processes share the work. About five hours on one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from comparisons import as_comparison, studies

from video_opd.compare import compare
from video_opd.files.durable import write_durably

HERE = Path(__file__).resolve().parent
COST = HERE.parent / "cost_against_grpo.py"
BUILD_MODELS = HERE.parents[1] / "scripts" / "build_study_models.py"


def rates_of(out: Path, study: str) -> dict[str, float]:
    """The learning rates a finished study chose."""
    results: dict[str, Any] = json.loads((out / study / "comparison.json").read_text(encoding="utf-8"))
    return {name: method["learning_rate"] for name, method in results["methods"].items()}


def main() -> None:
    """Run what is missing, then write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--only", nargs="*", help="these comparisons, in this order, and no document")
    arguments = parser.parse_args()
    out: Path = arguments.out
    models = out / "models"
    if arguments.only is None:
        subprocess.run([sys.executable, str(BUILD_MODELS), "--out", str(models)], check=True)
    all_studies = studies(models)
    for name in arguments.only or all_studies:
        study = all_studies[name]
        rates = {} if study.rates else rates_of(out, study.rates_from)
        recipe, tables = as_comparison(name, study, out / "worlds", rates)
        compare(recipe, tables, out / name)
        print(f"{name}: done", flush=True)
    if arguments.only is None:
        cost = out / "measures" / "cost.json"
        cost.parent.mkdir(exist_ok=True)
        if not cost.exists():
            found = subprocess.run([sys.executable, str(COST)], check=True, capture_output=True, text=True)
            write_durably(cost, found.stdout.encode())
        subprocess.run([sys.executable, str(HERE / "measures.py"), "--out", str(out)], check=True)
        subprocess.run([sys.executable, str(HERE / "document.py"), "--out", str(out)], check=True)


if __name__ == "__main__":
    main()
