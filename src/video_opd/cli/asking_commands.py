"""`evaluate`, `ground`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from video_opd.cli.argument_types import Json, Number, Plugins, Positive, Share, load_plugins
from video_opd.cli.asking import (
    AS_THE_MODEL_IS,
    Model,
    ModelChoices,
    hash_models,
    join_job_to_ask,
    load,
    precision_of,
    refuse_absent_device,
    refuse_early,
    require_writable,
    resolve_defaults,
    warn_of_tiny,
)
from video_opd.cli.benchmark_evaluation import (
    NO_BENCHMARK,
    BenchmarkChoices,
    evaluate_benchmark,
    refuse_benchmark_flags,
)
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.lmms_evaluation import NO_LMMS, LmmsChoices, evaluate_with_lmms_eval, refuse_lmms_flags
from video_opd.cli.path_roles import Reads, ReadsVideos, Writes
from video_opd.consoles import EscapingConsole
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.files.outputs import find_place
from video_opd.ranks import num_started
from video_opd.terminal import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from video_opd.api.grounding_model import GroundedAnswer
    from video_opd.config import GroundingDefaults
    from video_opd.data.prompt_templates import PromptTemplate
    from video_opd.eval.answer_file import AnswersOf
    from video_opd.eval.evaluate import Evaluation
    from video_opd.types import Example


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class EvaluationChoices:
    """The questions, and where the answers are written."""

    videos: ReadsVideos | None = None
    """folder the manifest's video paths are relative to"""
    out: Writes
    """file of predictions (JSON lines), written during the run; an interrupted run continues; with lmms-eval a
    folder"""
    batch_size: Positive | None = None
    """prompts read together (default: 8; lmms-eval: 1)"""
    shards: Positive = 1
    """under torchrun: processes that hold one copy of the weights together"""
    max_bad_share: Share = 0.05
    """stop if a larger share of the rows cannot be asked; such rows count as unanswered"""
    limit: Annotated[Positive | None, Parameter(metavar="N")] = None
    """with --benchmark or --with: only the first N questions of every task"""
    plugin: Plugins = ()
    json: Json = False


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """The parsed arguments of `evaluate`."""

    model: str
    manifest: Path | None
    how: ModelChoices
    run: EvaluationChoices
    benchmark: BenchmarkChoices
    lmms: LmmsChoices


def evaluate(
    model: Model,
    manifest: Reads | None = None,
    /,
    *,
    how: ModelChoices = AS_THE_MODEL_IS,
    run: EvaluationChoices,
    benchmark: BenchmarkChoices = NO_BENCHMARK,
    lmms: LmmsChoices = NO_LMMS,
) -> int:
    """Score a model's answers to a manifest, to a public benchmark, or to tasks of lmms-eval.

    Args:
        manifest: questions, JSON lines

    Example:
        video-opd evaluate tiny-teacher test.jsonl --videos clips --out predictions.jsonl
        video-opd evaluate MODEL --benchmark tempcompass --data TempCompass --before BASE --out answers.jsonl
        video-opd evaluate MODEL --with lmms-eval --tasks timelens_charades --out scores
    """
    load_plugins(run.plugin)
    request = EvaluationRequest(model=model, manifest=manifest, how=how, run=run, benchmark=benchmark, lmms=lmms)
    if lmms.harness is None:
        refuse_lmms_flags(lmms)
    if benchmark.benchmark is None:
        refuse_benchmark_flags(benchmark)
    if lmms.harness == "lmms-eval":
        if num_started() > 1:
            raise ConfigurationError(
                "--with lmms-eval under torchrun",
                reason="lmms-eval starts processes of its own",
                remedy="start it without torchrun",
            )
        return evaluate_with_lmms_eval(request)
    join_job_to_ask(how, run.shards)
    if benchmark.benchmark is not None:
        return evaluate_benchmark(request)
    return _evaluate_manifest(request, *_require_questions(request))


