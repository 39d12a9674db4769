"""Far from where policies usually are: finite values, gradients of the right sign, and every bound by hand."""

from __future__ import annotations

import math

import pytest
import torch

from video_opd.objectives import (
    clamp_advantage,
    clipped_policy_gradient,
    forward_kl,
    group_advantage,
    importance_ratio,
    masked_sum,
    mixed_advantage,
    policy_gradient,
    reference_penalty,
    reverse_kl,
    sampled_advantage,
    state_baseline,
)
from video_opd.objectives.losses import MOST_LOG_RATIO
from video_opd.policy.token_support import IMPOSSIBLE

NATS = [0.0, 1e-6, 0.5, 19.0, 20.0, 21.0, 50.0, 88.0, 89.0, 200.0, 1e4]
"""How far apart two policies are; exp(88.7) is the largest float32."""

ALL_NATS = sorted({sign * nats for nats in NATS for sign in (1, -1)})


def with_gradient(loss, *arguments, learner):
    """Value and gradient of one token's loss with respect to the learner's log-prob."""
    learner = torch.tensor([[learner]], requires_grad=True)
    value = loss(learner, *arguments)
    value = value[0] if isinstance(value, tuple) else value
    value.sum().backward()
    return value.item(), learner.grad.item()


def one(value) -> torch.Tensor:
    return torch.tensor([[float(value)]])


@pytest.mark.parametrize("nats", ALL_NATS)
def test_the_penalty_is_finite_and_pulls_towards_the_reference(nats):
    """`nats`: by how much the reference finds the token more probable. At 89 the run used to end."""
    value, gradient = with_gradient(reference_penalty, one(-1.0), learner=-1.0 - nats)
    nats = -1.0 - float(torch.tensor(-1.0 - nats))  # as float32 has it
    expected = math.expm1(nats) - nats if nats <= 20 else math.expm1(20) - 20 + math.expm1(20) * (nats - 20)
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-12)
    assert gradient == pytest.approx(-math.expm1(min(nats, 20)), rel=1e-4, abs=1e-12)
    assert value >= 0
    assert (gradient < 0) == (nats > 0)  # descending raises a token that the reference likes more


def test_the_penalty_is_never_negative_and_never_falls():
    away = torch.linspace(0, 30, 30001)[None]
    for learner in (-away, away):
        each = reference_penalty(learner, torch.zeros_like(learner))
        assert (each >= 0).all()
        assert (each.diff() >= 0).all()
    tiny = torch.logspace(-9, -2, 1000)[None]
    each = reference_penalty(-tiny, torch.zeros_like(tiny))
    assert torch.allclose(each, tiny**2 / 2, rtol=0.02, atol=1e-11)  # exp(x) - x - 1 would be rounding below 1e-3


@pytest.mark.parametrize("cap", [None, 2.0, 1e12])
@pytest.mark.parametrize("advantage", [-1e4, -1.0, 0.0, 1.0, 1e4])
@pytest.mark.parametrize("nats", ALL_NATS)
def test_the_policy_gradient_is_finite_and_goes_where_the_advantage_points(nats, advantage, cap):
    """With an advantage of 0 it is 0, and not nothing times infinity."""
    value, gradient = with_gradient(policy_gradient, one(-1.0), one(advantage), cap, learner=-1.0 + nats)
    nats = float(torch.tensor(-1.0 + nats)) + 1.0
    most = MOST_LOG_RATIO if cap is None else min(math.log(cap), MOST_LOG_RATIO)
    assert gradient == pytest.approx(-advantage * math.exp(min(nats, most)), rel=1e-4, abs=1e-12)
    assert math.isfinite(value)
    if nats <= most:
        assert value == pytest.approx(-advantage * math.exp(nats), rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("advantage", [-1e4, -1.0, 0.0, 1.0, 1e4])
@pytest.mark.parametrize("nats", ALL_NATS)
def test_the_clipped_policy_gradient_is_finite_and_stops_where_it_should(nats, advantage):
    value, gradient = with_gradient(clipped_policy_gradient, one(-1.0), one(advantage), 0.2, 0.28, learner=-1.0 + nats)
    nats = float(torch.tensor(-1.0 + nats)) + 1.0
    held = (advantage > 0 and nats > math.log(1.28)) or (advantage < 0 and nats < math.log(0.8))
    assert gradient == pytest.approx(0.0 if held else -advantage * math.exp(min(nats, 20)), rel=1e-4, abs=1e-12)
    assert math.isfinite(value)
    if held:
        assert value == pytest.approx(-advantage * (1.28 if advantage > 0 else 0.8), rel=1e-6)


@pytest.mark.parametrize("nats", ALL_NATS)
def test_the_ratio_that_is_logged_is_finite(nats):
    ratio = importance_ratio(one(nats).requires_grad_(), one(0.0))
    assert not ratio.requires_grad
    assert ratio.item() == pytest.approx(math.exp(min(nats, 20)), rel=1e-4)


@pytest.mark.parametrize("estimate", [reverse_kl, forward_kl, lambda mine, theirs: -state_baseline(mine, theirs)])
@pytest.mark.parametrize("gap", [0.0, 50.0, 89.0, 200.0, 1e4])
@pytest.mark.parametrize("impossible", [IMPOSSIBLE, -1e30])
def test_a_divergence_is_finite_however_far_apart_the_distributions_are(estimate, gap, impossible):
    """Of three tokens one cannot occur; of the others the student and the teacher each like another one by `gap`."""
    logits = torch.tensor([[[gap, 0.0, impossible]]], requires_grad=True)
    student = logits.log_softmax(dim=-1)
    teacher = torch.tensor([[[0.0, gap, impossible]]]).log_softmax(dim=-1)
    value = estimate(student, teacher)
    assert value.item() == pytest.approx(gap * math.tanh(gap / 2), rel=1e-4)
    if not value.requires_grad:
        return
    value.sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 0, 2] == 0
    if gap < 89 or estimate is forward_kl:  # further out the student cannot lose any of its probability of 1
        assert logits.grad[0, 0, 0] >= 0 >= logits.grad[0, 0, 1]
    if gap and estimate is forward_kl:
        assert logits.grad[0, 0, 0] > 0.9


