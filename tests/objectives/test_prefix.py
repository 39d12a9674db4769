"""Where a teacher's margin falls, on sequences made by hand."""

from __future__ import annotations

import pytest
import torch

from video_opd.objectives import downward_change_point, supervised_prefix, teacher_margin


def steps(*parts: tuple[float, int], noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    """Levels, each for so many positions, with normal noise."""
    values = torch.cat([torch.full((count,), level) for level, count in parts])
    return values + noise * torch.randn(len(values), generator=torch.Generator().manual_seed(seed))


def test_the_margin_is_the_best_of_the_students_candidates_less_the_mean_of_the_others():
    student = torch.tensor([0.4, 0.3, 0.2, 0.06, 0.04]).log()[None, None]
    teacher = torch.tensor([0.1, 0.4, 0.2, 0.29, 0.01]).log()[None, None]
    three = teacher_margin(student, teacher, 3).item()  # 0.4 of 0.1, 0.4, 0.2; 0.29 is none of the candidates
    expected = torch.tensor(0.4).log() - (torch.tensor(0.1).log() + torch.tensor(0.2).log()) / 2
    assert three == pytest.approx(expected.item(), abs=1e-6)
    assert teacher_margin(teacher, student, 5).item() != pytest.approx(three, abs=1e-2)
    assert teacher_margin(student, torch.full((1, 1, 5), 0.2).log(), 3).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("place", [8, 12, 20, 26])
def test_a_clear_fall_is_found_where_it_is(place, noise):
    assert downward_change_point(steps((4.0, place), (0.0, 30 - place), noise=noise)) == place


@pytest.mark.parametrize(
    "values",
    [
        steps((2.0, 30)),
        steps((0.0, 15), (4.0, 15)),
        steps((0.0, 15), (4.0, 15), noise=0.5),
        torch.linspace(0, 5, 30),
        steps((4.0, 20), (0.0, 1)),  # too few after it
        steps((4.0, 6), (0.0, 5)),  # too short in all
        steps((4.0, 1)),
    ],
    ids=["flat", "rise", "noisy rise", "slope", "odd end", "short", "one"],
)
def test_what_is_no_fall_is_not_cut(values):
    assert downward_change_point(values) is None


def test_an_early_fall_is_cut_no_earlier_than_the_least_prefix():
    assert downward_change_point(steps((4.0, 3), (0.0, 27)), least_prefix=3) == 3
    change = downward_change_point(steps((4.0, 3), (0.0, 27)))
    assert change is None or change >= 8


def test_noise_alone_is_seldom_cut_and_a_small_fall_needs_length():
    cut = [downward_change_point(steps((1.0, 40), noise=1.0, seed=seed)) is not None for seed in range(300)]
    assert sum(cut) / 300 < 0.05
    short, long = (
        sum(downward_change_point(steps((1.0, n), (0.0, n), noise=1.0, seed=s)) is not None for s in range(50))
        for n in (10, 60)
    )
    assert short < 25
    assert long > 45


def test_the_place_is_that_of_the_least_squares():
    """Against fitting two means at every place."""
    for seed in range(30):
        values = steps((1.5, 14), (0.0, 16), noise=0.7, seed=seed)
        found = downward_change_point(values)
        fits = {
            k: values[:k].var(correction=0).item() * k + values[k:].var(correction=0).item() * (30 - k)
            for k in range(8, 27)
            if values[:k].mean() > values[k:].mean()
        }
        assert found in (None, min(fits, key=fits.get))


def test_the_prefix_of_every_answer_is_its_own():
    margin = torch.stack([steps((4.0, 10), (0.0, 20)), steps((0.0, 10), (4.0, 20)), steps((4.0, 10), (0.0, 20))])
    mask = torch.ones(3, 30, dtype=torch.bool)
    mask[2, 12:] = False  # two tokens after the fall are too few; what is padded does not count
    kept = supervised_prefix(margin, mask)
    assert kept.sum(dim=1).tolist() == [10, 30, 12]
    assert kept[0, :10].all()
    assert mask.sum(dim=1).tolist() == [30, 30, 12]
