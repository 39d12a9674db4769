"""What each command does. Heavy imports happen inside, so that a command pays only for what it uses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from video_opd.commands.asking import Overrides, how_to_ask, load, require_writable
from video_opd.commands.choosing import merge_scores, score, select
from video_opd.errors import ConfigurationError, writing

__all__ = [
    "compare",
    "data_check",
    "demo",
    "doctor",
    "evaluate",
    "ground",
    "merge_scores",
    "metrics",
    "report",
    "score",
    "select",
    "tiny_world_build",
    "train",
]


def demo(arguments: argparse.Namespace, _: Overrides) -> int:
    """Render, train, compare."""
    from video_opd.demo import run_demo
    from video_opd.training.interruption import Interrupted

    try:
        results = run_demo(arguments.out, seed=arguments.seed, steps=arguments.steps)
    except Interrupted as stop:
        return _stopped(stop)
    if arguments.json:
        results.pop("side_questions", None)  # they are in the run folder; the object has the keys it was promised with
    return _finished(results, arguments.json)


def train(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Train by a recipe."""
    from video_opd.recipe.file import load_recipe

    said = {"name": arguments.name, "seed": arguments.seed, "training.steps": arguments.steps}
    overrides |= {key: str(value) for key, value in said.items() if value is not None}
    recipe = load_recipe(arguments.recipe, overrides)

    from video_opd.session import run_recipe
    from video_opd.training.interruption import Interrupted

    try:
        results = run_recipe(recipe, arguments.out or Path("runs") / recipe.name)
    except Interrupted as stop:
        return _stopped(stop)
    return _finished(results, arguments.json)


