"""Which test queries a report shows."""

from __future__ import annotations

import pytest

from video_opd.eval.timeline_choice import NUM_SAMPLED, NUM_SHOWN, choose_timelines, draw_sample, read_texts
from video_opd.grounding import write_predictions
from video_opd.types import Example, Span


def answer(start: float, end: float) -> str:
    return f"The event happens in {start:.1f} - {end:.1f} seconds."


EXAMPLES = [
    Example(id=f"q{number}", video=f"{number}.mp4", query="it", spans=(Span(2.0, 6.0),), duration=10.0)
    for number in range(40)
]


@pytest.fixture
def texts() -> dict[str, dict[str, str]]:
    """q0 to q4 became right, q5 to q9 became wrong; q10 to q14 are wrong as before and the teacher is right."""
    before = {each.id: answer(2, 6) for each in EXAMPLES}
    after = dict(before)
    for number in range(5):
        before[f"q{number}"] = answer(6, 7 + number / 2)
        after[f"q{5 + number}"] = answer(6.5, 7)
        before[f"q{10 + number}"] = after[f"q{10 + number}"] = answer(5, 9)
    return {"student-before": before, "student-after": after, "teacher": {each.id: answer(2, 6) for each in EXAMPLES}}


def ids_of(kind: str, chosen) -> list[str]:
    return [each.id for each in chosen.queries if each.kind == kind]


def test_each_kind_has_the_queries_that_fit_it_best(texts):
    after = dict(texts["student-after"])
    texts["student-after"]["q0"] = answer(2, 4)  # less improved than the others
    chosen = choose_timelines(EXAMPLES, texts, seed=0)
    assert set(ids_of("improved", chosen)) == {"q1", "q2", "q3", "q4"}
    assert set(ids_of("hurt", chosen)) < {"q5", "q6", "q7", "q8", "q9"}
    assert len(ids_of("hurt", chosen)) == NUM_SHOWN
    disagreed = ids_of("disagreed", chosen)
    (fifth,) = {"q5", "q6", "q7", "q8", "q9"} - set(ids_of("hurt", chosen))
    assert disagreed[0] == fifth, "it overlaps the teacher's span least of those that are left"
    assert set(disagreed[1:]) < {"q10", "q11", "q12", "q13", "q14"}
    assert chosen.num_queries == chosen.num_asked_teacher == 40
    by_id = {each.id: each for each in chosen.queries}
    assert by_id["q1"].answers["student-before"].spans == [(6.0, 7.5)]
    assert by_id["q1"].answers["student-after"].iou == 1.0
    assert by_id[fifth].answers["student-after"].iou == 0.0
    assert after["q1"] == by_id["q1"].answers["student-after"].text


def test_the_sample_does_not_depend_on_answers_or_order(texts):
    sample = draw_sample(EXAMPLES, texts, 0)
    assert len(sample) == NUM_SAMPLED
    assert draw_sample(EXAMPLES[::-1], texts, 0) == sample
    assert draw_sample(EXAMPLES, texts, 1) != sample
    del texts["student-after"][sample[0]]  # its video could not be used
    assert sample[0] not in draw_sample(EXAMPLES, texts, 0)
    chosen = choose_timelines(EXAMPLES, texts, seed=0)
    assert chosen.sample == draw_sample(EXAMPLES, texts, 0)
    assert {each.id for each in chosen.queries} >= set(chosen.sample)
    assert len({each.id for each in chosen.queries}) == len(chosen.queries), "each is shown once"


def test_without_a_teacher_or_without_answers_from_before(texts):
    del texts["teacher"]
    chosen = choose_timelines(EXAMPLES, texts, seed=0)
    assert ids_of("disagreed", chosen) == []
    assert chosen.num_asked_teacher == 0
    chosen = choose_timelines(EXAMPLES, {"student-after": texts["student-after"]}, seed=0)
    assert {each.kind for each in chosen.queries} == {"random", ""}
    assert choose_timelines(EXAMPLES, {}, seed=0).queries == []


def test_answers_that_cannot_be_read_have_a_reason(texts, tmp_path):
    texts["student-after"]["q20"] = "I see nothing."
    for name, answers in texts.items():
        write_predictions(tmp_path / f"{name}.predictions.jsonl", answers)
    (tmp_path / "validation-000001.predictions.jsonl").write_text("{}")  # of no model
    assert read_texts(tmp_path) == texts
    chosen = choose_timelines(EXAMPLES, read_texts(tmp_path), seed=0)
    (found,) = (each.answers["student-after"] for each in chosen.queries if each.id == "q20")
    assert (found.spans, found.iou, found.reason) == ([], 0.0, "no numbers")
