"""An evaluation that a signal may end: every batch of answers is in a file, and a bar shows how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from video_opd.data.prompt_source import PromptSource
from video_opd.eval.answer_file import AnswersOf, open_answers, rewrite, told_what_is_kept
from video_opd.eval.evaluate import Evaluation, evaluate
from video_opd.grounding import prediction_row
from video_opd.policy.load import Policy
from video_opd.sample_size import count_of
from video_opd.types import Example


def evaluate_into(
    path: Path,
    of: AnswersOf | None,
    policy: Policy,
    examples: Sequence[Example],
    source: PromptSource,
    **how: Any,
) -> Evaluation:
    """Evaluate, with every batch of answers in a file of predictions before the next one is asked; answers that are
    there already are not asked for again. The rest as `evaluate_with_bar`.

    Args:
        of: what the answers are of; see `open_answers`.

    Raises:
        Stopped: a signal came; the answers so far are in the file.
    """
    with open_answers(path, of) as file, told_what_is_kept(file, len(examples)):
        if file.rows:
            say(how["console"], f"going on: {len(file.rows)} of {len(examples)} answers are in {file.path}")
        evaluation = evaluate_with_bar(
            policy,
            examples,
            source,
            known={row["id"]: row["answer"] for row in file.rows},
            on_answers=lambda new: file.append([prediction_row(*answer) for answer in new.items()]),
            **how,
        )
    rewrite(file, path, [prediction_row(*answer) for answer in evaluation.answers.items()])
    return evaluation


def evaluate_with_bar(
    policy: Policy,
    examples: Sequence[Example],
    source: PromptSource,
    *,
    max_new_tokens: int,
    batch_size: int,
    title: str,
    console: Console,
    known: Mapping[str, str] = MappingProxyType({}),
    on_answers: Callable[[Mapping[str, str]], None] = lambda _: None,
) -> Evaluation:
    """Evaluate under a progress bar on stderr; one plain line without a terminal."""
    if not console.is_terminal:
        say(console, f"evaluating {title} on {count_of(len(examples))}")
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(f"evaluating {escape(title)}", total=len(examples))
        return evaluate(
            policy,
            examples,
            source,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            known=known,
            on_answers=on_answers,
            on_batch=lambda count: bar.advance(task, count),
        )


def say(console: Console, line: str) -> None:
    """One plain line; names of files and models may hold what rich would take for markup."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
