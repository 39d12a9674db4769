"""From scores to a selection: what is warned about, what is refused, what is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from selecting import changed

from video_opd.curriculum import (
    CandidateRule,
    ScoredAnswer,
    ScoredExample,
    ScoreFile,
    ScoreHeader,
    SelectionRule,
    choose,
    choose_candidates,
    read_selection,
    write_selection,
)
from video_opd.errors import ConfigurationError, DataError
from video_opd.grounding import PARSER_VERSION
from video_opd.types import Span

NUM = 60
RULE = SelectionRule(strategy="top-k", count=10, threshold=0.7)


def scores(model: str, ious: np.ndarray, *, kl: bool = False, **changes) -> ScoreFile:
    """(examples, answers) IoUs; the first answer is the greedy one."""
    settings = {"teacher_sha256": "teacher"} if kl else {}
    header = ScoreHeader(
        model=model, model_sha256=model, manifest_sha256="m", settings=settings, num_examples=len(ious)
    )
    rows = {}
    for number, each in enumerate(ious):
        answers = tuple(
            ScoredAnswer(text="", span=Span(place, place + iou), iou=float(iou), logprob=0.0, num_tokens=number + 1,
                         sampled=place > 0, reverse_kl=float(number) if kl and place else None)
            for place, iou in enumerate(each)
        )  # fmt: skip
        spans, source = (Span(number / 10, number / 10 + 2),), "ab"[number % 2]
        rows[f"e{number:02}"] = ScoredExample(
            id=f"e{number:02}", spans=spans, duration=20.0, source=source, answers=answers
        )
    return ScoreFile(header=replace(header, **changes), rows=rows, name=f"{model}.jsonl")


def right(answers: int = 4) -> ScoreFile:
    return scores("teacher", np.full((NUM, answers), 0.9))


def student(answers: int = 4, *, signal: float = 0.0, kl: bool = False, seed: int = 0) -> ScoreFile:
    rng = np.random.default_rng(seed)
    true = rng.random((NUM, 1))
    return scores("student", np.clip(signal * true + (1 - signal) * rng.random((NUM, answers)), 0, 1), kl=kl)


def test_a_ranking_of_luck_is_warned_about_and_a_good_one_is_not():
    noise = choose(right(), student(), RULE, 0)
    assert any("mostly noise" in warning for warning in noise.warnings)
    assert noise.facts["reliability_of_ranking"] < 0.5
    clear = choose(right(), student(signal=0.9), RULE, 0)
    assert clear.warnings == ()
    assert clear.facts["reliability_of_ranking"] > 0.9
    assert choose(right(), student(), changed(RULE, strategy="random"), 0).warnings == ()  # luck decides nothing


def test_of_a_ranking_of_few_examples_nobody_knows_how_much_is_luck():
    few = [replace(file, rows=dict(list(file.rows.items())[:3])) for file in (right(), student(signal=0.9))]
    found = choose(*few, changed(RULE, count=1), 0)
    assert found.facts["reliability_of_ranking"] is None
    assert any("3 examples were scored, fewer than 5" in warning for warning in found.warnings)


def test_one_answer_an_example_is_warned_about():
    (warning,) = choose(right(), student(answers=1), RULE, 0).warnings
    assert "0 draws an example" in warning
    same = choose(right(), replace(right(), name="again"), changed(RULE, strategy="random"), 0)
    assert "same model" in same.warnings[0]


def test_one_draw_of_the_teacher_leaves_its_error_unknown_and_none_leaves_none():
    rng = np.random.default_rng(3)
    one_draw = scores("teacher", rng.random((NUM, 2)))
    choice = choose(one_draw, student(signal=0.9), changed(RULE, threshold=0), 0)
    assert choice.facts["reliability_of_ranking"] is None
    assert "the teacher was scored with 1 draw an example" in choice.warnings[0]
    greedy = scores("teacher", rng.random((NUM, 1)))
    assert choose(greedy, student(signal=0.9), changed(RULE, threshold=0), 0).facts["reliability_of_ranking"] > 0.9


def skipped(file: ScoreFile, below: float, settings_of: float | None) -> ScoreFile:
    """As scored with skip_below: no draws where the greedy answer's IoU is lower."""
    rows = {id: replace(row, answers=row.answers[: 1 if row.answers[0].iou < below else None])
            for id, row in file.rows.items()}  # fmt: skip
    return replace(file, rows=rows, header=replace(file.header, settings={"skip_below": settings_of}))


