"""Asking a benchmark: written or scored answers, and what the ratings amount to."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from benchmark_files import question, write_tempcompass

from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.errors import EngineError
from video_opd.eval.benchmarks import BENCHMARKS, Option, Rating, RatingRule
from video_opd.eval.benchmarks._accuracy import compute_accuracies, compute_differences, describe_difference
from video_opd.eval.multiple_choice import AnsweringOptions, ask, score_options
from video_opd.policy.read import collate
from video_opd.types import Answer, AnswerGroup, Span

BUDGET = VideoBudget(max_frames=64, max_tokens=64, max_frame_tokens=1)
TEMPCOMPASS = BENCHMARKS["tempcompass"]
WRITTEN = AnsweringOptions(rule=TEMPCOMPASS.rules["official"], max_new_tokens=6)


@pytest.fixture(scope="module")
def policy(make_policy):
    return make_policy(0)


@pytest.fixture
def folder(world, tmp_path):
    """TempCompass about two clips of the tiny world: eight questions."""
    clips = sorted((world / "videos").glob("train-*.mp4"))[:2]
    write_tempcompass(tmp_path, [clip.stem for clip in clips])
    shutil.copytree(world / "videos", tmp_path / "videos")
    return tmp_path


@pytest.fixture
def questions(folder):
    return TEMPCOMPASS.read(folder)


def source_of(folder, processor, template=TEMPCOMPASS.template, **arguments) -> PromptSource:
    return PromptSource(folder, PromptRenderer(processor, template, BUDGET), num_examples=8, **arguments)


class Scripted:
    """A policy that answers from a script, and remembers what it was asked."""

    name = "scripted"
    num_readers = 1

    def rest(self) -> None:
        """It has no weights to move."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def read(self, prompts):
        self.asked += [prompt.id for prompt in prompts]
        return SimpleNamespace(prompts=tuple(prompts))

    def answer(self, reading, *, sampling):
        assert sampling.greedy
        return [
            AnswerGroup(
                prompt_id=p.id,
                answers=(
                    Answer(
                        prompt_id=p.id,
                        token_ids=(1,),
                        sampler_logprobs=(0.0,),
                        text=self.answers[p.id],
                        truncated=False,
                    ),
                ),
            )
            for p in reading.prompts
        ]


def test_written_answers_are_rated_by_the_rule(folder, questions, processor):
    right, wrong, silent = questions[0], questions[1], questions[2]
    answers = {q.id: "" for q in questions} | {right.id: "B", wrong.id: "A) a dog"}
    replies = ask(Scripted(answers), questions, source_of(folder, processor), WRITTEN, batch_size=3)
    assert list(replies) == [q.id for q in questions]
    assert (replies[right.id].rating.correct, replies[right.id].why) == (True, "read as B")
    assert (replies[wrong.id].rating.correct, replies[wrong.id].why) == (False, "read as A")
    assert (replies[silent.id].rating.read, replies[silent.id].why) == (None, "no option read in it")
    assert replies[right.id].to_row() == {
        "answer": "B", "rating": 1, "correct": True, "counted": True, "read": "B", "why": "read as B",
    }  # fmt: skip


def test_why_tells_of_a_rules_quirks(folder, questions, processor):
    for rule, why in (
        (
            RatingRule(says="", rate=lambda *_: Rating(correct=True, read=None)),
            "empty, which this rule counts as correct",
        ),
        (
            RatingRule(says="", rate=lambda *_: Rating(correct=False, read=None, counted=False)),
            "no option read in it, which this rule does not count",
        ),
    ):
        asking = AnsweringOptions(rule=rule, max_new_tokens=3)
        policy = Scripted({questions[0].id: ""})
        (reply,) = ask(policy, questions[:1], source_of(folder, processor), asking, batch_size=1).values()
        assert reply.why == why


def test_questions_about_one_video_come_together_and_decode_it_once(folder, questions, processor, monkeypatch):
    import video_opd.data.prompt_source as module

    decoded = []
    original = module.read_video
    monkeypatch.setattr(module, "read_video", lambda path, *rest: decoded.append(path.stem) or original(path, *rest))
    policy = Scripted({q.id: "A" for q in questions})
    ask(policy, questions, source_of(folder, processor, frames_kept=1), WRITTEN, batch_size=3)
    assert [id.split("/")[1] for id in policy.asked] == sorted(id.split("/")[1] for id in policy.asked)
    assert sorted(policy.asked) == sorted(q.id for q in questions)
    assert len(decoded) == len(set(decoded)) == 2