def _evaluate_manifest(request: EvaluationRequest, manifest: Path, videos: Path) -> int:
    from contextlib import closing

    from video_opd.data.manifest import read_manifest
    from video_opd.data.prompt_source import PromptSource, refuse_tight_budget, require_folder

    refuse_absent_device(request.how)
    examples = read_manifest(manifest, videos)
    require_folder(videos)
    require_writable(request.run.out, Kind.PREDICTIONS)
    refuse_early(request.how, request.model)
    defaults = resolve_defaults(request.model, request.how)

    from video_opd.eval.answer_file import read_kept_answers
    from video_opd.eval.evaluate import judge
    from video_opd.eval.evaluate_into_file import evaluate_into
    from video_opd.eval.how_asked import resolve_budget, resolve_template

    refuse_tight_budget(videos, examples, resolve_budget(defaults.video))
    of, template = _answers_of(request, defaults, examples), resolve_template(defaults.prompt)
    known = read_kept_answers(request.run.out, of)
    if known.keys() >= {example.id for example in examples}:
        show(f"{request.run.out} has all answers already; the model is not asked again", file=sys.stderr)
        _tell(request, judge(known, examples, {}), defaults.prompt.template, template)
        return 0
    warn_of_tiny([request.model], videos, examples)
    policy, renderer = load(request.model, request.how, defaults, shards=request.run.shards)
    with closing(
        PromptSource(
            videos,
            renderer,
            num_examples=len(examples),
            workers=policy.num_readers,
            max_bad_share=request.run.max_bad_share,
            share_is_called="--max-bad-share",
            in_processes=True,
        )
    ) as source, explain_write_errors(request.run.out):  # fmt: skip
        evaluation = evaluate_into(
            request.run.out,
            of,
            policy,
            examples,
            source,
            max_new_tokens=defaults.answers.max_new_tokens,
            batch_size=request.run.batch_size or 8,
            title=request.model,
            console=EscapingConsole(stderr=True),
        )
    _tell(request, evaluation, defaults.prompt.template, template)
    return 0


def _answers_of(
    request: EvaluationRequest, defaults: GroundingDefaults, examples: Sequence[Example]
) -> AnswersOf | None:
    """The header of the file of answers; None for a pipe. The weights of a model on the hub are downloaded for it."""
    from video_opd.data.manifest_rows import row_from_example
    from video_opd.eval.answer_file import AnswersOf, hash_questions
    from video_opd.eval.how_asked import describe_asking, resolve_template
    from video_opd.grounding import PARSER_VERSION

    if find_place(request.run.out) is None:
        return None
    template = resolve_template(defaults.prompt)
    return AnswersOf(
        models=hash_models({"model": request.model}, request.how),
        questions_sha256=hash_questions([row_from_example(example) for example in examples]),
        settings=describe_asking(defaults, precision_of(request.how))
        | {
            "system": template.system,
            "answer_prefix": template.answer_prefix,
            "max_new_tokens": defaults.answers.max_new_tokens,
            "parser_version": PARSER_VERSION,
        },
    )


def _tell(request: EvaluationRequest, evaluation: Evaluation, preset: str, template: PromptTemplate) -> None:
    from video_opd.eval.scorers._parsers import PARSERS, read_otherwise

    for id, reason in evaluation.set_aside.items():
        show(f"set aside {id}: {reason}", file=sys.stderr)
    if evaluation.unit:
        show(
            f"video-opd: warning: {evaluation.unit.sentence}. If they are, score them with `video-opd metrics "
            f"{request.run.out} --ground-truth {request.manifest} {evaluation.unit.options}`.",
            file=sys.stderr,
        )
    answers, parser = evaluation.answers, template.parser
    otherwise = read_otherwise(answers, evaluation.parsed, parser) if parser in PARSERS else []
    if otherwise:
        show(
            f"the parser {parser}, which belongs to the prompt {preset}, reads {len(otherwise)} of {len(answers)} "
            f"answers differently, the first {otherwise[0]}: {answers[otherwise[0]]!r}",
            file=sys.stderr,
        )
    if request.run.json:
        asked = {"template": preset, "user": template.user, "queries": template.queries, "parser": parser}
        labels = {"model": request.model, "predictions": str(request.run.out), "prompt": asked}
        show(dumps(evaluation.to_report(**labels, num_read_otherwise=len(otherwise)), indent=2))
        return

    from video_opd.cli.result_tables import show_scores

    show_scores(evaluation.scores, f"{request.model} on {request.manifest}")
    if evaluation.set_aside:
        count = len(evaluation.set_aside)
        show(f"{count} of {evaluation.scores.num_queries} queries could not be asked and count{'s' * (count == 1)} as "
              f"unanswered, with IoU 0: {', '.join(list(evaluation.set_aside)[:3])}{' …' * (count > 3)}")  # fmt: skip
    if template.scorer != "ours":
        show(
            f"prompt {preset}; to hold it against the field's numbers: video-opd metrics "
            f"{request.run.out} --ground-truth {request.manifest} --as {template.scorer}"
        )


