"""What each command does. Heavy imports happen inside, so that a command pays only for what it uses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video_opd.grounding import Scores
    from video_opd.policy.load import Policy
    from video_opd.recipe import GroundingDefaults

Overrides = dict[str, str]


def demo(arguments: argparse.Namespace, _: Overrides) -> int:
    """Render, train, compare."""
    from video_opd.demo import run_demo
    from video_opd.training.interruption import Interrupted

    try:
        results = run_demo(arguments.out, seed=arguments.seed, steps=arguments.steps)
    except Interrupted as stop:
        return _stopped(stop)
    return _show_run(results, arguments.json)


def train(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Train by a recipe."""
    from video_opd.recipe import load_recipe
    from video_opd.session import run_recipe
    from video_opd.training.interruption import Interrupted

    named = {"seed": arguments.seed, "training.steps": arguments.steps}
    recipe = load_recipe(
        arguments.recipe, overrides | {key: str(value) for key, value in named.items() if value is not None}
    )
    try:
        results = run_recipe(recipe, arguments.out or Path("runs") / recipe.name)
    except Interrupted as stop:
        return _stopped(stop)
    return _show_run(results, arguments.json)


def evaluate(arguments: argparse.Namespace, _: Overrides) -> int:
    """Answer a manifest's questions and score the answers."""
    from contextlib import closing

    from video_opd.data.manifest import read_manifest
    from video_opd.evaluation.evaluate import evaluate as evaluate_policy
    from video_opd.evaluation.evaluate import write_predictions

    examples = read_manifest(arguments.manifest)
    policy, defaults = _load(arguments)
    with closing(_source(policy, defaults, arguments.videos, len(examples), arguments.max_bad_share)) as source:
        evaluation = evaluate_policy(
            policy,
            examples,
            source,
            max_new_tokens=defaults.answers.max_new_tokens,
            batch_size=arguments.batch_size,
        )
    write_predictions(arguments.out, evaluation)
    for id, reason in evaluation.set_aside.items():
        print(f"set aside {id}: {reason}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(evaluation.to_report(model=arguments.model, predictions=str(arguments.out)), indent=2))
    else:
        _print_scores(evaluation.scores, f"{arguments.model} on {arguments.manifest}")
    return 0


def ground(arguments: argparse.Namespace, _: Overrides) -> int:
    """One question about one video."""
    from contextlib import closing

    from video_opd.data.video import probe
    from video_opd.grounding import parse_answer
    from video_opd.vocabulary import Example, Sampling

    info = probe(arguments.video)
    example = Example(
        id="ground", video=arguments.video.name, query=arguments.query, spans=(), duration=info.duration_s
    )
    policy, defaults = _load(arguments)
    with closing(_source(policy, defaults, arguments.video.parent, 1, 0.0)) as source:
        prompt = source.render(example)
    sampling = Sampling(max_new_tokens=defaults.answers.max_new_tokens, greedy=True)
    answer = policy.answer(policy.read([prompt]), sampling=sampling)[0].answers[0]
    found = parse_answer(answer.text)
    result = {
        "spans": [list(span) for span in found.spans],
        "answer": answer.text,
        "duration": info.duration_s,
        "num_video_tokens": prompt.num_video_tokens,
    }
    if arguments.json:
        print(json.dumps(result | ({"reason": found.reason} if found.reason else {})))
    elif found.spans:
        spans = ", ".join(f"{span.start_s:g} - {span.end_s:g} s" for span in found.spans)
        print(f"{spans}   (of {info.duration_s:.1f} s; the model wrote: {answer.text})")
    else:
        print(f"no span: {found.reason}   (the model wrote: {answer.text})")
    return 0


def doctor(arguments: argparse.Namespace, overrides: Overrides) -> int:
    """Pre-flight checks; exit status 1 if one failed."""
    from video_opd.doctor import examine
    from video_opd.recipe import load_recipe

    findings = examine(load_recipe(arguments.recipe, overrides), num_examples=arguments.examples)
    if arguments.json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=2))
    else:
        _print_findings(findings)
    return 1 if any(finding.verdict == "fail" for finding in findings) else 0


