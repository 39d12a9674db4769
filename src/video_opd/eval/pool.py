"""Several answers of one model to every example of a pool, each example read once: what a curriculum chooses by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from video_opd.curriculum import Race, ScoredAnswer, ScoredExample, ScoreFile, ScoreHeader, read_scores
from video_opd.curriculum.random_streams import stream_of
from video_opd.curriculum.score_rows import make_row
from video_opd.data.prompt_source import PromptSource
from video_opd.eval.ask import AskedBatch, ask_in_batches, render_batches
from video_opd.files.file_lock import hold_file
from video_opd.files.journal import Journal
from video_opd.grounding import PARSER_VERSION, best_iou, parse_answer
from video_opd.methods.teachers import Teacher
from video_opd.objectives import reverse_kl
from video_opd.policy.load import Policy
from video_opd.policy.read import Reading
from video_opd.seeds import derive_seed
from video_opd.types import Answer, AnswerGroup, Example, Sampling

TopK = Literal["sampled", "beam"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutOptions:
    """How an example is asked."""

    num_answers: int = 4
    """Of each example, all from one reading."""
    top_k: TopK = "sampled"
    """`sampled`: the greedy answer, and draws from the policy. `beam`: the most probable with distinct spans."""
    max_new_tokens: int = 64
    seed: int = 0
    """Of the draws. Whatever it is, no two models share draws, nor does one model in two roles."""
    role: str = ""
    """What the scores are for, where that is known, such as `teacher`: one model in two roles draws twice."""
    skip_below: float | None = None
    """No draws for an example whose greedy answer has a lower IoU: this answer alone is its mean IoU then."""

    @property
    def has_draws(self) -> bool:
        """Whether an example may have sampled answers."""
        return self.top_k == "sampled" and self.num_answers > 1

    def settings(self) -> dict[str, Any]:
        """What the scores depend on, for the header of their file."""
        return {
            "num_answers": self.num_answers,
            "top_k": self.top_k,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "skip_below": self.skip_below,
            "parser_version": PARSER_VERSION,
            **({"draws": "the model's own" + (f", as {self.role}" if self.role else "")} if self.has_draws else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A model that answers, and perhaps a teacher that says how far it is from it."""

    policy: Policy
    source: PromptSource
    asking: RolloutOptions
    batch_size: int
    teacher: Teacher | None = None
    """Its KL along the drawn answers is noted."""

    def score(
        self,
        examples: Sequence[Example],
        path: Path,
        header: ScoreHeader,
        *,
        race: Race | None = None,
        passes: Callable[[ScoredExample], bool] = lambda _: True,
        on_batch: Callable[[int, int], None] = lambda *_: None,
    ) -> ScoreFile:
        """Score what is not scored yet, row by row on the disk, and close the file with a summary.

        Batches are the same in every run, so a scoring that was killed goes on to the same scores.

        Args:
            path: the file; if it is there, it must bear this header.
            header: what the scores are of. The draws depend on it, so that those of another model are others.
            race: which examples to score in which order, and which not at all; by default all, in their order.
            passes: whether an example passes the filter, for the race.
            on_batch: told how many examples were done, and how many are left, after every batch.

        Raises:
            EngineError: too many examples without a usable video.
        """
        by_id = {example.id: example for example in examples}
        seed = derive_seed(self.asking.seed, "score", stream_of(header))
        with (
            hold_file(path),
            Journal(path) as journal,
        ):  # in this order: opening a journal drops a line that is not whole
            if path.stat().st_size == 0:
                journal.append(header.to_row())
            before = read_scores(path, partial=True)
            rows = dict(before.rows)
            for stage in _list_stages(list(by_id), race, rows, passes):
                batches = render_batches(
                    [by_id[id] for id in stage],
                    self.source,
                    batch_size=self.batch_size,
                    known=rows.keys(),
                    num_readers=self.policy.num_readers,
                )
                for asked in ask_in_batches(self.policy, batches, partial(self._score_reading, seed=seed)):
                    if not asked.batch.missing:
                        continue
                    self._write_rows(asked, rows, journal)
                    on_batch(asked.batch.num_examples, len(by_id) - len(rows) - len(race.stopped if race else ()))
            given_up = race.stopped if race else {}
            late = {id: _make_unscored(by_id[id], why) for id, why in given_up.items() if id not in rows}
            if late:
                journal.append(*(make_row(row) for row in late.values()))
            if not before.has_summary or len(before.rows) < len(by_id):
                scores = read_scores(path, partial=True)  # whole by now; its other shards are no business of ours
                journal.append(scores.summary())
                return scores
        return before

    def _write_rows(self, asked: AskedBatch[ScoredExample], rows: dict[str, ScoredExample], journal: Journal) -> None:
        """Write down the rows of a batch that are not there yet, each with its share of the time."""
        scored, new = {row.id: row for row in asked.answers}, asked.batch.missing
        for example in new:
            rows[example.id] = scored.get(example.id) or _make_unscored(
                example, self.source.set_aside.get(example.id, "")
            )
        count = asked.batch.num_examples
        share = {"seconds": asked.seconds / count, "cpu_seconds": asked.cpu_seconds / count}
        journal.append(*(make_row(rows[example.id], **share) for example in new))

    def _score_reading(self, reading: Reading, seed: int) -> list[ScoredExample]:
        """Answer the prompts of a reading, and hold the answers against the annotations."""
        asking, prompts = self.asking, reading.prompts
        answers: dict[str, list[ScoredAnswer]] = {prompt.id: [] for prompt in prompts}
        examples = {prompt.id: prompt.example for prompt in prompts}

        def add(groups: Iterable[AnswerGroup], *, sampled: bool, kl: Mapping[Answer, float] | None = None) -> None:
            for group in groups:
                example = examples[group.prompt_id]
                answers[example.id] += [
                    _score_answer(answer, example, sampled=sampled, kl=(kl or {}).get(answer)) for answer in group
                ]

        if asking.top_k == "beam":
            best = self.policy.find_best_answers(
                reading, count=asking.num_answers, max_new_tokens=asking.max_new_tokens, key=_find_first_span
            )
            add(best, sampled=False)
        else:
            # One loop over tokens writes all answers, unless the greedy ones decide which prompts get more.
            count = asking.num_answers if asking.skip_below is None else 1
            sampling = Sampling(max_new_tokens=asking.max_new_tokens, first_is_greedy=True, seed=seed)
            groups = self.policy.answer(reading, count=count, sampling=sampling)
            add([replace(group, answers=group.answers[:1]) for group in groups], sampled=False)
            drawn: Sequence[AnswerGroup] = ()
            if count > 1:
                drawn = [replace(group, answers=group.answers[1:]) for group in groups]
            elif asking.has_draws:
                reading = self._take_worth_more(reading, answers)
                count, sampling = asking.num_answers - 1, replace(sampling, first_is_greedy=False)
                drawn = self.policy.answer(reading, count=count, sampling=sampling) if reading.prompts else ()
            if drawn:
                add(drawn, sampled=True, kl=self._compute_reverse_kl(reading, drawn))
        return [make_scored_example(prompt.example, answers=tuple(answers[prompt.id])) for prompt in prompts]

    def _take_worth_more(self, reading: Reading, answers: Mapping[str, Sequence[ScoredAnswer]]) -> Reading:
        """The part of a reading that is worth further answers."""
        least = self.asking.skip_below
        assert least is not None
        return reading.select_rows([row for row, p in enumerate(reading.prompts) if answers[p.id][0].iou >= least])

    def _compute_reverse_kl(self, reading: Reading, groups: Sequence[AnswerGroup]) -> dict[Answer, float] | None:
        """KL(student || teacher) summed over the states of every drawn answer, exact in each state."""
        if self.teacher is None:
            return None
        mine = self.policy.score(reading, groups, distribution=True)
        theirs = self.teacher(reading.prompts, groups, distribution=True)
        assert mine.distribution is not None
        assert theirs.distribution is not None
        kl = reverse_kl(mine.distribution, theirs.distribution).masked_fill(~mine.answer_mask, 0.0)
        kl = kl.cumsum(dim=1)[:, -1]  # one state after the other: padding does not change the last bits
        return dict(zip(mine.answers, kl.tolist(), strict=True))


