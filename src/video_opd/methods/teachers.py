"""The teacher: one frozen model, several models of which one judges each prompt, or the mean of several models.

One of several teachers is chosen by the prompt's source, or by its reliability on the same example. The mean asks all
teachers about every prompt, and costs as much as all of them. A teacher may have a view of its own: it reads another
prompt about the same clip, and scores the same tokens (`data.teacher_views`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from video_opd.errors import DataError
from video_opd.policy.load import Policy
from video_opd.policy.ranked_policy import DealtPrompts
from video_opd.policy.sharding import is_any_process
from video_opd.ranks import current_job
from video_opd.types import AnswerGroup, Example, Prompt, TokenScores, flatten

Route = Callable[[Example], int]
"""Example -> index of the teacher that is asked about it."""
View = Callable[[Prompt], Prompt]
"""The student's prompt -> what a teacher sees in its place: another video, the same question."""


class Teacher(Protocol):
    """A judge of answers, token by token. Its models are frozen and share one tokenizer."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The models of this teacher."""

    @property
    def views(self) -> tuple[View | None, ...]:
        """What each model sees; None: the student's prompt."""

    def __call__(
        self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
    ) -> TokenScores:
        """Read the prompts and score every token of the answers; row r belongs to answer r of `flatten(groups)`.

        Args:
            prompts: the prompts of the answers.
            groups: answers to the prompts, in their order, all groups of one size.
            distribution: also return the log-probs of the whole support at every answer position.
        """


def at_temperature(teacher: Teacher, temperature: float) -> Teacher:
    """The same teacher, whose log-probs are those at another temperature."""
    return teacher if temperature == 1 else replace(cast(Any, teacher), temperature=temperature)


@dataclass(frozen=True)
class OneTeacher:
    """A single model."""

    policy: Policy
    view: View | None = None
    temperature: float = 1.0
    """Of the log-probs."""

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The single model, in a tuple as for several."""
        return (self.policy,)

    @property
    def views(self) -> tuple[View | None, ...]:
        """What it sees."""
        return (self.view,)

    def __call__(
        self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
    ) -> TokenScores:
        """Read and score all prompts in one pass."""
        try:
            reading = self.policy.read(self._see(prompts))
            return self.policy.score(reading, groups, distribution=distribution, temperature=self.temperature)
        finally:
            self.policy.rest()

    def _see(self, prompts: Sequence[Prompt]) -> Sequence[Prompt]:
        if self.view is None:
            return prompts
        seen = [self.view(prompt) for prompt in prompts]
        return DealtPrompts.give(seen, prompts.processes) if isinstance(prompts, DealtPrompts) else seen


@dataclass(frozen=True)
class RoutedTeachers:
    """Several models; each reads and scores only its own prompts."""

    policies: tuple[Policy, ...]
    route: Route
    views: tuple[View | None, ...] = ()
    temperature: float = 1.0
    """Of the log-probs."""

    def __call__(
        self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
    ) -> TokenScores:
        """Ask every teacher about its own prompts, and put the rows back in the order of all prompts."""
        chosen = [self.route(prompt.example) for prompt in prompts]
        size = len(groups[0].answers)
        order: list[int] = []
        parts: list[TokenScores] = []
        for index, (policy, view) in enumerate(_pair(self.policies, self.views)):
            own = [place for place, teacher in enumerate(chosen) if teacher == index]
            if _is_asked(policy, by_this_process=bool(own)):
                asked = own or [0]  # without a prompt of its own, a process goes along with its first one
                mine, theirs = [prompts[place] for place in asked], [groups[place] for place in asked]
                judge = OneTeacher(policy, view, self.temperature)
                scores = judge(mine, theirs, distribution=distribution)
                parts += [scores] if own else []
                order += [place * size + answer for place in own for answer in range(size)]
        back = sorted(range(len(order)), key=order.__getitem__)
        return TokenScores(
            answers=flatten(groups),
            logprobs=_join([part.logprobs for part in parts], back),
            answer_mask=_join([part.answer_mask for part in parts], back),
            distribution=_join([part.distribution for part in parts if part.distribution is not None], back)
            if distribution
            else None,
        )


def _pair(policies: Sequence[Policy], views: Sequence[View | None]) -> list[tuple[Policy, View | None]]:
    """Every model with its view; without any views all see the student's prompt."""
    return list(zip(policies, views or [None] * len(policies), strict=True))