def test_questions_reach_the_model_as_they_stand(folder, processor):
    """TimeLens's cleaning of queries would join the lines and take the final dot."""
    asked = question("a", "b", prompt="Which?  Two blanks.\nA. one.\nB. two.", video="videos/x.mp4")
    source = source_of(folder, processor)
    shutil.copy(next((folder / "videos").glob("*.mp4")), folder / "videos" / "x.mp4")
    (prompt,) = source.prompts([asked.as_example()])
    text = processor.tokenizer.decode(prompt.input_ids)
    assert text.endswith("Which?  Two blanks.\nA. one.\nB. two.<|im_end|>\n<|im_start|>assistant\n")
    assert text.index("<|video_pad|>") < text.index("Which?")
    assert "system" not in text


def test_mvbench_s_prompt_begins_the_answer(folder, processor):
    source = source_of(folder, processor, BENCHMARKS["mvbench"].template)
    asked = question("a", "b", video="videos/" + next((folder / "videos").glob("*.mp4")).name)
    (prompt,) = source.prompts([asked.as_example()])
    text = processor.tokenizer.decode(prompt.input_ids)
    assert text.startswith("<|im_start|>system\nCarefully watch the video and pay attention")
    assert text.endswith("Which?<|im_end|>\n<|im_start|>assistant\nBest option:(")


def test_a_clip_is_all_that_is_seen(folder, processor):
    asked = question("a", "b", video="videos/" + next((folder / "videos").glob("*.mp4")).name, clip=Span(2.0, 4.0))
    (prompt,) = source_of(folder, processor).prompts([asked.as_example()])
    assert len(prompt.frame_times_s) == 4
    assert prompt.frame_times_s[0] == 0


@pytest.mark.parametrize("score", [None, "label"])
def test_an_unusable_video_counts_as_wrong_and_is_named(folder, questions, processor, policy, score):
    """Also by a rule that calls silence correct or leaves it out."""
    (folder / questions[0].video).write_bytes(b"no video")
    lost = [q.id for q in questions if q.video == questions[0].video]
    generous = RatingRule(says="", rate=lambda *_: Rating(correct=True, read=None))
    asking = AnsweringOptions(rule=generous, max_new_tokens=2, score_options=score)
    source = source_of(folder, processor, max_bad_share=0.5)
    replies = ask(policy, questions, source, asking, batch_size=3)
    for id in lost:
        assert replies[id].rating == Rating(correct=False, read=None)
        assert replies[id].why.startswith("no usable video: ")
    assert set(source.set_aside) == set(lost)
    with pytest.raises(EngineError, match="4 of 8 examples have no usable video"):
        ask(policy, questions, source_of(folder, processor, max_bad_share=0.1), asking, batch_size=8)


@pytest.mark.parametrize("score", [None, "label", "text", "text-mean"])
def test_batches_change_nothing(folder, questions, processor, policy, score):
    asking = replace(WRITTEN, score_options=score)
    one, other = (
        ask(policy, questions, source_of(folder, processor, workers=1), asking, batch_size=size) for size in (1, 5)
    )
    assert {id: reply.answer for id, reply in one.items()} == {id: reply.answer for id, reply in other.items()}
    for id, reply in one.items():
        if score is not None:
            assert reply.option_logprobs == pytest.approx(other[id].option_logprobs, abs=1e-3)


def by_hand(policy, prompt, text: str) -> list[float]:
    """Log-probs of a text's tokens behind a prompt, from one plain forward pass over all of it."""
    ids = torch.tensor(policy.tokenizer.encode(text, add_special_tokens=False))
    row = replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, ids]),
        mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros(len(ids), dtype=torch.long)]),
    )
    with torch.no_grad():
        logits = policy.model(**collate([row], pad_token_id=0, device="cpu"), use_cache=False).logits[0]
    logprobs = policy.support.log_softmax(logits[len(prompt) - 1 : -1])
    return logprobs.gather(1, ids[:, None])[:, 0].tolist()


