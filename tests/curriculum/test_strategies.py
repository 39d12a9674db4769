"""Ten gaps by hand; random ones by property; draws against their exact probabilities."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selecting import select_by

from video_opd.curriculum import STRATEGIES
from video_opd.curriculum.strategies import evenly_spaced_ranks

# Gaps of ten examples, tau = 1 for all: 0.95 0.90 0.80 0.70 0.65 0.50 0.30 0.20 0.10 -0.05 would need sigma > 1, so the
# largest IoU of the student is 1 and the smallest gap 0.
GAPS = {"a": 0.95, "b": 0.90, "c": 0.80, "d": 0.70, "e": 0.65, "f": 0.50, "g": 0.30, "h": 0.20, "i": 0.10, "j": 0.0}
SIGMA = {id: 1 - gap for id, gap in GAPS.items()}
TAU = dict.fromkeys(GAPS, 1.0)


def chosen(strategy: str, count: int, **more) -> list[str]:
    choice = select_by(TAU, SIGMA, **({"strategy": strategy, "count": count, "threshold": 0.7, "seed": 0} | more))
    assert set(choice.ids) <= set(choice.passing)
    return list(choice.ids)


def test_top_k_by_hand():
    assert chosen("top-k", 4) == ["a", "b", "c", "d"]


def test_dsus_by_hand():
    # j_t = round(1 + 9 t / 3) = 1, 4, 7, 10
    assert chosen("dsus", 4) == ["a", "d", "g", "j"]
    # round(1 + 9 t / 2) = 1, 5.5 -> 6 (to the even rank), 10
    assert chosen("dsus", 3) == ["a", "f", "j"]
    assert chosen("dsus", 1) == ["a"]
    assert chosen("dsus", 10) == list("abcdefghij")


def test_bbds_by_hand():
    # Five buckets of width 0.19 from 0 to 0.95: j i | h g | f | e d | c b a. (0.57 <= e, d < 0.76; f in [0.38, 0.57))
    # count 7: one from each, one more from the first two (the lowest): j i, h g, f, then the top of e d and of c b a,
    # each bucket evenly spaced from its largest gap on.
    assert set(chosen("bbds", 7)) == {"i", "j", "g", "h", "f", "d", "a"}
    # count 8: three buckets have one more, but the third holds only f, so its second goes to the first that has room:
    # the fourth.
    assert set(chosen("bbds", 8)) == {"i", "j", "g", "h", "f", "d", "e", "a"}


def test_bbds_gives_the_odd_ones_to_the_lowest_buckets():
    """Ten gaps in each fifth: 13 are 3 + 3 + 3 + 2 + 2, from the lowest bucket on."""
    gaps = {f"{bucket}{place}": (bucket + (place + 0.5) / 10) / 5 for bucket in range(5) for place in range(10)}
    sigma = {id: 1 - gap for id, gap in gaps.items()}
    ids = select_by(dict.fromkeys(gaps, 1.0), sigma, strategy="bbds", count=13, threshold=0, seed=0).ids
    assert [sum(id.startswith(str(bucket)) for id in ids) for bucket in range(5)] == [3, 3, 3, 2, 2]
    assert {id for id in ids if id[0] == "4"} == {"49", "40"}  # evenly spaced: first and last


def test_half_and_half_by_hand():
    ids = chosen("half-and-half", 4)
    assert ids[:2] == ["a", "b"]
    assert len(set(ids)) == 4


def test_gwds_prefers_gaps_near_its_centre():
    first = [chosen("gwds", 1, seed=seed)[0] for seed in range(400)]
    weight = {id: math.exp(-((gap - 0.9) ** 2) / 0.08) for id, gap in GAPS.items()}
    for id in "abcd":
        expected = weight[id] / sum(weight.values())
        assert first.count(id) / 400 == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 400))
    assert first.count("j") == 0


@st.composite
def pools(draw):
    size = draw(st.integers(2, 30))
    iou = st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1))
    tau = {f"e{i}": draw(iou) for i in range(size)}
    sigma = {id: draw(iou) for id in tau}
    threshold = draw(st.sampled_from([0, 0.5]))
    left = [id for id in tau if not threshold or tau[id] >= threshold]
    return tau, sigma, threshold, left


@settings(max_examples=150, deadline=None)
@given(pools(), st.sampled_from(STRATEGIES), st.integers(0, 9), st.data())
def test_every_strategy_gives_exactly_as_many_each_once_and_the_same_again(pool, strategy, seed, data):
    tau, sigma, threshold, left = pool
    if not left:
        return
    count = data.draw(st.integers(1, len(left)))
    asked = {"strategy": strategy, "count": count, "threshold": threshold, "seed": seed}
    choice = select_by(tau, sigma, **asked)
    assert len(choice.ids) == len(set(choice.ids)) == count
    assert set(choice.ids) <= set(left)
    assert {verdict.id for verdict in choice.verdicts} == set(tau)
    mixed = data.draw(st.permutations(list(tau)))
    again = select_by({id: tau[id] for id in mixed}, {id: sigma[id] for id in reversed(mixed)}, **asked)
    assert again.ids == choice.ids
    gap = {id: tau[id] - sigma[id] for id in left}
    if strategy == "top-k":
        assert sorted(gap[id] for id in choice.ids) == sorted(gap.values())[-count:]
    if strategy == "dsus":
        ranked = sorted(gap.values(), reverse=True)
        exact = [Fraction(1) + Fraction((len(left) - 1) * t, max(count - 1, 1)) for t in range(count)]
        assert [gap[id] for id in choice.ids] == [ranked[round(rank) - 1] for rank in exact]
    if strategy == "bbds":
        check_buckets(gap, choice.ids, count)


def check_buckets(gap: dict[str, float], ids: tuple[str, ...], count: int) -> None:
    """Eq. 19 wherever every bucket holds its share; nowhere more than it holds."""
    low, high = min(gap.values()), max(gap.values())
    if high == low:
        return
    edges = [low + (high - low) * b / 5 for b in range(6)]

    def bucket(value: float) -> int:
        return next(b for b in range(5) if value < edges[b + 1] or b == 4)

    held, taken = [0] * 5, [0] * 5
    for id, value in gap.items():
        if any(abs(value - edge) < 1e-12 for edge in edges[1:5]):
            return  # on an edge to rounding
        held[bucket(value)] += 1
        taken[bucket(value)] += id in ids
    share = [count // 5 + (b + 1 <= count % 5) for b in range(5)]
    if all(wanted <= there for wanted, there in zip(share, held, strict=True)):
        assert taken == share
    else:
        assert all(took >= min(wanted, there) for took, wanted, there in zip(taken, share, held, strict=True))


@given(st.integers(1, 200), st.data())
def test_ranks_are_those_of_the_formula(n, data):
    k = data.draw(st.integers(1, n))
    ranks = evenly_spaced_ranks(n, k)
    assert len(set(ranks)) == k
    assert ranks[0] == 1
    assert k == 1 or ranks[-1] == n
    if k > 1:
        assert ranks == [round(Fraction(1) + Fraction((n - 1) * t, k - 1)) for t in range(k)]


def inclusion(weights: dict[str, float], count: int) -> dict[str, float]:
    """Exact inclusion probabilities of draws without replacement, one after another."""
    total = dict.fromkeys(weights, 0.0)
    for order in itertools.permutations(weights, count):
        probability, left = 1.0, sum(weights.values())
        for id in order:
            probability *= weights[id] / left
            left -= weights[id]
        for id in order:
            total[id] += probability
    return total


@pytest.mark.parametrize(
    ("strategy", "weight"),
    [
        ("gwds", lambda id: math.exp(-((GAPS[id] - 0.9) ** 2) / 0.08)),
        ("difficulty", lambda id: math.exp(-((SIGMA[id] - 0.3) ** 2) / 0.08)),
    ],
)
def test_inclusion_frequencies_are_those_of_the_weights(strategy, weight):
    ids, draws = "acdfg", 3000
    sigma = {id: SIGMA[id] for id in ids}
    expected = inclusion({id: weight(id) for id in ids}, 2)
    counts = dict.fromkeys(ids, 0)
    for seed in range(draws):
        for id in select_by(dict.fromkeys(ids, 1.0), sigma, strategy=strategy, count=2, threshold=0, seed=seed).ids:
            counts[id] += 1
    for id in ids:
        error = math.sqrt(expected[id] * (1 - expected[id]) / draws)
        assert counts[id] / draws == pytest.approx(expected[id], abs=4 * error + 1e-9), id


def test_difficulty_asks_no_teacher_and_its_mean_and_spread_can_be_said():
    sigma = {f"e{i:03}": i / 199 for i in range(200)}
    asked = {"strategy": "difficulty", "count": 40, "threshold": 0, "seed": 1}
    drawn = [sigma[id] for id in select_by(None, sigma, **asked).ids]
    assert sum(drawn) / 40 == pytest.approx(0.33, abs=0.07)
    high = [sigma[id] for id in select_by(None, sigma, **asked, difficulty_mean=0.9, difficulty_std=0.05).ids]
    assert min(high) > 0.7


def test_density_correction_draws_the_gaussian_whatever_the_pool_is_like():
    """Nine tenths of the pool at 0.5: uncorrected draws follow the crowd."""
    sigma = {f"crowd{i}": 0.5 for i in range(900)} | {f"few{i}": 0.3 for i in range(100)}
    few = {
        corrected: sum(
            id.startswith("few")
            for id in select_by(
                None, sigma, strategy="difficulty", count=50, threshold=0, seed=2,
                density_corrected=corrected,
            ).ids
        )
        for corrected in (False, True)
    }  # fmt: skip
    assert few[True] > 2 * few[False]  # weights 1 to 0.61: 31 of 50 against 8


def test_ties_are_broken_by_the_seed_and_by_nothing_else():
    tau, sigma = dict.fromkeys("abcdefgh", 0.9), dict.fromkeys("abcdefgh", 0.1)
    orders = {select_by(tau, sigma, strategy="top-k", count=3, threshold=0.7, seed=seed).ids for seed in range(20)}
    assert len(orders) > 10
