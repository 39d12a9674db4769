"""`evaluate --with lmms-eval`, against a small environment that stands where the real one would: a virtual environment
whose `lmms_eval` writes files of the real one's shape (0.7.3), values made up, and fails in the ways it was told to."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.data.video_sampling import fit_size
from video_opd.errors import ConfigurationError, DataError
from video_opd.evaluation.lmms_eval import class_for, frames_for
from video_opd.evaluation.lmms_process import PYTHON_VARIABLE, last_error
from video_opd.evaluation.lmms_results import read_samples
from video_opd.grounding.span import best_iou
from video_opd.policy.location import resolve_model
from video_opd.recipe import VideoSettings
from video_opd.vocabulary import Span

SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

FAKE = """
import argparse, json, os, pathlib, signal, sys, time

parser = argparse.ArgumentParser(prog="__main__.py")
for name in ("model", "model_args", "tasks", "batch_size", "output_path", "include_path", "limit", "gen_kwargs"):
    parser.add_argument("--" + name)
parser.add_argument("--log_samples", action="store_true")
asked = parser.parse_args()
told = os.environ.get("FAKE_LMMS", "")
print("Evaluation tracker args: {'token': '%s'}" % os.environ.get("HF_TOKEN"), file=sys.stderr)
print("\\x1b[32mModel Responding:  50%|##  | 1/2 [00:00<00:00]\\rModel Responding: 100%|####| 2/2 [00:00<00:00]")
print("sys.path:", json.dumps(sys.path))
if told == "status":
    print("Traceback (most recent call last):\\n  File x, line 1\\nImportError: no decord\\n  warnings.warn(old)")
    raise SystemExit(1)
if told == "error":  # the real one's way: a traceback, an error in colours, exit status 0
    print("ValueError: Tasks not found: x.\\n\\x1b[31mERROR\\x1b[0m | \\x1b[36mcli\\x1b[0m - \\x1b[31mError "
          "during evaluation: Tasks not found: x. Try `lmms-eval --tasks list` to. "
          "Please set `--verbosity=DEBUG` to get more.\\x1b[0m")
    raise SystemExit
if told == "no hub":
    print("ERROR | cli - Error during evaluation: RetryError[<Future at 0x1 raised LocalEntryNotFoundError>].")
    raise SystemExit
if told == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if told in ("sleep", "stubborn"):
    if told == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(asked.output_path + ".pid").write_text(str(os.getpid()))
    time.sleep(120)
folder = pathlib.Path(asked.output_path, "models__x")
folder.mkdir(parents=True, exist_ok=True)
stem = "20260101_%015d_" % time.time_ns()
results, counts = {}, {}
for task in asked.tasks.split(","):
    results[task] = {
        "alias": task, "miou,none": 0.25, "miou_stderr,none": 0.125, "miou_stderr_clt,none": 0.1,
        "miou_stderr_clustered,none": "N/A", "exact_match,flexible": 1, "exact_match_stderr,flexible": "N/A",
        "judged,none": None, "judged_stderr,none": "N/A", "samples": 2,
    }
    counts[task] = {"original": 9, "effective": 2}
    rows = [{"doc_id": i, "target": "1.0 - 2.0", "filtered_resps": text, "input": "When?", "miou": float("nan")}
            for i, text in enumerate(["The event happens in 1.0 - 2.0 seconds.", [" "]])]
    text = "".join(json.dumps(row) + "\\n" for row in rows)
    if told == "short samples":
        text = text.splitlines(keepends=True)[0]
    if told == "cut samples":
        text = text[:-20]
    if told != "no samples":
        (folder / (stem + "samples_" + task + ".jsonl")).write_text(text)
if told == "nan":
    results[task]["miou,none"] = float("nan")
if told == "nested nan":
    results[task]["miou,none"] = {"short": float("inf")}
results["a group"] = {"alias": "a group", " ": " "}
if told == "no scores":
    results = {"a group": results["a group"]}
written = {
    "results": results, "configs": {task: {"threshold": float("inf")}}, "versions": {task: 1}, "n-samples": counts,
    "config": {"model": asked.model, "model_args": asked.model_args}, "lmms_eval_version": "unknown@unknown",
}
text = json.dumps(written, indent=2)
if told == "list":
    text = "[1]"
