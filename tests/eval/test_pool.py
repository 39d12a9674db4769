"""Scoring a pool: each example read once, every row on the disk, and the same rows however often it was stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from video_opd.curriculum import Race, RaceRule, ScoreHeader, read_scores
from video_opd.curriculum.random_streams import stream_of
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.errors import DataError, EngineError
from video_opd.eval.pool import RolloutOptions, Scorer
from video_opd.files.file_lock import hold_file
from video_opd.grounding import best_iou, parse_answer
from video_opd.methods.teachers import OneTeacher
from video_opd.objectives import reverse_kl
from video_opd.policy.load import Policy, load_policy
from video_opd.seeds import derive_seed
from video_opd.types import Sampling

BUDGET = VideoBudget(fps=2.0, max_frames=64, max_tokens=64, max_frame_tokens=1)
ASKING = RolloutOptions(num_answers=3, max_new_tokens=32, seed=4)


@pytest.fixture(scope="module")
def student():
    """One that names spans."""
    return load_policy("tiny-student").freeze()


@pytest.fixture(scope="module")
def teacher():
    return load_policy("tiny-teacher").freeze()


@pytest.fixture(scope="module")
def examples(world):
    return read_manifest(world / "train.jsonl")


def header(examples, **changes) -> ScoreHeader:
    said = {"model": "m", "model_sha256": "a", "manifest_sha256": "b", "settings": {}, "num_examples": len(examples)}
    return ScoreHeader(**(said | changes))


def drawn_with(examples) -> Sampling:
    """What the sampled answers are drawn with under this header."""
    return Sampling(max_new_tokens=32, seed=derive_seed(4, "score", stream_of(header(examples))))


def source(world, student, **changes) -> PromptSource:
    renderer = PromptRenderer(student.processor, TEMPLATES["tiny"], BUDGET)
    return PromptSource(world / "videos", renderer, num_examples=12, **changes)


@pytest.fixture
def scored(world, student, examples, tmp_path):
    def score(*, name="scores.jsonl", asking=ASKING, batch_size=5, teacher=None, questions=examples, **more):
        scorer = Scorer(
            policy=student, source=source(world, student, max_bad_share=0.5), asking=asking, batch_size=batch_size,
            teacher=teacher,
        )  # fmt: skip
        return scorer.score(questions, tmp_path / name, header(questions), **more)

    return score


def timeless(path) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if "seconds" not in key} for row in rows if "id" in row]


def test_answers_spans_ious_and_logprobs_are_those_of_the_verbs(scored, student, prompts, examples):
    before = student.work.prompt_passes
    scores = scored()
    assert student.work.prompt_passes - before == len(examples)  # one reading each, whatever was answered
    by_id = {prompt.id: prompt for prompt in prompts}
    for id, row in list(scores.rows.items())[:4]:
        reading = student.read([by_id[id]])
        (greedy,) = student.answer(reading, sampling=Sampling(max_new_tokens=32, greedy=True))
        (drawn,) = student.answer(reading, count=2, sampling=drawn_with(examples))
        expected = [*greedy, *drawn]
        assert [answer.text for answer in row.answers] == [answer.text for answer in expected]
        assert [answer.sampled for answer in row.answers] == [False, True, True]
        for found, answer in zip(row.answers, expected, strict=True):
            spans = parse_answer(answer.text).spans
            assert found.span == (spans[0] if spans else None)
            assert found.iou == (best_iou(spans[0], by_id[id].example.spans) if spans else 0.0)
            assert found.logprob == pytest.approx(sum(answer.sampler_logprobs), abs=1e-3)
            assert found.num_tokens == len(answer.token_ids)
    assert list(scores.rows) == [example.id for example in examples]
    assert scores.seconds > 0
    assert scores.cpu_seconds > 0


@pytest.mark.parametrize("skip_below", [None, 0.0])
def test_the_answers_are_the_same_in_one_loop_over_tokens_and_in_two(scored, monkeypatch, skip_below):
    """Greedy answers that decide which prompts have more are written before the draws."""
    counts, answer = [], Policy.answer

    def answer_and_count(policy, reading, *, count=1, sampling):
        counts.append(count)
        return answer(policy, reading, count=count, sampling=sampling)

    whole = scored(name="whole")
    monkeypatch.setattr(Policy, "answer", answer_and_count)
    again = scored(name="again", asking=replace(ASKING, skip_below=skip_below))
    assert counts == ([3] * 3 if skip_below is None else [1, 2] * 3)
    for id, row in whole.rows.items():
        assert [(a.text, a.sampled) for a in row.answers] == [(a.text, a.sampled) for a in again.rows[id].answers]
        assert [a.logprob for a in row.answers] == pytest.approx([a.logprob for a in again.rows[id].answers], abs=1e-4)


def test_the_size_of_a_batch_changes_no_answer(scored):
    one, many = scored(name="one", batch_size=1), scored(name="many", batch_size=12)
    for id, row in one.rows.items():
        assert [answer.text for answer in row.answers] == [answer.text for answer in many.rows[id].answers]
        assert [a.logprob for a in row.answers] == pytest.approx([a.logprob for a in many.rows[id].answers], abs=1e-3)


@pytest.mark.parametrize("kept_lines", [1, 3, 6, 8, 13])
def test_what_was_scored_before_a_kill_is_not_scored_again(scored, student, tmp_path, kept_lines):
    """Killed between batches, within one (5 + 2 rows), in its first instant, at its end; torn lines included."""
    path, whole = tmp_path / "scores.jsonl", scored()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:kept_lines]) + lines[kept_lines][:30])
    student.work.prompt_passes = 0
    again = scored()
    assert timeless(path) == [
        {key: value for key, value in json.loads(line).items() if "seconds" not in key} for line in lines[1:-1]
    ]
    assert again.rows == whole.rows
    assert path.read_bytes().splitlines(keepends=True)[:kept_lines] == lines[:kept_lines]  # times too: not done again
    done = kept_lines - 1
    assert student.work.prompt_passes == sum(size for start, size in ((0, 5), (5, 5), (10, 2)) if start + size > done)
    assert sum(b"summary" in line for line in path.read_bytes().splitlines()) == 1
    student.work.prompt_passes = 0
    scored()
    assert student.work.prompt_passes == 0


def test_two_at_once_cannot_write_one_file(scored, tmp_path):
    """And the second leaves what the first is in the middle of writing as it is."""
    path = tmp_path / "scores.jsonl"
    path.write_bytes(b'{"scores": {"format": 1, "mod')
    with hold_file(path), pytest.raises(DataError, match="being written by another process"):
        scored()
    assert path.read_bytes() == b'{"scores": {"format": 1, "mod'
    assert len(scored().rows) == 12


def test_a_video_that_cannot_be_used_is_a_row_with_a_reason(scored, examples, world, tmp_path, student):
    questions = [replace(examples[0], video="gone.mp4"), *examples[1:4]]
    scores = scored(questions=questions)
    assert "gone.mp4" in scores.list_unscored()[examples[0].id]
    assert set(scores.mean_iou()) == {example.id for example in questions[1:]}
    strict = Scorer(policy=student, source=source(world, student), asking=ASKING, batch_size=2)
    with pytest.raises(EngineError, match="have no usable video"):
        strict.score(questions, tmp_path / "strict", header(questions))


def test_the_distance_to_a_teacher_is_exact_along_the_draws(scored, student, teacher, prompts, examples):
    scores = scored(teacher=OneTeacher(teacher), batch_size=12)
    groups = student.answer(student.read(prompts), count=2, sampling=drawn_with(examples))
    mine = student.score(student.read(prompts), groups, distribution=True)
    theirs = teacher.score(teacher.read(prompts), groups, distribution=True)
    kl = reverse_kl(mine.distribution, theirs.distribution).masked_fill(~mine.answer_mask, 0).sum(dim=1).view(-1, 2)
    for prompt, expected in zip(prompts, kl.tolist(), strict=True):
        greedy, *drawn = scores.rows[prompt.id].answers
        assert greedy.reverse_kl is None
        assert [answer.reverse_kl for answer in drawn] == pytest.approx(expected, abs=1e-3)


def test_no_draws_where_the_greedy_answer_is_low(scored):
    """Its IoU alone is the mean then; everything else is as without."""
    scores = scored(asking=replace(ASKING, skip_below=0.3))
    sizes = {len(row.answers): row.answers[0].iou >= 0.3 for row in scores.rows.values()}
    assert sizes == {1: False, 3: True}
    plain = scored(name="plain")
    for id, row in scores.rows.items():
        assert [answer.text for answer in row.answers] == [
            answer.text for answer in plain.rows[id].answers[: len(row.answers)]
        ]
        assert len(row.answers) == 3 or row.mean_iou == plain.rows[id].answers[0].iou


def texts(scores) -> list[list[str]]:
    """The sampled answers, by example."""
    return [[answer.text for answer in row.answers if answer.sampled] for row in scores.rows.values()]


def test_one_model_in_two_roles_draws_twice_and_in_one_role_once(student, world, examples, tmp_path):
    """With seed 0 too; whatever the shard; and so do one model under two names and two ways of asking."""
    found = {}
    for name, role, changes in (
        ("teacher", "teacher", {}),
        ("student", "student", {}),
        ("again", "student", {}),
        ("other-model", "student", {"model_sha256": "other"}),
        ("more-frames", "student", {"frames": 128}),
    ):
        asking = replace(ASKING, seed=0, role=role)
        settings = asking.settings() | {"frames": changes.pop("frames", 64)}
        scorer = Scorer(policy=student, source=source(world, student), asking=asking, batch_size=12)
        head = header(examples, settings=settings, **changes)
        found[name] = texts(scorer.score(examples, tmp_path / name, head))
    assert found["again"] == found["student"]
    different = [name for name in found if name != "again"]
    for place, one in enumerate(different):
        for other in different[place + 1 :]:
            alike = [a == b for a, b in zip(found[one], found[other], strict=True)]
            assert sum(alike) <= 2  # of twelve: two draws of this model come out alike by chance now and then


def test_a_header_says_whose_draws_these_are_where_there_are_any():
    as_teacher, as_student = (replace(ASKING, role=role).settings() for role in ("teacher", "student"))
    assert as_teacher != as_student
    assert {"draws"} == {name for name in as_teacher if as_teacher[name] != as_student[name]}
    for without in (replace(ASKING, num_answers=1), replace(ASKING, top_k="beam")):
        assert "draws" not in without.settings()  # scores that were made before there were roles are still good


def test_the_most_probable_distinct_spans(scored):
    scores = scored(asking=replace(ASKING, top_k="beam", num_answers=3))
    for row in scores.rows.values():
        spans = [answer.span for answer in row.answers]
        assert len(set(spans)) == len(spans) == 3
        assert not any(answer.sampled for answer in row.answers)
        logprobs = [answer.logprob for answer in row.answers]
        assert logprobs == sorted(logprobs, reverse=True)
    greedy = scored(name="greedy", asking=replace(ASKING, num_answers=1))
    best = {id: row.answers[0].logprob for id, row in scores.rows.items()}
    assert all(best[id] >= row.answers[0].logprob - 1e-3 for id, row in greedy.rows.items())


def test_a_race_scores_what_it_must_and_says_why_not_the_rest(scored, examples, tmp_path):
    questions = [replace(example, source="odd" if place % 2 else "even") for place, example in enumerate(examples)]

    def passes(row):
        return row.source == "even"

    def race():
        return Race(
            {example.id: example.source for example in questions},
            RaceRule(race=True, race_pilot=3, race_min_yield=0.9),
            0,
        )

    scores = scored(questions=questions, race=race(), passes=passes)
    assert {row.source for row in scores.rows.values() if not row.answers} == {"odd"}
    assert len(scores.scored) == 6 + 3
    assert set(scores.list_unscored().values()) == {"0 of the first 3 examples of 'odd' passed the filter"}
    lines = (tmp_path / "scores.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "scores.jsonl").write_bytes(b"".join(lines[:5]))
    assert scored(questions=questions, race=race(), passes=passes).rows == scores.rows
    assert set(read_scores(tmp_path / "scores.jsonl").rows) == {example.id for example in questions}
