"""`evaluate --benchmark`: a public benchmark's questions to one model, or to two to see what changed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from video_opd.commands.asking import (
    how_to_ask,
    load_model,
    models_of,
    precision_of,
    refuse_absent_device,
    refuse_early,
    require_writable,
    warn_of_tiny,
)
from video_opd.commands.earlier_outputs import Kind
from video_opd.errors import ConfigurationError, DataError, writing
from video_opd.files.outputs import place_of

if TYPE_CHECKING:
    from video_opd.config import GroundingDefaults
    from video_opd.eval.answer_file import AnswerFile, AnswersOf
    from video_opd.eval.benchmarks import Benchmark, Question
    from video_opd.eval.multiple_choice import Asking, Reply

OPTIONS = ("data", "before", "rule", "score", "option_form", "kinds", "subtitles")
"""Arguments that only mean something with --benchmark."""


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """One model's answers."""

    replies: Mapping[str, Reply]
    set_aside: Mapping[str, str]


def refuse_benchmark_flags(arguments: argparse.Namespace) -> None:
    """Without a benchmark, what is meant for one.

    Raises:
        ConfigurationError: naming the first of them.
    """
    for name in OPTIONS:
        if getattr(arguments, name) is not None:
            raise ConfigurationError(
                f"--{name.replace('_', '-')} without --benchmark",
                reason="it belongs to a public benchmark's questions",
                remedy="leave it out, or name the benchmark with --benchmark",
            )


def evaluate_benchmark(arguments: argparse.Namespace) -> int:
    """Ask a benchmark's questions; the answers go to --out, the accuracies to stdout."""
    from video_opd.eval.benchmarks import BENCHMARKS, first_of_each

    benchmark = BENCHMARKS[arguments.benchmark]
    _refuse_contradictions(arguments, benchmark)
    refuse_absent_device(arguments)  # the benchmark's files may take long to read
    rule = arguments.rule or next(iter(benchmark.rules))
    questions = benchmark.read(arguments.data, **_reading_options(arguments, benchmark))
    if arguments.limit is not None:
        questions = first_of_each(questions, benchmark.grouping, arguments.limit)
    _refuse_if_videos_are_missing(arguments, questions)
    require_writable(arguments.out, Kind.ANSWERS)
    models = {"after": arguments.model} | ({"before": arguments.before} if arguments.before is not None else {})
    refuse_early(arguments, *models.values())
    defaults = how_to_ask(arguments)
    warn_of_tiny(arguments, arguments.data, [each.as_example() for each in questions[:1]])

    from video_opd.eval.answer_file import open_answers, rewrite, told_what_is_kept
    from video_opd.eval.multiple_choice import Asking

    asking = Asking(
        rule=benchmark.rules[rule],
        max_new_tokens=arguments.max_new_tokens or benchmark.max_new_tokens,
        score_options=(arguments.option_form or "label") if arguments.score == "options" else None,
    )
    of = _answers_of(arguments, benchmark, defaults, questions, asking, rule, models)
    asked: dict[str, _Asked] = {}
    with writing(arguments.out):
        with open_answers(arguments.out, of) as file, told_what_is_kept(file, len(questions) * len(models)):
            for when, model in models.items():
                asked[when] = _ask(arguments, benchmark, defaults, questions, asking, model, _Notes(file, when, asked))
            if file.is_stream:
                there = {row["id"] for row in file.rows}
                file.append([_row(question, asked) for question in questions if question.id not in there])
        rewrite(file, arguments.out, [_row(question, asked) for question in questions])
    report = {
        "benchmark": arguments.benchmark,
        "model": arguments.model,
        "answers": str(arguments.out),
        **_scores(arguments, questions, asked),
        "set_aside": dict(asked["after"].set_aside),
        "convention": _convention(arguments, benchmark, defaults, asking, rule),
    }
    _show(arguments, report)
    return 0


