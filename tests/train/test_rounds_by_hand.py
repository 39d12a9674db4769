"""What a round takes from the one before, by hand and without a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from video_opd.config import RoundsSettings
from video_opd.curriculum import RoundPlan, ScoredAnswer, ScoredExample, ScoreFile, ScoreHeader
from video_opd.errors import DataError
from video_opd.train.score_cache import PoolScoring, WantedScores
from video_opd.train.scored_lessons import Rounds
from video_opd.types import Example, Span

EXAMPLES = [Example(id=f"e{i:02}", video="v", query="q", spans=(Span(0, 1),), duration=9.0) for i in range(30)]
HEADER = ScoreHeader(model="t", model_sha256="t", manifest_sha256="m", settings={}, num_examples=30)


def rounds(kind: type[Rounds] = Rounds, *, seed: int = 0, **settings) -> Rounds:
    """Three rounds of two steps each."""
    return kind(
        plan=RoundPlan(num_rounds=3, total_steps=6),
        scoring=SimpleNamespace(examples=EXAMPLES, manifest_sha256="m"),
        models=SimpleNamespace(teacher_sha256=("t",), teacher_scores=(None,)),
        seed=seed,
        max_new_tokens=4,
        num_answers=1,
        top_k=None,
        settings=RoundsSettings(**({"name": "rounds", "count": 5} | settings)),
    )


def scored(example: Example, *ious: float) -> ScoredExample:
    answers = tuple(
        ScoredAnswer(text="", span=Span(0, 1), iou=iou, logprob=-1.0, num_tokens=2, sampled=True) for iou in ious
    )
    return ScoredExample(id=example.id, spans=example.spans, duration=9.0, source="", answers=answers)


@pytest.mark.parametrize(("threshold", "passes"), [(0.74, True), (0.75, True), (0.76, False)])
def test_a_teacher_at_the_threshold_is_trusted(threshold, passes):
    assert rounds(threshold=threshold)._is_passing(scored(EXAMPLES[0], 0.5, 1.0)) is passes


def test_answers_are_the_newest_of_the_round_before(tmp_path):
    """Before round 3 come steps 3 and 4, for a step is counted once it is taken. Without log-probs an answer is not the
    student's own; e09 is not of the pool."""
    written = [(2, "e00", 0.2), (3, "e00", 0.3), (4, "e00", 0.4), (4, "e00", 0.6), (5, "e00", 0.5), (2, "e01", 0.2),
               (3, "e01", 0.3), (2, "e02", 0.2), (5, "e02", 0.5), (3, "e09", 0.3)]  # fmt: skip
    rows = [
        {"step": step, "id": id, "answer": "", "spans": [], "iou": iou, "sampler_logprobs": [-1.0, -2.0]}
        for step, id, iou in written
    ]
    rows.append({"step": 4, "id": "e03", "answer": "", "spans": [], "iou": 1.0})
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = SimpleNamespace(answers=answers)
    known = rounds()._read_answers_of_training(run, 3, EXAMPLES[:4])
    assert {id: [answer.iou for answer in row.answers] for id, row in known.items()} == {
        "e00": [0.4, 0.6],
        "e01": [0.3],
    }
    assert (known["e01"].answers[0].logprob, known["e01"].answers[0].num_tokens) == (-3.0, 2)
    assert rounds()._read_answers_of_training(run, 1, EXAMPLES[:4]) == {}
    assert rounds()._read_answers_of_training(run, 2, EXAMPLES[:4]).keys() == {"e00", "e01", "e02"}


@pytest.mark.parametrize(
    "row",
    [{}, {"iou": "1"}, {"iou": 2.0}, {"answer": None, "spans": [[1]]}, {"spans": 1}, {"sampler_logprobs": [None]}],
)
def test_a_row_that_is_no_answer_is_named(row, tmp_path):
    whole = {"step": 3, "id": "e00", "answer": "", "spans": [], "iou": 1.0, "sampler_logprobs": [-1.0]}
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(each) + "\n" for each in (whole, whole | row if row else {})))
    with pytest.raises(DataError, match=r"answers\.jsonl, row 2 is not an answer of this run: .* Restore the file"):
        rounds()._read_answers_of_training(SimpleNamespace(answers=answers), 3, EXAMPLES[:4])


class Known(Rounds):
    """With a teacher that is right about everything."""

    def _score_teacher_by_rule(self, run) -> ScoreFile:
        return ScoreFile(header=HEADER, rows={each.id: scored(each, 1.0) for each in EXAMPLES}, name="t.jsonl")


def test_every_round_and_every_run_draws_examples_of_its_own(tmp_path):
    def drawn(name: str, round: int, seed: int = 0) -> tuple[str, ...]:
        run = SimpleNamespace(rounds=Path(tmp_path / name))
        return tuple(example.id for example in rounds(Known, seed=seed).make_lesson(round, run).examples)

    first = [drawn("run", round) for round in (1, 2, 3)]
    assert [len(ids) for ids in first] == [5] * 3
    assert len(set(first)) == 3
    assert [drawn("again", round) for round in (1, 2, 3)] == first
    assert drawn("other", 1, seed=1) != first[0]


@pytest.fixture
def scoring(tmp_path, monkeypatch):
    """Scoring in name only: what it writes says of how many examples it is."""

    class Writes:
        def __init__(self, **_):
            pass

        def score(self, examples, path, header, **_):
            path.write_text(f"{len(examples)} scores of {header.model}")

    monkeypatch.setattr("video_opd.train.score_cache.Scorer", Writes)
    source = SimpleNamespace(set_aside={}, close=lambda: None)
    return PoolScoring(
        examples=EXAMPLES, manifest_sha256="m", make_source=lambda _, __: source, asked={}, batch_size=1,
        cache=tmp_path / "cache",
    )  # fmt: skip


def wanted(path: Path) -> WantedScores:
    return WantedScores(policy=None, header=HEADER, asking=None, path=path, title="scoring", examples=EXAMPLES)


@pytest.mark.parametrize("set_aside", [{}, {"e03": "its video is broken"}])
def test_scores_that_lack_a_video_are_not_for_other_runs(scoring, set_aside, tmp_path):
    """It may be mended before the next run."""
    scoring.make_source(None, False).set_aside.update(set_aside)
    scoring.score(wanted(tmp_path / "scores.jsonl"))
    assert (tmp_path / "scores.jsonl").read_text() == "30 scores of t"
    taken = [path.read_text() for path in tmp_path.glob("cache/*.jsonl")]
    assert taken == ([] if set_aside else ["30 scores of t"])


@pytest.mark.parametrize(
    ("change", "is_stale"),
    [({}, False), ({"num_examples": 20}, True), ({"model_sha256": "u"}, True), ({"settings": {"seed": 1}}, True)],
)
def test_scores_of_something_else_are_put_aside(scoring, change, is_stale, tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(replace(HEADER, **change).to_row()) + "\n")
    scoring.score(wanted(path))
    assert (tmp_path / "scores.stale-1.jsonl").exists() is is_stale


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_first_line_that_a_kill_cut_short_is_nothing_yet(scoring, share, tmp_path):
    path, line = tmp_path / "scores.jsonl", json.dumps(HEADER.to_row())
    path.write_text(line[: int(share * len(line))])
    scoring.score(wanted(path))
    assert [found.name for found in tmp_path.glob("*.jsonl")] == ["scores.jsonl"]
