"""A whole training step of ours beside the plain path and the authors' released passes; writes results/step.json.

    python benchmarks/step.py [--cases NAME …] [--rounds N] [--out benchmarks/results/step.json] [--quick]

The three ways to take a step are those of shared_reading.py, with teacher and optimiser in each. Measured is CPU time
(`process_time`) on one thread. Every case runs in a process of its own. There each path takes one step on a short clip,
and then they take their steps in turn. A ratio is the median over the rounds. In every round all paths train
on the same answers; their losses and gradients are compared, and the benchmark fails where one differs by 1e-3 or more.

Where vision is frozen, the tower and its merger are, as in the paper, and the teacher's tower has the same weights as
the student's. Peak memory is that of memory.py: a step with checkpointing against the plain path, each in a process of
its own, without what glibc keeps of freed memory. `--quick` measures tiny models in this process, in seconds: it shows
that the command works, and its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import shared_reading
from machine import describe_machine
from memory import measure_in_own_process
from shared_reading import (
    NUM_ANSWER_TOKENS,
    NUM_GRPO_ANSWERS,
    build_policy,
    build_prompt,
    given_rewards,
    write_answers,
    writes,
)
from video_opd.methods import Method
from video_opd.methods.grpo import GRPO
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.load import Policy
from video_opd.policy.shared_vision import share_vision

RESULTS = Path(__file__).parent / "results" / "step.json"
LARGEST_DIFFERENCE = 1e-3
Sizes = tuple[dict[str, int], dict[str, int]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One comparison, and what it is to reach."""

    method: str = "opd"
    seconds: int = 20
    """Of the clip."""
    vocabulary: int = 32768
    trains_vision: bool = False
    rounds: int = 5
    has_memory: bool = False
    """Measure peak memory too."""
    target: float | None = None
    """Of the ratio to the plain path."""

    @property
    def shares_tower(self) -> bool:
        """Whether student and teacher have one frozen tower."""
        return self.method == "opd" and not self.trains_vision

    @property
    def targets(self) -> dict[str, float]:
        """By the name of the figure: the largest value that is good."""
        found = {} if self.target is None else {"ratio": self.target}
        if self.method == "opd":
            found["released_ratio"] = 0.55
        if self.has_memory:
            found["peak_memory_ratio"] = 0.5
        return found


CASES = {
    "opd, vision frozen": Case(target=0.72, has_memory=True),
    "opd, vision trained": Case(trains_vision=True, target=0.80, has_memory=True),
    "opd, long prompt, vision frozen": Case(seconds=83, target=0.72, rounds=3, has_memory=True),
    "opd, long prompt, vision trained": Case(seconds=83, trains_vision=True, target=0.80, has_memory=True, rounds=3),
    "opd, vocabulary 151,936, vision frozen": Case(vocabulary=151936, target=0.72, rounds=3),
    "grpo, eight answers, vision trained": Case(method="grpo", trains_vision=True, target=0.12, rounds=3),
}
SIZES: Sizes = ({}, {"hidden": 640, "layers": 12, "intermediate": 1792})
"""Of student and teacher."""
QUICK: Sizes = (
    {"hidden": 128, "layers": 4, "intermediate": 256, "vision": 64},
    {"hidden": 256, "layers": 4, "intermediate": 256, "vision": 64},
)


def build_paths(case: Case, sizes: Sizes) -> dict[str, shared_reading.Path]:
    """The ways to take a step, each with models of its own that have the same weights."""
    wanted: dict[str, type[shared_reading.Path]] = {"ours": shared_reading.Ours, "plain": shared_reading.Plain}
    if case.method == "opd":
        wanted["released"] = shared_reading.Released
    paths = {}
    for name, kind in wanted.items():
        student = build_policy(vocabulary=case.vocabulary, **sizes[0])
        if not case.trains_vision:
            shared_reading.freeze_vision(student)
        teacher = None
        if case.method == "opd":
            teacher = build_policy(vocabulary=case.vocabulary, **sizes[1]).freeze()
            if not case.trains_vision:
                shared_reading.copy_tower(student, teacher)
        load = shared_reading.load_as_package if name == "ours" else shared_reading.load_as_transformers
        student, teacher = load(student), teacher and load(teacher)
        if name == "ours":
            shared = share_vision(student, [teacher] if teacher else [], num_clips=0)
            assert bool(shared) == case.shares_tower, "a frozen tower was not shared, or a trained one was"
        paths[name] = kind(student, make_method(teacher))
    return paths


def make_method(teacher: Policy | None) -> Method:
    """Video-OPD where there is a teacher, else GRPO."""
    if teacher is None:
        return GRPO(write=writes(NUM_GRPO_ANSWERS), reward=given_rewards)
    return ReverseKLDistillation(write=writes(1), teacher=OneTeacher(teacher))


