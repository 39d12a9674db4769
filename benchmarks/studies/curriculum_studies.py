"""The comparisons behind docs/CURRICULUM.md: which curricula are run, on which pool, with which teacher and student."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pools import manifest
from small_studies import STEPS as SMALL_STEPS
from small_studies import STUDENTS
from study import rates_of

from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.config.recipe_file import overlay, read_tables
from video_opd.demo import find_bundled_recipe

STEPS, BATCH_SIZE, LEARNING_RATE = 30, 16, 5e-4
COUNT = STEPS * BATCH_SIZE
"""Examples a run trains on: a quarter of the pool, each once."""

Tables = dict[str, Any]


def rounds(strategy: str = "random", *, num_rounds: int = 1, steps: int = STEPS, **more: Any) -> Tables:
    """A curriculum of rounds with the study's budget."""
    count = steps * BATCH_SIZE // num_rounds
    table = {"name": "rounds", "strategy": strategy, "num_rounds": num_rounds, "count": count}
    return {"curriculum": table | more}


WHOLE_POOL: Tables = {"curriculum": {"name": "whole-pool"}}
GATE: Tables = {"curriculum": {"name": "whole-pool", "suspend_at": 0.7}}
GAP_ONLY = rounds("top-k", threshold=0.0)
TVDF = rounds("top-k")
CANDIDATES: Tables = {"name": "scc", "num_anchors": 15, "num_frontier": 175}
"""As large a part of the examples that a run is given as SCC's 1,000 are; the tiny student has few anchors."""
NO_GATE: Tables = {"suspend_at": 2.0}
FRONT_LOADED: Tables = {"schedule": "front-loaded"}
PRESET: Tables = {"training": {"normalise": "constant"}}
"""SCC divides by a full batch of examples, whatever was presented or kept."""
SCC: Tables = {"curriculum": CANDIDATES | FRONT_LOADED, **PRESET}
UNIFORM_GATE: Tables = {"curriculum": CANDIDATES}

PARTS = {"whole-pool": WHOLE_POOL, "filter": rounds(), "gap": GAP_ONLY, "filter+gap": TVDF}
"""The paper's table 2: neither, TRPV, DBTP, both."""
STRATEGIES = {
    "filter+dsus": rounds("dsus"),
    "filter+bbds": rounds("bbds"),
    "filter+gwds": rounds("gwds"),
    "filter+half-and-half": rounds("half-and-half"),
    "filter+reverse-kl": rounds("top-k", disagreement="reverse-kl"),
    "filter+reverse-kl-per-token": rounds("top-k", disagreement="reverse-kl-per-token"),
}
AGREEMENT = {"agreement": rounds(reliability="agreement")}
LUCK = {f"filter+gap, {n} answers": rounds("top-k", num_answers=n) for n in (1, 8)}
THREE_ROUNDS = {"3 x filter": rounds(num_rounds=3), "3 x filter+gap": rounds("top-k", num_rounds=3)}
SINGLY: Tables = {"training": {"micro_batch_size": 1}}
"""As long videos need it; nothing is read twice then, where the gate suspends a part."""
COUPLED = {"gate": GATE, "filter, gate": rounds(suspend_at=0.7), "candidates, gate": UNIFORM_GATE, "scc": SCC}
APART: dict[str, Tables] = {
    "whole-pool": WHOLE_POOL,
    "filter+gap": TVDF,
    "gate": GATE,
    "candidates": {"curriculum": CANDIDATES | NO_GATE},
    "candidates, n_t": {"curriculum": CANDIDATES | NO_GATE, **PRESET},
    "candidates, gate": UNIFORM_GATE,
    "candidates, schedule": {"curriculum": CANDIDATES | FRONT_LOADED | NO_GATE, **PRESET},
    "scc": SCC,
    "grpo on the candidates": {"curriculum": CANDIDATES | NO_GATE, "method": {"name": "grpo"}},
}
"""The parts of SCC, apart and together, and GRPO on the same examples."""


OF_SMALL: dict[str, Tables] = {
    "whole-pool": WHOLE_POOL,
    "filter": rounds(steps=SMALL_STEPS),
    "gap": rounds("top-k", threshold=0.0, steps=SMALL_STEPS),
    "filter+gap": rounds("top-k", steps=SMALL_STEPS),
    "gate": GATE,
}
"""For students that are smaller, not spoiled."""
CANDIDATES_OF_SMALL = {"small-240": (100, 1167), "small-560": (900, 367)}
"""Anchors and frontier examples of SCC: the same part of the presentations as above. `small-560` is right about so many
examples that only 367 of the pool are on its frontier; anchors stand in for the rest."""
RANKING = ("whole-pool", "filter", "filter+gap")


@dataclass(frozen=True, kw_only=True)
class Study:
    """One comparison."""

    methods: Mapping[str, Tables]
    seeds: tuple[int, ...] = (0, 1, 2)
    pool: str = "audit"
    teacher: str = "tiny-teacher"
    student: str = "tiny-student"
    template: str = "tiny"
    steps: int = STEPS
    rate_from: str | None = None
    """The study of docs/CLAIMS.md whose learning rate of opd is taken; None: `LEARNING_RATE`."""


