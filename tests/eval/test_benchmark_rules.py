"""What an answer is worth, by every rule of every benchmark; against TempCompass's published ratings where they are."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from benchmark_files import captions, multi_choice, question, write_json, yes_no
from hypothesis import given
from hypothesis import strategies as st

from video_opd.eval.benchmarks import BENCHMARKS, Question, Rating
from video_opd.eval.benchmarks._question_files import find_stated_label

MOVES = question("sitting down", "a dog running", "eating", right=2)


def rate(benchmark: str, rule: str, answer: str, asked: Question) -> Rating:
    return BENCHMARKS[benchmark].rules[rule].rate(answer, asked)


def tempcompass(tmp_path: Path, kind: str, item: dict[str, str]) -> Question:
    write_json(tmp_path / "questions" / f"{kind}.json", {"1": {"action": [item]}})
    return BENCHMARKS["tempcompass"].read(tmp_path)[0]


# TempCompass


@pytest.mark.parametrize(
    ("kind", "by_rule", "correct", "published"),
    [("multi-choice", 1580, 720, 45.57), ("caption_matching", 1496, 951, 63.34)],
)
def test_every_published_rating_is_ours(shared_data, tmp_path, kind, by_rule, correct, published):
    """Video-LLaVA's answers. Seven caption answers went to a language model, which called one of them right: without
    it, as here, they count as wrong, and the total is one question short of the published one."""
    folder = shared_data / "qa"
    (tmp_path / "questions").mkdir()
    shutil.copy(folder / f"tempcompass_{kind}.json", tmp_path / "questions" / f"{kind}.json")
    predictions, ratings = (
        json.loads((folder / f"tempcompass_{what}_video-llava_{kind}.json").read_text()) for what in ("pred", "eval")
    )
    counts: Counter[str] = Counter()
    judged_right = 0
    questions = BENCHMARKS["tempcompass"].read(tmp_path)
    for asked in questions:
        _, video, aspect, place = asked.id.split("/")
        prediction, expected = predictions[video][aspect][int(place)], ratings[video][aspect][int(place)]
        assert asked.prompt.startswith(prediction["question"])
        found = rate("tempcompass", "official", prediction["prediction"], asked)
        assert (found.read is not None) == expected["match_success"], expected
        if expected["match_success"]:
            assert int(found.correct) == expected["rating"], expected
        else:
            judged_right += expected["rating"]
            assert not found.correct
        counts.update(correct=found.correct, by_rule=found.read is not None)
    assert counts == {"correct": correct, "by_rule": by_rule}
    assert round(100 * (correct + judged_right) / len(questions), 2) == published


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("B", "B"),
        (" B", None),
        ("B\n", None),
        ("B</s>", "B"),
        ("B. the red circle", "B"),
        ("B) whatever", "B"),
        ("C.", "C"),
        ("D", "D"),
        ("(B)", None),
        ("B: the red circle", None),
        ("b", None),
        ("the red circle", None),
        ("Best: B", None),
        ("", None),
    ],
)
def test_multiple_choice_is_told_by_its_beginning(tmp_path, answer, read):
    asked = tempcompass(tmp_path, "multi-choice", multi_choice())
    assert rate("tempcompass", "official", answer, asked) == Rating(correct=read == "B", read=read)
    bare = rate("tempcompass", "official", answer.strip(), asked)
    assert rate("tempcompass", "strict", answer, asked) == bare, "our own rule looks past blanks"


@pytest.mark.parametrize(
    ("answer", "official", "strict"),
    [
        ("yes", "yes", "yes"),
        ("Yes, it is.", "yes", "yes"),
        ("No.", "no", "no"),
        ("Nothing of that sort.", "no", None),
        ("Not sure", "no", None),
        ("yesterday", "yes", None),
        ("**Yes**", None, "yes"),
        ("It is: yes", None, None),
        ("", None, None),
    ],
)
def test_yes_or_no_by_first_letters_or_as_a_word(tmp_path, answer, official, strict):
    asked = tempcompass(tmp_path, "yes_no", yes_no())
    assert rate("tempcompass", "official", answer, asked) == Rating(correct=official == "yes", read=official)
    assert rate("tempcompass", "strict", answer, asked) == Rating(correct=strict == "yes", read=strict)


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Option 2: A cat sits.", "Option 2"),
        ("A cat sits.", "Option 2"),
        ("Option 1", "Option 1"),
        ("Option 2.", "Option 2"),
        ("2", "Option 2"),
        ("1.", "Option 1"),
        ("1) A cat sits.", "Option 2"),
        ("Option 2: A cat sits", None),
        ("Option 1: A cat sits.", None),
        ("option 2", None),
    ],
)
def test_captions_are_told_by_option_sentence_or_label(tmp_path, answer, read):
    """Behind a wrong number the right sentence counts; a missing full stop is one for upstream's ChatGPT."""
    asked = tempcompass(tmp_path, "caption_matching", captions())
    assert rate("tempcompass", "official", answer, asked) == Rating(correct=read == "Option 2", read=read)


