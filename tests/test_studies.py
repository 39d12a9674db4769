"""What the studies keep of a finished comparison, and what their pages make of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

STUDIES = Path(__file__).resolve().parents[1] / "benchmarks" / "studies"


@pytest.fixture(autouse=True)
def _import_from_studies(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDIES))


def test_what_is_kept_of_a_study_lacks_curves_and_no_method(tmp_path, monkeypatch):
    """A method may have the name of a key, such as `examples`."""
    import kept_results

    monkeypatch.setattr(kept_results, "RESULTS", tmp_path / "results")
    run = {"folder": "runs/one", "curve": [1], "ledger": {}, "scores": {"miou": 0.5}}
    method = {"runs": [run], "curve": [1], "ledger": {"examples": 960}}
    found = {"methods": {"examples": method}, "teacher": {"model": "/somewhere/teacher"}}
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "metrics.jsonl").write_text('{"step": 1, "grad_norm": 2.0, "num_prompts": 16}\n')
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    kept_results.keep_study(tmp_path, "claims", "one")
    steps = {"median_grad_norm": 2.0, "share_above_1": 1.0, "cut_share": None}
    assert kept_results.read_kept("claims", "one") == {
        "methods": {"examples": {"runs": [{"scores": {"miou": 0.5}, "steps": steps}], "ledger": {"examples": 960}}},
        "teacher": {"model": "teacher"},
    }
