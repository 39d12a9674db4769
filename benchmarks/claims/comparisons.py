"""The comparisons behind docs/CLAIMS.md, by name: what is run, on which data, with which student."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.config.recipe_file import overlay, read_tables
from video_opd.demo import find_bundled_recipe

Method = dict[str, Any]

NOISE = {"clean": (0.0, 0.0), "audit": (0.20, 0.35), "double": (0.40, 0.35), "heavy": (0.60, 0.35)}
"""Shares of wrong and of imprecise training spans. `audit`: as TimeLens found them in Charades-STA."""

OPD: Method = {"name": "opd"}
EXACT: Method = {"name": "opd", "estimator": "exact"}
ON_POLICY: dict[str, Method] = {"opd": OPD, "opd-exact": EXACT, "grpo": {"name": "grpo"}}
OFF_POLICY: dict[str, Method] = {
    "op-rkd": {"name": "op-rkd"},
    "op-rkd-exact": {"name": "op-rkd", "estimator": "exact"},
    "op-fkd": {"name": "op-fkd"},
    "sft": {"name": "sft"},
}
METHODS = ON_POLICY | OFF_POLICY
READ_LABELS = {"grpo": METHODS["grpo"]} | OFF_POLICY
"""The others are the same runs whatever the labels say."""

LACKS_REASONING = "The event happens in {start:.1f} - {end:.1f} seconds."
WORDED_OTHERWISE = "Watch {seen}: visible in {start:.1f} to {end:.1f}."


@dataclass(frozen=True, kw_only=True)
class Study:
    """One comparison."""

    methods: dict[str, Method]
    seeds: tuple[int, ...] = (0, 1)
    rates: tuple[float, ...] = ()
    """Learning rates to sweep; none: those of the study named in `rates_from`."""
    rates_from: str = "main"
    noise: str = "audit"
    student: str = "tiny-student"
    teachers: dict[str, str] = field(default_factory=dict)
    """By method, where it is not the tiny teacher."""
    template: str = "tiny"
    rate_of: dict[str, str] = field(default_factory=dict)
    """By method: the method of `rates_from` whose learning rate it takes; by default the one of its own name."""


def studies(models: Path) -> dict[str, Study]:
    """All of them, in the order in which they are run."""
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


def as_comparison(
    name: str, study: Study, worlds: Path, chosen_rates: dict[str, float]
) -> tuple[ComparisonRecipe, dict[str, Any]]:
    """What `video_opd.compare.compare` is called with.

    Args:
        chosen_rates: by method, those of the study's `rates_from`.
    """
    world = worlds / study.noise
    wrong, imprecise = NOISE[study.noise]
    tables = overlay(
        read_tables(find_bundled_recipe("tiny-opd")),
        {
            "student": {"model": study.student},
            "prompt": {"template": study.template},
            "answers": {"max_new_tokens": 56 if study.template == "tiny-long" else 32},
            "data": {"videos": str(world / "videos"), "workers": 0,
                     "tiny_world": {"wrong_share": wrong, "imprecise_share": imprecise}}
            | {split: str(world / f"{split}.jsonl") for split in ("train", "validation", "test")},
            "schedule": {"evaluate_every": 15, "probe_every": 0, "checkpoint_every": 60, "keep_checkpoints": 1},
        },
    )  # fmt: skip
    methods: dict[str, dict[str, Any]] = {}
    for method, settings in study.methods.items():
        methods[method] = {"method": settings}
        if method in study.teachers:
            methods[method]["teacher"] = {"model": study.teachers[method]}
        if not study.rates:
            rate = chosen_rates[study.rate_of.get(method, method)]
            methods[method]["training"] = {"learning_rate": rate}
    comparison = ComparisonRecipe(
        name=name,
        recipe="tiny-opd.toml",
        seeds=study.seeds,
        learning_rates=study.rates,
        target_miou=0.7,
        methods=methods,
    )
    return comparison, tables
