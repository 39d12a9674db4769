"""A model on all processes of a job, as the first process sees it: a batch of prompts is dealt to all of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count as numbers
from typing import Any

import torch

from video_opd.policy.beam_search import text_itself
from video_opd.policy.load import Policy
from video_opd.policy.merging import merge
from video_opd.policy.read import Reading
from video_opd.ranks import Ranks, current_job
from video_opd.types import AnswerGroup, Prompt, Sampling, TokenScores, flatten


class DealtPrompts(tuple[Prompt, ...]):
    """Prompts of which it is known which process reads them: block after block, one block for each process.

    With whom a prompt is padded may change the last bits of what a model makes of it. So each process reads a batch as
    large as one process reads it, and all results are those of one process.
    """

    processes: tuple[int, ...]
    """Of every prompt."""

    @classmethod
    def give(cls, prompts: Iterable[Prompt], processes: Sequence[int]) -> DealtPrompts:
        """Give every prompt to a process."""
        self = cls(prompts)
        self.processes = tuple(processes)
        return self

    @classmethod
    def in_blocks(cls, blocks: Sequence[Sequence[Prompt]]) -> DealtPrompts:
        """Give the first block to the first process, the second one to the second process …"""
        processes = [number for number, block in enumerate(blocks) for _ in block]
        return cls.give([prompt for block in blocks for prompt in block], processes)

    def select_for(self, process: int) -> tuple[Prompt, ...]:
        """The prompts that a process reads."""
        return tuple(prompt for prompt, own in zip(self, self.processes, strict=True) if own == process)


_NUMBERS = numbers()
_FREED: list[int] = []
"""Numbers of readings that the first process has no use for any more."""
_FREED_POLICIES: list[str] = []
"""Keys of models that the first process has no use for any more."""


@dataclass(frozen=True, eq=False)
class RankedReading:
    """Prompts that every process has read its share of. Their keys and values stay where they are."""

    prompts: DealtPrompts
    places: tuple[tuple[int, int], ...]
    """Of every prompt: the process that read it, and its row in that process's reading."""
    number: int
    """Under which every process keeps its reading."""
    owner: Any = None
    """The reading that this one is a part of; it lives as long."""

    def select_rows(self, indices: Sequence[int]) -> RankedReading:
        """The reading of some of its prompts only, in the given order."""
        return RankedReading(
            prompts=DealtPrompts.give([self.prompts[row] for row in indices], [self.places[row][0] for row in indices]),
            places=tuple(self.places[row] for row in indices),
            number=self.number,
            owner=self,
        )