def studies(out: Path) -> dict[str, Study]:
    """All of them, in the order in which they are run."""
    models = {path.name: str(path) for path in (out / "models").glob("*")}

    def model(name: str) -> str:
        return models.get(name, str(out / "models" / name))

    def specialists(by: str, **extra: tuple[Any, Any]) -> Tables:
        pair = ("teacher-of-primaries", "teacher-of-others")
        teachers = [
            {"model": model(name), **{key: values[index] for key, values in extra.items()}}
            for index, name in enumerate(pair)
        ]
        return {"teachers": teachers, "teachers_by": by}

    scores = tuple(str(out / "scores" / f"{name}.jsonl") for name in ("teacher-of-primaries", "teacher-of-others"))
    four: Tables = {"name": "opd", "num_answers": 4}
    weak_methods = PARTS | AGREEMENT | COUPLED | THREE_ROUNDS
    return {
        "main": Study(
            methods=PARTS
            | STRATEGIES
            | AGREEMENT
            | LUCK
            | THREE_ROUNDS
            | COUPLED
            | {"whole-pool, singly": WHOLE_POOL | SINGLY, "gate, singly": GATE | SINGLY}
        ),
        "more-seeds": Study(
            methods={
                name: (PARTS | THREE_ROUNDS)[name] for name in ("whole-pool", "filter", "filter+gap", "3 x filter+gap")
            },
            seeds=tuple(range(3, 11)),
        ),
        "weak-teacher": Study(methods=weak_methods, teacher=model("teacher-c")),
        "heavy-noise": Study(
            methods={
                "whole-pool": WHOLE_POOL,
                "filter": rounds(threshold=0.5),  # at 0.7 fewer are left than a run trains on
                "gap": GAP_ONLY,
                "filter+gap": rounds("top-k", threshold=0.5),
                "agreement": rounds(reliability="agreement"),
                "gate": GATE,
            },
            pool="heavy",
            teacher=model("teacher-c"),
        ),
        "cheaper": Study(
            pool="two-sources",
            methods={
                "filter": rounds(),
                "filter, race": rounds(race=True, race_pilot=32),
                "filter, enough": rounds(race_enough=1.0, race_pilot=32),
                "filter, race, enough": rounds(race=True, race_enough=1.0, race_pilot=32),
                "filter, greedy first": rounds(skip_below=0.5),
                "3 x filter+gap": rounds("top-k", num_rounds=3),
                "3 x filter+gap, reuse": rounds("top-k", num_rounds=3, reuse_answers=True),
            },
        ),
        "teachers": Study(
            pool="two-colours",
            teacher=model("teacher-of-primaries"),
            methods={
                "one specialist": {},
                "routed by source": specialists("source", sources=(["primaries"], ["others"])),
                "routed by reliability": specialists("reliability", scores=scores),
                "averaged": specialists("average"),
                "the whole teacher": {"teacher": {"model": "tiny-teacher"}},
            },
        ),
        "outcome": Study(
            teacher=model("teacher-c"),
            methods={
                "4 answers": {"method": four},
                "4 answers, mask": {"method": four | {"outcome_check": "mask"}},
                "4 answers, shift": {"method": four | {"outcome_check": "shift"}},
            },
        ),
        "prefix": Study(
            student=model("student-1"),
            template="tiny-long",
            methods={"long answers": {}, "long answers, cut": {"method": {"name": "opd", "prefix_cut": True}}},
        ),
        "student-1": Study(
            methods=PARTS | AGREEMENT | {"gate": GATE, "candidates, gate": UNIFORM_GATE, "scc": SCC},
            student=model("student-1"),
        ),
        "coupling": Study(methods=APART),
        "coupling-student-1": Study(methods=APART, student=model("student-1")),
        **_small(model),
    }


def _small(model: Callable[[str], str]) -> dict[str, Study]:
    """Students that are smaller, not spoiled; longer runs on a larger pool."""
    found: dict[str, Study] = {}
    for name in STUDENTS:
        shared: Tables = {"student": model(name), "steps": SMALL_STEPS, "rate_from": f"{name}-short"}
        anchors, frontier = CANDIDATES_OF_SMALL[name]
        scc = {"name": "scc", "num_anchors": anchors, "num_frontier": frontier} | FRONT_LOADED
        found[name] = Study(methods=OF_SMALL | {"scc": {"curriculum": scc, **PRESET}}, pool="large", **shared)
        ranking = {method: OF_SMALL[method] for method in RANKING}
        found[f"{name}-clean"] = Study(methods=ranking, pool="large-clean", **shared)
    return found


def as_comparison(name: str, study: Study, out: Path) -> tuple[ComparisonRecipe, Tables]:
    """What `video_opd.compare.compare` is called with."""
    rate = rates_of(study.rate_from)["opd"] if study.rate_from else LEARNING_RATE
    tables = read_tables(find_bundled_recipe("tiny-opd"))
    del tables["side_questions"], tables["data"]["tiny_world"]
    tables = overlay(
        tables,
        {
            "student": {"model": study.student},
            "teacher": {"model": study.teacher},
            "prompt": {"template": study.template},
            "answers": {"max_new_tokens": 56 if study.template == "tiny-long" else 32},
            "video": {"max_tokens": 32},
            "data": {"videos": str(out / "worlds"), "workers": 0}
            | {split: str(manifest(out, study.pool, split)) for split in ("train", "validation", "test")},
            "training": {"steps": study.steps, "batch_size": BATCH_SIZE, "learning_rate": rate},
            "schedule": {"evaluate_every": study.steps // 3, "probe_every": 0, "checkpoint_every": study.steps,
                         "keep_checkpoints": 1,
                         "answers_kept": BATCH_SIZE},
        },
    )  # fmt: skip
    methods: dict[str, Tables] = {}
    for method, settings in study.methods.items():
        methods[method] = dict(settings)
        if "curriculum" in settings and settings["curriculum"]["name"] != "whole-pool":
            methods[method]["curriculum"] = settings["curriculum"] | {"cache": str(out / "scores" / "cache")}
    recipe = ComparisonRecipe(name=name, recipe="tiny-opd.toml", seeds=study.seeds, methods=methods)
    return recipe, tables
