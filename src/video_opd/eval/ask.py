"""The one loop that puts questions to a model: batch by batch, read each batch once, and make answers of the reading.

Whoever has examples takes their batches from `render_batches`, which renders them, sets unusable ones aside and decodes
ahead; whoever has prompts takes them from `make_batches`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from video_opd.data.prompt_source import PromptSource
from video_opd.policy.load import Policy
from video_opd.policy.ranked_policy import DealtPrompts
from video_opd.policy.read import Reading
from video_opd.types import Example, Prompt, Sampling

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is read at once."""

    prompts: Sequence[Prompt]
    """Of the examples that can be asked; none where there is nothing new to ask."""
    num_examples: int
    """Examples of the batch, whether asked, known or set aside."""
    missing: Sequence[Example] = ()
    """The examples of the batch without a known answer."""
    seconds: float = 0.0
    """Spent on the prompts: waiting for them where they are decoded ahead, else what decoding and rendering took."""
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBatch(Generic[T]):
    """One batch, and what was made of it."""

    batch: Batch
    answers: Sequence[T]
    """What `answer` returned; empty where there was nothing to read."""
    seconds: float
    """Of prompts, reading and answering together."""
    cpu_seconds: float


def ask_in_batches(
    policy: Policy, batches: Iterable[Batch], answer: Callable[[Reading], Sequence[T]]
) -> Iterator[AskedBatch[T]]:
    """Read every batch once and answer from the reading. A batch without prompts comes back without answers.

    Where a model is on several processes, each of them reads a batch at the same time, and these come back as one.

    Args:
        policy: the model that reads.
        batches: from `render_batches` or `make_batches`; taken when the caller is done with the last.
        answer: makes the answers to one reading.
    """
    try:
        for batch in _join_at_once(batches, policy.num_readers):
            began, cpu_began = time.perf_counter(), time.process_time()
            answers: Sequence[T] = ()
            if batch.prompts:
                answers = answer(policy.read(batch.prompts))
            yield AskedBatch(
                batch=batch,
                answers=answers,
                seconds=batch.seconds + time.perf_counter() - began,
                cpu_seconds=batch.cpu_seconds + time.process_time() - cpu_began,
            )
    finally:
        policy.rest()


def _join_at_once(batches: Iterable[Batch], count: int) -> Iterator[Batch]:
    """Join so many batches into one, of which each process reads one."""
    rest = iter(batches)
    while several := list(islice(rest, count)):
        if count == 1:
            yield several[0]
            continue
        yield Batch(
            prompts=DealtPrompts.in_blocks([batch.prompts for batch in several if batch.prompts]),
            num_examples=sum(batch.num_examples for batch in several),
            missing=[example for batch in several for example in batch.missing],
            seconds=sum(batch.seconds for batch in several),
            cpu_seconds=sum(batch.cpu_seconds for batch in several),
        )


def render_batches(
    examples: Sequence[Example],
    source: PromptSource,
    *,
    batch_size: int,
    known: Collection[str] = (),
    num_readers: int = 1,
) -> Iterator[Batch]:
    """Render examples batch by batch, while the next batch is decoded.

    Batches are the same in every run, whatever is known: with whom a prompt is padded may change its last bits. A batch
    of which all is known has no prompts.

    Args:
        examples: asked in this order.
        source: renders them; examples that cannot be used are in its `set_aside`.
        batch_size: examples that are read together.
        known: ids of examples that have an answer already; looked at again for every batch.
        num_readers: batches that are read at the same time; as many are decoded ahead.

    Raises:
        EngineError: too many examples cannot be used.
    """
    for start in range(0, len(examples), batch_size):
        batch = examples[start : start + batch_size]
        following = examples[start + batch_size : start + (1 + num_readers) * batch_size]
        missing = [example for example in batch if example.id not in known]
        source.prefetch(example for example in following if example.id not in known)
        began, cpu_began = time.perf_counter(), time.process_time()
        prompts = source.prompts(missing)
        if prompts and len(missing) < len(batch):
            prompts = source.prompts(batch)
        if source.is_decoding_ahead:
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        else:  # what it took when it was done, whoever did it: a remembered prompt costs what it cost at first
            seconds, cpu_seconds = source.memory.cost(batch)
        yield Batch(prompts=prompts, num_examples=len(batch), missing=missing, seconds=seconds, cpu_seconds=cpu_seconds)


def make_batches(prompts: Sequence[Prompt], batch_size: int) -> Iterator[Batch]:
    """Prompts that are at hand, in batches."""
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        yield Batch(prompts=batch, num_examples=len(batch))


def batches_in_step(items: Iterable[T]) -> Callable[[Reading], list[T]]:
    """For `answer`, where every prompt has an item of its own, such as answers to score: the items of a reading.

    Args:
        items: one for each prompt, in the order in which they are read.
    """
    rest = iter(items)
    return lambda reading: list(islice(rest, len(reading.prompts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswers(Generic[T]):
    """Answers that outlive the process: those of an earlier run, and what is told of new ones."""

    known: Mapping[str, T] = field(default_factory=dict)
    """By id of the example; they are not asked for again."""
    keep: Callable[[Mapping[str, T]], None] = lambda _: None
    """Told the new answers of every batch, by id."""
    on_batch: Callable[[int], None] = lambda _: None
    """Told the number of examples that are done, after every batch."""


def ask_and_keep(
    policy: Policy,
    examples: Sequence[Example],
    source: PromptSource,
    answer: Callable[[Reading], Sequence[tuple[str, T]]],
    *,
    batch_size: int,
    kept: KeptAnswers[T] | None = None,
) -> dict[str, T]:
    """Ask what is not known yet; id -> answer, the known ones first.

    Args:
        policy: the model that reads.
        examples: asked in this order.
        source: renders them; examples that cannot be used are in its `set_aside`.
        answer: makes pairs of id and answer of a reading, such as `greedy_texts`.
        batch_size: examples that are read together.
        kept: what is known, and who is told of the new answers.
    """
    kept = kept or KeptAnswers()
    answers = dict(kept.known)
    batches = render_batches(examples, source, batch_size=batch_size, known=answers, num_readers=policy.num_readers)
    for asked in ask_in_batches(policy, batches, answer):
        new = {id: found for id, found in asked.answers if id not in answers}
        answers |= new
        if new:
            kept.keep(new)
        kept.on_batch(asked.batch.num_examples)
    return answers


def greedy_texts(policy: Policy, max_new_tokens: int) -> Callable[[Reading], list[tuple[str, str]]]:
    """For `ask_and_keep`: the text of the answer that has the most probable token at every step."""
    sampling = Sampling(max_new_tokens=max_new_tokens, greedy=True)
    return lambda reading: [
        (group.prompt_id, group.answers[0].text) for group in policy.answer(reading, sampling=sampling)
    ]
