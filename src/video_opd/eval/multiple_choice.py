"""A model's answers to the questions of a benchmark: written greedily, or the option it finds most probable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from video_opd.data.plain_text import PlainText
from video_opd.data.prompt_source import PromptSource
from video_opd.eval.ask import KeptAnswers, ask_and_keep
from video_opd.eval.benchmarks import Question, Rating, RatingRule
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.types import Answer, AnswerGroup, Sampling

OptionForm = Literal["label", "text", "text-mean"]
"""What of an option is scored: its label, its whole text, or the text's mean over tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringOptions:
    """How the questions are asked."""

    rule: RatingRule
    """Rates written answers; scored options need none."""
    max_new_tokens: int
    score_options: OptionForm | None = None
    """None: let the model write. Else the most probable option is its answer."""

    def decoding(self) -> str:
        """In words, for the report."""
        if self.score_options is None:
            return f"greedy, at most {self.max_new_tokens} new tokens"
        what = {
            "label": "label (A, yes, Option 1)",
            "text": "text, summed over its tokens",
            "text-mean": "text, mean over its tokens",
        }[self.score_options]
        return f"the option of the highest log-prob of its {what}, end of turn not included"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said to one question, and what that is worth."""

    answer: str
    """What it wrote, or the option it finds most probable."""
    rating: Rating
    why: str
    """How the rating came about."""
    option_logprobs: tuple[float, ...] | None = None
    """Of every option, where options were scored."""

    def to_row(self) -> dict[str, Any]:
        """For the file of answers."""
        row = {
            "answer": self.answer,
            "rating": int(self.rating.correct),
            "correct": self.rating.correct,
            "counted": self.rating.counted,
            "read": self.rating.read,
            "why": self.why,
        }
        return row if self.option_logprobs is None else row | {"option_logprobs": list(self.option_logprobs)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Reply | None:
        """What `to_row` made a row of; None of a question that was not asked."""
        if str(row.get("why", _NOT_ASKED)).startswith(_NOT_ASKED):
            return None
        logprobs = row.get("option_logprobs")
        return cls(
            answer=row["answer"],
            rating=Rating(correct=row["correct"], read=row["read"], counted=row["counted"]),
            why=row["why"],
            option_logprobs=None if logprobs is None else tuple(logprobs),
        )


_NOT_ASKED = "no usable video: "


def ask(
    policy: Policy,
    questions: Sequence[Question],
    source: PromptSource,
    asking: AnsweringOptions,
    *,
    batch_size: int,
    kept: KeptAnswers[Reply] | None = None,
) -> dict[str, Reply]:
    """Ask every question; one that cannot be asked counts as answered wrongly, whatever the rule.

    Questions about one video are asked one after the other, so that a source that keeps frames decodes it once. Batches
    are the same in every run.

    Args:
        policy: the model that answers.
        questions: of one benchmark.
        source: renders the questions.
        asking: whether the model writes its answers or options are scored, and how answers are rated.
        batch_size: questions that are read together.
        kept: replies of an earlier run, and who is told of the new ones.

    Returns:
        By the question's id, in the order of `questions`.

    Raises:
        EngineError: too many videos that cannot be used.
    """
    first_seen = {question.video: place for place, question in reversed(list(enumerate(questions)))}
    ordered = sorted(questions, key=lambda question: (first_seen[question.video], question.clip or ()))
    by_id = {question.id: question for question in questions}

    def answer(reading: Reading) -> list[tuple[str, Reply]]:
        return list(_make_replies(policy, reading, [by_id[prompt.id] for prompt in reading.prompts], asking))

    examples = [question.as_example() for question in ordered]
    replies = ask_and_keep(policy, examples, source, answer, batch_size=batch_size, kept=kept)
    for id, reason in source.set_aside.items():
        why = f"{_NOT_ASKED}{reason}"
        replies[id] = Reply(answer="", rating=Rating(correct=False, read=None), why=why)
    return {question.id: replies[question.id] for question in questions}


def _make_replies(
    policy: Policy, reading: Reading, questions: Sequence[Question], asking: AnsweringOptions
) -> Iterator[tuple[str, Reply]]:
    """One reply to each prompt of a reading."""
    if asking.score_options is None:
        sampling = Sampling(max_new_tokens=asking.max_new_tokens, greedy=True)
        groups = policy.answer(reading, sampling=sampling)
        for question, group in zip(questions, groups, strict=True):
            yield question.id, _rate_written(group.answers[0].text, question, asking.rule)
        return
    # A scoring wants as many answers of every prompt.
    rows_by_size: dict[int, list[int]] = {}
    for row, question in enumerate(questions):
        rows_by_size.setdefault(len(question.options), []).append(row)
    for rows in rows_by_size.values():
        members = [questions[row] for row in rows]
        scores = score_options(policy, reading.select_rows(rows), members, asking.score_options)
        for question, logprobs in zip(members, scores, strict=True):
            yield question.id, _choose_option(question, logprobs)


def _rate_written(text: str, question: Question, rule: RatingRule) -> Reply:
    rating = rule.rate(text, question)
    why = "no option read in it" if rating.read is None else f"read as {rating.read}"
    if rating.read is None and rating.correct:
        why = "empty, which this rule counts as correct"
    elif not rating.counted:
        why += ", which this rule does not count"
    return Reply(answer=text, rating=rating, why=why)


def _choose_option(question: Question, logprobs: Sequence[float]) -> Reply:
    best = max(range(len(logprobs)), key=logprobs.__getitem__)  # the first of equal ones
    option = question.options[best]
    rating = Rating(correct=best == question.right, read=option.label)
    why = f"{option.label} is the most probable"
    return Reply(answer=option.text, rating=rating, why=why, option_logprobs=tuple(logprobs))


def score_options(
    policy: Policy, reading: Reading, questions: Sequence[Question], form: OptionForm
) -> list[list[float]]:
    """Log-prob of every option of every question, from the one reading of their prompts.

    Options are scored without an end of turn: a model that would go on after the letter is not punished for it.

    Args:
        reading: of the prompts of `questions`, in their order, all with as many options.
    """
    plain_text = PlainText(policy.tokenizer)
    groups = [
        AnswerGroup(
            prompt_id=question.id,
            answers=tuple(
                _make_answer(plain_text, question.id, option.label if form == "label" else option.text)
                for option in question.options
            ),
        )
        for question in questions
    ]
    scores = policy.score(reading, groups)
    totals = scores.logprobs.double().sum(dim=1)
    if form == "text-mean":
        totals = totals / scores.answer_mask.sum(dim=1)
    per_question: list[list[float]] = totals.unflatten(0, (len(questions), -1)).tolist()
    return per_question


def _make_answer(plain_text: PlainText, prompt_id: str, text: str) -> Answer:
    ids = plain_text.encode(text)
    return Answer(prompt_id=prompt_id, token_ids=tuple(ids), sampler_logprobs=None, text=text, truncated=True)
