"""A corrupted teacher: if the student learns as much from it, the gain does not come from the teacher.

A reviewer of Video-OPD asked for this experiment: remove or bias the teacher's signal in a controlled way, and see
whether the gain disappears.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_opd.data.ablated_prompts import remove_video
from video_opd.methods import Method, Writer
from video_opd.methods.opd import AblationName
from video_opd.methods.teachers import Teacher, replace_distribution
from video_opd.seeds import generator
from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


@dataclass(frozen=True, kw_only=True)
class SpoiledTeacher:
    """A method whose teacher's scores are corrupted before they are used. Everything else is as in the method.

    `shuffled`: the scores of an answer's tokens are permuted. `noise`: the scores are the student's own, plus noise of
    the size of the true gap. `early`: the teacher prefers low digits, so early spans. `blind`: it sees grey frames.
    """

    method: Method
    teacher: Teacher
    kind: AblationName
    strength: float = 1.0
    """`early`: nats by which a digit is preferred to the next higher one."""

    @property
    def needs_distribution(self) -> bool:
        """Whether the method needs whole distributions; `early` shifts them."""
        return self.method.needs_distribution

    @property
    def write(self) -> Writer:
        """The writer of the method: a corrupted teacher does not change it."""
        return self.method.write

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the method's judge, and corrupt its scores."""
        if self.kind == "blind":
            return self.method.judge([remove_video(prompt) for prompt in prompts], groups)
        if self.kind == "early":
            scores = self.teacher(prompts, groups, distribution=True)
            spoiled = self._prefer_low_digits(scores)
            return Judgement(teacher=spoiled if self.needs_distribution else replace(spoiled, distribution=None))
        judgement = self.method.judge(prompts, groups)
        assert judgement.teacher is not None
        spoil = self._shuffle if self.kind == "shuffled" else self._replace_by_noise
        return replace(judgement, teacher=spoil(judgement.teacher))

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute the losses of the method from the corrupted judgement.

        Args:
            learner: the learner's scores of the answers' tokens, with gradient.
            behaviour_logprobs: (B, T), the learner's own before its first update on this batch.
            judgement: the corrupted judgement.
        """
        return self.method.losses(learner, behaviour_logprobs, judgement)

    def _shuffle(self, scores: TokenScores) -> TokenScores:
        logprobs = scores.logprobs.clone()
        distribution = None if scores.distribution is None else scores.distribution.clone()
        for row, answer in enumerate(scores.answers):
            rng = generator(0, "shuffled advantage", answer.prompt_id, *answer.token_ids)
            order = torch.from_numpy(rng.permutation(len(answer)))
            logprobs[row, : len(answer)] = scores.logprobs[row, order]
            if distribution is not None and scores.distribution is not None:
                distribution[row, : len(answer)] = scores.distribution[row, order]
        return replace(scores, logprobs=logprobs, distribution=distribution)

    def _replace_by_noise(self, scores: TokenScores) -> TokenScores:
        logprobs = scores.logprobs.clone()
        for row, answer in enumerate(scores.answers):
            mine = torch.tensor(answer.sampler_logprobs, device=logprobs.device)
            size = (scores.logprobs[row, : len(answer)] - mine).square().mean().sqrt()
            noise = generator(0, "noise", answer.prompt_id, *answer.token_ids).normal(size=len(answer))
            logprobs[row, : len(answer)] = mine + size * torch.from_numpy(noise).to(mine)
        return replace(scores, logprobs=logprobs)

    def _prefer_low_digits(self, scores: TokenScores) -> TokenScores:
        assert scores.distribution is not None
        value = torch.zeros(scores.distribution.shape[-1], device=scores.distribution.device)
        tokenizer = self.teacher.policies[0].tokenizer  # they all have the same
        for digit in range(10):
            ids = tokenizer(str(digit), add_special_tokens=False)["input_ids"]
            value[ids[-1]] = digit
        shifted = torch.log_softmax(scores.distribution - self.strength * value, dim=-1)
        return replace_distribution(scores, shifted)
