"""Run the studies behind docs/CLAIMS.md, keep their results, and write the page.

    python benchmarks/studies/run_claims.py --out runs/claims [--only main long-1 …]

A study whose results are kept in results/claims is not run again; remove its file for that. Models, rendered worlds and
finished runs below --out are kept too. Started twice, on two cores, the processes share the work of a study. Everything
takes more than a day on one core.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from claims_studies import studies
from kept_results import keep, keep_study, read_kept
from study import as_comparison, rates_of

from video_opd.compare import compare

HERE = Path(__file__).resolve().parent
COST = HERE.parent / "cost_against_grpo.py"
BUILD_MODELS = HERE.parents[1] / "scripts" / "build_study_models.py"


def main() -> None:
    """Run what is missing, then write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    parser.add_argument("--only", nargs="*", help="these studies, in this order, and no document")
    arguments = parser.parse_args()
    out: Path = arguments.out
    models = out / "models"
    if arguments.only is None:
        subprocess.run([sys.executable, str(BUILD_MODELS), "--out", str(models)], check=True)
    all_studies = studies(models)
    for name in arguments.only or all_studies:
        study = all_studies[name]
        if read_kept("claims", name) is None:
            recipe, tables = as_comparison(
                name, study, out / "worlds", {} if study.rates else rates_of(study.rates_from)
            )
            compare(recipe, tables, out / name)
            keep_study(out / name, "claims", name)
        print(f"{name}: done", flush=True)
    if arguments.only is None:
        if read_kept("claims", "measure-cost") is None:
            found = subprocess.run([sys.executable, str(COST)], check=True, capture_output=True, text=True)
            keep("claims", "measure-cost", json.loads(found.stdout))
        subprocess.run([sys.executable, str(HERE / "claims_measures.py"), "--out", str(out)], check=True)
        subprocess.run([sys.executable, str(HERE / "claims_document.py")], check=True)


if __name__ == "__main__":
    main()
