"""`evaluate`, `ground`."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from video_opd.commands.asking import (
    Overrides,
    how_to_ask,
    load,
    refuse_absent_device,
    refuse_early,
    require_writable,
    warn_of_tiny,
)
from video_opd.errors import ConfigurationError, writing

if TYPE_CHECKING:
    from video_opd.data.prompts import PromptTemplate
    from video_opd.evaluation.evaluate import Evaluation


def evaluate(arguments: argparse.Namespace, _: Overrides) -> int:
    """Answer a manifest's questions, or a benchmark's, or lmms-eval's, and score the answers."""
    from video_opd.commands.benchmarks import evaluate_benchmark, refuse_benchmark_flags
    from video_opd.commands.lmms import evaluate_with_lmms_eval, refuse_lmms_flags

    if arguments.harness is None:
        refuse_lmms_flags(arguments)
    if arguments.benchmark is None:
        refuse_benchmark_flags(arguments)
    if arguments.harness == "lmms-eval":
        return evaluate_with_lmms_eval(arguments)
    if arguments.benchmark is not None:
        return evaluate_benchmark(arguments)
    _refuse_without_questions(arguments)
    return _evaluate_manifest(arguments)


def _evaluate_manifest(arguments: argparse.Namespace) -> int:
    from contextlib import closing

    from video_opd.data.manifest import read_manifest
    from video_opd.data.source import PromptSource, refuse_tight_budget, require_folder

    refuse_absent_device(arguments)
    examples = read_manifest(arguments.manifest)
    require_folder(arguments.videos)
    require_writable(arguments.out)
    refuse_early(arguments, arguments.model)
    defaults = how_to_ask(arguments)

    from rich.console import Console

    from video_opd.assemble import budget_of
    from video_opd.grounding import write_predictions
    from video_opd.session import evaluate_with_bar

    refuse_tight_budget(arguments.videos, examples, budget_of(defaults.video))
    warn_of_tiny(arguments, arguments.videos, examples)
    policy, renderer = load(arguments, defaults)
    with closing(
        PromptSource(
            arguments.videos,
            renderer,
            num_examples=len(examples),
            workers=1,
            max_bad_share=arguments.max_bad_share,
            share_is_called="--max-bad-share",
        )
    ) as source:
        evaluation = evaluate_with_bar(
            policy,
            examples,
            source,
            max_new_tokens=defaults.answers.max_new_tokens,
            batch_size=arguments.batch_size or 8,
            title=arguments.model,
            console=Console(stderr=True),
        )
    with writing(arguments.out):
        write_predictions(arguments.out, evaluation.answers)
    _tell(arguments, evaluation, defaults.prompt.template, renderer.template)
    return 0


def _tell(arguments: argparse.Namespace, evaluation: Evaluation, preset: str, template: PromptTemplate) -> None:
    from video_opd.evaluation.official.parsers import PARSERS, read_otherwise

    for id, reason in evaluation.set_aside.items():
        print(f"set aside {id}: {reason}", file=sys.stderr)
    answers, parser = evaluation.answers, template.parser
    otherwise = read_otherwise(answers, evaluation.parsed, parser) if parser in PARSERS else []
    if otherwise:
        print(
            f"{len(otherwise)} of {len(answers)} answers are read otherwise by {parser}, the parser that goes with the "
            f"prompt {preset}, the first {otherwise[0]}: {answers[otherwise[0]]!r}",
            file=sys.stderr,
        )
    if arguments.json:
        asked = {"template": preset, "user": template.user, "queries": template.queries, "parser": parser}
        labels = {"model": arguments.model, "predictions": str(arguments.out), "prompt": asked}
        print(json.dumps(evaluation.to_report(**labels, num_read_otherwise=len(otherwise)), indent=2))
        return

    from video_opd.terminal import show_scores

    show_scores(evaluation.scores, f"{arguments.model} on {arguments.manifest}")
    if template.scorer != "ours":
        print(
            f"prompt {preset}; to hold it against the field's numbers: video-opd metrics "
            f"{arguments.out} --ground-truth {arguments.manifest} --as {template.scorer}"
        )


def _refuse_without_questions(arguments: argparse.Namespace) -> None:
    if arguments.limit is not None:
        raise ConfigurationError(
            "--limit with a manifest",
            reason="it counts questions of a benchmark's tasks",
            remedy="take a part of the manifest with `video-opd data sample`",
        )
    for what, value in (("MANIFEST", arguments.manifest), ("--videos", arguments.videos)):
        if value is None:
            raise ConfigurationError(
                f"`video-opd evaluate` without {what}",
                reason="there is nothing to ask the model",
                remedy="give MANIFEST and --videos, a public benchmark with --benchmark and --data, or "
                "`--with lmms-eval` and its --tasks",
            )


def ground(arguments: argparse.Namespace, _: Overrides) -> int:
    """One question about one video."""
    from video_opd.data.video import probe
    from video_opd.data.video_file import read_timeline

    if not arguments.query.strip():
        raise ConfigurationError("the query is empty", reason="nothing is asked for", remedy="say what to look for")
    refuse_absent_device(arguments)
    duration_s = probe(arguments.video).duration_s
    read_timeline(arguments.video).window(None)  # refuses a video that is too short, before a model is loaded
    refuse_early(arguments, arguments.model)
    defaults = how_to_ask(arguments)

    from video_opd.assemble import budget_of
    from video_opd.data.source import refuse_tight_budget, render
    from video_opd.grounding import parse_answer
    from video_opd.vocabulary import Example, Sampling

    example = Example(id="ground", video=arguments.video.name, query=arguments.query, spans=(), duration=duration_s)
    refuse_tight_budget(arguments.video.parent, [example], budget_of(defaults.video))
    warn_of_tiny(arguments, arguments.video.parent, [example])
    policy, renderer = load(arguments, defaults)
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
