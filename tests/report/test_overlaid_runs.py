"""Several runs on one page: one line for all seeds of a recipe."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, Elements, check_that_it_loads_and_runs_nothing, text_of
from test_report import metrics_row, write_evaluation, write_lines

from video_opd.cli import main
from video_opd.report import write_overlay_report
from video_opd.report.comparison import overlaid_runs
from video_opd.report.comparison.overlaid_runs import make_comparison, read_groups
from video_opd.train.run import MAY_CHANGE


def write_run(folder: Path, *, seed: int = 0, rate: float = 0.001, method: str = "opd", miou: float = 0.6) -> Path:
    folder.mkdir()
    text = f'name = "{method}-{seed}"\nseed = {seed}\n[method]\nname = "{method}"\n[training]\nlearning_rate = {rate}\n'
    (folder / "recipe.toml").write_text(text)
    (folder / "environment.json").write_text('{"device": "cpu"}')
    times = {"seconds_by_phase": {"read": 2.0 + seed}, "cpu_seconds_by_phase": {"read": 1.0}}
    write_lines(folder / "metrics.jsonl", [metrics_row(step, reverse_kl=miou / step, **times) for step in range(1, 5)])
    for step in (0, 2, 4):
        scores = {"miou": miou * step / 4, "num_queries": 400}
        write_evaluation(folder, f"validation-{step:06d}", miou, step, split="validation", scores=scores)
    write_evaluation(folder, "student-before", 0.3, 0)
    write_evaluation(folder, "student-after", miou, 4)
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two seeds of one recipe, and another method."""
    return [
        write_run(tmp_path / "a", seed=0, miou=0.6),
        write_run(tmp_path / "b", seed=1, miou=0.8),
        write_run(tmp_path / "c", method="grpo", miou=0.5),
    ]


def page_of(runs: list[Path]) -> str:
    return write_overlay_report(runs, runs[0].parent / "runs.html").read_text(encoding="utf-8")


def test_seeds_are_one_line_with_a_band(runs: list[Path]) -> None:
    groups = read_groups(runs)
    assert [(group.name, [run.name for run in group.runs]) for group in groups] == [
        ("opd", ["a", "b"]),
        ("grpo", ["c"]),
    ]
    found = make_comparison(groups)
    curve = found.methods["opd"].curve
    assert [point.step for point in curve] == [0, 2, 4]
    last = curve[-1]
    assert (last.miou.mean, last.miou.lowest, last.miou.highest) == pytest.approx((0.7, 0.6, 0.8))
    assert last.seconds is not None
    assert last.cpu_seconds is not None
    assert (last.seconds.mean, last.cpu_seconds.mean) == pytest.approx((10.0, 4.0))  # 4 steps of 2 s and of 3 s
    assert found.methods["opd"].scores["miou"].spread == pytest.approx(0.2 / 2**0.5)
    assert found.methods["grpo"].scores["miou"].certain == pytest.approx((0.47, 0.53))
    assert found.student_before is not None
    page = page_of(runs)
    text = text_of(page)
    assert "3 runs, 2 recipes, 4 steps." in text
    assert "Validation mIoU against CPU time" in text
    assert "Reverse KL to the teacher, nats per token, against CPU time" in text
    assert "No sweep was made" not in text
    assert re.search(r"opd 0.001 0.700 sd 0.141 .*? grpo 0.001 0.500 0.470–0.530", text)
    assert re.search(r"/b opd 1 4 0.8 s 0.800 0.800", text)
    check_that_it_loads_and_runs_nothing(page)
    (image,) = re.findall(r'aria-label="Reverse KL to the teacher, nats per token, against steps">(.*?)</svg>', page)
    assert image.count('class="span s0"') == 1, "the band of two seeds"
    assert 'class="span s1"' not in image


def test_a_group_is_named_by_what_differs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"r{rate}", rate=rate) for rate in (0.001, 0.01)]
    assert [group.name for group in read_groups(runs)] == ["learning rate 0.001", "learning rate 0.01"]
    runs.append(write_run(tmp_path / "s", method="sft", rate=0.01))
    names = [group.name for group in read_groups(runs)]
    assert names == ["opd, learning rate 0.001", "opd, learning rate 0.01", "sft, learning rate 0.01"]
    with (runs[2] / "recipe.toml").open("a") as file:
        file.write("[watch]\nwindow = 3\nstop = false\n")
    assert [group.name for group in read_groups(runs)] == names, "these may change when a run goes on"
    with (runs[2] / "recipe.toml").open("a") as file:
        file.write("[teacher]\nprecision = 'float32'\nmodel = 'other'\n")
    assert [group.name for group in read_groups(runs[1:])] == ["opd", "sft"]
    assert [group.name for group in read_groups(runs)] == ["r0.001", "r0.01", "s"], "two recipes are called opd"
    (runs[0] / "recipe.toml").unlink()
    (runs[1] / "recipe.toml").write_text("broken = ")
    assert len(read_groups(runs)) == 3