@pytest.mark.parametrize(
    ("form", "of", "over"),
    [
        ("label", lambda option: option.label, math.fsum),
        ("text", lambda option: option.text, math.fsum),
        ("text-mean", lambda option: option.text, np.mean),
    ],
)
def test_option_scores_are_those_of_plain_forward_passes(folder, questions, processor, policy, form, of, over):
    source = source_of(folder, processor)
    replies = ask(policy, questions, source, replace(WRITTEN, score_options=form), batch_size=8)
    winners = set()
    for asked in questions:
        (prompt,) = source.prompts([asked.as_example()])
        expected = [float(over(by_hand(policy, prompt, of(option)))) for option in asked.options]
        reply = replies[asked.id]
        assert reply.option_logprobs == pytest.approx(expected, abs=1e-3)
        best = asked.options[int(np.argmax(expected))]
        assert (reply.answer, reply.rating.read) == (best.text, best.label)
        assert reply.rating.correct == (best.label == asked.right_label)
        winners.add(best.label)
    assert len(winners) > 1


def test_the_form_matters_and_a_prefix_wins_by_its_sum(folder, questions, processor, policy):
    """Without an end of turn a text that begins another is never less probable; its mean can be."""
    short, long = (Option(label=label, text=text, content=text) for label, text in (("A", "the"), ("B", "the red dog")))
    asked = replace(questions[0], options=(long, short), right=1)
    (prompt,) = source_of(folder, processor).prompts([asked.as_example()])
    (scores,) = score_options(policy, policy.read([prompt]), [asked], "text")
    assert scores[1] > scores[0]
    (means,) = score_options(policy, policy.read([prompt]), [asked], "text-mean")
    lengths = [len(policy.tokenizer.encode(option.text, add_special_tokens=False)) for option in asked.options]
    assert means == pytest.approx([score / length for score, length in zip(scores, lengths, strict=True)])


def test_the_first_of_equal_options_is_chosen(folder, questions, processor, policy):
    same = replace(questions[0], options=(questions[0].options[1],) * 3, right=1)
    asking = replace(WRITTEN, score_options="text")
    (reply,) = ask(policy, [same], source_of(folder, processor), asking, batch_size=1).values()
    assert len({round(score, 4) for score in reply.option_logprobs}) == 1
    assert reply.rating.read == questions[0].options[1].label


# What ratings amount to


def asked_about(*videos: str):
    return [
        question(*"abcd"[: 2 + n % 2], id=str(n), video=video, categories=(("task", "x" if n < 2 else "y"),))
        for n, video in enumerate(videos)
    ]


def ratings(marks: str) -> dict[str, Rating]:
    """+ right, - wrong, ? unread and wrong, o unread and left out."""
    return {
        str(n): Rating(correct=mark == "+", read=None if mark in "?o" else "A", counted=mark != "o")
        for n, mark in enumerate(marks)
    }