def measure(case: Case, sizes: Sizes) -> dict[str, Any]:
    """Take the steps, compare what they computed, and sum up."""
    torch.set_num_threads(1)
    paths = build_paths(case, sizes)
    rounds: list[dict[str, float]] = []
    phases: dict[str, list[dict[str, float]]] = {name: [] for name in paths}
    differences: list[float] = []
    for number in range(case.rounds + 1):  # the first one is short, and warms up
        prompt = build_prompt(paths["plain"].student, case.seconds if number else 2, number)
        answers = write_answers(paths["ours"].method, paths["ours"].student, prompt)
        order = sorted(paths, key=lambda name: (list(paths).index(name) + number) % len(paths))
        taken = {name: paths[name].take(prompt, answers) for name in order}
        differences.append(largest_difference(paths))
        if number:
            rounds.append(taken)
            for name, path in paths.items():
                phases[name].append(path.phases)
    return {
        "prompt_tokens": len(prompt),
        "video_tokens": prompt.num_video_tokens,
        "num_answers": len(answers.answers),
        "answer_tokens": NUM_ANSWER_TOKENS,
        "student_parameters": sum(p.numel() for p in paths["plain"].student.model.parameters()),
        "ours": statistics.median(taken["ours"] for taken in rounds),
        "plain": statistics.median(taken["plain"] for taken in rounds),
        "released": statistics.median(taken["released"] for taken in rounds) if "released" in paths else None,
        **compare(rounds, "plain", "ratio"),
        **(compare(rounds, "released", "released_ratio") if "released" in paths else {"released_ratio": None}),
        "phases": {name: find_medians(each) for name, each in phases.items()},
        "largest_difference": max(differences),
    }


def compare(rounds: Sequence[dict[str, float]], with_name: str, key: str) -> dict[str, Any]:
    """Ours against another path, round by round."""
    ratios = [taken["ours"] / taken[with_name] for taken in rounds]
    return {key: statistics.median(ratios), f"{key}_range": [min(ratios), max(ratios)]}


def find_medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """CPU-seconds by phase."""
    return {phase: statistics.median(each[phase] for each in rounds) for phase in rounds[0]}


def largest_difference(paths: dict[str, shared_reading.Path]) -> float:
    """How far loss, norm and direction of the gradient are from those of our step, relative to these.

    Raises:
        SystemExit: the paths computed different things, so their times cannot be compared.
    """
    ours, found = paths["ours"], 0.0
    for name, path in paths.items():
        parts = {
            "loss": abs(path.loss - ours.loss) / max(abs(ours.loss), 1.0),
            "norm of the gradient": abs(path.grad_norm - ours.grad_norm) / ours.grad_norm,
            "gradient": float((path.gradient - ours.gradient).norm() / ours.gradient.norm()),
        }
        for what, difference in parts.items():
            if not difference < LARGEST_DIFFERENCE:
                raise SystemExit(f"{what}: the path {name} differs from our step by {difference:.1e} (relative)")
            found = max(found, difference)
    return found


def measure_memory(case: Case) -> dict[str, Any]:
    """Peak memory of a checkpointed step against that of the plain path."""
    ending = "" if case.trains_vision else "-frozen"
    plain, ours = (
        measure_in_own_process(f"{name}{ending}", case.seconds, keep_freed=False) for name in ("plain", "checkpointed")
    )
    return {
        "peak_memory_ratio": float(ours["peak_gb"]) / float(plain["peak_gb"]),
        "peak_memory_gb": {"ours": ours["peak_gb"], "plain": plain["peak_gb"], "gradient": plain["gradient_gb"]},
    }


def measure_in_fresh_process(name: str, rounds: int | None) -> dict[str, Any]:
    """Run one case in an interpreter of its own."""
    command = [sys.executable, __file__, "--only", name, *(["--rounds", str(rounds)] if rounds else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def describe_case(name: str, case: Case, found: dict[str, Any]) -> dict[str, Any]:
    """One entry of the list `cases`."""
    settings = {key: value for key, value in asdict(case).items() if key not in ("has_memory", "target", "seconds")}
    return {
        "case": name, **settings, "frozen_towers_are_equal": case.shares_tower, "peak_memory_ratio": None, **found,
        "targets": case.targets,
    }  # fmt: skip


def show(row: dict[str, Any]) -> None:
    """One line of the table."""
    released, memory = (f"{row[key]:.2f}" if row[key] else "-" for key in ("released_ratio", "peak_memory_ratio"))
    missed = [key for key, most in row["targets"].items() if row[key] is not None and row[key] > most]
    low, high = row["ratio_range"]
    print(
        f"{row['case']:<42}{row['prompt_tokens']:6}{row['ours']:8.2f}{row['plain']:8.2f}  {row['ratio']:.3f} "
        f"[{low:.3f} {high:.3f}]{released:>10}{memory:>8}  {'missed: ' + ', '.join(missed) if missed else 'all met'}",
        flush=True,
    )


def parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--only", choices=CASES, help="measure this case in this process, print one line of JSON")
    parser.add_argument("--rounds", type=int, help="steps of each path that are measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--quick", action="store_true", help="tiny models, one round, no memory: seconds")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the figures after every case."""
    arguments = parse_arguments(words)
    if arguments.only:
        case = CASES[arguments.only]
        print(json.dumps(measure(replace(case, rounds=arguments.rounds or case.rounds), SIZES)))
        return
    rows: list[dict[str, Any]] = []
    print(f"{'case':<42}{'tokens':>6}{'ours s':>8}{'plain s':>8}  ours / plain{'released':>16}{'memory':>8}")
    for name in arguments.cases:
        case = replace(CASES[name], rounds=arguments.rounds or CASES[name].rounds)
        if arguments.quick:
            case = replace(case, seconds=2, vocabulary=4096, rounds=1, has_memory=False)
            found = measure(case, QUICK)
        else:
            found = measure_in_fresh_process(name, arguments.rounds)
            if case.has_memory and not arguments.no_memory:
                found |= measure_memory(case)
        rows.append(describe_case(name, case, found))
        show(rows[-1])
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        results = {**describe_machine(), "quick": arguments.quick, "cases": rows}
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
