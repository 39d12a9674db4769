"""What is measured without training: the spread of gradients, and the distance to the teacher along an answer.

    python benchmarks/studies/claims_measures.py --out runs/claims

Needs the finished comparisons of `EXPOSED` in that folder, and leaves out those that are not there. CPU, one thread.
"""

from __future__ import annotations

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from claims_studies import EXPOSED, studies
from kept_results import keep, read_kept
from study import as_comparison, rates_of

from video_opd.config import Recipe
from video_opd.config.comparison_recipe import ComparisonRecipe, make_recipe
from video_opd.data.batches import choose_batch
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.eval.exposure import reverse_kl_by_position
from video_opd.methods import Method
from video_opd.methods.writers import AnnotationWrites, StudentWrites
from video_opd.objectives import masked_sum
from video_opd.policy.load import Policy
from video_opd.train.build import load_student, load_teacher, make_method, make_source
from video_opd.types import AnswerGroup, Prompt

NUM_DRAWS = 16
NUM_PROMPTS = 128


def gradient(student: Policy, method: Method, prompts: list[Prompt], seed: int) -> torch.Tensor:
    """Of one batch, divided by its answer tokens, as the learner does it."""
    student.model.zero_grad(set_to_none=True)
    reading = student.read(prompts, grad=True)
    groups = method.write(student, reading, seed)
    judgement = method.judge(prompts, groups)
    scores = student.score(reading, groups, distribution=method.needs_distribution, grad=True)
    losses = method.losses(scores, scores.logprobs.detach(), judgement)
    (masked_sum(losses.loss, scores.answer_mask) / scores.num_tokens).backward()
    return torch.cat([p.grad.flatten() for p in student.model.parameters() if p.grad is not None])


def spread(draws: torch.Tensor) -> dict[str, float]:
    """Of (draws, parameters): how much of a gradient is noise.

    `noise_to_signal` is the trace of the covariance over the squared norm of the mean, the latter corrected for the
    noise that is left in a mean of so few; `cosine` is the mean cosine between two draws.
    """
    mean = draws.mean(dim=0)
    variance = draws.var(dim=0).sum()
    signal = mean.square().sum() - variance / len(draws)
    unit = draws / draws.norm(dim=1, keepdim=True)
    similar = unit @ unit.T
    off_diagonal = similar[~torch.eye(len(draws), dtype=torch.bool)]
    return {
        "noise_to_signal": float(variance / signal) if signal > 0 else float("inf"),
        "cosine": float(off_diagonal.mean()),
        "norm_of_mean": float(mean.norm()),
    }


def gradient_spread(comparison: ComparisonRecipe, tables: dict[str, Any]) -> dict[str, Any]:
    """Of every estimator and of GRPO on one fixed batch of 16 prompts, the answers drawn anew each time."""
    recipe = make_recipe(comparison, tables, next(iter(comparison.methods)), None, 0)
    student, teacher = load_student(recipe, recipe.student.model), load_teacher(recipe)
    train = read_manifest(recipe.data.train)
    with closing(make_source(recipe, student, train)) as source:
        prompts = source.prompts(choose_batch(train, 0, 16, 0))
    found = {}
    for name in comparison.methods:
        method = make_method(make_recipe(comparison, tables, name, None, 0), teacher)
        draws = torch.stack([gradient(student, method, prompts, seed) for seed in range(NUM_DRAWS)])
        found[name] = spread(draws)
        print(name, found[name], flush=True)
    return found


def exposure(recipe: Recipe, students: dict[str, Path | str], template: str) -> dict[str, Any]:
    """KL to the teacher by position on own and on annotated prefixes, for every student."""
    teacher = load_teacher(recipe)
    assert teacher is not None
    assert recipe.data.test is not None
    examples = read_manifest(recipe.data.test)[:NUM_PROMPTS]
    found: dict[str, Any] = {}
    prompts: list[Prompt] = []
    for name, model in students.items():
        student = load_student(recipe, str(model)).freeze()
        if not prompts:
            with closing(make_source(recipe, student, examples)) as source:
                prompts = source.prompts(examples)
        writers = {
            "own": StudentWrites(max_new_tokens=recipe.answers.max_new_tokens),
            "annotated": AnnotationWrites(template=TEMPLATES[template]),
        }
        found[name] = {}
        for who, write in writers.items():
            groups: list[AnswerGroup] = []
            for start in range(0, len(prompts), 16):
                some = prompts[start : start + 16]
                groups += write(student, student.read(some), 0)
            by_position = reverse_kl_by_position(student, teacher, prompts, groups)
            tokens = sum(count for _, count in by_position)
            mean = sum(value * count for value, count in by_position) / tokens
            found[name][who] = {"mean": mean, "by_position": by_position}
        print(name, {who: round(each["mean"], 4) for who, each in found[name].items()}, flush=True)
    return found


def main() -> None:
    """Measure what is missing."""

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/claims"))
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    all_studies = studies(out / "models")
    if read_kept("claims", "measure-gradient_spread") is None:
        several = all_studies["estimators"]
        comparison, tables = as_comparison("estimators", several, out / "worlds", rates_of("main"))
        comparison.methods["grpo"] = {"method": {"name": "grpo"}}
        comparison.methods["op-rkd"] = {"method": {"name": "op-rkd"}}
        keep("claims", "measure-gradient_spread", gradient_spread(comparison, tables))
    for study in EXPOSED:
        if read_kept("claims", f"measure-exposure-{study}") or not (out / study / "comparison.json").exists():
            continue
        comparison, tables = as_comparison(study, all_studies[study], out / "worlds", {})
        results = json.loads((out / study / "comparison.json").read_text(encoding="utf-8"))
        students: dict[str, Path | str] = {"before": all_studies[study].student}
        for name, method in results["methods"].items():
            (model,) = (out / study / method["runs"][0]["folder"] / "checkpoints").glob("step-*/model")
            students[name] = model
        recipe = make_recipe(comparison, tables, "opd", None, 0)
        keep("claims", f"measure-exposure-{study}", exposure(recipe, students, all_studies[study].template))


if __name__ == "__main__":
    main()