def test_accuracy_counts():
    found = compute_accuracies(asked_about("a", "b", "c", "d"), ratings("+-?+"))
    assert found["overall"]["accuracy"] == 0.5
    assert {key: found["overall"][key] for key in ("num_questions", "num_counted", "num_unmatched")} == {
        "num_questions": 4, "num_counted": 4, "num_unmatched": 1,
    }  # fmt: skip
    assert found["overall"]["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 3) / 4)
    assert {name: group["accuracy"] for name, group in found["categories"]["task"].items()} == {"x": 0.5, "y": 0.5}
    assert found["overall"]["interval"] is None, "of four videos"
    low, high = compute_accuracies(asked_about(*map(str, range(40))), ratings("+-" * 20))["overall"]["interval"]
    assert 0 < low < 0.5 < high < 1


def test_what_a_rule_leaves_out_is_in_no_denominator():
    found = compute_accuracies(asked_about("a", "b", "c", "d"), ratings("+-oo"))
    assert (found["overall"]["accuracy"], found["overall"]["num_counted"]) == (0.5, 2)
    assert found["categories"]["task"]["y"]["accuracy"] is None
    assert found["categories"]["task"]["y"]["interval"] is None


def test_intervals_are_over_videos():
    """Questions that stand and fall with their forty videos are worth forty, not two hundred."""
    marks = 20 * "+++++-----"
    apart = compute_accuracies(asked_about(*map(str, range(200))), ratings(marks))["overall"]["interval"]
    videos = [str(n // 5) for n in range(200)]
    together = compute_accuracies(asked_about(*videos), ratings(marks))["overall"]["interval"]
    assert together[1] - together[0] > 1.5 * (apart[1] - apart[0])
    few = [str(n // 10) for n in range(200)]
    assert compute_accuracies(asked_about(*few), ratings(marks))["overall"]["interval"] is None, (
        "20 videos, 200 questions"
    )


def test_a_bootstrap_interval_covers_what_it_should():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        marks = "".join(rng.choice(["+", "-"], p=[0.7, 0.3], size=80))
        low, high = compute_accuracies(asked_about(*map(str, range(80))), ratings(marks))["overall"]["interval"]
        covered += low <= 0.7 <= high
    assert 91 <= covered <= 99


def test_differences_are_paired():
    """Two models that are right on the same half differ by exactly nothing, however wide each interval is."""
    asked = asked_about(*map(str, range(40)))
    before = ratings("+-" * 20)
    change = compute_differences(asked, before, before)["overall"]
    assert (change["difference"], change["interval"]) == (0.0, [0.0, 0.0])
    after = ratings("+-" * 18 + "--" * 2)
    change = compute_differences(asked, before, after)
    assert change["overall"]["difference"] == pytest.approx(-0.05)
    assert (change["overall"]["before"], change["overall"]["after"]) == (0.5, 0.45)
    assert change["overall"]["interval"][1] <= 0
    assert change["categories"]["task"]["x"]["difference"] == 0
    wide = compute_accuracies(asked, after)["overall"]["interval"]
    assert change["overall"]["interval"][1] - change["overall"]["interval"][0] < wide[1] - wide[0]


@pytest.mark.parametrize(
    ("difference", "interval", "num_questions", "sentence"),
    [
        (-0.003, [-0.019, 0.013], 1580, "Grounding cost nothing that 1,580 questions can show: -0.3 points (-1.9 to +1.3)."),  # noqa: E501
        (-0.041, [-0.06, -0.022], 1580, "Grounding cost 4.1 points (-6.0 to -2.2) on 1,580 questions."),
        (0.021, [0.001, 0.04], 200, "After grounding the model gained 2.1 points (+0.1 to +4.0) on 200 questions."),
        (0.0, [0.0, 0.0], 3, "Grounding cost nothing that 3 questions can show: +0.0 points (+0.0 to +0.0)."),
        (0.1, None, 3, "The cost of grounding cannot be said from 3 videos: a 95 % interval needs at least 30 videos. It was +10.0 points on 3 questions."),  # noqa: E501
        (-1.0, None, 1, "The cost of grounding cannot be said from 1 video: a 95 % interval needs at least 30 videos. It was -100.0 points on 1 question."),  # noqa: E501
        (None, None, 3, "The cost of grounding is unknown: one of the two models has no answer that counts."),
    ],
)  # fmt: skip
def test_what_grounding_cost_in_a_sentence(difference, interval, num_questions, sentence):
    unread = {"before": 0, "after": num_questions // 10}
    overall = {"difference": difference, "interval": interval, "num_questions": num_questions,
               "num_videos": num_questions, "num_unmatched": unread}  # fmt: skip
    assert describe_difference(overall) == sentence


@pytest.mark.parametrize(("before", "after", "unread"), [("+" * 40, "?" * 40, 40), ("+-" * 17 + "?" * 6, "+-" * 20, 6)])
def test_a_cost_is_not_told_of_answers_that_were_not_read(before, after, unread):
    """A model that learnt to answer every question with times has not lost what it sees."""
    change = compute_differences(asked_about(*map(str, range(40))), ratings(before), ratings(after))["overall"]
    assert change["num_unmatched"] == {"before": before.count("?"), "after": after.count("?")}
    assert (
        describe_difference(change)
        == f"The cost of grounding is unknown: no option was read in {unread} of 40 answers."
    )
