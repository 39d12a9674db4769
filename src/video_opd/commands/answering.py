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
    models_of,
    precision_of,
    refuse_absent_device,
    refuse_early,
    require_writable,
    warn_of_tiny,
)
from video_opd.commands.earlier_outputs import Kind
from video_opd.errors import ConfigurationError, writing
from video_opd.files.outputs import place_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from video_opd.config import GroundingDefaults
    from video_opd.data.prompt_templates import PromptTemplate
    from video_opd.eval.answer_file import AnswersOf
    from video_opd.eval.evaluate import Evaluation
    from video_opd.types import Example


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
    from video_opd.data.prompt_source import PromptSource, refuse_tight_budget, require_folder

    refuse_absent_device(arguments)
    examples = read_manifest(arguments.manifest, arguments.videos)
    require_folder(arguments.videos)
    require_writable(arguments.out, Kind.PREDICTIONS)
    refuse_early(arguments, arguments.model)
    defaults = how_to_ask(arguments)

    from rich.console import Console

    from video_opd.eval.answer_file import answers_in
    from video_opd.eval.evaluate import judge
    from video_opd.eval.evaluate_into_file import evaluate_into
    from video_opd.eval.how_asked import budget_of, template_of

    refuse_tight_budget(arguments.videos, examples, budget_of(defaults.video))
    of, template = _answers_of(arguments, defaults, examples), template_of(defaults.prompt)
    known = answers_in(arguments.out, of)
    if known.keys() >= {example.id for example in examples}:
        print(f"{arguments.out} holds all answers already; nothing is asked", file=sys.stderr)
        _tell(arguments, judge(known, examples, {}), defaults.prompt.template, template)
        return 0
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
    ) as source, writing(arguments.out):  # fmt: skip
        evaluation = evaluate_into(
            arguments.out,
            of,
            policy,
            examples,
            source,
            max_new_tokens=defaults.answers.max_new_tokens,
            batch_size=arguments.batch_size or 8,
            title=arguments.model,
            console=Console(stderr=True),
        )
    _tell(arguments, evaluation, defaults.prompt.template, template)
    return 0


def _answers_of(
    arguments: argparse.Namespace, defaults: GroundingDefaults, examples: Sequence[Example]
) -> AnswersOf | None:
    """What the answers will be of; of a pipe nobody asks. Of a model on the hub the weights are fetched for it."""
    from video_opd.data.manifest_rows import row_from_example
    from video_opd.eval.answer_file import AnswersOf, questions_sha256
    from video_opd.eval.how_asked import how_asked, template_of
    from video_opd.grounding import PARSER_VERSION

    if place_of(arguments.out) is None:
        return None
    template = template_of(defaults.prompt)
    return AnswersOf(
        models=models_of(arguments, {"model": arguments.model}),
        questions_sha256=questions_sha256([row_from_example(example) for example in examples]),
        settings=how_asked(defaults, precision_of(arguments))
        | {
            "system": template.system,
            "answer_prefix": template.answer_prefix,
            "max_new_tokens": defaults.answers.max_new_tokens,
            "parser_version": PARSER_VERSION,
        },
    )


def _tell(arguments: argparse.Namespace, evaluation: Evaluation, preset: str, template: PromptTemplate) -> None:
    from video_opd.eval.scorers._parsers import PARSERS, read_otherwise

    for id, reason in evaluation.set_aside.items():
        print(f"set aside {id}: {reason}", file=sys.stderr)
    if evaluation.unit:
        print(
            f"video-opd: warning: {evaluation.unit.sentence}. If they are, score them with `video-opd metrics "
            f"{arguments.out} --ground-truth {arguments.manifest} {evaluation.unit.options}`.",
            file=sys.stderr,
        )
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
    if evaluation.set_aside:
        count = len(evaluation.set_aside)
        print(f"{count} of {evaluation.scores.num_queries} queries could not be asked and count{'s' * (count == 1)} as "
              f"unanswered, with IoU 0: {', '.join(list(evaluation.set_aside)[:3])}{' …' * (count > 3)}")  # fmt: skip
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
    from video_opd.data.plain_text import has_words, refuse_unwritable
    from video_opd.data.query_words import timelens
    from video_opd.data.video.picture_folder import probe_video, video_timeline

    if not has_words(timelens(arguments.query)):
        raise ConfigurationError(
            "the query is empty" if not arguments.query.strip() else f"the query {arguments.query!r} has no words",
            reason="nothing is asked for",
            remedy="say what to look for",
        )
    refuse_unwritable(arguments.query, "the query")
    refuse_absent_device(arguments)
    rate = arguments.frame_rate
    duration_s = probe_video(arguments.video, rate).duration_s
    video_timeline(arguments.video, rate).window(None)  # refuses a video that is too short, before a model is loaded
    refuse_early(arguments, arguments.model)
    defaults = how_to_ask(arguments)

    from video_opd.data.prompt_source import refuse_tight_budget, render
    from video_opd.eval.how_asked import budget_of
    from video_opd.grounding import parse_answer
    from video_opd.types import Example, Sampling

    video = arguments.video.absolute() if arguments.video.is_dir() else arguments.video  # `.` has no name
    example = Example(
        id="ground", video=video.name, query=arguments.query, spans=(), duration=duration_s, frame_rate=rate
    )
    refuse_tight_budget(video.parent, [example], budget_of(defaults.video))
    warn_of_tiny(arguments, video.parent, [example])
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
