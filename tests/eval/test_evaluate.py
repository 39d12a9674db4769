"""Evaluation: greedy, every example in the denominator, the same answers whatever the batch."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from video_opd.cli.asking import AS_THE_MODEL_IS
from video_opd.cli.asking_commands import EvaluationChoices, EvaluationRequest, _tell
from video_opd.cli.benchmark_evaluation import NO_BENCHMARK
from video_opd.cli.lmms_evaluation import NO_LMMS
from video_opd.data.manifest import read_manifest
from video_opd.data.manifest_statistics import describe
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.side_questions import SideQuestion, read_side_questions, write_side_questions
from video_opd.data.video.video_io import VideoBudget
from video_opd.errors import DataError
from video_opd.eval.ask_side_questions import ask
from video_opd.eval.evaluate import evaluate, judge
from video_opd.grounding import read_predictions, score, write_predictions
from video_opd.types import Answer, AnswerGroup, Example, Span

HOW = {"max_new_tokens": 9, "batch_size": 4}
BUDGET = VideoBudget(max_frames=64, max_tokens=64, max_frame_tokens=1)


@pytest.fixture
def examples(world):
    return read_manifest(world / "train.jsonl")[:6]


def source_of(videos, processor, template="tiny", **arguments) -> PromptSource:
    return PromptSource(videos, PromptRenderer(processor, TEMPLATES[template], BUDGET), num_examples=6, **arguments)


class Scripted:
    """A policy that answers from a script; it is the evaluation that is on trial."""

    name = "scripted"
    num_readers = 1

    def rest(self) -> None:
        """It has no weights to move."""

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers = answers

    def read(self, prompts):
        return prompts

    def answer(self, prompts, *, count=1, sampling):
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
            for p in prompts
        ]


def sentence(span) -> str:
    return f"The event happens in {span.start_s} - {span.end_s} seconds."


def test_right_answers_score_one_and_silence_scores_nothing(world, processor, examples):
    answers = {e.id: sentence(e.spans[0]) for e in examples[:3]} | {e.id: "I cannot say." for e in examples[3:]}
    result = evaluate(
        Scripted(answers), examples, source_of(world / "videos", processor), max_new_tokens=9, batch_size=4
    )
    assert result.scores.miou == pytest.approx(0.5)
    assert result.scores.output_format_rate == 0.5
    assert result.scores.num_queries == 6


def test_one_wrong_end_leaves_the_floor_where_it_was(world, processor, examples):
    """The floor of a score is that of `data stats`: the search for it does not go to where no video reaches."""
    wrong = [replace(examples[0], spans=(Span(examples[0].spans[0].start_s, 30400.0),)), *examples[1:]]
    answers = dict.fromkeys((e.id for e in examples), "I cannot say.")
    result = evaluate(Scripted(answers), wrong, source_of(world / "videos", processor), max_new_tokens=9, batch_size=6)
    assert result.best_constant == describe(wrong).best_constant
    assert result.best_constant.step == 0.5
    floor = result.to_report(name="x")["best_constant"]
    assert floor == {"span": result.best_constant.span, "miou": result.best_constant.miou, "step": 0.5}


def test_an_unusable_video_counts_as_unanswered(world, processor, examples, tmp_path):
    videos = tmp_path / "videos"
    shutil.copytree(world / "videos", videos)
    (videos / examples[0].video).write_bytes(b"not a video")
    lost = [e.id for e in examples if e.video == examples[0].video]
    answers = {e.id: sentence(e.spans[0]) for e in examples}
    source = source_of(videos, processor, max_bad_share=0.5)
    result = evaluate(Scripted(answers), examples, source, max_new_tokens=9, batch_size=4)
    assert set(result.set_aside) == set(lost)
    assert result.scores.miou == pytest.approx(1 - len(lost) / 6)
    assert result.to_report(name="x")["set_aside"].keys() == set(lost)


def test_a_damaged_video_that_is_used_is_in_the_report(world, processor, examples, monkeypatch):
    original = PromptSource.render
    monkeypatch.setattr(PromptSource, "render", lambda *what: replace(original(*what), num_concealed=2))
    source = source_of(world / "videos", processor)
    result = evaluate(Scripted({e.id: sentence(e.spans[0]) for e in examples}), examples, source, **HOW)
    assert result.to_report()["damaged_videos"] == {example.video: 2 for example in examples}
    assert "damaged_videos" not in judge(result.answers, examples, {}).to_report()


def test_predictions_written_are_predictions_read(world, processor, examples, tmp_path):
    answers = {e.id: sentence(e.spans[0]) for e in examples} | {examples[0].id: "never"}
    result = evaluate(
        Scripted(answers), examples, source_of(world / "videos", processor), max_new_tokens=9, batch_size=6
    )
    path = tmp_path / "deep" / "predictions.jsonl"
    write_predictions(path, result.answers)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [set(row) for row in rows] == [{"id", "answer", "spans"}] * 6
    assert score(read_predictions(path), examples).to_dict() == result.scores.to_dict()


def test_batches_change_nothing(make_policy, world, processor, examples):
    policy = make_policy(0)
    results = [
        evaluate(policy, examples, source_of(world / "videos", processor, workers=1), max_new_tokens=6, batch_size=size)
        for size in (1, 4)
    ]
    assert results[0].answers == results[1].answers


def test_side_questions_are_right_by_their_word(world, processor):
    questions = read_side_questions(world / "before.jsonl")[:2]
    other = replace(questions[1], answer="yes" if questions[1].answer == "no" else "no")
    answers = {questions[0].id: f" {questions[0].answer.upper()}.", questions[1].id: other.answer}
    source = source_of(world / "videos", processor, "tiny-before")
    result = ask(Scripted(answers), questions, source, batch_size=2)
    assert result.accuracy == 0.5
    assert result.num_questions == 2


def test_side_questions_round_trip_and_bad_lines_are_named(tmp_path):
    path = tmp_path / "q.jsonl"
    question = SideQuestion(id="a", video="a.mp4", question="q", answer="yes", duration=3.0)
    write_side_questions(path, [question])
    assert read_side_questions(path) == [question]
    for line in (
        "{",
        '{"id": "a"}',
        json.dumps({"id": "a", "video": "a", "question": "", "answer": "x", "duration": 1}),
    ):
        path.write_text(path.read_text().splitlines()[0] + "\n" + line + "\n")
        with pytest.raises(DataError, match="line 2"):
            read_side_questions(path)
        write_side_questions(path, [question])


def test_a_model_that_answers_in_fractions_is_told_of(capsys):
    """In the report, and on stderr with the command that scores the answers again."""
    examples = [
        Example(id=str(n), video=f"{n}.mp4", query="q", spans=(Span(0.5 * n, 0.5 * n + 8),), duration=40.0)
        for n in range(60)
    ]
    fractions = {one.id: "The event happens in {:.3f} - {:.3f} seconds.".format(*(end / 40 for end in one.spans[0]))
                 for one in examples}  # fmt: skip
    evaluation = judge(fractions, examples, {})
    report = evaluation.to_report()
    assert report["scores"]["miou"] < 0.05
    assert report["likely_unit"]["unit"] == "fraction"
    request = EvaluationRequest(
        model="m",
        manifest=Path("test.jsonl"),
        how=AS_THE_MODEL_IS,
        run=EvaluationChoices(out=Path("answers.jsonl"), json=True),
        benchmark=NO_BENCHMARK,
        lmms=NO_LMMS,
    )
    _tell(request, evaluation, "timelens", TEMPLATES["timelens"])
    captured = capsys.readouterr()
    assert report["warnings"][0].rstrip(".") in captured.err
    assert "`video-opd metrics answers.jsonl --ground-truth test.jsonl --unit fraction`" in captured.err
    assert json.loads(captured.out)["likely_unit"] == report["likely_unit"]

    percent = {one.id: "{:.0f}% to {:.0f}%".format(*(100 * end / 40 for end in one.spans[0])) for one in examples}
    assert judge(percent, examples, {}).unit.unit == "percent"
    seconds = {one.id: "{} - {} seconds".format(*one.spans[0]) for one in examples}
    report = judge(seconds, examples, {}).to_report()
    assert not report.keys() & {"warnings", "likely_unit"}
    same = dict.fromkeys(fractions, "0.0 - 1.0")
    assert judge(same, examples, {}).unit is None