def _is_asked(policy: Policy, *, by_this_process: bool) -> bool:
    """Whether a process asks this teacher now. Where weights are split, all processes make its passes together."""
    if current_job() is not None:  # it has all processes asked
        return by_this_process
    return is_any_process(by_this_process, policy.model)


def _join(parts: Sequence[Tensor], back: Sequence[int]) -> Tensor:
    """Rows of several tensors (B_i, T_i, …), padded with zeros to one T and put back in order: (B, T, …)."""
    rows = [row for part in parts for row in part]
    return pad_sequence([rows[place] for place in back], batch_first=True)


@dataclass(frozen=True)
class AveragedTeachers:
    """Several models that are all asked about every prompt. The result is the mean of their log-probs.

    The mean is renormalised over their common support, so that it is a distribution. Of all distributions q it has the
    smallest mean KL(q || teacher).
    """

    policies: tuple[Policy, ...]
    views: tuple[View | None, ...] = ()
    temperature: float = 1.0
    """Of the log-probs of each."""

    def __call__(
        self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
    ) -> TokenScores:
        """Ask one teacher after the other, so that only the sum and one teacher's scores are held at a time."""
        count, mean, scores = len(self.policies), None, None
        for policy, view in _pair(self.policies, self.views):
            scores = OneTeacher(policy, view, self.temperature)(prompts, groups, distribution=True)
            assert scores.distribution is not None
            share = scores.distribution / count  # divide first: the sum of very low log-probs could overflow
            mean = share if mean is None else mean + share
        assert scores is not None
        assert mean is not None
        averaged = replace_distribution(scores, torch.log_softmax(mean, dim=-1))
        return averaged if distribution else replace(averaged, distribution=None)


def replace_distribution(scores: TokenScores, distribution: Tensor) -> TokenScores:
    """Give the same answers another distribution (B, T, V); each token's log-prob is taken from it."""
    tokens = torch.zeros_like(scores.answer_mask, dtype=torch.long)
    for row, answer in enumerate(scores.answers):
        tokens[row, : len(answer)] = torch.tensor(answer.token_ids)
    logprobs = distribution.gather(2, tokens[:, :, None])[:, :, 0].masked_fill(~scores.answer_mask, 0.0)
    return replace(scores, logprobs=logprobs, distribution=distribution)


def route_by_source(sources: Sequence[Collection[str]]) -> Route:
    """Route an example to the teacher that names its source.

    Args:
        sources: the names of data sets that each teacher is asked about.

    Raises:
        DataError: no teacher names the source of an example; raised when the teachers are asked about it.
    """
    named = {source: index for index, each in enumerate(sources) for source in each}

    def route(example: Example) -> int:
        if example.source not in named:
            raise DataError(
                f"example {example.id} is of source {example.source!r}",
                reason=f"no teacher names it; the teachers name {', '.join(map(repr, named))}",
                remedy="add it to the `sources` of a teacher, or choose teachers_by = average",
            )
        return named[example.source]

    return route


def route_by_reliability(taus: Sequence[Mapping[str, float]]) -> Route:
    """Route an example to the teacher whose own answers to it were best; if several are equally good, to the first.

    Args:
        taus: for each teacher, example id -> mean temporal IoU of its answers. A teacher that was not scored on an
            example is not asked about it.

    Raises:
        DataError: no teacher was scored on an example; raised when the teachers are asked about it.
    """

    def route(example: Example) -> int:
        scored = [index for index, tau in enumerate(taus) if example.id in tau]
        if not scored:
            raise DataError(
                f"example {example.id} is in no teacher's score file",
                reason="it is not known which teacher is reliable on it",
                remedy="score the teachers on the training manifest with `video-opd score`, or leave the example out",
            )
        return max(scored, key=lambda index: taus[index][example.id])  # max keeps the first of equal values

    return route
