"""The benchmarks of a step in tiny sizes, and the page of their figures."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _import_from_benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.long
@pytest.mark.slow
def test_step(tmp_path, capsys):
    import step

    cases = ["opd, vision frozen", "grpo, eight answers, vision trained"]
    step.main(["--quick", "--cases", *cases, "--out", str(tmp_path / "step.json")])
    distillation, grpo = json.loads((tmp_path / "step.json").read_text())["cases"]
    assert [distillation["case"], grpo["case"]] == cases
    assert distillation["frozen_towers_are_equal"]
    assert set(distillation["phases"]["released"]) > set(distillation["phases"]["plain"])
    assert distillation["ratio"] == distillation["ours"] / distillation["plain"]
    assert grpo["released"] is None
    assert grpo["ratio"] < 0.5  # eight times the prompt against once
    assert max(case["largest_difference"] for case in (distillation, grpo)) < 1e-4
    assert cases[0] in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.slow
def test_step_refuses_paths_that_differ(monkeypatch, tmp_path):
    import shared_reading
    import step

    class Halved(shared_reading.Plain):
        def _loss(self, *parts):
            return super()._loss(*parts) / 2

    monkeypatch.setattr(shared_reading, "Plain", Halved)
    with pytest.raises(SystemExit, match="the path plain differs from our step by"):
        step.main(["--quick", "--cases", "opd, vision frozen", "--out", str(tmp_path / "step.json")])


def test_growth_fits_the_exponent():
    import growth

    assert growth.fit_exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


@pytest.mark.long
@pytest.mark.slow
def test_growth(tmp_path):
    import growth

    growth.main(["--quick", "--axes", "answers per prompt", "--out", str(tmp_path / "growth.json")])
    (row,) = json.loads((tmp_path / "growth.json").read_text())["growth"]
    assert row["at"] == [1, 2]
    assert 0 < row["exponent_of_arithmetic"] < 1  # the answers are a part of the step, the prompt is the same
    assert row["operations"][1] < 1.5 * row["operations"][0]


def test_the_page_is_that_of_the_files():
    import results_page

    assert (BENCHMARKS / "RESULTS.md").read_text(encoding="utf-8") == results_page.render(), (
        "run `python benchmarks/results_page.py`"
    )


def test_the_page_tells_targets_and_skipped_peers(tmp_path):
    import results_page

    times = {"ours": {"read": 1.0}, "plain": {"answer": 2.0}}
    case = {"case": "a", "prompt_tokens": 9, "vocabulary": 8, "ours": 1.0, "plain": 2.0, "released": None, "ratio": 0.5,
            "released_ratio": None, "peak_memory_ratio": 0.6, "ratio_range": [0.4, 0.6], "phases": times,
            "targets": {"ratio": 0.72, "peak_memory_ratio": 0.5},
            "peak_memory_gb": {"ours": 1.2, "plain": 2.0, "gradient": 1.0}}  # fmt: skip
    (tmp_path / "results").mkdir()
    (tmp_path / "gpu" / "results").mkdir(parents=True)
    (tmp_path / "gpu" / "results" / "a.json").write_text(
        json.dumps({"date": "2026-11-27", "parity": {"what": {"x": 1.5}}, "together": {"left_out": "no time was left"}})
    )
    for name, found in (
        ("step", {"cases": [case]}),
        ("peers", {"peers": [{"peer": "trl", "skipped": "pip ended"}]}),
    ):
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(found | {"date": "2026-11-27", "versions": {}}))
    page = results_page.render(tmp_path)
    assert "| 0.5 (0.72: met) | not measured | 0.6 (0.50: missed) | 0.4 to 0.6 |" in page
    assert "- trl was skipped: pip ended" in page
    assert "Not measured yet." in page
    assert "1.000 GB of both is the gradient. Without it: 0.20." in page
    missing = page.rpartition("these sections of the check yet: ")[2].rstrip(".\n").split(", ")
    assert "together" in missing
    assert "parity" not in missing
    (sections,) = re.findall(r"^SECTIONS = \{\n(.*?)^\}", (BENCHMARKS / "gpu" / "run.py").read_text(), re.M | re.S)
    assert {"environment", "parity", *missing} == set(re.findall(r'^    "([a-z-]+)":', sections, re.M))


def test_a_peer_that_does_not_install_is_skipped(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS / "peers"))
    import run as peers

    monkeypatch.setattr(peers, "write_world", lambda *_: None)
    monkeypatch.setattr(peers, "HERE", tmp_path / "a" / "b")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "requirements-trl.txt").write_text("/nowhere/no-such-package.whl\n")
    monkeypatch.setattr(peers.venv, "create", lambda folder, **_: make_environment(folder))
    peers.main(["--peer", "trl", "--out", str(tmp_path / "peers.json")])
    (row,) = json.loads((tmp_path / "peers.json").read_text())["peers"]
    assert row["skipped"].startswith("pip could not install requirements-trl.txt: ERROR: ")
    assert "nowhere" not in row["skipped"]
    assert capsys.readouterr().err.startswith("trl was skipped: pip could not install")


def make_environment(folder: Path) -> None:
    """One whose Python is this one, because pip takes seconds to install into a new one."""
    (folder / "lib" / "python3" / "site-packages").mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