def compare(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Several methods side by side."""
    from video_opd.recipe.comparison import load_comparison

    recipe, tables = load_comparison(
        arguments.recipe,
        overrides,
        only=arguments.methods,
        seeds=arguments.seeds,
        learning_rates=arguments.learning_rates,
    )

    from video_opd.comparison import compare
    from video_opd.training.interruption import Interrupted

    out = arguments.out or Path("runs") / recipe.name
    try:
        results = compare(recipe, tables, out)
    except Interrupted as stop:
        return _stopped(stop)
    if arguments.json:
        print(json.dumps(results))
    else:
        from video_opd.terminal import show_comparison

        show_comparison(results, out)
    return 0


def evaluate(arguments: argparse.Namespace, _: Overrides) -> int:
    """Answer a manifest's questions and score the answers."""
    from contextlib import closing

    from video_opd.data.manifest import read_manifest
    from video_opd.data.source import PromptSource, require_folder

    examples = read_manifest(arguments.manifest)
    require_folder(arguments.videos)
    defaults = how_to_ask(arguments)
    require_writable(arguments.out)

    from rich.console import Console

    from video_opd.grounding import write_predictions
    from video_opd.session import evaluate_with_bar

    policy, renderer = load(arguments, defaults)
    with closing(
        PromptSource(
            arguments.videos,
            renderer,
            num_examples=len(examples),
            workers=1,
            max_bad_share=arguments.max_bad_share,
        )
    ) as source:
        evaluation = evaluate_with_bar(
            policy,
            examples,
            source,
            max_new_tokens=defaults.answers.max_new_tokens,
            batch_size=arguments.batch_size,
            title=arguments.model,
            console=Console(stderr=True),
        )
    with writing(arguments.out):
        write_predictions(arguments.out, evaluation.answers)
    for id, reason in evaluation.set_aside.items():
        print(f"set aside {id}: {reason}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(evaluation.to_report(model=arguments.model, predictions=str(arguments.out)), indent=2))
    else:
        from video_opd.terminal import show_scores

        show_scores(evaluation.scores, f"{arguments.model} on {arguments.manifest}")
    return 0


def ground(arguments: argparse.Namespace, _: Overrides) -> int:
    """One question about one video."""
    from video_opd.data.video import probe
    from video_opd.data.video_file import read_timeline

    if not arguments.query.strip():
        raise ConfigurationError("the query is empty", reason="nothing is asked for", remedy="say what to look for")
    duration_s = probe(arguments.video).duration_s
    read_timeline(arguments.video).window(None)  # refuses a video that is too short, before a model is loaded
    defaults = how_to_ask(arguments)

    from video_opd.data.source import render
    from video_opd.grounding import parse_answer
    from video_opd.vocabulary import Example, Sampling

    policy, renderer = load(arguments, defaults)
    example = Example(id="ground", video=arguments.video.name, query=arguments.query, spans=(), duration=duration_s)
    prompt = render(renderer, arguments.video, example)
    sampling = Sampling(max_new_tokens=defaults.answers.max_new_tokens, greedy=True)
    answer = policy.answer(policy.read([prompt]), sampling=sampling)[0].answers[0]
    found = parse_answer(answer.text)
    if arguments.json:
        result = {
            "spans": [list(span) for span in found.spans],
            "answer": answer.text,
            "duration": duration_s,
            "num_video_tokens": prompt.num_video_tokens,
        }
        print(json.dumps(result))
    elif found.spans:
        spans = ", ".join(f"{span.start_s:g} - {span.end_s:g} s" for span in found.spans)
        print(f"{spans}   (of {duration_s:.1f} s; the model wrote: {answer.text!r})")
    else:
        print(f"no span: {found.reason}   (the model wrote: {answer.text!r})")
    return 0


def doctor(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Pre-flight checks; exit status 1 if one failed."""
    from video_opd.recipe.file import load_recipe

    recipe = load_recipe(arguments.recipe, overrides)

    from video_opd.doctor import examine

    findings = examine(recipe, num_examples=arguments.examples)
    failed = sum(finding.verdict == "fail" for finding in findings)
    if arguments.json:
        report = {"recipe": str(arguments.recipe), "failed": failed, "findings": [f.to_dict() for f in findings]}
        print(json.dumps(report, indent=2))
    else:
        from video_opd.terminal import show_findings

        show_findings(findings)
    return 1 if failed else 0


def metrics(arguments: argparse.Namespace, _: Overrides) -> int:
    """Score a predictions file."""
    from video_opd.data.manifest import read_manifest
    from video_opd.grounding import read_predictions
    from video_opd.grounding.metrics import score as score_predictions

    scores = score_predictions(read_predictions(arguments.predictions), read_manifest(arguments.ground_truth))
    if arguments.json:
        print(json.dumps(scores.to_report(), indent=2))
    else:
        from video_opd.terminal import show_scores

        show_scores(scores, str(arguments.predictions))
    for what, ids in (("without a prediction", scores.missing_ids), ("predicted but not asked", scores.unknown_ids)):
        if ids:
            print(f"{len(ids)} {what}, such as {', '.join(ids[:3])}", file=sys.stderr)
    return 0


def report(arguments: argparse.Namespace, _: Overrides) -> int:
    """Write report.html."""
    from video_opd.report import write_comparison_report, write_report

    is_comparison = (arguments.run / "comparison.json").exists()
    with writing(arguments.run / "report.html"):
        print(write_comparison_report(arguments.run) if is_comparison else write_report(arguments.run))
    return 0


def data_check(arguments: argparse.Namespace, _: Overrides) -> int:
    """List every problem; exit status 2 if one is an error."""
    from video_opd.data.manifest import check_manifest

    problems = check_manifest(arguments.manifest, arguments.videos)
    if arguments.json:
        rows = [
            {"line": p.line, "id": p.id, "severity": p.severity, "message": p.message, "remedy": p.remedy}
            for p in problems
        ]
        print(json.dumps({"manifest": str(arguments.manifest), "problems": rows}, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            print(f"{arguments.manifest}: {problem} {problem.remedy}.")
        if not problems:
            print(f"{arguments.manifest}: nothing wrong")
    errors = sum(problem.severity == "error" for problem in problems)
    warnings = len(problems) - errors
    print(f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}", file=sys.stderr)
    return 2 if errors else 0


def tiny_world_build(arguments: argparse.Namespace, _: Overrides) -> int:
    """Render the tiny world."""
    from video_opd.data.tiny_world import BuildSettings, LabelNoise, build

    noise = LabelNoise(
        wrong_share=arguments.wrong_share, imprecise_share=arguments.imprecise_share, jitter_s=arguments.jitter
    )
    sizes = {"train": arguments.train, "validation": arguments.validation, "test": arguments.test}
    with writing(arguments.out):
        manifests = build(arguments.out, BuildSettings(seed=arguments.seed, noise=noise, num_queries=sizes))
    for split, path in manifests.items():
        print(f"{split}: {path}")
    return 0


def _stopped(stop: Any) -> int:
    print(f"video-opd: {stop}. Run the same command to go on.", file=sys.stderr)
    return int(stop.exit_code)


def _finished(results: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(results))
    else:
        from video_opd.terminal import show_run

        show_run(results)
    return 0