@pytest.mark.parametrize("strategy", ["random", "top-k"])
def test_who_is_judged_by_a_low_greedy_answer_alone_is_told(strategy):
    """A mean over draws is held against one answer; where the threshold leaves none of these, nothing is said."""
    rule = changed(RULE, strategy=strategy, threshold=0.5)
    rng = np.random.default_rng(5)
    file = scores("teacher", rng.uniform(0.4, 1, (NUM, 1)) + np.zeros((NUM, 4)))
    num = sum(0.5 <= row.answers[0].iou < 0.8 for row in file.rows.values())
    (warning,) = choose(skipped(file, 0.8, 0.8), student(signal=0.9), rule, 0).warnings
    assert warning.startswith(f"the teacher judges {num} of ")
    assert warning.endswith("set the threshold to 0.8 or more")
    assert choose(skipped(file, 0.5, 0.5), student(signal=0.9), rule, 0).warnings == ()
    low = skipped(student(signal=0.9), 0.2, 0.2)
    (warning,) = choose(file, low, rule, 0).warnings
    assert warning.endswith("score it without skip_below")


def test_other_rankings_are_held_to_the_same():
    for rule in (
        changed(RULE, strategy="difficulty"),
        changed(RULE, disagreement="reverse-kl"),
    ):
        choice = choose(right(), student(kl=True), rule, 0)
        known = choice.facts["reliability_of_ranking"]
        assert bool(choice.warnings) == (known is not None and known < 0.5)
    luck = choose_candidates(right(), student(), CandidateRule(num_anchors=2, num_frontier=2), 0)
    assert "the student's IoU, is mostly noise" in luck.warnings[0]


def test_who_the_student_could_not_be_scored_on_leaves_with_the_reason():
    rows = dict(student(signal=0.9).rows)
    rows["e07"] = replace(rows["e07"], answers=(), unscored="its video is gone")
    choice = choose(right(), replace(student(signal=0.9), rows=rows), RULE, 0)
    assert choice.selection.why["e07"] == "not scored: by the student: its video is gone"
    assert choice.facts["num_unscored"] == 1
    assert len(choice.selection.ids) == 10


def test_the_facts_count_and_compare():
    teacher = right()
    rows = dict(teacher.rows)
    rows["e00"] = replace(rows["e00"], answers=(), unscored="its video is gone")
    rows["e01"] = replace(rows["e01"], answers=tuple(replace(a, iou=0.1) for a in rows["e01"].answers))
    choice = choose(replace(teacher, rows=rows), student(signal=0.9), RULE, 0)
    facts = choice.facts
    assert (facts["num_pool"], facts["num_unscored"], facts["num_passing"], facts["num_kept"]) == (60, 1, 58, 10)
    assert choice.selection.why["e00"] == "not scored: its video is gone"
    assert "below 0.7" in choice.selection.why["e01"]
    assert facts["pool"]["num_examples"] == 59
    assert facts["kept"]["num_examples"] == 10
    assert facts["mean_gap_of_kept"] > 0.6


def test_scores_of_two_manifests_are_refused():
    with pytest.raises(DataError, match=r"teacher.jsonl and student.jsonl are scores of different manifests"):
        choose(right(), replace(student(), header=replace(student().header, manifest_sha256="other")), RULE, 0)


def test_ranking_by_reverse_kl():
    rule = changed(RULE, disagreement="reverse-kl")
    judged = student(kl=True)
    assert set(choose(right(), judged, rule, 0).selection.ids) == {f"e{i}" for i in range(50, 60)}
    # Number over number of tokens, n / (n + 1), rises too, but by next to nothing: the order is the same here.
    per_token = choose(right(), judged, changed(rule, disagreement="reverse-kl-per-token"), 0).selection.verdicts[0]
    assert (per_token.id, per_token.delta) == ("e59", pytest.approx(59 / 60))
    with pytest.raises(DataError, match="the student's scores hold no reverse KL"):
        choose(right(), student(), rule, 0)
    header = replace(judged.header, settings={"teacher_sha256": "another"})
    with pytest.raises(DataError, match="reverse KL to another model"):
        choose(right(), replace(judged, header=header), rule, 0)


