"""The studies behind docs/CLAIMS.md, by name."""

from __future__ import annotations

from pathlib import Path

import release_studies
import small_studies
import view_studies
from study import EXACT, METHODS, OFF_POLICY, OPD, READ_LABELS, Method, Study

LACKS_REASONING = "The event happens in {start:.1f} - {end:.1f} seconds."
EXPOSED = ("main", "long-1", *small_studies.names())
"""Studies whose students are measured along own and annotated answers."""
WORDED_OTHERWISE = "Watch {seen}: visible in {start:.1f} to {end:.1f}."


def studies(models: Path) -> dict[str, Study]:
    """All of them, in the order in which they are run."""
    return (
        paper_studies(models) | release_studies.studies() | small_studies.studies(models) | view_studies.studies(models)
    )


def paper_studies(models: Path) -> dict[str, Study]:
    """The paper's claims."""
    long = {"template": "tiny-long", "rates_from": "long-1"}
    students = {f"student-{number}": str(models / f"student-{number}") for number in (1, 2)}
    wordings = {"lacks": LACKS_REASONING, "otherwise": WORDED_OTHERWISE}
    reworded = {
        f"{name}-{wording}": method | {"answer": text}
        for name, method in OFF_POLICY.items()
        for wording, text in wordings.items()
    }
    kinds = ("shuffled", "noise", "early", "blind")
    spoiled = {f"opd-{kind}": OPD | {"ablation": kind} for kind in kinds}
    rungs = {f"{name}-{rung}": method for rung in "bcd" for name, method in (("opd", OPD), ("opd-exact", EXACT))}
    many = {
        f"opd-{estimator}-{count}": OPD | {"estimator": estimator, "num_answers": count}
        for estimator in ("sampled", "baseline", "exact")
        for count in (1, 4, 8)
    }
    mixture: dict[str, Method] = {"mixture": {"name": "mixture"}}
    weak = {name: str(models / "teacher-d") for name in ("mixture",)}
    return {
        "main": Study(methods=METHODS, seeds=(0, 1, 2), rates=(1e-4, 2e-4, 5e-4, 1e-3)),
        "long-1": Study(
            methods=METHODS, seeds=(0, 1), rates=(1e-4, 2e-4, 5e-4, 1e-3), student=students["student-1"],
            template="tiny-long",
        ),
        "wording-1": Study(
            methods=reworded, seeds=(0,), student=students["student-1"], **long,
            rate_of={name: name.rpartition("-")[0] for name in reworded},
        ),
        "noise-clean": Study(methods=READ_LABELS, noise="clean"),
        "noise-heavy": Study(methods=READ_LABELS, noise="heavy"),
        "falsification": Study(methods=spoiled, rate_of=dict.fromkeys(spoiled, "opd")),
        "ladder": Study(
            methods=rungs, teachers={name: str(models / f"teacher-{name[-1]}") for name in rungs},
            rate_of={name: name[:-2] for name in rungs},
        ),
        "estimators": Study(
            methods=many,
            rate_of={name: "opd-exact" if "exact" in name else "opd" for name in many},
        ),
        "passing-clean": Study(methods=mixture, teachers=weak, noise="clean", rate_of={"mixture": "opd"}),
        "passing-audit": Study(methods=mixture, teachers=weak, rate_of={"mixture": "opd"}),
        "student-1": Study(methods=METHODS, seeds=(0,), student=students["student-1"]),
        "student-2": Study(methods=METHODS, seeds=(0,), student=students["student-2"]),
        "long-2": Study(methods=METHODS, seeds=(0,), student=students["student-2"], **long),
        "wording-2": Study(
            methods=reworded, seeds=(0,), student=students["student-2"], **long,
            rate_of={name: name.rpartition("-")[0] for name in reworded},
        ),
        "student-1-clean": Study(methods=READ_LABELS, seeds=(0,), student=students["student-1"], noise="clean"),
        "student-2-clean": Study(methods=READ_LABELS, seeds=(0,), student=students["student-2"], noise="clean"),
        "student-1-heavy": Study(methods=READ_LABELS, seeds=(0,), student=students["student-1"], noise="heavy"),
        "student-2-heavy": Study(methods=READ_LABELS, seeds=(0,), student=students["student-2"], noise="heavy"),
        "noise-double": Study(methods=READ_LABELS, noise="double"),
    }  # fmt: skip