def _list_stages(
    ids: Sequence[str],
    race: Race | None,
    rows: Mapping[str, ScoredExample],
    passes: Callable[[ScoredExample], bool],
) -> Iterable[Sequence[str]]:
    if race is None:
        yield ids
        return
    known: dict[str, bool] = {}
    while stage := race.next_stage(known):
        yield stage
        known |= {id: bool(rows[id].answers) and passes(rows[id]) for id in stage}


def _score_answer(answer: Answer, example: Example, *, sampled: bool, kl: float | None) -> ScoredAnswer:
    span = _find_first_span(answer.text)
    assert answer.sampler_logprobs is not None
    return ScoredAnswer(
        text=answer.text,
        span=span,
        iou=best_iou(span, example.spans) if span else 0.0,
        logprob=sum(answer.sampler_logprobs),
        num_tokens=len(answer),
        sampled=sampled,
        reverse_kl=kl,
    )


def _find_first_span(text: str) -> Any:
    """The span an answer is judged by; None where it names none."""
    spans = parse_answer(text).spans
    return spans[0] if spans else None


def _make_unscored(example: Example, why: str) -> ScoredExample:
    return make_scored_example(example, answers=(), unscored=why)


def make_scored_example(example: Example, *, answers: tuple[ScoredAnswer, ...], unscored: str = "") -> ScoredExample:
    """An example with the answers to it."""
    return ScoredExample(
        id=example.id,
        spans=example.spans,
        duration=example.duration,
        source=example.source,
        answers=answers,
        unscored=unscored,
    )
