"""`evaluate --benchmark`: a public benchmark's questions to one model, or to two to see what changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from video_opd.cli.asking import (
    hash_models,
    load_model,
    precision_of,
    refuse_absent_device,
    refuse_early,
    require_writable,
    resolve_defaults,
    warn_of_tiny,
)
from video_opd.cli.benchmark_answers import BenchmarkAnswers, Notes, row_of
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.path_roles import Reads, ReadsModelOrNames
from video_opd.consoles import EscapingConsole
from video_opd.errors import ConfigurationError, DataError, explain_write_errors
from video_opd.eval.benchmarks import BENCHMARKS
from video_opd.files.outputs import find_place
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.cli.asking_commands import EvaluationRequest
    from video_opd.config import GroundingDefaults
    from video_opd.eval.answer_file import AnswersOf
    from video_opd.eval.benchmarks import Benchmark, Question
    from video_opd.eval.multiple_choice import AnsweringOptions

Kinds = Literal["multi-choice", "yes_no", "caption_matching"]
Rule = Literal["strict", "official", "lmms-eval", "vlmevalkit"]


@Parameter(
    name="*",
    group=Group.create_ordered(
        "General video understanding", help="In place of a manifest: a public benchmark, from a local copy."
    ),
)
@dataclass(frozen=True, kw_only=True)
class BenchmarkChoices:
    """The options of `evaluate` for a public benchmark. All default to None, which shows the options that were
    given."""

    benchmark: Annotated[str | None, Parameter(choices=tuple(BENCHMARKS))] = None
    """multiple-choice questions, with the official prompts"""
    data: Annotated[Reads | None, Parameter(metavar="DIR")] = None
    """folder of the benchmark's own files and videos"""
    before: Annotated[ReadsModelOrNames | None, Parameter(metavar="MODEL")] = None
    """ask this model too, and report what changed from it to MODEL"""
    rule: Rule | None = None
    """how answers are rated (default: official for tempcompass, strict for the others)"""
    score: Literal["generation", "options"] | None = None
    """let the model write its answer, or take its most probable option (default: generation)"""
    option_form: Literal["label", "text", "text-mean"] | None = None
    """with --score options: score the letter, the whole option, or its mean per token (default: label)"""
    kinds: list[Kinds] | None = None
    """with tempcompass: kinds of questions (default: all whose files exist)"""
    subtitles: bool | None = None
    """with video-mme: put the subtitles before the question"""

    @property
    def folder(self) -> Path:
        """The folder of the benchmark's files; required with --benchmark."""
        assert self.data is not None
        return self.data


NO_BENCHMARK = BenchmarkChoices()


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Which questions of a benchmark are asked, and how."""

    request: EvaluationRequest
    benchmark: Benchmark
    defaults: GroundingDefaults
    questions: Sequence[Question]
    asking: AnsweringOptions
    rule: str


def refuse_benchmark_flags(given: BenchmarkChoices) -> None:
    """Refuse options for a benchmark if no benchmark is given.

    Raises:
        ConfigurationError: names the first such option.
    """
    for name in [field.name for field in fields(given) if field.name != "benchmark"]:
        if getattr(given, name) is not None:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} without --benchmark",
                reason="this option is for the questions of a public benchmark",
                remedy="leave it out, or name the benchmark with --benchmark",
            )


def evaluate_benchmark(request: EvaluationRequest) -> int:
    """Ask a benchmark's questions; the answers go to --out, the accuracies to stdout."""
    from video_opd.eval.benchmarks import take_first_of_each

    benchmark = BENCHMARKS[str(request.benchmark.benchmark)]
    _refuse_contradictions(request, benchmark)
    refuse_absent_device(request.how)  # reading the benchmark's files may take long
    rule: str = request.benchmark.rule or next(iter(benchmark.rules))
    questions = benchmark.read(request.benchmark.folder, **_collect_reading_options(request, benchmark))
    if request.run.limit is not None:
        questions = take_first_of_each(questions, benchmark.grouping, request.run.limit)
    _refuse_if_videos_are_missing(request, questions)
    require_writable(request.run.out, Kind.ANSWERS)
    models = {"after": request.model} | (
        {"before": request.benchmark.before} if request.benchmark.before is not None else {}
    )
    refuse_early(request.how, *models.values())
    defaults = resolve_defaults(request.model, request.how)
    warn_of_tiny([request.model], request.benchmark.folder, [each.as_example() for each in questions[:1]])

    from video_opd.eval.answer_file import open_answers, report_kept_answers, rewrite
    from video_opd.eval.multiple_choice import AnsweringOptions

    asking = AnsweringOptions(
        rule=benchmark.rules[rule],
        max_new_tokens=request.how.max_new_tokens or benchmark.max_new_tokens,
        score_options=(request.benchmark.option_form or "label") if request.benchmark.score == "options" else None,
    )
    plan = _Plan(request=request, benchmark=benchmark, defaults=defaults, questions=questions, asking=asking, rule=rule)
    of = _answers_of(plan, models)
    asked: dict[str, BenchmarkAnswers] = {}
    with explain_write_errors(request.run.out):
        with open_answers(request.run.out, of) as file, report_kept_answers(file, len(questions) * len(models)):
            for when, model in models.items():
                asked[when] = _ask(plan, model, Notes(file, when, asked))
            if file.is_stream:
                there = {row["id"] for row in file.rows}
                file.append([row_of(question, asked) for question in questions if question.id not in there])
        rewrite(file, request.run.out, [row_of(question, asked) for question in questions])
    report = {
        "benchmark": request.benchmark.benchmark,
        "model": request.model,
        "answers": str(request.run.out),
        **_compute_scores(request, questions, asked),
        "set_aside": dict(asked["after"].set_aside),
        **({"damaged_videos": dict(damaged)} if (damaged := asked["after"].damaged_videos) else {}),
        "convention": _describe_convention(plan),
    }
    _show(request, report)
    return 0