# MVBench


@pytest.mark.parametrize(
    ("answer", "strict", "official", "lmms"),
    [
        ("C", "C", "C", "C"),
        ("C) eating", "C", "C", "C"),
        ("(C) eating", "C", "C", "C"),
        ("C. eating", "C", "C", "C"),
        ("c", None, "C", "C"),
        ("eating", "C", None, None),
        ("The answer is C.", "C", None, "C"),
        ("A dog running", "B", "A", "A"),
        ("He ate a cake", None, None, "A"),
        ("C) eating\nbecause A) is wrong", "C", "C", "C"),
        ("nonsense", None, None, None),
    ],
)
def test_mvbench_reads_an_option(answer, strict, official, lmms):
    for rule, read in (("strict", strict), ("official", official), ("lmms-eval", lmms)):
        assert rate("mvbench", rule, answer, MOVES) == Rating(correct=read == "C", read=read), rule


@pytest.mark.parametrize("answer", ["", " ", "\n\n", "."])
def test_mvbench_counts_silence_as_correct_and_we_do_not(answer):
    """The driver puts "(" before every answer, and "(" is part of "(c)"."""
    for right in range(3):
        asked = question("sitting down", "a dog running", "eating", right=right)
        assert rate("mvbench", "official", answer, asked) == Rating(correct=True, read=None)
        assert rate("mvbench", "strict", answer, asked) == Rating(correct=False, read=None)


def test_of_equal_candidates_lmms_eval_takes_the_first_and_mvbench_the_last():
    asked = question("eating", "a dog running", "eating", right=2)
    assert [rate("mvbench", "lmms-eval", answer, asked).correct for answer in "ABC"] == [True, False, False]
    assert [rate("mvbench", "official", answer, asked).correct for answer in "ABC"] == [False, False, True]


def test_lmms_eval_leaves_empty_answers_out_of_the_denominator():
    assert rate("mvbench", "lmms-eval", "", MOVES) == Rating(correct=False, read=None, counted=False)
    assert rate("mvbench", "lmms-eval", " ", MOVES).counted
    assert all(rate("mvbench", rule, "", MOVES).counted for rule in ("strict", "official"))


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("I saw it,c it was", "C"),  # a mark that touches no blank becomes one
        ("x-c -", None),  # but where one of its kind does, it goes without a trace
        ("1,000-c", None),  # as all marks do beside a number with a comma
        ("v.c", None),  # a full stop goes
        ("c.5", "C"),  # unless a digit follows
    ],
)
def test_lmms_eval_takes_punctuation_out(answer, read):
    assert rate("mvbench", "lmms-eval", answer, MOVES).read == read


# Video-MME


def letters(right: int = 2) -> Question:
    return question("One.", "Two.", "Three.", "Four.", right=right)


