"""Spoiled text files are read or refused by one sentence: those that once ended in a traceback, a few of every kind.

`scripts/fuzz_texts.py` makes as many more as are asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from fuzz_texts import Bench, try_read
from texts_to_spoil import list_kinds

KINDS = {kind.name: kind for kind in list_kinds()}
DEEP, DEEPER = b"[" * 100_000, b"[" * 900 + b"]" * 900
DIGITS = b"9" * 5_000
BROKE = [
    *[(name, file, old, DEEP) for name, file, old in (
        ("scores", "t.jsonl", b'"t"'), ("run", "metrics.jsonl", b"0.9"), ("run", "answers.jsonl", b"10.0"),
        ("run", "rounds/1/selection-facts.json", b"0.8"), ("state", ".run.lock", b"null"),
        ("state", "checkpoints/step-000002/COMPLETE.json", b"3"), ("comparison", "comparison.json", b"0.82"),
        ("recipe", "r.toml", b"60"), ("comparison recipe", "c.toml", b"0.7"),
        ("comparison recipe", "tiny-opd.toml", b"60"),
    )],
    *[(name, file, old, DEEPER) for name, file, old in (
        ("comparison", "comparison.json", b"0.82"), ("manifest", "m.jsonl", b"10.0"), ("recipe", "r.toml", b"60"),
        ("scores", "t.jsonl", b'"settings": {"seed": 0}'), ("run", "evaluation/student-after.json", b"60"),
    )],
    ("recipe", "r.toml", b"60", DIGITS),
    ("recipe", "r.toml", b"60", b"9" * 400),
    ("recipe", "r.toml", b"steps = 60", b"a." * 9_000 + b"b = 60"),
    ("recipe", "r.toml", b'"data/tiny-world/videos"', b'"a\\u0000b"'),
    ("comparison recipe", "c.toml", b"0.7", DIGITS),
    ("comparison recipe", "tiny-opd.toml", b"60", DIGITS),
    ("scores", "t.jsonl", b'"seconds": 0.5', b'"seconds": "a"'),
    ("scores", "t.jsonl", b'"cpu_seconds": 0.4', b'"cpu_seconds": []'),
    ("scores", "t.jsonl", b'"sampled": true', b'"sampled": []'),
    ("scores", "t.jsonl", b'"iou": 0.6', b'"iou": ' + b"9" * 400),
    ("scores", "t.jsonl", b'"sampled"', b'"\\ud800"'),
    ("scores", "t.jsonl", b'"sampled"', '"\u202egnp"'.encode()),
    ("scores", "t.jsonl", b'"shard": [0, 1]', b'"shard": [0, ' + b"9" * 400 + b"]"),
    ("scores", "t.jsonl", b'"shard": [0, 1]', b'"shard": [0, 9000000000000000000]'),
    ("scores", "t.jsonl", b'"id": "a"', b'"id": ["a"]'),
    ("scores", "t.jsonl", b'"id": "c"', b'"id": {}'),
    ("scores", "t.jsonl", b'"id": "c"', b'"id": 7'),
    ("selection", "s.jsonl", b'"order": 1', b'"order": 1e999'),
    ("state", "checkpoints/step-000002/COMPLETE.json", b'"step": 2', b'"step": 1e999'),
    ("state", "checkpoints/step-000002/COMPLETE.json", b'"size": 3', b'"size": 1e999'),
    ("state", "checkpoints/step-000002/COMPLETE.json", b'"state.json"', b'"a\\u0000b"'),
    ("state", "checkpoints/step-000002/COMPLETE.json", b'"state.json"', b'"' + b"a" * 300 + b'"'),
    ("questions of mvbench", "json/moving_count.json", b"b.mp4", b"b" * 5_000),
    ("questions of video_mme", "t.json", b'"videoID": "', b'"videoID": "' + b"v" * 5_000),
    ("run", "rounds/1/selection-facts.json", b'"first_step"', b'"x"'),
    ("run", "rounds/1/selection-facts.json", b'"round": 1', b'"round": 1e999'),
    ("run", "rounds/1/selection-facts.json", b'"cpu_seconds": 2.5', b'"cpu_seconds": null'),
    ("manifest", "m.jsonl", b'"duration"', b'"\\u202egnp"'),
    ("manifest", "m.jsonl", b'"duration"', b'"a\\u0000b"'),
    ("predictions", "p.jsonl", b'"c"', b'"\\u0000"'),
    ("results of time-r1", "r.jsonl", b'"qid"', b'"\\ud800"'),
]  # fmt: skip
"""Kind, file, what stands in it, what takes its place."""


@pytest.fixture(scope="module")
def bench_of(tmp_path_factory):
    made: dict[str, Bench] = {}

    def make(name: str) -> Bench:
        if name not in made:
            made[name] = Bench(KINDS[name], tmp_path_factory.mktemp("kind"))
        return made[name]

    return make


@pytest.mark.parametrize(("name", "file", "old", "new"), BROKE, ids=[f"{n}-{b[0]}" for n, b in enumerate(BROKE)])
def test_what_once_broke(bench_of, name, file, old, new):
    bench = bench_of(name)
    bench.restore()
    text = bench.kind.files[file]
    assert old in text
    for read in bench.reads:
        (bench.folder / file).write_bytes(text.replace(old, new, 1))
        assert try_read(read) is None


def test_a_few_mutants_of_every_kind(bench_of):
    kinds = [name for name in KINDS if not name.startswith("annotations")]  # which test_malformed.py spoils
    failures = [(name, seed, found) for name in kinds for seed in range(1) if (found := bench_of(name).try_seed(seed))]
    assert failures == []


def test_this_would_be_noticed(bench_of):
    assert "KeyError" in str(try_read(lambda: {}["a"]))
    assert "control character" in str(try_read(lambda: print("\x1b[2J")))
    assert "SystemExit" in str(try_read(lambda: sys.exit(1)))