def _refuse_contradictions(request: EvaluationRequest, benchmark: Benchmark) -> None:
    name, problem = request.benchmark.benchmark, None
    if request.manifest is not None or request.run.videos is not None:
        problem = "a manifest or --videos", "the benchmark brings its own questions and videos", "leave them out"
    elif request.benchmark.data is None:
        problem = "no --data", "its files and videos are read from there", "give the folder of a local copy"
    elif not request.benchmark.data.is_dir():
        problem = f"--data {request.benchmark.data}", "the folder does not exist", "give the folder of a local copy"
    elif request.how.template is not None:
        problem = "--template", "the benchmark brings its own prompt", "leave it out"
    elif request.benchmark.rule is not None and request.benchmark.rule not in benchmark.rules:
        problem = (
            f"--rule {request.benchmark.rule}",
            f"it has the rules {', '.join(benchmark.rules)}",
            f"take one of those; {next(iter(benchmark.rules))} is the default",
        )
    elif request.benchmark.rule is not None and request.benchmark.score == "options":
        problem = "--rule and --score options", "a rule rates written answers", "leave one of them out"
    elif request.benchmark.option_form is not None and request.benchmark.score != "options":
        problem = "--option-form", "options are only scored with --score options", "add that, or leave it out"
    for option in ("kinds", "subtitles"):
        if getattr(request.benchmark, option) is not None and option not in benchmark.options:
            problem = f"--{option}", "it has none", "leave it out"
    if problem is not None:
        cause, reason, remedy = problem
        raise ConfigurationError(f"--benchmark {name} with {cause}", reason=reason, remedy=remedy)


def _collect_reading_options(request: EvaluationRequest, benchmark: Benchmark) -> dict[str, Any]:
    given = {option: getattr(request.benchmark, option) for option in sorted(benchmark.options)}
    return {option: value for option, value in given.items() if value is not None}


def _refuse_if_videos_are_missing(request: EvaluationRequest, questions: Sequence[Question]) -> None:
    """Refuse missing videos before a model is loaded. Broken files are found only when they are decoded."""
    missing = [question for question in questions if not os.path.exists(request.benchmark.folder / question.video)]
    if len(missing) > request.run.max_bad_share * len(questions):
        raise DataError(
            f"{len(missing)} of {len(questions)} questions have no video, the first {missing[0].id}: "
            f"{request.benchmark.folder / missing[0].video}",
            reason="the file does not exist, and "
            f"more than --max-bad-share {request.run.max_bad_share:g} means a wrong folder or a download that stopped",
            remedy="put the videos there, or raise --max-bad-share to count those questions as answered wrongly",
        )


def _ask(plan: _Plan, model: str, notes: Notes) -> BenchmarkAnswers:
    """One model, gone again when its answers are there; not loaded if they are there already."""
    from contextlib import closing

    from rich.markup import escape
    from rich.progress import Progress

    from video_opd.data.prompt_source import PromptSource
    from video_opd.data.prompts import PromptRenderer
    from video_opd.eval.ask import KeptAnswers
    from video_opd.eval.how_asked import resolve_budget
    from video_opd.eval.multiple_choice import ask

    request, questions = plan.request, plan.questions
    known, by_id = notes.read_replies(), {question.id: question for question in questions}
    if known.keys() >= by_id.keys():
        show(f"{notes.file.path} holds all answers of {model} already; nothing is asked", file=sys.stderr)
        return BenchmarkAnswers(replies=known, set_aside={})
    policy = load_model(model, request.how, shards=request.run.shards)
    source = PromptSource(
        request.benchmark.folder,
        PromptRenderer(policy.processor, plan.benchmark.template, resolve_budget(plan.defaults.video)),
        num_examples=len(questions),
        workers=policy.num_readers,
        max_bad_share=request.run.max_bad_share,
        share_is_called="--max-bad-share",
        check="check those videos of the benchmark, or download them again",
        in_processes=True,
        frames_kept=2,
    )
    is_last = notes.when == "before" or request.benchmark.before is None
    console = EscapingConsole(stderr=True)
    title = f"asking {model} {len(questions)} questions of {request.benchmark.benchmark}"
    if not console.is_terminal:
        show(title, file=sys.stderr)
    with closing(source), Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(escape(title), total=len(questions))
        replies = ask(
            policy, questions, source, plan.asking,
            batch_size=request.run.batch_size or 8,
            kept=KeptAnswers(
                known=known,
                keep=lambda new: notes.add(by_id, new, is_last=is_last),
                on_batch=lambda count: bar.advance(task, count),
            ),
        )  # fmt: skip
    return BenchmarkAnswers(
        replies=replies, set_aside=dict(source.set_aside), damaged_videos=dict(source.damaged_videos)
    )


