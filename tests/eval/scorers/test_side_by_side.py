"""Benchmarks with a scorer of their own: small cases that we made, each with what the original code says of it.

`side_by_side.json` holds made-up annotations and answers, the originals' own files where they read one; the numbers
were produced by running the originals at the commits that docs/DATA.md names. None of their code or data is here.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from video_opd.cli import main

CASES = json.loads(Path(__file__).with_name("side_by_side.json").read_text())


def write(folder: Path, files: dict[str, object]) -> Path:
    """The first of the files, with all of them in one folder."""
    folder.mkdir()
    for name, content in files.items():
        lines = "".join(json.dumps(row) + "\n" for row in content) if name.endswith(".jsonl") else json.dumps(content)
        (folder / name).write_text(lines)
    return folder / next(iter(files))


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case['scorer']}" for number, case in enumerate(CASES)])
def test_the_originals_say_the_same(case, tmp_path, capsys):
    truth, predictions = write(tmp_path / "truth", case["truth"]), write(tmp_path / "said", case["predictions"])
    words = ["metrics", str(predictions), "--ground-truth", str(truth), "--as", case["scorer"], "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scores"] == case["scores"]
    assert report["unknown"]["count"] == 0 or case["scorer"] == "hirest", "HiREST's files hold videos without a moment"


def test_every_benchmark_has_cases():
    scorers = [case["scorer"] for case in CASES]
    assert {name: scorers.count(name) for name in scorers} == {
        "et-bench": 5, "nextgqa": 5, "cg-bench": 6, "didemo": 3, "hirest": 4, "charades-cg": 2, "activitynet-cg": 2,
    }  # fmt: skip
