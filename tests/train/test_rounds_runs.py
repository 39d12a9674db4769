"""What a run in rounds leaves. That it can be killed anywhere, `test_chaos.py` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from started import Started

RECIPE = Path(__file__).resolve().parents[2] / "recipes" / "tiny-tvdf.toml"
STEPS = 6


def command(out: Path, data: Path, *extra: str) -> list[str]:
    return [
        "train", str(RECIPE), "--out", str(out), "--steps", str(STEPS),
        "--data.videos", str(data / "videos"), "--data.train", str(data / "train.jsonl"),
        "--data.validation", str(data / "validation.jsonl"), "--data.test", str(data / "test.jsonl"),
        "--data.tiny-world.num-train", "32", "--data.tiny-world.num-validation", "4", "--data.tiny-world.num-test", "4",
        "--data.tiny-world.wrong-share", "0.2", "--training.batch-size", "4", "--training.micro-batch-size", "2",
        "--schedule.checkpoint-every", "1", "--schedule.evaluate-every", "0", "--schedule.probe-every", "0",
        "--curriculum.num-rounds", "2", "--curriculum.count", "12", "--curriculum.num-answers", "3",
        "--curriculum.threshold", "0.5", "--curriculum.suspend-at", "0.9", "--curriculum.cache", str(out / "cache"),
        "--compute.evaluation-batch-size", "4", *extra,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("rounds") / "world"


@pytest.fixture(scope="module")
def uninterrupted(data) -> Path:
    out = data.parent / "uninterrupted"
    assert Started(command(out, data)).wait() == 0
    return out


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_in_rounds_leaves_what_it_found_out(uninterrupted):
    first, second = (uninterrupted / "rounds" / number for number in "12")
    for folder in (first, second):
        assert {path.name for path in folder.iterdir()} == {
            "student-scores.jsonl", "selection.jsonl", "selection-facts.json", "evaluation.json"
        }  # fmt: skip
        rows = [json.loads(line) for line in (folder / "selection.jsonl").read_text().splitlines()]
        assert len(rows) == 32
        kept = [row for row in rows if row["kept"]]
        assert [row["order"] for row in kept] == list(range(1, 13))
        gaps = [row["delta"] for row in kept]
        assert gaps == sorted(gaps, reverse=True)
        assert all(row["tau"] >= 0.5 and row["delta"] == row["tau"] - row["sigma"] for row in kept)
        assert all(row["why"] for row in rows)
    headers = [json.loads((f / "student-scores.jsonl").read_text().splitlines()[0])["scores"] for f in (first, second)]
    assert headers[0]["model_sha256"] != headers[1]["model_sha256"]
    assert headers[0]["manifest_sha256"] == headers[1]["manifest_sha256"]
    assert (uninterrupted / "rounds" / "teacher-scores.jsonl").exists()
    facts = [json.loads((folder / "selection-facts.json").read_text()) for folder in (first, second)]
    assert ["teacher" in each["cost"] for each in facts] == [True, False]  # scored once, for both
    assert [each["first_step"] for each in facts] == [0, 3]
    assert json.loads((second / "evaluation.json").read_text())["step"] == STEPS
    rows = [json.loads(line) for line in (uninterrupted / "metrics.jsonl").read_text().splitlines()]
    assert all(row["coupling"]["active"] + row["coupling"]["suspended"] == 4 for row in rows)
    assert all(row["coupling"]["active"] == row["num_prompts"] for row in rows)