class RankedPolicy(Policy):
    """A model of which every process of the job holds a shard or a copy. `read` deals the prompts to all of them.

    For models that only look, in evaluations and scorings: no gradient flows here.
    """

    @classmethod
    def over(cls, policy: Policy, key: str, ranks: Ranks) -> RankedPolicy:
        """See all processes' shards as one model.

        Args:
            policy: this process's shard.
            key: under which every process keeps its own.
            ranks: the job.
        """
        self = cls(**{field.name: getattr(policy, field.name) for field in fields(policy)})
        self.key, self.ranks = key, ranks
        return self

    key: str
    ranks: Ranks

    @property
    def num_readers(self) -> int:
        """The processes of the job."""
        return self.ranks.size

    def read(self, prompts: Sequence[Prompt], *, grad: bool = False) -> Any:
        """Have every process read its share: its block of `DealtPrompts`, or else the prompts in turn."""
        assert not grad, "training goes through RankedLearner"
        size = self.ranks.size
        self.work.prompt_passes += len(prompts)
        self.work.prompt_tokens += sum(map(len, prompts))
        if not isinstance(prompts, DealtPrompts):
            prompts = DealtPrompts.give(prompts, [place % size for place in range(len(prompts))])
        own: list[list[Prompt]] = [[] for _ in range(size)]
        places = []
        for prompt, rank in zip(prompts, prompts.processes, strict=True):
            places.append((rank, len(own[rank])))
            own[rank].append(prompt)
        reading = RankedReading(prompts=prompts, places=tuple(places), number=next(_NUMBERS))
        weakref.finalize(reading, _FREED.append, reading.number)
        freed, _FREED[:] = list(_FREED), []
        shares = [tuple(share) or prompts[:1] for share in own]  # a process without a prompt goes along with the first
        self.ranks.call(read_share, [(self.key, reading.number, share, freed) for share in shares])
        return reading

    def answer(self, reading: Any, *, count: int = 1, sampling: Sampling) -> tuple[AnswerGroup, ...]:
        """Have every process answer its share."""
        return self._count_written(self._write(reading, "answer", {"count": count, "sampling": sampling}))

    def find_best_answers(
        self,
        reading: Any,
        *,
        count: int,
        width: int | None = None,
        max_new_tokens: int,
        key: Callable[[str], Hashable] = text_itself,
    ) -> tuple[AnswerGroup, ...]:
        """Have every process search its share.

        Args:
            reading: one group is returned per prompt, in its order.
            count: answers per prompt, each with another key.
            width: live beams per prompt.
            max_new_tokens: most tokens of an answer.
            key: of the decoded text; a function at the top of a module, so that it can be sent.
        """
        options = {"count": count, "width": width, "max_new_tokens": max_new_tokens, "key": key}
        return self._count_written(self._write(reading, "find_best_answers", options))

    def score(
        self,
        reading: Any,
        groups: Sequence[AnswerGroup],
        *,
        distribution: bool = False,
        grad: bool = False,
        temperature: float = 1.0,
    ) -> TokenScores:
        """Have every process score its share.

        Args:
            reading: of the prompts that were answered.
            groups: one per prompt of the reading, all of one size.
            distribution: also keep the log-probs of the whole support at every answer position.
            grad: not possible here.
            temperature: by which all logits are divided.
        """
        assert not grad, "training goes through RankedLearner"
        self.work.tokens_scored += sum(map(len, flatten(groups)))
        by_rank = self._rows_of(reading)
        shares = []
        for rows in by_rank:
            own = tuple(groups[place] for place, _ in rows)
            options = {"distribution": distribution, "temperature": temperature}
            shares.append((self.key, reading.number, [row for _, row in rows], own or groups[:1], options))
        scores = self.ranks.call(score_share, shares)
        joined = merge([each for each in scores if each is not None])
        size = len(groups[0].answers)
        order = [place for rows in by_rank for place, _ in rows]
        back = sorted(range(len(order)), key=order.__getitem__)
        return select_rows(joined, [place * size + number for place in back for number in range(size)])

    def _write(self, reading: Any, verb: str, options: dict[str, Any]) -> tuple[AnswerGroup, ...]:
        by_rank = self._rows_of(reading)
        shares = [(self.key, reading.number, [row for _, row in rows], verb, options) for rows in by_rank]
        groups: dict[int, AnswerGroup] = {}
        for rows, written in zip(by_rank, self.ranks.call(write_share, shares), strict=True):
            groups |= dict(zip((place for place, _ in rows), written, strict=True))
        return tuple(groups[place] for place in range(len(reading.prompts)))

    def _rows_of(self, reading: RankedReading) -> list[list[tuple[int, int]]]:
        """By process: the place of each of its prompts in the reading, and its row there."""
        by_rank: list[list[tuple[int, int]]] = [[] for _ in range(self.ranks.size)]
        for place, (rank, row) in enumerate(reading.places):
            by_rank[rank].append((place, row))
        return by_rank


def load_on_all(load: Callable[..., Policy], *arguments: Any) -> Policy:
    """Load a model on all processes of the job; where this process is alone, or one of many, just here.

    Args:
        load: a function at the top of a module.
        arguments: its arguments.
    """
    ranks = current_job()
    if ranks is None:
        return load(*arguments)
    key = f"policy {next(_NUMBERS)}"
    freed, _FREED_POLICIES[:] = list(_FREED_POLICIES), []
    ranks.call_all(load_here, (key, load, arguments, freed))
    policy = RankedPolicy.over(ranks.kept[key], key, ranks)
    weakref.finalize(policy, _FREED_POLICIES.append, key)
    return policy