def _refuse_contradictions(arguments: argparse.Namespace, benchmark: Benchmark) -> None:
    name, problem = arguments.benchmark, None
    if arguments.manifest is not None or arguments.videos is not None:
        problem = "a manifest or --videos", "the benchmark brings its own questions and videos", "leave them out"
    elif arguments.data is None:
        problem = "no --data", "its files and videos are read from there", "give the folder of a local copy"
    elif not arguments.data.is_dir():
        problem = f"--data {arguments.data}", "there is no such folder", "give the folder of a local copy"
    elif arguments.template is not None:
        problem = "--template", "the benchmark brings its own prompt", "leave it out"
    elif arguments.rule is not None and arguments.rule not in benchmark.rules:
        problem = (
            f"--rule {arguments.rule}",
            f"it has the rules {', '.join(benchmark.rules)}",
            f"take one of those; {next(iter(benchmark.rules))} is the default",
        )
    elif arguments.rule is not None and arguments.score == "options":
        problem = "--rule and --score options", "a rule rates written answers", "leave one of them out"
    elif arguments.option_form is not None and arguments.score != "options":
        problem = "--option-form", "options are only scored with --score options", "add that, or leave it out"
    for option in ("kinds", "subtitles"):
        if getattr(arguments, option) is not None and option not in benchmark.options:
            problem = f"--{option}", "it has none", "leave it out"
    if problem is not None:
        cause, reason, remedy = problem
        raise ConfigurationError(f"--benchmark {name} with {cause}", reason=reason, remedy=remedy)


def _reading_options(arguments: argparse.Namespace, benchmark: Benchmark) -> dict[str, Any]:
    given = {option: getattr(arguments, option) for option in sorted(benchmark.options)}
    return {option: value for option, value in given.items() if value is not None}


def _refuse_if_videos_are_missing(arguments: argparse.Namespace, questions: Sequence[Question]) -> None:
    """Before a model is loaded; broken files show only when they are decoded."""
    missing = [question for question in questions if not (arguments.data / question.video).exists()]
    if len(missing) > arguments.max_bad_share * len(questions):
        raise DataError(
            f"{len(missing)} of {len(questions)} questions have no video, the first {missing[0].id}: "
            f"{arguments.data / missing[0].video}",
            reason="there is no such file, and "
            f"more than --max-bad-share {arguments.max_bad_share:g} means a wrong folder or a download that stopped",
            remedy="put the videos there, or raise --max-bad-share to count those questions as answered wrongly",
        )


def _ask(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    defaults: GroundingDefaults,
    questions: Sequence[Question],
    asking: Asking,
    model: str,
    notes: _Notes,
) -> _Asked:
    """One model, gone again when its answers are there; not loaded if they are there already."""
    from contextlib import closing

    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from video_opd.data.prompt_source import PromptSource
    from video_opd.data.prompts import PromptRenderer
    from video_opd.eval.ask import KeptAnswers
    from video_opd.eval.how_asked import budget_of
    from video_opd.eval.multiple_choice import ask

    known, by_id = notes.known(), {question.id: question for question in questions}
    if known.keys() >= by_id.keys():
        print(f"{notes.file.path} holds all answers of {model} already; nothing is asked", file=sys.stderr)
        return _Asked(replies=known, set_aside={})
    policy = load_model(arguments, model)
    source = PromptSource(
        arguments.data,
        PromptRenderer(policy.processor, benchmark.template, budget_of(defaults.video)),
        num_examples=len(questions),
        workers=1,
        max_bad_share=arguments.max_bad_share,
        share_is_called="--max-bad-share",
        check="look at those videos of the benchmark, fetch them again",
        decode=benchmark.decode,
        frames_kept=2,
    )
    console = Console(stderr=True)
    title = f"asking {model} {len(questions)} questions of {arguments.benchmark}"
    if not console.is_terminal:
        print(title, file=sys.stderr)
    with closing(source), Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(escape(title), total=len(questions))
        replies = ask(
            policy, questions, source, asking,
            batch_size=arguments.batch_size or 8,
            kept=KeptAnswers(
                known=known,
                keep=lambda new: notes.add(by_id, new, is_last=notes.when == "before" or arguments.before is None),
                on_batch=lambda count: bar.advance(task, count),
            ),
        )  # fmt: skip
    return _Asked(replies=replies, set_aside=dict(source.set_aside))


@dataclass(frozen=True)
class _Notes:
    """What one model answers, on its way into the file of answers.

    Until all models were asked, a file has the rows of the first as they will be, and of the other `{"id", "before"}`.
    What cannot be written over gets every row when it is whole.
    """

    file: AnswerFile
    when: str
    asked: Mapping[str, _Asked]
    """The models that were asked before."""

    def known(self) -> dict[str, Reply]:
        """What the file has of an earlier run."""
        from video_opd.eval.multiple_choice import Reply

        parts = {row["id"]: row if self.when == "after" else row.get("before", {}) for row in self.file.rows}
        return {id: reply for id, part in parts.items() if (reply := Reply.from_row(part))}

    def add(self, questions: Mapping[str, Question], new: Mapping[str, Reply], *, is_last: bool) -> None:
        """Write down new replies."""
        if self.file.is_stream and not is_last:
            return
        if self.when == "before" and not self.file.is_stream:
            self.file.append([{"id": id, "before": reply.to_row()} for id, reply in new.items()])
        else:
            asked = {**self.asked, self.when: _Asked(replies=new, set_aside={})}
            self.file.append([_row(questions[id], asked) for id in new])


