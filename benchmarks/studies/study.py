"""A study: one comparison behind docs/CLAIMS.md, with what it is run on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kept_results import read_kept

from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.config.recipe_file import overlay, read_tables
from video_opd.demo import find_bundled_recipe

Method = dict[str, Any]
Tables = dict[str, Any]

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
    changes: dict[str, Tables] = field(default_factory=dict)
    """By method: further tables of its recipe."""
    steps: int = 60


def rates_of(study: str) -> dict[str, float]:
    """The learning rate that a finished study chose for each method."""
    found = read_kept("claims", study)
    if found is None:
        raise SystemExit(f"study {study} chooses learning rates for others; run it first: run_claims.py --only {study}")
    return {name: method["learning_rate"] for name, method in found["methods"].items()}


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
            "schedule": {"evaluate_every": study.steps // 4, "probe_every": 0, "checkpoint_every": study.steps,
                         "keep_checkpoints": 1},
            "training": {"steps": study.steps},
        },
    )  # fmt: skip
    methods: dict[str, dict[str, Any]] = {}
    for method, settings in study.methods.items():
        methods[method] = overlay({"method": settings}, study.changes.get(method, {}))
        if method in study.teachers:
            methods[method]["teacher"] = {"model": study.teachers[method]}
        if not study.rates:
            rate = chosen_rates[study.rate_of.get(method, method)]
            methods[method] = overlay(methods[method], {"training": {"learning_rate": rate}})
    comparison = ComparisonRecipe(
        name=name,
        recipe="tiny-opd.toml",
        seeds=study.seeds,
        learning_rates=study.rates,
        target_miou=0.7,
        methods=methods,
    )
    return comparison, tables