if told == "truncated":
    text = text[: len(text) // 2]
if told == "other command":
    text = text.replace('"qwen3_vl"', '"qwen2_5_vl"')
if told != "no results":
    (folder / (stem + "results.json")).write_text(text)
"""


def make_environment(folder: Path, source: str | None) -> str:
    """A virtual environment, without pip, with `source` as its lmms_eval; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    if source is not None:
        package = packages / "lmms_eval"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(source)
        (packages / "torch.py").write_text("class cuda:\n    def is_available(): return False\n")
        (packages / "lmms_eval-0.7.3.dist-info").mkdir()
        (packages / "lmms_eval-0.7.3.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: lmms_eval\nVersion: 0.7.3\n"
        )
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> str:
    return make_environment(tmp_path_factory.mktemp("lmms") / "env", FAKE)


@pytest.fixture
def evaluate(environment, tmp_path, capsys, monkeypatch) -> Callable[..., tuple[int, str, list[str]]]:
    """Exit status, stdout and lines of stderr of `evaluate tiny-student --with lmms-eval …`, told how to fail."""
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)

    def run(*words: object, told: str = "", python: str | None = environment) -> tuple[int, str, list[str]]:
        monkeypatch.setenv("FAKE_LMMS", told)
        capsys.readouterr()
        given = ["--lmms-python", python] if python else []
        command = ["evaluate", "tiny-student", "--with", "lmms-eval", "--out", tmp_path / "out", *given, *words]
        status = main([str(word) for word in command])
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    return run


@pytest.fixture
def refused(evaluate) -> Callable[..., str]:
    """The sentence of an evaluation that must fail."""

    def run(*words: object, **how: Any) -> str:
        status, out, err = evaluate(*words, **how)
        assert (status, out) == (2, ""), err
        assert SENTENCE.fullmatch(err[-1]), err[-1]
        assert not re.search(r":\.|\.\.( |$)", err[-1]), err[-1]
        return err[-1]

    return run


# The command


def options(command: list[str]) -> dict[str, str]:
    """`--name value` as a dict."""
    return {word: value for word, value in pairwise(command) if word.startswith("--")}


def test_the_command_says_what_the_model_was_trained_to_see(evaluate, environment, tmp_path):
    (tmp_path / "tasks").mkdir()
    words = ("--tasks", "a, b", "--include-path", tmp_path / "tasks", "--limit", 3, "--max-new-tokens", 40)
    assert evaluate(*words, "--batch-size", 2)[0] == 0
    command = json.loads((tmp_path / "out" / "command.json").read_text())["command"]
    assert command[:5] == [environment, "-I", "-u", "-m", "lmms_eval"]
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


def test_what_is_said_by_hand_goes_before_what_is_known(evaluate, tmp_path):
    words = ("--model-args", 'fps=1,system_prompt=Look, then answer,attn_implementation="eager"', "--device", "cuda:1")
    assert evaluate("--tasks", "a", "--fps", "4", "--max-tokens", "9", *words)[0] == 0
    args = json.loads((tmp_path / "out" / "command.json").read_text())["model_args"]
    assert args["fps"] == "1"
    assert args["system_prompt"] == "Look, then answer"
    assert args["device"] == args["device_map"] == "cuda:1"
    assert args["total_pixels"] == 9 * 1024
    assert "max_pixels" not in args


