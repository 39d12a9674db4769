"""`evaluate --with lmms-eval`: its command, frames and results, against a stand-in; and the real one, where it is."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from video_opd.cli import main
from video_opd.config import VideoSettings
from video_opd.data.manifest import read_manifest
from video_opd.data.video.video_sampling import fit_size
from video_opd.errors import ConfigurationError, DataError
from video_opd.eval.lmms_eval.lmms_command import choose_class, convert_frames
from video_opd.eval.lmms_eval.lmms_process import PYTHON_VARIABLE
from video_opd.eval.lmms_eval.lmms_results import read_samples
from video_opd.grounding.span import best_iou
from video_opd.policy.location import resolve_model
from video_opd.types import Span

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

# The command


def options(command: list[str]) -> dict[str, str]:
    """`--name value` as a dict."""
    return {word: value for word, value in pairwise(command) if word.startswith("--")}


def test_the_command_says_what_the_model_was_trained_to_see(lmms_evaluate, lmms_python, tmp_path):
    (tmp_path / "tasks").mkdir()
    words = ("--tasks", "a, b", "--include-path", tmp_path / "tasks", "--limit", 3, "--max-new-tokens", 40)
    assert lmms_evaluate(*words, "--batch-size", 2)[0] == 0
    command = json.loads((tmp_path / "out" / "command.json").read_text())["command"]
    assert command[:5] == [lmms_python, "-I", "-u", "-m", "lmms_eval"]
    assert "--log_samples" in command
    said = options(command)
    args = dict(word.split("=", 1) for word in said.pop("--model_args").split(","))
    assert args == {
        "pretrained": str(resolve_model("tiny-student").resolve()), "device": "cpu", "device_map": "cpu",
        "fps": "2.0", "max_num_frames": "64", "min_pixels": "1024", "max_pixels": "1024",
    }  # fmt: skip
    assert {name: said[name] for name in said if name != "--log_samples"} == {
        "--model": "qwen3_vl", "--tasks": "a,b", "--batch_size": "2", "--limit": "3",
        "--gen_kwargs": "max_new_tokens=40", "--include_path": str(tmp_path / "tasks"),
        "--output_path": str(tmp_path / "out" / "lmms-eval"),
    }  # fmt: skip


def test_what_is_said_by_hand_goes_before_what_is_known(lmms_evaluate, tmp_path):
    words = ("--model-args", 'fps=1,system_prompt=Look, then answer,attn_implementation="eager"', "--device", "cuda:1")
    assert lmms_evaluate("--tasks", "a", "--fps", "4", "--max-tokens", "9", *words)[0] == 0
    args = json.loads((tmp_path / "out" / "command.json").read_text())["model_args"]
    assert args["fps"] == "1"
    assert args["system_prompt"] == "Look, then answer"
    assert args["device"] == args["device_map"] == "cuda:1"
    assert args["total_pixels"] == 9 * 1024
    assert "max_pixels" not in args


def test_the_script_does_the_same_by_hand_and_its_results_are_read(lmms_evaluate, lmms_python, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = lmms_evaluate("--tasks", "a", "--write-only", "--device", "cpu", "--lmms-python", lmms_python)
    assert status == 0
    assert printed.startswith(f"{lmms_python} -I -u -m lmms_eval --model qwen3_vl ")
    assert not list(out.glob("lmms-eval"))
    status, _, err = lmms_evaluate("--read-only")
    assert status == 2
    assert "has no *_results.json" in err[-1]

    assert subprocess.run([str(out / "command.sh")], cwd="/", stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    status, printed, _ = lmms_evaluate("--read-only", "--json", python=None)
    assert status == 0
    assert json.loads(printed)["scores"]["a"]["miou"] == {"value": 0.25, "stderr": 0.125}


def test_only_what_was_run_is_read_back(lmms_evaluate, lmms_refused, tmp_path):
    """Its report would carry the other model's name."""
    assert lmms_evaluate("--tasks", "a,b")[0] == 0
    assert lmms_evaluate("--read-only", "--tasks", "b, a", python=None)[0] == 0
    sentence = lmms_refused("--read-only", "--tasks", "a", python=None)
    assert "command.json has the results of the tasks a,b, not of a: " in sentence
    out = str(tmp_path / "out")
    assert main(["evaluate", "tiny-teacher", "--with", "lmms-eval", "--read-only", "--out", out]) == 2
    model = str(resolve_model("tiny-student"))
    assert main(["evaluate", model, "--with", "lmms-eval", "--read-only", "--out", out]) == 0