def _row(question: Question, asked: Mapping[str, _Asked]) -> dict[str, Any]:
    """One row of the file of answers."""
    row = {
        "id": question.id,
        "video": question.video,
        "categories": dict(question.categories),
        "right": question.right_label,
        **asked["after"].replies[question.id].to_row(),
    }
    return row | ({"before": asked["before"].replies[question.id].to_row()} if "before" in asked else {})


def _answers_of(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    defaults: GroundingDefaults,
    questions: Sequence[Question],
    asking: Asking,
    rule: str,
    models: Mapping[str, str],
) -> AnswersOf | None:
    """What the answers will be of; of a pipe nobody asks. Of models on the hub the weights are fetched for it."""
    from video_opd.eval.answer_file import AnswersOf, questions_sha256

    if place_of(arguments.out) is None:
        return None
    convention = _convention(arguments, benchmark, defaults, asking, rule)
    said = {key: convention[key] for key in ("prompt", "rule", "decoding", "video")}
    return AnswersOf(
        models=models_of(arguments, models),
        questions_sha256=questions_sha256([asdict(question) for question in questions]),
        settings={"benchmark": arguments.benchmark, "precision": precision_of(arguments), **said},
    )


def _scores(
    arguments: argparse.Namespace, questions: Sequence[Question], asked: Mapping[str, _Asked]
) -> dict[str, Any]:
    from video_opd.eval.benchmarks._accuracy import accuracies, differences, in_a_sentence

    ratings = {when: {id: reply.rating for id, reply in answers.replies.items()} for when, answers in asked.items()}
    scores = accuracies(questions, ratings["after"])
    if "before" in ratings:
        change = differences(questions, ratings["before"], ratings["after"])
        scores["before"] = {
            "model": arguments.before,
            **accuracies(questions, ratings["before"]),
            "set_aside": dict(asked["before"].set_aside),
        }
        scores["change"] = change | {"sentence": in_a_sentence(change["overall"])}
    return scores


def _convention(
    arguments: argparse.Namespace,
    benchmark: Benchmark,
    defaults: GroundingDefaults,
    asking: Asking,
    rule: str,
) -> dict[str, Any]:
    from video_opd.eval.benchmarks._accuracy import INTERVALS
    from video_opd.eval.how_asked import budget_of

    scored = asking.score_options is not None
    return {
        "prompt": {
            "user": benchmark.template.user,
            "system": benchmark.template.system,
            "answer_prefix": benchmark.template.answer_prefix,
            "subtitles": bool(arguments.subtitles),
        },
        "rule": None if scored else rule,
        "rating": "the right option is the most probable; every question counts" if scored else asking.rule.says,
        "decoding": asking.decoding(),
        "video": asdict(budget_of(defaults.video)),
        "intervals": INTERVALS,
        "questions": "all" if arguments.limit is None else f"the first {arguments.limit} of every {benchmark.grouping}",
    }


def _show(arguments: argparse.Namespace, report: Mapping[str, Any]) -> None:
    from video_opd.eval.benchmarks._accuracy import UNREAD_WORTH_SAYING

    for id, reason in report["set_aside"].items():
        print(f"set aside {id}: {reason}", file=sys.stderr)
    for scores in (report, report.get("before")):
        if scores and scores["overall"]["num_unmatched"] > UNREAD_WORTH_SAYING * scores["overall"]["num_questions"]:
            print(
                "video-opd: warning: no option was read in {num_unmatched} of {num_questions} answers of ".format(
                    **scores["overall"]
                )
                + f"{scores['model']}: its accuracy says little of what it knows; see {report['answers']}, or ask with "
                "--score options",
                file=sys.stderr,
            )
    if arguments.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        from video_opd.terminal import show_benchmark

        show_benchmark(report)
        if count := len(report["set_aside"]):
            print(f"{count} of {report['overall']['num_questions']} questions could not be asked and "
                  f"count{'s' * (count == 1)} as answered wrongly")  # fmt: skip
