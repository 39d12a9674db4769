"""An evaluation that a signal may end: every batch of answers is in a file, and a bar shows how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, Unpack

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from video_opd.data.prompt_source import PromptSource
from video_opd.eval.answer_file import AnswersOf, open_answers, report_kept_answers, rewrite, take_texts
from video_opd.eval.ask import KeptAnswers
from video_opd.eval.evaluate import Evaluation, evaluate
from video_opd.eval.progress_bar import say
from video_opd.grounding import make_prediction_row
from video_opd.policy.load import Policy
from video_opd.sample_size import count_of
from video_opd.types import Example


class HowAsked(TypedDict):
    """How an evaluation asks, and where it shows how far it is."""

    max_new_tokens: int
    batch_size: int
    title: str
    console: Console


def evaluate_into(
    path: Path,
    of: AnswersOf | None,
    policy: Policy,
    examples: Sequence[Example],
    source: PromptSource,
    **how: Unpack[HowAsked],
) -> Evaluation:
    """Evaluate under a progress bar on stderr; without a terminal there is one plain line.

    Every batch of answers is in a file before the next one is asked. Answers that it holds already are not asked for.

    Args:
        path: the file of predictions.
        of: what the answers are of; see `open_answers`.
        policy: the model that answers.
        examples: every query that counts.
        source: renders the examples.
        how: `max_new_tokens` and `batch_size` of `evaluate`; `title` and `console` of the bar.

    Raises:
        Stopped: a signal came; the answers so far are in the file.
        DataError: the file holds answers to something else.
    """
    title, console = how["title"], how["console"]
    with open_answers(path, of) as file, report_kept_answers(file, len(examples)):
        if file.rows:
            say(console, f"going on: {len(file.rows)} of {len(examples)} answers are in {file.path}")
        if not console.is_terminal:
            say(console, f"evaluating {title} on {count_of(len(examples))}")
        with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task(f"evaluating {escape(title)}", total=len(examples))
            evaluation = evaluate(
                policy,
                examples,
                source,
                max_new_tokens=how["max_new_tokens"],
                batch_size=how["batch_size"],
                kept=KeptAnswers(
                    known=take_texts(file.rows, file.path),
                    keep=lambda new: file.append([make_prediction_row(*answer) for answer in new.items()]),
                    on_batch=lambda count: bar.advance(task, count),
                ),
            )
    rewrite(file, path, [make_prediction_row(*answer) for answer in evaluation.answers.items()])
    return evaluation
