"""`video-opd bug-report`: what a maintainer asks, of any folder, and nothing that is private."""

from __future__ import annotations

import getpass
import json
import re
import socket
import subprocess
from pathlib import Path

import pytest

from video_opd.bug_report import machine_facts, make_bug_report
from video_opd.bug_report.report_text import MARK
from video_opd.cli import main

PRIVATE = "the red door of Anna"
KNOWN = ("live.html", "result.json", "tensorboard", "tensorboard-2", "tiny-world", "before-restart-1")
ISSUE_CHARACTERS = 65_536


@pytest.fixture(autouse=True)
def no_probe(monkeypatch, request):
    """torch is asked in a process of its own, which takes seconds."""
    if not request.node.name.startswith("test_torch"):
        monkeypatch.setattr(machine_facts, "probe_gpus", lambda: ["GPUs: none"])


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with private texts wherever a run has texts."""
    folder = tmp_path / "run"
    for name in ("evaluation", "checkpoints/step-000002/model", "checkpoints/step-000004", "rounds/1"):
        (folder / name).mkdir(parents=True)
    (folder / "recipe.toml").write_text('name = "mine"\n[prompt]\ntext = "``` <img src=x onerror=alert(1)> ````"\n')
    rows = [{"loss": 0.5, "work": {"student": {"prompt_passes": 4}}, "progress_lost": "no space", "step": 1},
            {"loss": None, "step": 2, "left": PRIVATE}]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answer = {"step": 1, "id": PRIVATE, "query": PRIVATE, "answer": PRIVATE, "video": f"{PRIVATE}.mp4"}
    answers = [answer | {"spans": [[1, 2]]}, answer | {"spans": [], "reason": PRIVATE, "truncated": True}]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers) + "broken\n")
    report = {"name": "student-before", "scores": {"miou": 0.25}, "set_aside": {PRIVATE: PRIVATE}, "warnings": ["w"]}
    (folder / "evaluation/student-before.json").write_text(json.dumps(report))
    (folder / f"evaluation/{PRIVATE}.json").write_text("{}")
    for name in (f"{PRIVATE}.txt", f"tensorboard-{PRIVATE}"):
        (folder / name).write_text(PRIVATE)
    for name in KNOWN:
        (folder / name).touch()
    (folder / "memory.json").write_text(json.dumps({"micro_batch_size": 1, "too_large": {PRIVATE: "CUDA"}}))
    (folder / "checkpoints/step-000002/COMPLETE.json").write_text("{}")
    (folder / "restarts.jsonl").write_text('{"ended": "SIGKILL (perhaps the machine had no memory left)"}\n')
    (folder / "rounds/1/selection-facts.json").write_text('{"round": 1, "warnings": ["few examples passed"]}')
    return folder


def section(text: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}.*?\n\n(`+)text\n(.*?)\n\1$", text, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[2]


def test_a_run_is_described_without_its_texts(run, capsys):
    assert main(["bug-report", str(run)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(MARK)
    assert "Anna" not in text
    assert re.search(r"^torch \d", section(text, "Versions"), re.MULTILINE)
    assert "memory: " in section(text, "Machine")
    assert section(text, "Recipe of the run").startswith('name = "mine"')
    assert section(text, "Last rows of metrics.jsonl").splitlines() == [
        "2 lines", '{"loss": 0.5, "work": {"student": {"prompt_passes": 4}}, "step": 1}', '{"loss": null, "step": 2}',
    ]  # fmt: skip
    assert section(text, "Answers") == "3 answers; 1 without a span, 1 cut at their limit, 1 broken lines"
    assert section(text, "Evaluations") == 'student-before: {"miou": 0.25, "set_aside": 1, "warnings": 1}'
    assert section(text, "Checkpoints").splitlines() == ["step 2: complete, 2 bytes", "step 4: not complete, 0 bytes"]
    notices = section(text, "Notices and warnings")
    for said in ("round 1: few examples passed", "the loss of 1 steps was not a finite number", "no space",
                 "inputs.json is not there", "1 examples too large"):  # fmt: skip
        assert said in notices
    assert "SIGKILL" in section(text, "Crashes")
    files = section(text, "Files of the run").splitlines()
    assert "and 2 that no run writes" in files
    assert {f"{name}  0 bytes" for name in KNOWN} <= {*files}


def test_no_text_of_a_file_leaves_its_block(run):
    """The recipe has backticks in it, as a hostile one may."""
    assert "`````text\nname" in make_bug_report(run)


def test_secrets_and_names_are_taken_out(run, monkeypatch, tmp_path):
    host, user, home = socket.gethostname(), getpass.getuser(), tmp_path / "home" / "anna-b"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", "short")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HF_HOME", f"{home}/cache")
    monkeypatch.setenv("WANDB_BASE_URL", f"https://me:pw@{host}.example/x")
    monkeypatch.setenv("MY_DIARY", PRIVATE)
    for tracker in ("WANDB", "MLFLOW", "TRACKIO", "TENSORBOARD"):
        monkeypatch.setenv(f"{tracker}_PROJECT", "annas project")
        monkeypatch.setenv(f"{tracker}_DIR", "/data/store")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:p/w@db.example/x")
    with (run / "recipe.toml").open("a") as file:
        file.write(f'a = "{home}/data"\nb = "/data/{user}/x"\nc = "0123456789abcdef0123"\nd = "{home}-other"\n')
    text = make_bug_report(run)
    variables = section(text, "Environment variables").splitlines()
    assert {"HF_TOKEN=[hidden]", "WANDB_API_KEY=[hidden]", "OMP_NUM_THREADS=1", "HF_HOME=~/cache"} <= {*variables}
    assert {"WANDB_DIR=/data/store", "WANDB_MODE=offline", "MLFLOW_DIR=/data/store", "WANDB_PROJECT=[hidden]",
            "MLFLOW_TRACKING_URI=postgresql://[hidden]@db.example/x"} <= {*variables}  # fmt: skip
    assert "MY_DIARY" not in text
    recipe = section(text, "Recipe of the run")
    assert 'a = "~/data"\nb = "/data/[user]/x"\nc = "[WANDB_API_KEY]"\n' in recipe
    assert "anna-b-other" in recipe  # another folder
    for private in ("0123456789abcdef0123", "=short", f"{host}.", "me:p", f"/{user}/", "annas project"):
        assert private not in text, private


@pytest.mark.parametrize("damage", ["empty", "binary", "folders", "no run"])
def test_a_broken_folder_is_described_all_the_same(damage, run, capsys):
    for path in sorted(run.rglob("*"), reverse=True):
        if path.is_file():
            path.unlink()
            if damage == "folders":
                path.mkdir()
            elif damage != "no run":
                path.write_bytes(b"" if damage == "empty" else bytes(range(256)) * 4)
    assert main(["bug-report", str(run)]) == 0
    text = capsys.readouterr().out
    assert section(text, "Files of the run")
    if damage == "no run":
        assert section(text, "Recipe of the run") == "not there"
        assert section(text, "Notices and warnings") == "inputs.json is not there"
    if damage == "folders":
        assert "IsADirectoryError" in section(text, "Recipe of the run")


def test_it_fits_an_issue(run):
    (run / "recipe.toml").write_text("x = 1\n" * 20_000)
    (run / "metrics.jsonl").write_text(json.dumps({f"key {n}": n for n in range(5000)}) + "\n")
    for number in range(60):
        (run / f"environment-{number}.json").write_text("y" * 2000)
        (run / f"evaluation/validation-{number:06d}.json").write_text('{"scores": {"miou": 0.1234567890123456789}}')
    text = make_bug_report(run)
    assert "characters more" in text
    assert len(text) < ISSUE_CHARACTERS


def test_it_is_written_to_a_file_and_replaces_only_its_own(run, tmp_path, refused, capsys):
    out = tmp_path / "bug.md"
    for _ in range(2):
        assert main(["bug-report", str(run), "--out", str(out)]) == 0
    assert out.read_text().startswith(MARK)
    out.write_text("my notes")
    assert "it is not a bug report of this program" in refused("bug-report", run, "--out", out)
    assert "is not a folder" in refused("bug-report", tmp_path / "absent")
    assert out.read_text() == "my notes"


def test_a_comparison_lists_its_runs(run, tmp_path):
    (tmp_path / "both" / "runs").mkdir(parents=True)
    run.rename(tmp_path / "both" / "runs" / "opd-seed0")
    text = make_bug_report(tmp_path / "both")
    assert section(text, "Other runs below this folder") == "opd-seed0: 2 rows, not finished"


def test_torch_that_hangs_or_crashes_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_facts, "_PROBE_S", 0.2)
    monkeypatch.setattr(machine_facts, "_PROBE", "import time; time.sleep(60)")
    assert machine_facts.probe_gpus() == ["GPUs: not known, torch gave no answer (TimeoutExpired)"]
    monkeypatch.setattr(machine_facts, "_PROBE_S", 60)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "of_the_user.py").write_text("a file here stands in for no package")
    monkeypatch.setattr(machine_facts, "_PROBE", "import of_the_user")
    assert "No module named 'of_the_user'" in machine_facts.probe_gpus()[0]
    monkeypatch.setattr(machine_facts, "_PROBE", "raise ImportError('libcudart.so is missing')")
    said = ["GPUs: not known, torch ended with status 1: ImportError: libcudart.so is missing"]
    assert machine_facts.probe_gpus() == said
    found = {"cuda": "13.0", "threads": 2, "gpus": [["H200", "9.0", 2**30, 2**31]]}
    done = subprocess.CompletedProcess([], 0, stdout=json.dumps(found), stderr="")
    monkeypatch.setattr(machine_facts.subprocess, "run", lambda *_, **__: done)
    assert machine_facts.probe_gpus()[-1] == "GPU: H200, capability 9.0, 1.0 GiB of 2.0 GiB free"