def derive_on_all(make: Callable[[Policy], Policy], policy: Policy) -> Policy:
    """Make a model of one that is loaded, on all processes that hold it.

    Args:
        make: a function at the top of a module.
        policy: is given to it; on every process that process's part.
    """
    if not isinstance(policy, RankedPolicy):
        return make(policy)
    key = f"policy {next(_NUMBERS)}"
    policy.ranks.call_all(derive_here, (key, make, policy.key))
    derived = RankedPolicy.over(policy.ranks.kept[key], key, policy.ranks)
    weakref.finalize(derived, _FREED_POLICIES.append, key)
    return derived


def derive_here(kept: dict[str, Any], share: tuple[str, Callable[[Policy], Policy], str]) -> None:
    """Make this process's part of a model from its part of another one."""
    key, make, of = share
    kept[key] = make(kept[of])


def key_of(policy: Policy) -> str:
    """Under which every process keeps its part of a model that was loaded on all of them."""
    assert isinstance(policy, RankedPolicy)
    return policy.key


def load_here(kept: dict[str, Any], share: tuple[str, Callable[..., Policy], tuple[Any, ...], list[str]]) -> None:
    """Load this process's part of a model, and forget those that are not used any more."""
    key, load, arguments, freed = share
    for each in freed:
        kept.pop(each, None)
    gc.collect()  # a sharded or checkpointed model refers to itself
    kept[key] = load(*arguments)


def select_rows(scores: TokenScores, rows: Sequence[int]) -> TokenScores:
    """Some answers' scores, in the given order."""
    index = torch.tensor(rows, dtype=torch.long)
    return TokenScores(
        answers=tuple(scores.answers[row] for row in rows),
        logprobs=scores.logprobs[index],
        answer_mask=scores.answer_mask[index],
        distribution=None if scores.distribution is None else scores.distribution[index],
    )


def free_readings(ranks: Ranks) -> None:
    """Have every process forget readings without a use at once, and not at the next reading: before a step."""
    freed, _FREED[:] = list(_FREED), []
    if freed:
        ranks.call_all(forget_readings, freed)


def forget_readings(kept: dict[str, Any], freed: list[int]) -> None:
    """Forget this process's part of some readings."""
    for each in freed:
        kept.get("readings", {}).pop(each, None)


def read_share(kept: dict[str, Any], share: tuple[str, int, tuple[Prompt, ...], list[int]]) -> None:
    """Read on this process; the reading is kept under its number."""
    key, number, prompts, freed = share
    forget_readings(kept, freed)
    kept.setdefault("readings", {})[number] = kept[key].read(prompts)


def write_share(kept: dict[str, Any], share: tuple[str, int, list[int], str, dict[str, Any]]) -> Any:
    """Answer some rows of a reading. Without a row of its own a process goes along with its first one."""
    key, number, rows, verb, options = share
    written = getattr(kept[key], verb)(_take_rows(kept["readings"][number], rows), **options)
    return written if rows else ()


def score_share(
    kept: dict[str, Any], share: tuple[str, int, list[int], Sequence[AnswerGroup], dict[str, Any]]
) -> TokenScores | None:
    """Score answers on some rows of a reading. Without a row of its own a process goes along with its first one."""
    key, number, rows, groups, options = share
    reading = _take_rows(kept["readings"][number], rows)
    if not rows:
        groups = [_address_to(reading.prompts[0].id, group) for group in groups]
    scores = kept[key].score(reading, groups, **options)
    return scores if rows else None


def _take_rows(reading: Reading, rows: list[int]) -> Reading:
    rows = rows or [0]
    return reading if rows == list(range(len(reading.prompts))) else reading.select_rows(rows)


def _address_to(prompt_id: str, group: AnswerGroup) -> AnswerGroup:
    return AnswerGroup(
        prompt_id=prompt_id, answers=tuple(replace(answer, prompt_id=prompt_id) for answer in group.answers)
    )
