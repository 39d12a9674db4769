"""Eight trials of `make chaos`, and that it sees what it looks for."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from started import Started

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from chaos import Stage, take_turns
from chaos_scenes import find_differences, list_scenes
from write_points import WritePoints

CHAOS = Path(__file__).resolve().parents[1] / "scripts" / "chaos.py"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.long
def test_commands_that_are_disturbed_come_to_the_same_end():
    out, err = Started([CHAOS, "--kills", "8", "--most", "1"]).communicate(timeout=800)
    assert out.splitlines()[-1:] == ["8 passed, 0 failed"], out + err


def test_eight_trials_have_every_command_and_signal_and_fifty_every_point():
    scenes = list_scenes()
    turns = take_turns(scenes)
    assert {scene.name for scene, _ in turns[:8]} == {"train", "rounds", "score", "compare", "evaluate"}
    for first in (0, 50):
        for scene in scenes:
            points = Counter({f"{number}": 1 for number in range(100)})
            stage = Stage(scene=scene, folder=Path(), points=points, out="")
            rows = [
                stage.choose(first + place, turn, most=1000)
                for place, (each, turn) in enumerate(turns)
                if each is scene
            ]
            assert {each.point for row in rows for each in row[:-1]} == set(points)
    few = [stage.choose(seed, turn, most=1) for seed, (_, turn) in enumerate(turns[:8])]
    assert {each.number.name for (each,) in few} == {"SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1"}


def test_differences_are_seen(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"abc")
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 0.5, "seconds": 1.0}) + "\n")
        (folder / "report.html").write_text(folder.name)
    assert list(find_differences(one, other)) == []
    (other / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 0.25, "seconds": 2.0}) + "\n")
    (other / "model.safetensors").write_bytes(b"abd")
    (one / ".a.json.tmp-7").touch()
    (other / "scores.jsonl").touch()
    assert list(find_differences(one, other)) == [
        ".a.json.tmp-7 is left over",
        "scores.jsonl is missing",
        "metrics.jsonl: [0].loss is '0.5' instead of '0.25'",
        "model.safetensors: content is \"b'abc'\" instead of \"b'abd'\"",
    ]


def test_names_of_points_are_the_same_in_every_run(tmp_path):
    points = WritePoints(tmp_path, None, None)
    for path, name in (
        ("run/checkpoints/step-000004.tmp-812/model", "x run/checkpoints/step-#.tmp/model"),
        (".world.json.tmp-812-0123abcd", "x .world.json.tmp"),
        ("tmp/video-opd-scratch-a1b2c3d4/clip.mp4", "x tmp/*/clip.mp#"),
        (f"cache/{'0a' * 16}.jsonl", "x cache/#.jsonl"),
    ):
        assert points.name("x", tmp_path / path) == name
    assert points.name("x", "/elsewhere") is None