@pytest.mark.parametrize("nats", [0.0, 50.0, 89.0, 200.0, 1e4])
def test_what_is_masked_leaves_no_trace_however_large_it_is(nats):
    """Nothing times infinity is not a number: neither value nor gradient of padding may be infinite."""
    learner = torch.tensor([[-1.0, -1.0 + nats]], requires_grad=True)
    rest, mask = torch.full((1, 2), -1.0), torch.tensor([[True, False]])
    losses = (
        policy_gradient(learner, rest, torch.full((1, 2), 1e4)),
        clipped_policy_gradient(learner, rest, torch.full((1, 2), -1e4), 0.2)[0],
        reference_penalty(learner, rest - 2 * nats),
        reference_penalty(learner, rest + 2 * nats),
    )
    for loss in losses:
        (gradient,) = torch.autograd.grad(masked_sum(loss, mask), learner, retain_graph=True)
        assert math.isfinite(gradient[0, 0].item())
        assert gradient[0, 1] == 0


def test_the_cap_by_hand():
    """Ratios 3 and 1.5 and 0.5, cap 2: the gradient is that of advantage * min(ratio, 2) * log pi, for either sign."""
    ratio = torch.tensor([[3.0, 1.5, 0.5, 3.0, 1.5, 0.5]])
    advantage = torch.tensor([[1.0, 1.0, 1.0, -2.0, -2.0, -2.0]])
    learner = ratio.log().requires_grad_()
    loss = policy_gradient(learner, torch.zeros(1, 6), advantage, 2.0)
    loss.sum().backward()
    assert learner.grad.tolist()[0] == pytest.approx([-2.0, -1.5, -0.5, 4.0, 3.0, 1.0])
    # 2 * (1 + log(3 / 2)) = 2.81093: the value goes on, so that it tells better from worse.
    assert loss.tolist()[0] == pytest.approx([-2.81093, -1.5, -0.5, 5.62186, 3.0, 1.0], rel=1e-5)
    # PPO's clip leaves the fourth unbounded, which is why it is not taken for distillation.
    clipped, _ = clipped_policy_gradient(ratio.log(), torch.zeros(1, 6), advantage, 1.0)
    assert clipped[0, 3].item() == pytest.approx(6.0)


def test_the_shifted_advantage_adds_up_under_a_cap():
    """Two policy gradients of one ratio are that of the sum of their advantages; the outcome check relies on it."""
    generator = torch.Generator().manual_seed(0)
    learner, one_advantage, other = torch.randn(3, 1, 50, generator=generator)
    parts = [policy_gradient(learner, torch.zeros(1, 50), advantage, 1.5) for advantage in (one_advantage, other)]
    whole = policy_gradient(learner, torch.zeros(1, 50), one_advantage + other, 1.5)
    assert torch.allclose(parts[0] + parts[1], whole, atol=1e-5)


