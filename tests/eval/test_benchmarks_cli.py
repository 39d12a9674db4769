"""`evaluate --benchmark`, from the command line to the table, with real models on rendered clips."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmark_files import mvbench_row, video_mme_row, write_json, write_tempcompass
from PIL import Image

from video_opd.cli import main
from video_opd.data.video.video_io import VideoBudget, read_frames, write_video


@pytest.fixture(scope="module")
def clips(world) -> list[Path]:
    return sorted((world / "videos").glob("t*.mp4"))[:3]


@pytest.fixture
def tempcompass(clips, tmp_path) -> Path:
    """Twelve questions about three clips."""
    folder = write_tempcompass(tmp_path / "tempcompass", [clip.stem for clip in clips])
    (folder / "videos").mkdir()
    for clip in clips:
        shutil.copy(clip, folder / "videos")
    return folder


@pytest.fixture
def evaluate(tmp_path, capsys):
    """Run `evaluate --json`; returns report, rows of the answers and stderr."""

    def run(model: str, benchmark: str, folder: Path, *arguments: Any) -> tuple[dict, list[dict], str]:
        capsys.readouterr()
        out = tmp_path / f"answers-{len(list(tmp_path.glob('answers-*.jsonl')))}.jsonl"
        words = ["evaluate", model, "--benchmark", benchmark, "--data", folder, "--out", out, "--json", *arguments]
        assert main([str(word) for word in words]) == 0
        captured = capsys.readouterr()
        return json.loads(captured.out), [json.loads(line) for line in out.read_text().splitlines()], captured.err

    return run


def accuracy_of(rows: list[dict], **categories: str) -> float:
    """By hand, from the file of answers."""
    own = [row["correct"] for row in rows if categories.items() <= row["categories"].items()]
    return sum(own) / len(own)


def test_the_tiny_models_written_answers(evaluate, tempcompass):
    report, rows, err = evaluate("tiny-student", "tempcompass", tempcompass, "--before", "tiny-teacher",
                                 "--max-new-tokens", 8)  # fmt: skip
    assert (report["benchmark"], report["model"], report["before"]["model"]) == (
        "tempcompass", "tiny-student", "tiny-teacher",
    )  # fmt: skip
    assert len(rows) == report["overall"]["num_questions"] == 12
    assert report["overall"]["accuracy"] == pytest.approx(accuracy_of(rows))
    for kind, scores in report["categories"]["kind"].items():
        assert scores["accuracy"] == pytest.approx(accuracy_of(rows, kind=kind))
    assert report["overall"]["num_unmatched"] == sum(row["read"] is None for row in rows)
    before = [row["before"]["correct"] for row in rows]
    assert report["before"]["overall"]["accuracy"] == pytest.approx(sum(before) / 12)
    change = report["change"]["overall"]
    assert change["difference"] == pytest.approx(change["after"] - change["before"])
    assert report["change"]["sentence"].endswith(".")
    convention = report["convention"]
    assert (convention["rule"], convention["decoding"]) == ("official", "greedy, at most 8 new tokens")
    assert "counts as wrong" in convention["rating"]
    assert convention["video"]["max_tokens"] == 64, "as the model's grounding.json has it"
    assert "asking tiny-student 12 questions of tempcompass" in err
    assert "asking tiny-teacher 12 questions of tempcompass" in err
    _, alone, _ = evaluate("tiny-teacher", "tempcompass", tempcompass, "--max-new-tokens", 8)
    assert [row["before"]["answer"] for row in rows] == [row["answer"] for row in alone]
    assert [row["answer"] for row in rows] != [row["answer"] for row in alone]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "is unknown: no option was read in 9 of 12 answers"),
        (("--score", "options", "--option-form", "text"), "cannot be said from"),
    ],
)
def test_a_model_against_itself_has_not_changed(evaluate, tempcompass, arguments, sentence):
    report, rows, _ = evaluate("tiny-teacher", "tempcompass", tempcompass, "--before", "tiny-teacher",
                               "--max-new-tokens", 4, *arguments)  # fmt: skip
    everywhere = [report["change"]["overall"]] + [
        scores for groups in report["change"]["categories"].values() for scores in groups.values()
    ]
    assert {(scores["difference"], scores["interval"]) for scores in everywhere} == {(0.0, None)}, "few videos"
    assert sentence in report["change"]["sentence"]
    for row in rows:
        before = row.pop("before")
        assert before == {key: row[key] for key in before}


def test_scored_options(evaluate, tempcompass):
    report, rows, err = evaluate("tiny-teacher", "tempcompass", tempcompass, "--score", "options")
    assert report["convention"]["rule"] is None
    assert "log-prob of its label" in report["convention"]["decoding"]
    assert report["overall"]["num_unmatched"] == 0
    assert "warning" not in err
    for row in rows:
        best = max(row["option_logprobs"])
        labels = {"multi-choice": "ABC", "yes_no": ("yes", "no"), "caption_matching": ("Option 1", "Option 2")}
        label = labels[row["categories"]["kind"]][row["option_logprobs"].index(best)]
        assert (row["read"], row["correct"]) == (label, label == row["right"])


def test_the_change_is_from_before_to_the_model(evaluate, tempcompass):
    report, rows, _ = evaluate("tiny-teacher", "tempcompass", tempcompass, "--before", "tiny-student",
                               "--score", "options", "--option-form", "text-mean")  # fmt: skip
    change, was = report["change"]["overall"], [row["before"]["correct"] for row in rows]
    assert (change["before"], change["after"]) == (pytest.approx(sum(was) / 12), pytest.approx(accuracy_of(rows)))
    assert change["before"] != change["after"]
    assert report["before"]["overall"]["accuracy"] == change["before"]


def test_a_limit_and_some_kinds(evaluate, tempcompass):
    report, rows, _ = evaluate("tiny-student", "tempcompass", tempcompass, "--limit", 2, "--max-new-tokens", 2,
                               "--kinds", "yes_no", "multi-choice")  # fmt: skip
    assert [row["id"].split("/")[0] for row in rows] == ["multi-choice", "multi-choice", "yes_no", "yes_no"]
    assert report["convention"]["questions"] == "the first 2 of every kind, aspect"


def test_silence_is_right_by_one_rule_wrong_by_ours_and_left_out_by_the_third(evaluate, clips, tmp_path, monkeypatch):
    """The same answers of the same model: 100 %, 0 %, and nothing to divide by."""
    from video_opd.policy.load import Policy

    original = Policy.answer

    def silent(self, read, *, count=1, sampling):
        groups = original(self, read, count=count, sampling=sampling)
        for group in groups:
            object.__setattr__(group.answers[0], "text", "")
        return groups

    monkeypatch.setattr(Policy, "answer", silent)
    folder = tmp_path / "mvbench"
    write_json(folder / "json" / "moving_count.json", [mvbench_row(clip.name) for clip in clips])
    (folder / "video").mkdir()
    for clip in clips:
        shutil.copy(clip, folder / "video")
    scores = {
        rule: evaluate("tiny-student", "mvbench", folder, "--rule", rule, "--max-new-tokens", 2)[0]["overall"]
        for rule in ("official", "strict", "lmms-eval")
    }
    assert {rule: found["accuracy"] for rule, found in scores.items()} == {
        "official": 1.0, "strict": 0.0, "lmms-eval": None,
    }  # fmt: skip
    assert {rule: found["num_counted"] for rule, found in scores.items()} == {
        "official": 3, "strict": 3, "lmms-eval": 0,
    }  # fmt: skip
    report, rows, err = evaluate("tiny-student", "mvbench", folder, "--max-new-tokens", 2)
    assert report["convention"]["rule"] == "strict", "ours, where none is named"
    assert report["convention"]["prompt"]["answer_prefix"] == "Best option:("
    assert "no option was read in 3 of 3 answers of tiny-student" in err
    assert rows[0]["why"] == "no option read in it"


def test_a_folder_of_pictures_is_a_video(evaluate, clips, tmp_path):
    folder = tmp_path / "mvbench"
    row = mvbench_row("friends", start=0.0, end=100.0)
    write_json(folder / "json" / "episodic_reasoning.json", [row, row | {"video": "castle"}])
    write_json(folder / "json" / "action_sequence.json", [row | {"video": "friends.mp4"}])
    for name, upside_down in (("friends", False), ("castle", True)):
        (folder / "video" / name).mkdir(parents=True)
        frames = read_frames(clips[0], VideoBudget(max_tokens=100_000)).images
        for number, image in enumerate(frames[:, ::-1] if upside_down else frames, start=1):
            Image.fromarray(image).save(folder / "video" / name / f"{number:05d}.png")
    write_video(folder / "video" / "friends.mp4", frames, fps=3, crf=0)
    report, rows, _ = evaluate("tiny-student", "mvbench", folder, "--score", "options")
    assert report["set_aside"] == {}, "an end beyond the video's is its end"
    assert [row["categories"]["task"] for row in rows] == ["Action Sequence", *["Episodic Reasoning"] * 2]
    of_file, of_pictures, of_others = (row["option_logprobs"] for row in rows)
    assert of_pictures == pytest.approx(of_file, abs=0.05), "but for the colours that mp4 loses"
    assert of_others != pytest.approx(of_file, abs=0.05)


def test_a_broken_folder_of_pictures_is_set_aside(evaluate, clips, tmp_path):
    folder = tmp_path / "mvbench"
    write_json(folder / "json" / "episodic_reasoning.json", [mvbench_row("friends"), mvbench_row(clips[0].name)])
    (folder / "video" / "friends").mkdir(parents=True)
    shutil.copy(clips[0], folder / "video")
    Image.new("RGB", (32, 32)).save(folder / "video" / "friends" / "cover.png")
    report, rows, err = evaluate("tiny-student", "mvbench", folder, "--max-new-tokens", 2, "--max-bad-share", 0.5)
    assert "the name of cover.png does not end with a number" in report["set_aside"]["episodic_reasoning/0"]
    assert "set aside episodic_reasoning/0" in err
    assert not rows[0]["correct"]


def test_video_mme_with_subtitles(evaluate, clips, tmp_path):
    folder = tmp_path / "videomme"
    rows = [video_mme_row(n, videoID=clip.stem) for n, clip in enumerate(clips)]
    write_json(folder / "test.json", rows)
    for place in ("data", "subtitle"):
        (folder / place).mkdir()
    for clip in clips:
        shutil.copy(clip, folder / "data")
    (folder / "subtitle" / f"{clips[0].stem}.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nthe red circle\n")
    ask = ("tiny-student", "video-mme", folder, "--score", "options", "--batch-size", 1)
    plain, answers, _ = evaluate(*ask)
    assert set(plain["categories"]) == {"duration", "domain", "sub_category", "task_type"}
    report, with_subtitles, _ = evaluate(*ask, "--subtitles")
    assert {group: scores["num_questions"] for group, scores in report["categories"]["subtitles"].items()} == {
        "with": 1, "without, as the video has none": 2,
    }  # fmt: skip
    assert report["convention"]["prompt"]["subtitles"]
    changed = [
        one["option_logprobs"] != other["option_logprobs"] for one, other in zip(answers, with_subtitles, strict=True)
    ]
    assert changed == [True, False, False]


def test_a_table_to_read(tempcompass, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    words = ["evaluate", "tiny-student", "--benchmark", "tempcompass", "--data", str(tempcompass), "--out", str(out)]
    assert main([*words, "--score", "options"]) == 0
    printed = capsys.readouterr().out
    assert "tiny-student on tempcompass" in printed
    assert "by kind" in printed
    assert f"answers: {out}" in printed
    assert main([*words, "--score", "options", "--before", "tiny-teacher"]) == 0
    printed = capsys.readouterr().out
    assert "difference" in printed
    assert any(line.startswith("The cost of grounding ") for line in printed.splitlines())


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.mark.parametrize("before", [(), ("--before", "tiny-teacher")])
@pytest.mark.parametrize("scored", [(), ("--score", "options")])
def test_killed_anywhere_it_goes_on_to_the_same_file(tempcompass, tmp_path, monkeypatch, capsys, before, scored):
    """Also a row cut in half, and also while the second model is asked; a finished one asks nobody anything."""
    from video_opd.policy.load import Policy

    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    original, left = Policy.read, [0]

    def read(self, prompts, **keywords):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return original(self, prompts, **keywords)

    def command(out: Path) -> list[str]:
        return ["evaluate", "tiny-student", "--benchmark", "tempcompass", "--data", str(tempcompass), "--json",
                "--out", str(out), "--batch-size", "5", "--max-new-tokens", "3", *before, *scored]  # fmt: skip

    assert main(command(one)) == 0
    report = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(Policy, "read", read)
    for batches in (1, 2, 1):  # of three for each model
        left[0] = batches
        if not other.exists() or before:
            with pytest.raises(Killed):
                main(command(other))
            assert other.stat().st_size > 0
            other.write_bytes(other.read_bytes()[:-30])
    left[0] = 9
    assert main(command(other)) == 0
    assert other.read_bytes() == one.read_bytes()
    capsys.readouterr()
    left[0] = 0
    assert main(command(other)) == 0
    assert json.loads(capsys.readouterr().out) == report | {"answers": str(other)}


def test_a_benchmark_of_another_model_is_refused_and_another_one_may_be_added(refused, tempcompass, tmp_path):
    out = tmp_path / "answers.jsonl"
    words = ["--benchmark", "tempcompass", "--data", str(tempcompass), "--out", str(out), "--max-new-tokens", "2"]
    assert main(["evaluate", "tiny-student", *words]) == 0
    kept = out.read_bytes()
    assert "differs in model: tiny-student and tiny-teacher" in refused("evaluate", "tiny-teacher", *words)
    assert 'rule: "official" and "strict"' in refused("evaluate", "tiny-student", *words, "--rule", "strict")
    assert "differs in the questions" in refused("evaluate", "tiny-student", *words, "--limit", 1)
    assert out.read_bytes() == kept
    assert main(["evaluate", "tiny-student", *words, "--before", "tiny-teacher"]) == 0
    assert "differs in model: tiny-teacher and none" in refused("evaluate", "tiny-student", *words)


def test_a_question_that_spells_a_control_token_is_text(evaluate, clips, tmp_path):
    """In the question, in an option that is written and in one that is scored."""
    folder = tmp_path / "mvbench"
    token = "<|im_end|>"
    row = mvbench_row(clips[0].name) | {"question": f"what does {token} <|video_pad|> mean?"}
    row["candidates"] = [f"{candidate} {token}" for candidate in row["candidates"]]
    row["answer"] = row["candidates"][0]
    write_json(folder / "json" / "moving_count.json", [row])
    (folder / "video").mkdir()
    shutil.copy(clips[0], folder / "video")
    for more in ((), ("--score", "options"), ("--score", "options", "--option-form", "text")):
        report, rows, _ = evaluate("tiny-student", "mvbench", folder, "--max-new-tokens", 2, *more)
        assert report["set_aside"] == {}
        assert all(value > -1e6 for value in rows[0].get("option_logprobs", ())), "no option is impossible"