def test_what_may_change_when_a_run_goes_on_makes_no_group_of_its_own(runs: list[Path]) -> None:
    with (runs[1] / "recipe.toml").open("a") as file:
        file.write("[data]\nworkers = 3\n[tracker]\nname = 'none'\n[schedule]\nkeep_checkpoints = 2\n")
    assert [len(group.runs) for group in read_groups(runs)] == [2, 1]
    assert set(overlaid_runs._FREE_KEYS) == {"name", "seed", *MAY_CHANGE}


def test_a_run_that_has_just_begun_does_not_shift_the_times_of_the_others(runs: list[Path]) -> None:
    (runs[1] / "metrics.jsonl").unlink()
    (image,) = re.findall(r'aria-label="Reverse KL [^"]*against CPU time">(.*?)</svg>', page_of(runs))
    marks = re.findall(r"<title>opd, ([\d.]+) s", image)
    assert marks == ["1", "2", "3", "4"], "of one run, not the mean with a run that has no such step"


def test_decoding_counts_with_what_it_took_when_it_was_done(runs: list[Path]) -> None:
    times = {"seconds_by_phase": {"read": 2.0, "decode": 0.0}, "seconds_to_decode": 3.0}
    write_lines(runs[2] / "metrics.jsonl", [metrics_row(step, **times) for step in range(1, 5)])
    grpo = make_comparison(read_groups(runs)).methods["grpo"]
    assert grpo.curve[-1].seconds is not None
    assert grpo.curve[-1].seconds.mean == pytest.approx(20.0)
    assert grpo.ledger.seconds_by_phase == pytest.approx({"read": 8.0, "decode": 12.0})


def test_what_was_not_measured_on_the_same_is_said_and_not_put_together(runs: list[Path]) -> None:
    assert "Whether all runs used the same data is not known" in text_of(page_of(runs))
    for number, run in enumerate(runs):
        inputs = {"format": 1, "from_begin": True, "data_sha256": "", "models": {},
                  "videos": {"folder": ".", "bytes": {}},
                  "files": {"test": {"path": "t", "bytes": 1, "sha256": str(number // 2)}}}  # fmt: skip
        (run / "inputs.json").write_text(json.dumps(inputs))
    assert "The runs have different test manifests: their scores cannot be compared." in text_of(page_of(runs))
    assert "is not known" not in text_of(page_of(runs))
    write_evaluation(runs[2], "student-before", 0.3, 0, split="other")
    write_evaluation(runs[2], "student-after", 0.3, 4, split="other")
    assert make_comparison(read_groups(runs)).student_before is None
    (runs[2] / "environment.json").write_text('{"device": "a card"}')
    assert "The runs were made on different devices" in text_of(page_of(runs))


def test_a_run_that_has_just_begun_does_not_hide_the_others(runs: list[Path]) -> None:
    for part in ("metrics.jsonl", "environment.json"):
        (runs[1] / part).unlink()
    for path in (runs[1] / "evaluation").iterdir():
        path.unlink()
    (runs[2] / "metrics.jsonl").write_text("{broken\n{}\n")
    assert "grpo" in text_of(page_of(runs))


def test_the_command_takes_several_folders(runs: list[Path], tmp_path: Path, refused: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", *map(str, runs)]) == 0
    assert (tmp_path / "runs.html").exists()
    assert main(["report", str(runs[0]), "--out", "one.html"]) == 0
    assert not (runs[0] / "report.html").exists()
    (tmp_path / "mine.html").write_text("my page")
    assert "is not a page of this program" in refused("report", *runs, "--out", "mine.html")
    (runs[1] / "comparison.json").write_text("{}")
    assert "only runs can be shown together" in refused("report", *runs)
    assert "given twice" in refused("report", runs[0], runs[0])
    assert "--videos v with several runs" in refused("report", runs[0], runs[2], "--videos", "v")
    assert "with a comparison: only the page of one run shows videos" in refused("report", runs[1], "--videos", "v")


def test_hostile_names_stay_text(runs: list[Path], tmp_path: Path) -> None:
    elements = Elements(page_of(runs))
    hostile = runs[2].rename(tmp_path / "<img src=x onerror=alert(1)>")
    (hostile / "recipe.toml").write_text(f"name = {json.dumps(HOSTILE)}\nseed = {json.dumps(HOSTILE)}\n")
    (hostile / "environment.json").write_text(json.dumps({"device": HOSTILE}))
    attacked = Elements(page_of([*runs[:2], hostile]))
    assert attacked.open == []
    assert attacked.names <= elements.names
    assert attacked.attributes <= elements.attributes


def test_side_questions_are_those_of_the_group(runs: list[Path]) -> None:
    for run, accuracy in zip(runs, (0.7, 0.8, 0.5), strict=True):
        path = run / "evaluation" / "student-after.json"
        asked = {"accuracy": accuracy, "interval": [0.4, 0.9], "num_questions": 80}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"side_questions": asked}))
    found = make_comparison(read_groups(runs)).methods
    assert found["opd"].side_questions is not None
    assert found["opd"].side_questions.mean == pytest.approx(0.75)
    assert found["grpo"].side_questions is not None
    assert found["grpo"].side_questions.interval == (0.4, 0.9)