def test_the_script_does_the_same_by_hand_and_its_results_are_read(evaluate, environment, tmp_path):
    out = tmp_path / "out"
    status, printed, _ = evaluate("--tasks", "a", "--write-only", "--device", "cpu", "--lmms-python", environment)
    assert status == 0
    assert printed.startswith(f"{environment} -I -u -m lmms_eval --model qwen3_vl ")
    assert not list(out.glob("lmms-eval"))
    status, _, err = evaluate("--read-only")
    assert status == 2
    assert "has no *_results.json" in err[-1]

    assert subprocess.run([str(out / "command.sh")], cwd="/", stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    status, printed, _ = evaluate("--read-only", "--json", python=None)
    assert status == 0
    assert json.loads(printed)["scores"]["a"]["miou"] == {"value": 0.25, "stderr": 0.125}


def test_a_command_is_written_where_there_is_no_environment(evaluate, tmp_path):
    status, printed, _ = evaluate("--tasks", "a", "--write-only", "--json", python=None)
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
    ],
)
@pytest.mark.parametrize("size", SIZES)
def test_lmms_eval_is_told_to_show_frames_within_a_token_of_our_size(video, size):
    from video_opd.assemble.inputs import budget_of

    frames = frames_for(video, resolve_model("tiny-student"), "qwen3_vl")
    assert frames.not_passed == ()
    assert frames.passed["fps"] == video.fps
    assert frames.passed["max_num_frames"] == video.max_frames
    if size[0] <= video.max_frames:
        theirs, ours = qwen_size(*size, frames.passed), fit_size(*size, budget_of(video))
        tokens = -(-size[0] // 2) * theirs[0] * theirs[1] // 32**2
        assert tokens <= video.max_tokens
        if "max_pixels" in frames.passed:
            assert theirs == ours
        # Ours shares out whole tokens among the pairs of frames, theirs fractions of them.
        assert all(abs(their - our) <= 32 for their, our in zip(theirs, ours, strict=True))


def test_what_cannot_be_said_is_said_so(tmp_path):
    student = resolve_model("tiny-student")
    tight = VideoSettings(max_tokens=64, max_frame_tokens=10)
    assert frames_for(tight, student, "qwen3_vl").passed["total_pixels"] == 64 * 1024
    assert "max_frame_tokens = 10" in frames_for(tight, student, "qwen3_vl").not_passed[0]
    assert frames_for(VideoSettings(max_frame_tokens=900), student, "qwen3_vl").not_passed == (
        "max_frame_tokens = 900: 768 hold",
    )
    qwen2_5 = {"model_type": "qwen2_5_vl", "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(qwen2_5))
    assert class_for(tmp_path) == "qwen2_5_vl"
    frames = frames_for(VideoSettings(), tmp_path, "qwen2_5_vl")
    assert frames.passed["max_pixels"] == 768 * 28 * 28
    assert "total_pixels" not in frames.passed, "its class has no such argument and would refuse it"
    assert [text.split(" =")[0] for text in frames.not_passed] == ["max_tokens", "max_frames"]
    assert frames_for(VideoSettings(), student, "llava_hf").passed == {}


def test_a_model_of_no_known_class_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigurationError, match=r"model_type 'llama'.*--lmms-model"):
        class_for(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(DataError, match="line 1"):
        class_for(tmp_path)


# Results


def test_results_are_read_as_they_are(evaluate, tmp_path):
    status, printed, err = evaluate("--tasks", "a,b", "--json")
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


def test_a_table_without_json(evaluate, tmp_path):
    status, printed, _ = evaluate("--tasks", "a")
    assert status == 0
    assert printed.endswith(f"report: {tmp_path / 'out' / 'report.json'}\n")
    assert "0.125" in printed
    assert "judged" in printed


def test_only_the_results_of_this_run_count(evaluate, refused, tmp_path):
    assert evaluate("--tasks", "a")[0] == 0
    assert (tmp_path / "out" / "report.json").exists()
    assert "wrote no results" in refused("--tasks", "a", told="no results")
    assert not (tmp_path / "out" / "report.json").exists()
    assert evaluate("--read-only")[0] == 0, "the earlier ones are still there"


def test_results_of_another_command_are_not_taken_for_this_one(evaluate, refused):
    assert evaluate("--tasks", "a")[0] == 0
    assert evaluate("--tasks", "a", "--write-only", "--fps", "1")[0] == 0
    assert "is of another command" in refused("--read-only")


def test_without_samples_the_scores_remain(evaluate):
    status, printed, _ = evaluate("--tasks", "a", "--json", told="no samples")
    assert status == 0
    assert json.loads(printed)["samples"]["a"] == {"file": None, "num": 2, "num_empty": None}


def test_the_log_has_everything_but_the_token(evaluate, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "of the other Python"))
    assert evaluate("--tasks", "a")[0] == 0
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "Evaluation tracker args: {'token': '[HF_TOKEN]'}" in log
    assert "Model Responding: 100%" in log
    assert "of the other Python" not in log
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or "hf_secret" not in path.read_text(), path


# What goes wrong


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("status", r"ended with exit status 1: ImportError: no decord\. Correct .* is in .*/log\.txt\.$"),
        ("error", r"wrote no results: Tasks not found: x\. Correct"),
        ("no hub", r"LocalEntryNotFoundError>\]\. Run it once where there is a network"),
        ("no results", r"wrote no results: sys\.path"),
        ("killed", r"ended by SIGKILL: .*ran out of memory"),
        ("truncated", r"_results\.json is not a file of results: it is cut off"),
        ("list", r"is not a file of results: it holds a list"),
        ("no scores", r"has no scores"),
        ("nan", r"metric miou of task a is nan"),
        ("nested nan", r"metric miou of task a is \{'short': inf\}"),
        ("other command", r"is of another command"),
        ("short samples", r"has 1 of 2 samples"),
        ("cut samples", r"_samples_a\.jsonl, line 2: it is not a sample"),
    ],
)
def test_a_failure_of_lmms_eval_is_one_sentence(refused, told, message, tmp_path):
    sentence = refused("--tasks", "a", told=told)
    assert re.search(message, sentence), sentence
    assert not (tmp_path / "out" / "report.json").exists()


