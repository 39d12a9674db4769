"""Teacher and student draw with random numbers of their own: by construction, and by what their errors do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from selecting import changed

from video_opd.curriculum import ScoredAnswer, ScoredExample, ScoreFile, ScoreHeader, SelectionRule, choose
from video_opd.curriculum.random_streams import has_same_draws, stream_of
from video_opd.policy.answer import _draw_uniforms
from video_opd.seeds import derive_seed
from video_opd.types import Sampling, Span

NUM, DRAWS = 3000, 3
SETTINGS = {
    "num_answers": 4,
    "seed": 0,
    "skip_below": None,
    "draws": "the model's own",
    "frames": 8,
}
RULE = SelectionRule(strategy="top-k", count=10, threshold=0)


def header(model: str = "m", **settings) -> ScoreHeader:
    return ScoreHeader(
        model=model, model_sha256=model, manifest_sha256="p", settings=SETTINGS | settings, num_examples=NUM
    )


def before(header: ScoreHeader) -> ScoreHeader:
    """The same of a file that was written before models had draws of their own."""
    return replace(header, settings={name: value for name, value in header.settings.items() if name != "draws"})


def uniforms(header: ScoreHeader) -> np.ndarray:
    """(examples, draws): the first number of every draw, as the scorer and the policy make it."""
    seed = derive_seed(header.settings["seed"], "score", stream_of(header))
    if "draws" not in header.settings:
        seed = derive_seed(header.settings["seed"], "score")
    prompts = [SimpleNamespace(id=f"q{number}", repeat=0) for number in range(NUM)]
    return _draw_uniforms(prompts, DRAWS, Sampling(max_new_tokens=1, seed=seed)).numpy().reshape(NUM, DRAWS)


def scored(header: ScoreHeader, ious: np.ndarray) -> ScoreFile:
    rows = {
        f"q{number}": ScoredExample(
            id=f"q{number}", spans=(Span(0, 1),), duration=2.0, source="s",
            answers=tuple(
                ScoredAnswer(text="", span=None, iou=float(iou), logprob=0.0, num_tokens=1, sampled=place > 0)
                for place, iou in enumerate(each)
            ),
        )
        for number, each in enumerate(ious)
    }  # fmt: skip
    return ScoreFile(header=header, rows=rows, name=f"{header.model}.jsonl")


@pytest.mark.parametrize(
    "other",
    [header("teacher"), header(draws="the model's own, as teacher"), header(seed=1), header(frames=64)],
    ids=["model", "role", "seed", "frames"],
)
def test_other_scorings_draw_other_numbers(other):
    assert stream_of(other) != stream_of(header())
    one, two = (uniforms(each) - 0.5 for each in (header(), other))
    for left, right in ((one, two), (one[:, :1], two[:, 1:2])):  # the same draw, and another of the same example
        correlation = float((left * right).mean() * 12)
        assert abs(correlation) < 4 / left.size**0.5


def test_what_does_not_change_how_an_example_is_answered_leaves_the_draws():
    """So shards are parts of one scoring, and scorings with and without a race can be compared draw by draw."""
    same = [header(num_answers=8), header(skip_below=0.5), header(race="a rule"), header(only="a few"),
            replace(header(), shard=(1, 3)), replace(header(), model="another name", num_examples=5)]  # fmt: skip
    assert {stream_of(each) for each in same} == {stream_of(header())}


def population(one: ScoreHeader, other: ScoreHeader) -> tuple[ScoreFile, ScoreFile, float]:
    """Teacher and student whose every draw is right with a probability of its own, drawn as the policy draws: by the
    inverse of the cumulative probability. And what is true: the variance of the true gaps over that of the seen ones.
    """
    rng = np.random.default_rng(0)
    chances = rng.beta(2, 2, (2, NUM, 1))
    ious = [
        np.hstack([(chance > 0.5).astype(float), (uniforms(each) < chance).astype(float)])
        for chance, each in zip(chances, (one, other), strict=True)
    ]
    true = [(each[:, 0] + DRAWS * chance[:, 0]) / (DRAWS + 1) for each, chance in zip(ious, chances, strict=True)]
    seen = [each.mean(axis=1) for each in ious]
    return scored(one, ious[0]), scored(other, ious[1]), float(np.var(true[0] - true[1]) / np.var(seen[0] - seen[1]))


@pytest.mark.parametrize(
    ("teacher", "student"),
    [
        (header("teacher"), header("student")),
        (header(draws="the model's own, as teacher"), header(draws="the model's own, as student")),
        (before(header("teacher", seed=0)), before(header("student", seed=1))),
        (before(header("teacher")), header("student")),
    ],
    ids=["two-models", "one-model", "two-seeds-before", "one-made-before"],
)  # fmt: skip
def test_the_reliability_of_the_gap_is_the_true_one_with_draws_of_their_own(teacher, student):
    *files, true = population(teacher, student)
    assert not has_same_draws(*files)
    assert choose(*files, RULE, 0).facts["reliability_of_ranking"] == pytest.approx(true, abs=0.03)


@pytest.mark.parametrize(
    ("teacher", "student"),
    [(before(header("teacher")), before(header("student"))), (header(), header())],
    ids=["before", "one-model"],
)
def test_with_the_same_draws_it_is_unknown_and_that_is_said(teacher, student):
    """It would be wrong: the errors of the two means go together."""
    *files, true = population(teacher, student)
    assert has_same_draws(*files)
    choice = choose(*files, RULE, 0)
    assert choice.facts["reliability_of_ranking"] is None
    assert "the same random numbers" in choice.warnings[-1]
    assert "video-opd score … --seed" in choice.warnings[-1]
    believed = [replace(file, header=header(name)) for name, file in zip("ab", files, strict=True)]
    assert abs(choose(*believed, RULE, 0).facts["reliability_of_ranking"] - true) > 0.1
    by_student = choose(*files, changed(RULE, strategy="difficulty"), 0)  # ranks by the student alone
    assert by_student.facts["reliability_of_ranking"] is not None
    assert "random numbers" not in "".join(by_student.warnings)


def test_without_draws_there_are_none_to_share():
    *files, _ = population(before(header("a")), before(header("b")))
    greedy = replace(files[0], rows={id: replace(row, answers=row.answers[:1]) for id, row in files[0].rows.items()})
    assert not has_same_draws(greedy, files[1])
    assert choose(greedy, files[1], RULE, 0).facts["reliability_of_ranking"] > 0
