"""`benchmarks/soak.py`: what counts as levelling off, and what a sample holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import soak

LEVEL = {"memory_mb": 500.0, "largest_decoder_mb": 80.0, "open_files": 40, "threads": 9, "processes": 3}


def make_hour(series: str, rise: float, warm_up: float = 0.0) -> list[dict[str, float]]:
    """Samples of an hour in which a series rises steadily, and in the first third by `warm_up` on top."""
    return [
        LEVEL | {"second": second, series: LEVEL[series] + rise * second / 3600 + warm_up * min(second / 1200, 1)}
        for second in range(0, 3601, 5)
    ]


@pytest.mark.parametrize(
    ("series", "rise", "levels_off"),
    [
        ("memory_mb", 0.0, True),
        ("memory_mb", 9.0, True),
        ("memory_mb", 11.0, False),
        ("largest_decoder_mb", 2.0, False),
        ("open_files", 0.9, True),
        ("open_files", 1.1, False),
        ("threads", 2.0, False),
        ("processes", 2.0, False),
    ],
)
def test_a_series_that_rises_is_found(series: str, rise: float, levels_off: bool) -> None:
    found = soak.fit(make_hour(series, rise))
    assert found[series]["rise_per_hour"] == pytest.approx(rise, abs=1e-6)
    assert found[series]["levels_off"] is levels_off
    assert all(row["levels_off"] for name, row in found.items() if name != series)


def test_what_fills_in_the_first_third_does_not_count() -> None:
    assert soak.fit(make_hour("memory_mb", 0.0, warm_up=300.0))["memory_mb"]["levels_off"]


def test_what_is_taken_for_a_moment_does_not_count() -> None:
    samples = make_hour("memory_mb", 0.0)
    for row in samples[500::40]:
        row["memory_mb"] += 600
        row["threads"] += 20
    assert all(row["levels_off"] for row in soak.fit(samples).values())


def test_a_sample_counts_children_and_is_none_after_the_end() -> None:
    command = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", command], **pipes) as parent:  # type: ignore[call-overload]
        assert parent.stdout.readline() == b"1\n"
        process = psutil.Process(parent.pid)
        found = soak.sample(process, 0.0)
        assert found is not None
        assert found["processes"] == 2
        assert found["memory_mb"] > found["largest_decoder_mb"] > 0
        assert found["open_files"] >= 6
        parent.communicate(b"\n")
    assert soak.sample(process, 0.0) is None


def test_a_run_that_ends_at_once_fails(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(soak, "soak", lambda *_: {"status": 2, "steps": 0, "clips": 0, "samples": []})
    monkeypatch.setattr(sys, "argv", ["soak.py", "--out", str(tmp_path / "soak.json")])
    assert soak.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 6 failed"
    assert not (tmp_path / "soak.json").exists(), "the figures of the last soak stay"