def _answers_of(plan: _Plan, models: Mapping[str, str]) -> AnswersOf | None:
    """The header of the file of answers; None for a pipe. The weights of models on the hub are downloaded for it."""
    from video_opd.eval.answer_file import AnswersOf, hash_questions

    request = plan.request
    if find_place(request.run.out) is None:
        return None
    convention = _describe_convention(plan)
    said = {key: convention[key] for key in ("prompt", "rule", "decoding", "video")}
    return AnswersOf(
        models=hash_models(models, request.how),
        questions_sha256=hash_questions([_list_values(question) for question in plan.questions]),
        settings={"benchmark": request.benchmark.benchmark, "precision": precision_of(request.how), **said},
    )


def _list_values(question: Question) -> dict[str, Any]:
    """What makes a question. The rate of a folder of pictures is the same in all of a benchmark."""
    return {key: value for key, value in asdict(question).items() if key != "frame_rate"}


def _compute_scores(
    request: EvaluationRequest, questions: Sequence[Question], asked: Mapping[str, BenchmarkAnswers]
) -> dict[str, Any]:
    from video_opd.eval.benchmarks._accuracy import compute_accuracies, compute_differences, describe_difference

    ratings = {when: {id: reply.rating for id, reply in answers.replies.items()} for when, answers in asked.items()}
    scores = compute_accuracies(questions, ratings["after"])
    if "before" in ratings:
        change = compute_differences(questions, ratings["before"], ratings["after"])
        scores["before"] = {
            "model": request.benchmark.before,
            **compute_accuracies(questions, ratings["before"]),
            "set_aside": dict(asked["before"].set_aside),
        }
        scores["change"] = change | {"sentence": describe_difference(change["overall"])}
    return scores


def _describe_convention(plan: _Plan) -> dict[str, Any]:
    from video_opd.eval.benchmarks._accuracy import INTERVALS
    from video_opd.eval.how_asked import resolve_budget

    benchmark, asking, limit = plan.benchmark, plan.asking, plan.request.run.limit
    scored = asking.score_options is not None
    return {
        "prompt": {
            "user": benchmark.template.user,
            "system": benchmark.template.system,
            "answer_prefix": benchmark.template.answer_prefix,
            "subtitles": bool(plan.request.benchmark.subtitles),
        },
        "rule": None if scored else plan.rule,
        "rating": "the right option is the most probable; every question counts" if scored else asking.rule.says,
        "decoding": asking.decoding(),
        "video": asdict(resolve_budget(plan.defaults.video)),
        "intervals": INTERVALS,
        "questions": "all" if limit is None else f"the first {limit} of every {benchmark.grouping}",
    }


def _show(request: EvaluationRequest, report: Mapping[str, Any]) -> None:
    from video_opd.eval.benchmarks._accuracy import UNREAD_WORTH_SAYING

    for id, reason in report["set_aside"].items():
        show(f"set aside {id}: {reason}", file=sys.stderr)
    for scores in (report, report.get("before")):
        if scores and scores["overall"]["num_unmatched"] > UNREAD_WORTH_SAYING * scores["overall"]["num_questions"]:
            show(
                "video-opd: warning: no option was read in {num_unmatched} of {num_questions} answers of ".format(
                    **scores["overall"]
                )
                + f"{scores['model']}: its accuracy says little about what it knows; see {report['answers']}, "
                f"or ask with --score options",
                file=sys.stderr,
            )
    if request.run.json:
        show(dumps(report, indent=2, ensure_ascii=False))
    else:
        from video_opd.cli.result_tables import show_benchmark

        show_benchmark(report)
        if count := len(report["set_aside"]):
            show(f"{count} of {report['overall']['num_questions']} questions could not be asked and "
                  f"count{'s' * (count == 1)} as answered wrongly")  # fmt: skip