def test_agreement_in_place_of_the_annotation():
    """Answers that agree with one another and not with the label stay; with one answer there is nothing to agree."""
    ious = np.full((NUM, 4), 0.9)
    teacher = scores("teacher", ious)
    rows = {
        id: replace(row, answers=tuple(replace(a, iou=0.0, span=Span(1, 2)) for a in row.answers))
        if id < "e30"
        else row
        for id, row in teacher.rows.items()
    }
    rule = changed(RULE, strategy="random", reliability="agreement")
    choice = choose(replace(teacher, rows=rows), None, rule, 0)
    assert set(choice.selection.passing) == {f"e{i:02}" for i in range(30)}
    with pytest.raises(ConfigurationError, match="itself needs several answers"):
        choose(right(answers=1), None, rule, 0)
    some = {id: replace(row, answers=row.answers[: 1 + (id > "e00")]) for id, row in teacher.rows.items()}
    with pytest.raises(ConfigurationError, match="none of them skipped"):  # one of them answered once only
        choose(replace(teacher, rows=some), None, rule, 0)


def test_candidates_from_files():
    choice = choose_candidates(right(), student(signal=0.9), CandidateRule(num_anchors=3, num_frontier=4), 0)
    assert choice.facts["kinds"] == {"anchor": 3, "frontier": 4}


def test_a_selection_goes_to_a_file_and_comes_back(tmp_path):
    choice = choose_candidates(right(), student(signal=0.9), CandidateRule(num_anchors=3, num_frontier=4), 0)
    write_selection(tmp_path / "s", choice.selection)
    again = read_selection(tmp_path / "s", right().rows)
    assert again.ids == choice.selection.ids
    assert again.verdicts == choice.selection.verdicts


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"id": "e00", "kept": true}\n{"id": "x", "kept": true}\n', "1 of its examples are not in the manifest.*'x'"),
        ('{"id": "e00", "kept": false}\n', "has no chosen example"),
        ('{"id": "e00", "kept": true}\n{"id": "e00", "kept": true}\n', "twice"),
        ('{"kept": true}\n', "line 1 is not a line of a selection"),
        ('{"id": "e00"}\n', "line 1 is not a line of a selection"),
        ('{"id": "e00", "kept": "yes"}\n', "line 1 is not a line of a selection"),
        ("kept\n", "line 1 is not a line of a selection.*not JSON"),
        ('{"id": "e00", "kept": false, "kept": true}\n', "the key `kept` is there twice"),
        ('{"id": "e00", "kept": true, "tau": NaN}\n', "NaN is not a number"),
        ("[" * 100_000, "the nesting too deep"),
        ("[7]\n", "it is a list, not an object"),
        ("null\n", "it is null, not an object"),
        ('{"id": "e00", "kept": true}\n{"id": "\udce9", "kept": true}', "line 2 .*byte 0xe9 at column 9 is not UTF-8"),
        ('{"id": "e00", "kept": true, "order": "first"}\n', "`order` is a string, not a number"),
        ('{"id": "e00", "kept": true, "sigma": []}\n', "`sigma` is a list, not a number"),
        ('{"id": "e00", "kept": true, "why": 7}\n', "`why` is a number, not a text"),
    ],
)
def test_a_file_that_is_no_selection_is_refused(tmp_path, content, message):
    (tmp_path / "s").write_text(content, errors="surrogateescape")
    with pytest.raises(DataError, match=message):
        read_selection(tmp_path / "s", {"e00"})
    with pytest.raises(DataError, match="no such file"):
        read_selection(tmp_path / "t", {"e00"})


def test_lines_without_an_order_are_taken_as_they_stand(tmp_path):
    """Written by hand, so perhaps with a byte order mark and without a line break at the end."""
    (tmp_path / "s").write_text('\ufeff{"id": "b", "kept": true}\n{"id": "a", "kept": true}')
    assert read_selection(tmp_path / "s", {"a", "b"}).ids == ("b", "a")


def test_spans_that_another_version_of_the_parser_read_are_told():
    def read_by(file: ScoreFile, version: int) -> ScoreFile:
        return replace(file, header=replace(file.header, settings={"parser_version": version}))

    mine = read_by(student(signal=0.9), PARSER_VERSION)
    assert choose(read_by(right(), PARSER_VERSION), mine, RULE, 0).warnings == ()
    (warning,) = choose(read_by(right(), 1), mine, RULE, 0).warnings
    assert warning.startswith("the spans in teacher.jsonl were read by version 1 of the answer parser")