def test_a_command_is_written_where_there_is_no_environment(lmms_evaluate, tmp_path):
    status, printed, _ = lmms_evaluate("--tasks", "a", "--write-only", "--json", python=None)
    assert status == 0
    written = json.loads(printed)
    assert written == json.loads((tmp_path / "out" / "command.json").read_text())
    assert written["command"][0] == "python"
    assert "device" not in written["model_args"], "every GPU there is, which is what lmms-eval does unless told"


# Frames

SIZES = [(2, 360, 640), (70, 352, 640), (326, 720, 1280), (768, 1080, 1920), (20, 64, 64), (64, 480, 270)]


def qwen_size(num_frames: int, height: int, width: int, said: dict[str, Any]) -> tuple[int, int]:
    """What qwen_vl_utils 0.0.14 makes of a video (`fetch_video`, `smart_resize`; see FIELD facts in video_sampling)."""
    square = 32 * 32
    most = max(
        min(768 * square, said.get("total_pixels", 115_200 * square) / num_frames * 2), said["min_pixels"] * 1.05
    )
    most = min(most, said.get("max_pixels", most))
    rows, columns = max(1, round(height / 32)), max(1, round(width / 32))
    if rows * columns * square > most:
        shrink = (most / (height * width)) ** 0.5
        rows, columns = int(height * shrink // 32), int(width * shrink // 32)
    elif rows * columns * square < said["min_pixels"]:
        pytest.fail("frames would be enlarged")
    return rows * 32, columns * 32


@pytest.mark.parametrize(
    "video",
    [
        VideoSettings(),
        VideoSettings(max_tokens=14336, max_frames=448),
        VideoSettings(max_tokens=2048, max_frames=64),
        VideoSettings(max_tokens=6400, max_frames=64, max_frame_tokens=100),
        VideoSettings(min_frames=4, min_frame_tokens=4),
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_lmms_eval_is_told_to_show_frames_within_a_token_of_our_size(video, size):
    from video_opd.eval.how_asked import resolve_budget

    frames = convert_frames(video, resolve_model("tiny-student"), "qwen3_vl")
    assert frames.not_passed == ()
    assert frames.passed["fps"] == video.fps
    assert frames.passed["max_num_frames"] == video.max_frames
    if size[0] <= video.max_frames:
        theirs, ours = qwen_size(*size, frames.passed), fit_size(*size, resolve_budget(video))
        tokens = -(-size[0] // 2) * theirs[0] * theirs[1] // 32**2
        assert tokens <= video.max_tokens
        if "max_pixels" in frames.passed or video.min_frame_tokens:
            assert theirs == ours
        # Ours shares out whole tokens among the pairs of frames, theirs fractions of them.
        assert all(abs(their - our) <= 32 for their, our in zip(theirs, ours, strict=True))


def test_what_cannot_be_said_is_said_so(tmp_path):
    student = resolve_model("tiny-student")
    tight = VideoSettings(max_tokens=64, max_frame_tokens=10)
    assert convert_frames(tight, student, "qwen3_vl").passed["total_pixels"] == 64 * 1024
    assert "max_frame_tokens = 10" in convert_frames(tight, student, "qwen3_vl").not_passed[0]
    assert convert_frames(VideoSettings(max_frame_tokens=900), student, "qwen3_vl").not_passed == (
        "max_frame_tokens = 900: 768 hold",
    )
    assert convert_frames(VideoSettings(min_frames=8), student, "qwen3_vl").not_passed == ("min_frames = 8: 4 hold",)
    assert convert_frames(VideoSettings(min_frame_tokens=4), student, "qwen3_vl").passed["min_pixels"] == 4096
    qwen2_5 = {"model_type": "qwen2_5_vl", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(qwen2_5))
    assert choose_class(tmp_path) == "qwen2_5_vl"
    frames = convert_frames(VideoSettings(), tmp_path, "qwen2_5_vl")
    assert frames.passed["max_pixels"] == 768 * 28 * 28
    assert "total_pixels" not in frames.passed, "its class has no such argument and would refuse it"
    assert [text.split(" =")[0] for text in frames.not_passed] == ["max_tokens", "max_frames"]
    assert convert_frames(VideoSettings(), student, "llava_hf").passed == {}


def test_a_model_of_no_known_class_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigurationError, match=r"model_type 'llama'.*--lmms-model"):
        choose_class(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(DataError, match="line 1"):
        choose_class(tmp_path)


# Results


def test_results_are_read_as_they_are(lmms_evaluate, tmp_path):
    status, printed, err = lmms_evaluate("--tasks", "a,b", "--json")
    assert status == 0
    report = json.loads(printed)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["scores"] == {
        task: {
            "miou": {"value": 0.25, "stderr": 0.125},
            "exact_match,flexible": {"value": 1, "stderr": None},
            "judged": {"value": None, "stderr": None},
        }
        for task in ("a", "b")
    }
    convention = report["convention"]
    assert (convention["scorer"], convention["version"], convention["tasks"]) == ("lmms-eval", "0.7.3", ["a", "b"])
    assert convention["frames"]["passed"]["max_pixels"] == 1024
    assert convention["command"][3:5] == ["-m", "lmms_eval"]
    assert (report["samples"]["a"]["num"], report["samples"]["a"]["num_empty"]) == (2, 1)
    answers = [sample.answer for sample in read_samples(Path(report["samples"]["b"]["file"]))]
    assert answers == ["The event happens in 1.0 - 2.0 seconds.", " "]
    assert [line for line in err if "lmms-eval 0.7.3: a, b; log: " in line]


@pytest.mark.parametrize(
    ("written", "scores"),
    [
        (3, {"m": 3}),
        pytest.param(10**400, {"m": 10**400}, id="too large for a float"),
        (1e-3, {"m": 1e-3}),
        ("0.25", {"m": 0.25}),  # numpy's float32
        ("-1e-05", {"m": -1e-05}),
        (True, {"m": None}),
        ("True", {"m": None}),
        ("abc", {"m": None}),
        ("1 of 2", {"m": None}),
        ("\u0661", {"m": None}),
        ([1, 2], {"m": None}),
        ([], {"m": None}),
        ({}, {"m": None}),
        ("N/A", {"m": None}),
        (None, {"m": None}),
        (
            {"overall": 0.5, "by kind": {"long": {"num": 2, "acc": "0.5"}, "short": {}}, "note": "two kinds"},
            {
                "m/overall": 0.5,
                "m/by kind/long/num": 2,
                "m/by kind/long/acc": 0.5,
                "m/by kind/short": None,
                "m/note": None,
            },
        ),
    ],
)
def test_a_score_is_a_number_or_not_scored(written, scores, lmms_evaluate, tmp_path):
    assert lmms_evaluate("--tasks", "a")[0] == 0
    (file,) = (tmp_path / "out").rglob("*_results.json")
    results = json.loads(file.read_text())
    results["results"]["a"] = {"m,none": written, "m_stderr,none": "0.5", "m,strict": 1, "m_stderr,strict": True}
    file.write_text(json.dumps(results))
    status, printed, _ = lmms_evaluate("--read-only", "--json")
    assert status == 0
    found = json.loads(printed)["scores"]["a"]
    assert found.pop("m,strict") == {"value": 1, "stderr": None}
    assert found == {
        name: {"value": value, "stderr": None if "/" in name or written == {} else 0.5}
        for name, value in scores.items()
    }
    assert all(type(score["value"]) is type(scores[name]) for name, score in found.items())
    assert lmms_evaluate("--read-only")[0] == 0, "a table"


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("a", "a"),
        (["a"], "a"),
        ([["a", "b"], ["c"]], "a"),
        ("", ""),
        ([], ""),
        ([[]], ""),
        ([None], ""),
        (None, ""),
        (["", "b"], ""),
        ([[-1.5, False]], "-1.5"),  # of a task that weighs options, the log-likelihood of the first
    ],
)
def test_where_there_is_no_answer_it_is_empty(written, answer, lmms_evaluate, tmp_path):
    assert lmms_evaluate("--tasks", "a")[0] == 0
    (file,) = (tmp_path / "out").rglob("*_samples_a.jsonl")
    rows = [{**json.loads(line), "filtered_resps": written} for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {sample.answer for sample in read_samples(file)} == {answer}
    status, printed, _ = lmms_evaluate("--read-only", "--json")
    assert (status, json.loads(printed)["samples"]["a"]["num_empty"]) == (0, 0 if answer else 2)


def test_a_table_without_json(lmms_evaluate, tmp_path):
    status, printed, _ = lmms_evaluate("--tasks", "a")
    assert status == 0
    assert printed.endswith(f"report: {tmp_path / 'out' / 'report.json'}\n")
    assert "0.125" in printed
    assert "judged" in printed


def test_only_the_results_of_this_run_count(lmms_evaluate, lmms_refused, tmp_path):
    assert lmms_evaluate("--tasks", "a")[0] == 0
    assert (tmp_path / "out" / "report.json").exists()
    assert "wrote no results" in lmms_refused("--tasks", "a", told="no results")
    assert not (tmp_path / "out" / "report.json").exists()
    assert lmms_evaluate("--read-only")[0] == 0, "the earlier ones are still there"


def test_results_of_another_command_are_not_taken_for_this_one(lmms_evaluate, lmms_refused):
    assert lmms_evaluate("--tasks", "a")[0] == 0
    assert lmms_evaluate("--tasks", "a", "--write-only", "--fps", "1")[0] == 0
    assert "belongs to another command" in lmms_refused("--read-only")


def test_without_samples_the_scores_remain(lmms_evaluate):
    status, printed, _ = lmms_evaluate("--tasks", "a", "--json", told="no samples")
    assert status == 0
    assert json.loads(printed)["samples"]["a"] == {"file": None, "num": 2, "num_empty": None}


def test_the_log_has_everything_but_the_token(lmms_evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "of the other Python"))
    assert lmms_evaluate("--tasks", "a")[0] == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "Evaluation tracker args: {'token': '[HF_TOKEN]'}" in log
    assert "Model Responding: 100%" in log
    assert "of the other Python" not in log
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or "hf_secret" not in path.read_text(), path


# The task of the benchmark, and the real lmms-eval


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, BENCHMARKS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("answer", "span"),
    [
        ("The event happens in 1.0 - 3.0 seconds.", (1.0, 3.0)),
        ("6.5 - 9 seconds", (6.5, 9.0)),
        ("1.5 - 3.5", (1.5, 3.5)),
        ("never", None),
        ("Seen 000", None),
    ],
)
def test_the_local_task_scores_as_we_do(answer, span):
    task = benchmark("lmms_eval_task/tiny_world_task.py")
    score = task.score({"start_s": 1.5, "end_s": 3.5}, [answer])
    iou = best_iou(Span(*span), [Span(1.5, 3.5)]) if span else 0.0
    assert score == {"miou": pytest.approx(iou), "r1_at_0.5": float(iou >= 0.5)}


@pytest.mark.skipif(PYTHON_VARIABLE not in os.environ, reason=f"{PYTHON_VARIABLE} names no environment with lmms-eval")
def test_the_real_one_gives_our_own_answers_when_it_puts_our_own_prompt(world, tmp_path, capsys):
    local = benchmark("lmms_eval_local_task.py")
    task = local.write_task(tmp_path / "task", world / "test.jsonl", world / "videos")
    model = local.with_plain_template("tiny-teacher", tmp_path / "teacher")
    command = ["evaluate", str(model), "--with", "lmms-eval", "--tasks", local.TASK, "--include-path", str(task)]
    assert main([*command, "--out", str(tmp_path / "out"), "--device", "cpu", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["convention"]["version"]
    assert report["scores"][local.TASK]["miou"]["value"] > 0.5
    samples = sorted(read_samples(Path(report["samples"][local.TASK]["file"])), key=lambda sample: sample.doc_id)
    assert [sample.input for sample in samples] == [
        f"When is {example.query} visible?" for example in read_manifest(world / "test.jsonl")
    ]

    ours = tmp_path / "ours.jsonl"
    command = ["evaluate", "tiny-teacher", str(world / "test.jsonl"), "--videos", str(world / "videos")]
    assert main([*command, "--out", str(ours), "--precision", "bfloat16", "--device", "cpu", "--json"]) == 0
    answers = [json.loads(line)["answer"] for line in ours.read_text().splitlines()]
    assert [sample.answer for sample in samples] == answers
