"""Which groups a teacher ranks against their outcome, and the least that puts them in order, by hand."""

from __future__ import annotations

import pytest
import torch

from video_opd.objectives import find_contradicting_groups, mean_advantage, order_restoring_shift

ONE = torch.ones(1, 3)


def test_the_score_of_an_answer_is_the_mean_advantage_of_what_counts():
    advantage = torch.tensor([[1.0, -3.0, 100.0], [2.0, 2.0, 5.0], [7.0, 7.0, 7.0]])
    counted = torch.tensor([[True, True, False], [True, True, True], [False, False, False]])
    assert mean_advantage(advantage, counted).tolist() == [[-1.0], [3.0], [0.0]]


@pytest.mark.parametrize(
    ("scores", "rewards", "contradicted"),
    [
        ([-3.0, -2.0, -1.0], [0.1, 0.5, 0.9], False),  # in order
        ([-1.0, -2.0, -3.0], [0.1, 0.5, 0.9], True),  # the other way round
        ([-2.0, -3.0, -1.0], [0.1, 0.5, 0.9], False),  # two pairs right, one wrong
        ([-1.0, -3.0, -2.0], [0.1, 0.5, 0.9], True),  # one right, two wrong
        ([-1.0, -2.0, -1.0], [0.0, 0.5, 0.5], True),  # one wrong; equal scores and equal rewards are neither
        ([-1.0, -1.0, -1.0], [0.1, 0.5, 0.9], False),  # no preference
        ([-1.0, -2.0, -3.0], [0.50, 0.55, 0.59], False),  # no outcome to speak of
        ([-1.0, -2.0, -3.0], [0.50, 0.55, 0.65], True),  # only the ends differ by enough, and they are wrong
        ([-2.0, -1.0, -3.0], [0.5, 0.0, 1.0], True),
        ([-2.0, -3.0, -1.0, -2.5], [0.0, 0.0, 1.0, 1.0], False),  # three right, one wrong
        ([-1.0, -2.0, -3.0, -0.5], [0.0, 0.0, 1.0, 1.0], False),  # two right, two wrong
    ],
)
def test_a_group_is_contradicted_by_most_of_its_pairs(scores, rewards, contradicted):
    assert find_contradicting_groups(torch.tensor([scores]), torch.tensor([rewards])).tolist() == [[contradicted]]


def test_groups_are_judged_one_by_one():
    scores, rewards = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert find_contradicting_groups(scores, rewards).tolist() == [[False], [True]]


def test_the_shift_pools_what_stands_in_the_wrong_order():
    # From the worst answer to the best: -1, -2, -6. The last two pool at -4, that is below -1, so all three at -3.
    shift = order_restoring_shift(torch.tensor([[-2.0, -6.0, -1.0]]), torch.tensor([[0.5, 0.9, 0.1]]), ONE)
    assert shift.tolist() == [[-1.0, 3.0, -2.0]]
    # -5, -1, -3: only the last two change places.
    shift = order_restoring_shift(torch.tensor([[-5.0, -1.0, -3.0]]), torch.tensor([[0.1, 0.5, 0.9]]), ONE)
    assert shift.tolist() == [[0.0, -1.0, 1.0]]


def test_long_answers_are_shifted_less_than_short_ones():
    weights = torch.tensor([[30.0, 10.0]])
    shift = order_restoring_shift(torch.tensor([[0.0, -4.0]]), torch.tensor([[0.1, 0.9]]), weights)
    assert shift.tolist() == [[-1.0, 3.0]]
    assert (weights * shift).sum() == 0


def test_equally_good_answers_are_bound_to_no_order():
    scores = torch.tensor([[-1.0, -5.0, -3.0]])
    assert order_restoring_shift(scores, torch.full((1, 3), 0.4), ONE).tolist() == [[0.0, 0.0, 0.0]]
    assert order_restoring_shift(scores, torch.tensor([[0.4, 0.0, 0.4]]), ONE).tolist() == [[0.0, 0.0, 0.0]]


def test_the_shift_is_the_least_that_sorts_and_keeps_the_sum():
    random = torch.Generator().manual_seed(0)
    scores, rewards = torch.randn(40, 5, generator=random), torch.rand(40, 5, generator=random)
    weights = torch.randint(3, 20, (40, 5), generator=random).float()
    shift = order_restoring_shift(scores, rewards, weights)
    assert torch.allclose((weights * shift).sum(dim=1), torch.zeros(40), atol=1e-4)
    order = rewards.argsort(dim=1)
    sorted_scores = (scores + shift).gather(1, order)
    assert (sorted_scores.diff(dim=1) > -1e-5).all()
    in_order = (scores.gather(1, order).diff(dim=1) >= 0).all(dim=1)
    assert torch.equal(shift[in_order], torch.zeros_like(shift[in_order]))
    # Of other sequences in order none is nearer.
    change = (weights * shift.square()).sum(dim=1)
    for _ in range(200):
        other = (scores + shift + 0.3 * torch.randn(40, 5, generator=random)).gather(1, order).sort(dim=1).values
        away = (weights.gather(1, order) * (other - scores.gather(1, order)).square()).sum(dim=1)
        assert (away >= change - 1e-4).all()


@pytest.mark.parametrize(
    ("rewards", "margin", "contradicted"),
    [
        ([0.5, 0.75], 0.25, False),  # exactly the margin apart, in binary too: equally good
        ([0.5, 0.7500001], 0.25, True),
        ([0.5, 0.7499999], 0.25, False),
        ([0.0, 1.0], 1.0, False),
        ([0.0, 1.0], 0.9999999, True),
        ([0.5, 0.5], 0.0, False),
        ([0.5, 0.5000001], 0.0, True),
        ([0.5, 0.625, 0.75], 0.125, True),  # only the ends differ by more
    ],
)
def test_answers_that_differ_by_the_margin_are_equally_good(rewards, margin, contradicted):
    """The teacher prefers the worse one throughout; a pair counts from just above the margin on."""
    rewards = torch.tensor([rewards])
    assert find_contradicting_groups(-rewards, rewards, margin=margin).tolist() == [[contradicted]]
    assert find_contradicting_groups(rewards, rewards, margin=margin).tolist() == [[False]]


def test_the_margin_is_a_tenth_of_iou():
    scores = torch.tensor([[1.0, 0.0]])
    assert find_contradicting_groups(scores, torch.tensor([[0.0, 0.1]])).tolist() == [[False]]
    assert find_contradicting_groups(scores, torch.tensor([[0.0, 0.1001]])).tolist() == [[True]]
