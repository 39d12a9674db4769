"""What methods make of judgements that are written down by hand; no model is asked."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from video_opd.methods.grpo import GRPO
from video_opd.methods.mixture import Mixture
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.rewards import TaskReward
from video_opd.methods.wording import measure_surprise_at_wording
from video_opd.types import Answer, AnswerGroup, Example, Judgement, Span, TokenScores


def scores_of(*logprobs, distribution=None) -> TokenScores:
    """Of made-up answers of two tokens, with these log-probs."""
    answer = Answer(prompt_id="p", token_ids=(0, 1), sampler_logprobs=None, text="", truncated=False)
    mask = torch.ones(len(logprobs), 2, dtype=torch.bool)
    return TokenScores(
        answers=(answer,) * len(logprobs), logprobs=torch.tensor(logprobs), answer_mask=mask, distribution=distribution
    )


def test_a_mixture_clamps_the_teachers_advantage_before_it_adds_the_tasks():
    """Advantages of -30, 1 and 2, -2 nats, bounded by 3: a root mean square of sqrt(18 / 4). Rewards of 1 and 0 lie
    half above and below their mean, over a deviation of sqrt(1 / 2) that is half over 0.7072068."""
    opd = ReverseKLDistillation(write=None, teacher=None, advantage_clamp=3.0)
    mine, theirs = scores_of([-1.0, -1.0], [-3.0, -1.0]), scores_of([-31.0, 0.0], [-1.0, -3.0])
    judgement = Judgement(teacher=theirs, rewards=torch.tensor([[1.0, 0.0]]))
    losses = Mixture(distillation=opd, reward=None, weight=2.0).losses(mine, mine.logprobs, judgement)
    added = 2 * 4.5**0.5 * 0.5 / 0.7072068
    expected = [[-3 + added, 1 + added], [2 - added, -2 - added]]
    assert losses.advantage.tolist() == [pytest.approx(row, abs=1e-5) for row in expected]
    assert losses.loss.tolist() == [pytest.approx([-value for value in row], abs=1e-5) for row in expected]
    assert losses.clamped.tolist() == [[1, 0], [0, 0]]


def test_the_clamp_bounds_what_is_left_of_an_advantage_above_its_baseline():
    """Two tokens, one half each for the student, 0.9 and 0.1 for the teacher: advantages of log 1.8 and log 0.2, a mean
    of log 0.6 under the student, and log 3 above and below it."""
    opd = ReverseKLDistillation(write=None, teacher=None, estimator="baseline")
    halves, tenths = torch.full((1, 2, 2), 0.5).log(), torch.tensor([[[0.9, 0.1]] * 2]).log()
    mine = scores_of(halves[0, :, 0].tolist(), distribution=halves)
    judgement = Judgement(teacher=scores_of([math.log(0.9), math.log(0.1)], distribution=tenths))
    for clamp, advantage in ((None, math.log(3)), (1.0, 1.0)):
        losses = replace(opd, advantage_clamp=clamp).losses(mine, mine.logprobs, judgement)
        assert losses.advantage.tolist() == [pytest.approx([advantage, -advantage], abs=1e-5)]
        assert losses.clamped.tolist() == [[clamp is not None] * 2]


def test_a_ratio_is_bounded_above_the_cap_and_not_at_it():
    opd = ReverseKLDistillation(write=None, teacher=None, ratio_cap=2.0)
    behaviour = torch.full((1, 2), -2.0)
    mine = scores_of(*(behaviour + torch.tensor([[2.0, 2.1]]).log()).tolist())
    losses = opd.losses(mine, behaviour, Judgement(teacher=scores_of([-1.0, -1.0])))
    assert losses.ratio[0, 0].item() == 2.0
    assert losses.ratio_bounded.tolist() == losses.clamped.tolist() == [[0, 1]]
    assert losses.loss.tolist() == [pytest.approx([-2.0, -2 * (1 + math.log(2.1 / 2))], abs=1e-5)]


def test_the_form_earns_its_weight():
    example = Example(id="p", video="v", query="q", spans=(Span(0, 4),), duration=10.0)
    texts = {"<a>0 - 2</a>": 0.5 + 0.25, " <a>0 - 2</a> ": 0.5 + 0.25, "0 - 2": 0.5, "<a>nothing</a>": 0.25, "": 0.0}
    answers = [Answer(prompt_id="p", token_ids=(0,), sampler_logprobs=None, text=t, truncated=False) for t in texts]
    group = AnswerGroup(prompt_id="p", answers=tuple(answers))
    reward = TaskReward(form="<a>.*</a>", form_weight=0.25)
    assert reward([SimpleNamespace(example=example)], [group]).tolist() == [list(texts.values())]


def test_of_a_wording_only_words_count_that_follow_no_digit():
    """Not the time, nor the word behind it, nor a mark, nor the end of turn."""
    pieces = {"It": -0.5, " happens": -1.0, " at": -0.7, " 4": -20.0, " seconds": -30.0, ".": -25.0, "<end>": -40.0}
    texts = list(pieces)
    answer = Answer(prompt_id="p", token_ids=tuple(range(7)), sampler_logprobs=None, text="It …", truncated=False)
    mask = torch.ones(1, 7, dtype=torch.bool)
    scores = TokenScores(answers=(answer,), logprobs=torch.tensor([list(pieces.values())]), answer_mask=mask)
    tokenizer = SimpleNamespace(decode=lambda ids: texts[ids[0]])
    student = SimpleNamespace(read=lambda prompts: None, tokenizer=tokenizer)
    found = measure_surprise_at_wording(lambda *_: (), student, lambda *_: scores, [SimpleNamespace()])
    assert found == (1.0, "It …")


def test_a_groups_advantage_is_divided_by_its_deviation_or_not():
    """Rewards of 0, 0.5, 1 and 0.4, 0.5, 0.6: deviations of 0.5 and 0.1. Dr.GRPO leaves them out of the advantage, so
    that the second group weighs a fifth of the first."""
    rewards = torch.tensor([[0.0, 0.5, 1.0], [0.4, 0.5, 0.6]])
    mine, judgement = scores_of(*[[-1.0, -1.0]] * 6), Judgement(rewards=rewards)
    for divide, expected in (
        (False, [-0.5, 0, 0.5, -0.1, 0, 0.1]),
        (True, [-0.5 / 0.5001, 0, 0.5 / 0.5001, -0.1 / 0.1001, 0, 0.1 / 0.1001]),
    ):
        losses = GRPO(write=None, reward=None, divide_by_std=divide).losses(mine, mine.logprobs, judgement)
        assert losses.advantage[:, 1].tolist() == pytest.approx(expected, abs=1e-5)
        assert losses.loss[:, 0].tolist() == pytest.approx([-value for value in expected], abs=1e-5)