def test_clip_higher_by_hand():
    """Ratios 1.25 and 1.5 and 0.7, clip 0.2, 0.28 upwards: only the upper bound moves."""
    ratio = torch.tensor([[1.25, 1.5, 0.7, 1.25, 1.5, 0.7]])
    advantage = torch.tensor([[1.0, 1.0, 1.0, -1.0, -1.0, -1.0]])
    seen = {}
    for name, higher in (("plain", None), ("equal", 0.2), ("higher", 0.28)):
        learner = ratio.log().requires_grad_()
        loss, held = clipped_policy_gradient(learner, torch.zeros(1, 6), advantage, 0.2, higher)
        loss.sum().backward()
        seen[name] = (loss.tolist()[0], held.tolist()[0], learner.grad.tolist()[0])
    assert seen["plain"] == seen["equal"]
    assert seen["plain"][0] == pytest.approx([-1.2, -1.2, -0.7, 1.25, 1.5, 0.8])
    assert seen["plain"][1] == [1, 1, 0, 0, 0, 1]
    assert seen["higher"][0] == pytest.approx([-1.25, -1.28, -0.7, 1.25, 1.5, 0.8])
    assert seen["higher"][1] == [0, 1, 0, 0, 0, 1]
    assert seen["higher"][2] == pytest.approx([-1.25, 0.0, -0.7, 1.25, 1.5, 0.0])


REWARDS = torch.tensor([[0.0, 0.5, 1.0, 0.5], [1.0, 2.0, 3.0, 6.0], [0.25, 0.25, 0.25, 0.25]])


def test_the_advantages_of_a_group_by_hand():
    """Means 0.5 and 3; sums of squares 0.5 and 14 over 4 - 1 answers, so deviations 0.408248 and 2.160247 of the sample
    (of the population they would be 0.353553 and 1.870829), each with 0.0001 added."""
    divided = group_advantage(REWARDS, divide_by_std=True)
    assert divided[0].tolist() == pytest.approx([-1.2244449, 0.0, 1.2244449, 0.0], rel=1e-5)
    assert divided[1].tolist() == pytest.approx([-0.9257772, -0.4628886, 0.0, 1.3886658], rel=1e-5, abs=1e-7)
    assert divided[2].tolist() == [0.0, 0.0, 0.0, 0.0]
    centred = group_advantage(REWARDS, divide_by_std=False)
    assert centred.tolist() == [[-0.5, 0.0, 0.5, 0.0], [-2.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]]
    pair = group_advantage(torch.tensor([[0.0, 1.0]]), divide_by_std=True)  # 0.5 / (0.707107 + 0.0001)
    assert pair.tolist()[0] == pytest.approx([-0.7070068, 0.7070068], rel=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e4, 1e15])
def test_the_advantages_of_large_and_small_rewards_are_finite(factor):
    advantage = group_advantage(factor * REWARDS, divide_by_std=True)
    assert torch.isfinite(advantage).all()
    assert (advantage[:2].argmax(dim=1) == torch.tensor([2, 3])).all()


@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("behind", [0.0, 100.0, float("nan")])
def test_the_size_of_a_mixture_is_over_answer_tokens(padding, behind):
    """First group: 3 and 4 on four tokens of answers of 1 and 3, a mean square of 25 / 4, so 2.5. Second: 6 and 8 on
    four tokens of answers of 2 and 2, so 5. Padding counts for nothing, whatever it is and however long."""
    lengths = torch.tensor([1, 3, 2, 2])
    mask = torch.arange(3 + padding) < lengths[:, None]
    advantage = torch.full((4, 3 + padding), behind)
    advantage[mask] = torch.tensor([3.0, 0.0, 4.0, 0.0, 6.0, 8.0, 0.0, 0.0])
    task = torch.tensor([[1.0, -1.0], [-2.0, 2.0]])
    mixed = mixed_advantage(advantage, task, mask, weight=0.5)
    assert mixed[mask].tolist() == [3 + 1.25, 0 - 1.25, 4 - 1.25, 0 - 1.25, 6 - 5, 8 - 5, 0 + 5, 0 + 5]
    # A group of its own is worth the same as in company of longer answers.
    alone = mixed_advantage(advantage[2:, :2], task[1:], mask[2:, :2], weight=0.5)
    assert torch.equal(alone, mixed[2:, :2])


@pytest.mark.parametrize("nats", [50.0, 89.0, 200.0, 1e4])
def test_a_teacher_that_finds_a_token_impossible_leaves_every_advantage_finite(nats):
    behaviour, teacher = torch.full((2, 3), -1.0), torch.full((2, 3), -1.0)
    teacher[0, 1] = -1.0 - nats
    advantage = sampled_advantage(behaviour, teacher)
    assert advantage[0, 1] == pytest.approx(-nats)
    task = group_advantage(torch.tensor([[0.0, 1.0]]), divide_by_std=True)
    mixed = mixed_advantage(advantage, task, torch.ones(2, 3, dtype=torch.bool), weight=1.0)
    assert torch.isfinite(mixed).all()
    assert clamp_advantage(advantage, 5.0)[0].min() == -5.0