def _require_questions(request: EvaluationRequest) -> tuple[Path, Path]:
    """The manifest and the folder of its videos. Other evaluations do not need them."""
    if request.run.limit is not None:
        raise ConfigurationError(
            "--limit with a manifest",
            reason="it counts questions of a benchmark's tasks",
            remedy="take a part of the manifest with `video-opd data sample`",
        )
    manifest, videos = request.manifest, request.run.videos
    if manifest is None or videos is None:
        raise ConfigurationError(
            f"`video-opd evaluate` without {'MANIFEST' if manifest is None else '--videos'}",
            reason="there are no questions for the model",
            remedy="give MANIFEST and --videos, a public benchmark with --benchmark and --data, or "
            "`--with lmms-eval` and its --tasks",
        )
    return manifest, videos


def ground(
    model: Model,
    video: Reads,
    query: str,
    /,
    *,
    how: ModelChoices = AS_THE_MODEL_IS,
    frame_rate: Annotated[Number | None, Parameter(metavar="RATE")] = None,
    json: Json = False,
) -> int:
    """Ask one question about one video.

    Args:
        video: video file, or a folder of numbered pictures
        query: what to look for, in words
        frame_rate: pictures per second, if the video is a folder of pictures

    Example:
        video-opd ground tiny-teacher clip.mp4 "the red circle"
    """
    from video_opd.data.query_words import refuse_wordless
    from video_opd.data.video.picture_folder import find_timeline, probe_video

    refuse_wordless(query)  # before anything that takes long
    refuse_absent_device(how)
    duration_s = probe_video(video, frame_rate).duration_s
    find_timeline(video, frame_rate).window(None)  # refuses a video that is too short, before a model is loaded
    refuse_early(how, model)
    defaults = resolve_defaults(model, how)

    from video_opd.api.grounding_model import GroundingModel, make_named_path
    from video_opd.data.prompt_source import refuse_tight_budget
    from video_opd.eval.how_asked import resolve_budget
    from video_opd.types import Example

    file = make_named_path(video)
    example = Example(id="ground", video=file.name, query=query, spans=(), duration=duration_s, frame_rate=frame_rate)
    refuse_tight_budget(file.parent, [example], resolve_budget(defaults.video))
    warn_of_tiny([model], file.parent, [example])
    policy, renderer = load(model, how, defaults)
    asked = GroundingModel(name=model, policy=policy, renderer=renderer, how=defaults, precision=precision_of(how))
    _show_answer(asked.answer_examples(video, [example])[0], as_json=json)
    return 0


def _show_answer(found: GroundedAnswer, *, as_json: bool) -> None:
    if as_json:
        result = {
            "spans": [list(span) for span in found.spans],
            "answer": found.answer,
            "duration": found.duration,
            "num_video_tokens": found.num_video_tokens,
        }
        show(dumps(result))
    elif found.spans:
        spans = ", ".join(f"{span.start_s:g} - {span.end_s:g} s" for span in found.spans)
        show(f"{spans}   (of {found.duration:.1f} s; the model wrote: {found.answer!r})")
    else:
        show(f"no span: {found.reason}   (the model wrote: {found.answer!r})")