def metrics(arguments: argparse.Namespace, _: Overrides) -> int:
    """Score a predictions file."""
    from video_opd.data.manifest import read_manifest
    from video_opd.grounding import read_predictions, score

    scores = score(read_predictions(arguments.predictions), read_manifest(arguments.ground_truth))
    if arguments.json:
        report = scores.to_report()
        numbers = scores.to_dict()
        rest = {key: value for key, value in report.items() if key not in numbers}
        print(json.dumps({"scores": numbers, **rest}, indent=2))
    else:
        _print_scores(scores, str(arguments.predictions))
    for what, ids in (("without a prediction", scores.missing_ids), ("predicted but not asked", scores.unknown_ids)):
        if ids:
            print(f"{len(ids)} {what}, such as {', '.join(ids[:3])}", file=sys.stderr)
    return 0


def report(arguments: argparse.Namespace, _: Overrides) -> int:
    """Write report.html."""
    from video_opd.report import write_report

    print(write_report(arguments.run))
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
    print(f"{errors} errors, {len(problems) - errors} warnings", file=sys.stderr)
    return 2 if errors else 0


def tiny_world_build(arguments: argparse.Namespace, _: Overrides) -> int:
    """Render the tiny world."""
    from video_opd.data.tiny_world import LabelNoise, build

    manifests = build(
        arguments.out,
        noise=LabelNoise(
            wrong_share=arguments.wrong_share, imprecise_share=arguments.imprecise_share, jitter_s=arguments.jitter
        ),
        seed=arguments.seed,
        num_queries={"train": arguments.train, "validation": arguments.validation, "test": arguments.test},
    )
    for split, path in manifests.items():
        print(f"{split}: {path}")
    return 0


def _load(arguments: argparse.Namespace) -> tuple[Policy, GroundingDefaults]:
    """A frozen model and how it is asked: what travels with it, changed by what the command line says."""
    import torch

    from video_opd.policy.load import load_policy, resolve_model
    from video_opd.recipe import load_grounding_defaults

    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = arguments.precision or ("bfloat16" if device.startswith("cuda") else "float32")
    policy = load_policy(arguments.model, device=device, weights=getattr(torch, precision)).freeze()
    defaults = load_grounding_defaults(Path(resolve_model(arguments.model)))
    changes: dict[str, dict[str, Any]] = {
        "video": {"fps": arguments.fps, "max_tokens": arguments.max_tokens},
        "prompt": {"template": arguments.template, "user": None} if arguments.template else {},
        "answers": {"max_new_tokens": arguments.max_new_tokens},
    }
    tables = defaults.model_dump()
    for table, values in changes.items():
        tables[table] |= {key: value for key, value in values.items() if value is not None or key == "user"}
    return policy, type(defaults).model_validate(tables)


def _source(policy: Policy, defaults: GroundingDefaults, videos: Path, num_examples: int, max_bad_share: float) -> Any:
    from video_opd.assemble import budget_of, template_of
    from video_opd.data.prompts import PromptRenderer
    from video_opd.data.source import PromptSource

    renderer = PromptRenderer(policy.processor, template_of(defaults.prompt), budget_of(defaults.video))
    return PromptSource(videos, renderer, num_examples=num_examples, workers=1, max_bad_share=max_bad_share)


def _stopped(stop: Any) -> int:
    print(f"video-opd: {stop}. Run the same command to go on.", file=sys.stderr)
    return int(stop.exit_code)


def _show_run(results: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print(json.dumps(results))
        return 0
    from rich.console import Console
    from rich.table import Table

    columns = {key: results[key] for key in ("student_before", "student_after", "teacher") if key in results}
    console = Console()
    if columns:
        table = Table(title=f"{results['steps']} steps, {results['train_seconds']:.0f} s of training")
        table.add_column("test set")
        for name in columns:
            table.add_column(name.replace("_", ", "), justify="right")
        for key in next(iter(columns.values())):
            values = [scores[key] for scores in columns.values()]
            table.add_row(key, *(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values))
        console.print(table)
    console.print(f"report: {Path(results['run']) / 'report.html'}", highlight=False, soft_wrap=True)
    return 0


def _print_scores(scores: Scores, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title}: {scores.num_queries} queries", caption="IoU >= threshold, unrounded; 95 % bootstrap")
    for heading in ("", "value", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in scores.to_dict().items():
        if name in scores.intervals:
            low, high = scores.intervals[name]
            table.add_row(name, f"{value:.3f}", f"{low:.3f} - {high:.3f}")
    Console().print(table)


def _print_findings(findings: list[Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_lines=True)
    for heading in ("", "checked", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        verdict = f"[{colours[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(verdict, finding.checked, finding.found, finding.remedy)
    Console().print(table)