def test_an_environment_that_is_none(refused, evaluate, environment, tmp_path, monkeypatch):
    commands = "`python3.11 -m venv lmms-env` and `lmms-env/bin/pip install lmms-eval==0.7.3 decord`"
    bare = make_environment(tmp_path / "bare", None)
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho 'SyntaxError: no Python at all' >&2; exit 3\n")
    other.chmod(0o755)
    for python, message in (
        (None, "none is named"),
        (str(tmp_path / "nowhere"), "there is no program of that name"),
        (bare, "lmms_eval is not installed in its environment"),
        (str(other), "SyntaxError: no Python at all"),
    ):
        sentence = refused("--tasks", "a", python=python)
        assert message in sentence
        assert commands in sentence
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv(PYTHON_VARIABLE, environment)
    assert evaluate("--tasks", "a", python=None)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "has no --tasks"),
        ("--tasks a --include-path nowhere", "--include-path nowhere: there is no such folder"),
        ("--tasks a --model-args fps", "'fps' is not key=value"),
        ("--tasks a --model-args pretrained=x", "MODEL says which weights are loaded"),
        ("--tasks a --template tiny", "--template with lmms-eval"),
        ("--tasks a --videos x", "--videos with lmms-eval"),
        ("--tasks a --precision float32", "loads? every model in bfloat16|load every model"),
        ("--tasks a --limit 0", "'0' is not a whole number of at least 1"),
        ("--tasks a --write-only --read-only", "not allowed with"),
        ("--tasks a --out {tmp}/a,b", "cannot be said to lmms-eval"),
        ("--tasks a --out {tmp}/file", "cannot be written: File exists"),
        ("--tasks a --out {tmp}/thesis", "holds something else"),
        ("--read-only --out {tmp}/thesis", "command.json: No such file"),
        ("--read-only --out {tmp}/other", "is not a command of"),
    ],
)
def test_an_evaluation_that_makes_no_sense(refused, words, message, tmp_path):
    (tmp_path / "file").touch()
    for name, file in (("thesis", "chapter1.tex"), ("other", "command.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text('{"command": []}')
    assert re.search(message, refused(*words.replace("{tmp}", str(tmp_path)).split()))
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == '{"command": []}'


def test_a_manifest_is_for_our_own_evaluation(capsys, tmp_path):
    for words, message in (
        (["evaluate", "m"], "has no MANIFEST"),
        (["evaluate", "m", "test.jsonl"], "has no --videos"),
        (["evaluate", "m", "test.jsonl", "--videos", ".", "--tasks", "a"], "--tasks: it is meant for lmms-eval"),
        (["evaluate", "m", "--read-only"], "--read-only: it is meant for lmms-eval"),
        (["evaluate", "m", "test.jsonl", "--with", "lmms-eval", "--tasks", "a"], "MANIFEST with lmms-eval"),
    ):
        assert main([*words, "--out", str(tmp_path / "out")]) == 2
        sentence = capsys.readouterr().err.strip()
        assert message in sentence
        assert SENTENCE.fullmatch(sentence), sentence


def test_it_is_ended_when_its_time_is_up(refused, tmp_path):
    assert "took longer than 4 s and was ended" in refused("--tasks", "a", "--timeout", 4, told="sleep")
    assert not running(int((tmp_path / "out" / "lmms-eval.pid").read_text()))


def running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(("number", "status", "told"), [(signal.SIGINT, 130, "sleep"), (signal.SIGTERM, 143, "sleep")])
def test_it_is_ended_when_we_are(environment, number, status, told, tmp_path):
    command = [sys.executable, "-m", "video_opd.cli", "evaluate", "tiny-student", "--with", "lmms-eval", "--tasks", "a"]
    command += ["--out", str(tmp_path / "out"), "--lmms-python", environment]
    process = subprocess.Popen(command, env={**os.environ, "FAKE_LMMS": "sleep"}, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "out" / "lmms-eval.pid"
    try:
        for _ in range(600):
            if file.exists() and file.read_text():
                break
            time.sleep(0.05)
        child = int(file.read_text())
        assert running(child)
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == status
    assert not running(child)
    assert "Traceback" not in err


def test_one_that_does_not_listen_is_ended_all_the_same(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("video_opd.evaluation.lmms_process._GRACE_S", 0.5)
    began = time.monotonic()
    assert "was ended" in refused("--tasks", "a", "--timeout", 4, told="stubborn")
    assert time.monotonic() - began < 60, "it was waited for"
    assert not running(int((tmp_path / "out" / "lmms-eval.pid").read_text()))


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("", ""),
        ("all is well\n\n", "all is well"),
        ("a\nValueError: x\n  at y\ndone", "ValueError: x"),
        ("KeyError: old\ntorch.OutOfMemoryError: CUDA out of memory\n", "torch.OutOfMemoryError: CUDA out of memory"),
        ("\x1b[31mprog: error: unrecognized arguments: --x\x1b[0m", "error: unrecognized arguments: --x"),
        ("x" * 1000, "…"),
    ],
)
def test_the_last_error_of_a_log(log, error):
    assert last_error(log) == error


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