@pytest.mark.parametrize(
    ("answer", "strict", "official", "vlmevalkit"),
    [
        ("C", "C", "C", "C"),
        ("C. Three.", "C", "C", "C"),
        ("The best answer is: C", "C", "C", "C"),
        ("Based on the video, C", "C", "B", "B"),
        ("Answer: C", "C", "A", "C"),
        ("Best answer: C", "C", "B", "B"),
        ("three", "C", None, None),
        ("It is not A but C", None, "A", "A"),
        ("a moon of Saturn and the sun of the whole system as seen here", None, None, None),
    ],
)
def test_video_mme_takes_the_first_capital(answer, strict, official, vlmevalkit):
    for rule, read in (("strict", strict), ("vlmevalkit", vlmevalkit)):
        assert rate("video-mme", rule, answer, letters()) == Rating(correct=read == "C", read=read), rule
    expected = Rating(correct=official == "C", read=official, counted=official is not None)
    assert rate("video-mme", "official", answer, letters()) == expected


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("C", "C"),
        (" C. ", "C"),
        ("A man walks", "A"),  # first of all, before a blank
        ("Aha, B", "B"),
        ("A, not B", "A"),  # first of all is surer than last of all
        ("It is not A but C", "C"),
        ("(A), no: the answer is B.", "B"),
        ("the answer is B. Then comes (C)", "C"),  # of those behind the phrase the one furthest on
        ("the answer is B, not C, so B, I say", "C"),  # of each its first place behind the phrase
        ("not (A), rather (B) than C: so", "B"),
        ("x B: y C. z", "C"),  # a full stop is surer than a colon
        ("see C) or D or so", "C"),
        ("答案是D吗", "D"),
        ("xByCz", "C"),
        ("Based on the video", "B"),
        ("three", None),
        ("", None),
    ],
)
def test_video_mme_by_lmms_eval_takes_the_surest_place(answer, read):
    assert rate("video-mme", "lmms-eval", answer, letters()) == Rating(correct=read == "C", read=read)


# Our own


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("A", "A"),
        ("(A)", "A"),
        ("**B**", "B"),
        ("A.", "A"),
        ("A, because of B", "A"),
        ("Option B", "B"),
        ("B is correct", "B"),
        ("A man sits", None),
        ("A man sits, so B", None),
        ("C. A man eats", "C"),
        ("The answer is C. A man eats", "C"),
        ("B or C", "B"),
        ("Either B or C", None),
        ("B-roll", None),
        ("A's", None),
        ("Based on it", None),
        ("E", None),
        ("  EATING. ", "C"),
        ("a  dog running", "B"),
    ],
)
def test_a_letter_only_as_a_word(answer, label):
    assert find_stated_label(answer, MOVES.options) == label


@pytest.mark.parametrize("label", ["A", "B", "C"])
@pytest.mark.parametrize(
    "sentence",
    [
        "{} is correct.",
        "{} and nothing else",
        "The best option is {} because he sits.",
        "Option {} shows a man",
        "option ({}) best says it",
        "The answer is {} as seen in the video",
        "Answer: {} since it is",
        "I choose {}.",
        "{} matches what is seen",
    ],
)
def test_no_letter_is_read_more_easily_than_another(sentence, label):
    assert find_stated_label(sentence.format(label), MOVES.options) == label


@pytest.mark.parametrize("answer", ["A dog, I think", "He has A cat", "An adoption: A small dog", "So A isolated man"])
def test_an_article_is_no_letter(answer):
    assert find_stated_label(answer, MOVES.options) is None


@given(
    st.sampled_from([(name, rule) for name, benchmark in BENCHMARKS.items() for rule in benchmark.rules]),
    st.text(alphabet=st.sampled_from("ABCDEabcde()., \nyesno:12'\"-")) | st.text(),
)
def test_no_answer_is_an_error(rule, answer):
    """And what no rule reads is never right, but for MVBench's silence."""
    name, rule = rule
    asked = MOVES
    if name == "tempcompass":
        asked = question("yes", "no", categories=(("kind", "yes_no"),))
    found = rate(name, rule, answer, asked)
    assert not (found.correct and found.read is None) or ((name, rule) == ("mvbench", "official"))
    assert found.counted or not found.correct
