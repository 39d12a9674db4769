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
    (tmp_path / "runs" / "one" / "metrics.jsonl").write_text(
        '{"step": 1, "grad_norm": 2.0, "num_prompts": 16, "reverse_kl": 0.25}\n'
    )
    (tmp_path / "comparison.json").write_text(json.dumps(found))
    kept_results.keep_study(tmp_path, "claims", "one")
    steps = {"last_reverse_kl": 0.25, "median_grad_norm": 2.0, "share_above_1": 1.0, "cut_share": None}
    assert kept_results.read_kept("claims", "one") == {
        "methods": {"examples": {"runs": [{"scores": {"miou": 0.5}, "steps": steps}], "ledger": {"examples": 960}}},
        "teacher": {"model": "teacher"},
    }


def differ(one: str, other: str, mean: float) -> dict:
    """A difference that is clear from 0.02 on."""
    return {"one": one, "other": other, "mean": mean, "interval": [mean - 0.02, mean + 0.02]}


@pytest.mark.parametrize(
    ("means", "answer"),
    [
        ([0.1, 0.03], "yes"),
        ([0.1, 0.01], "in part"),
        ([0.1, -0.03], "in part"),
        ([-0.03, 0.01], "no"),
        ([0.01, -0.01], "no clear difference"),
    ],
)
def test_a_claim_agrees_where_its_side_is_ahead(means, answer):
    from agreement import _is_ahead
    from comparing import Gap

    told = _is_ahead([(str(number), Gap(mean, 0.02)) for number, mean in enumerate(means)])
    assert told == ("; ".join(f"{number} {mean:+.3f} ± 0.020" for number, mean in enumerate(means)), answer)
    assert _is_ahead([("not run", None)]) is None


@pytest.mark.parametrize(
    ("interval", "answer"),
    [([0.01, 0.03], "yes"), ([-0.03, -0.01], "no"), ([-0.01, 0.02], "no clear difference")],
)
def test_rounds_pass_the_teacher_only_clearly(interval, answer, monkeypatch):
    import agreement

    over = {"over_its_teacher": {"mean": sum(interval) / 2, "interval": interval}}
    monkeypatch.setattr(agreement, "read_kept", lambda *_: {"methods": {"3 x filter+gap": over}})
    assert agreement._rounds(None)[1] == answer


@pytest.mark.parametrize(
    ("means", "said"),
    [
        ((0.1, 0.1, 0.1), "does not change which method is clearly ahead"),
        ((0.1, 0.01, 0.1), "changes which method is clearly ahead"),
        ((0.1, -0.1, 0.1), "changes which method is clearly ahead"),
        ((0.01, -0.01, 0.0), "Neither method is clearly ahead"),
    ],
)
def test_what_clipping_changes(means, said):
    import release_sections

    how = dict(zip(("clipped", "free", "examples"), means, strict=True))
    run = {"scores": {"miou": 0.5}, "steps": {"share_above_1": 0.5, "median_grad_norm": 1.0}}
    methods = {f"{method}-{each}": {"runs": [run]} for method in ("opd", "grpo") for each in how}
    differences = [differ(f"opd-{each}", f"grpo-{each}", mean) for each, mean in how.items()]
    assert said in release_sections.clipping({"methods": methods, "differences": differences})


def test_selections_are_counted_from_either_side(monkeypatch):
    import advice

    methods = dict.fromkeys(("whole-pool", "filter", "gap", "scc", "gate, singly", "one seed"))
    differences = [
        differ("whole-pool", "filter", -0.1),  # the filter is better
        differ("gap", "whole-pool", 0.01),
        differ("scc", "whole-pool", -0.1),
        differ("gate, singly", "whole-pool", 0.1),
        differ("filter", "gap", 0.1),
        {"one": "one seed", "other": "whole-pool", "mean": 0.1, "interval": None},
    ]
    monkeypatch.setattr(advice, "read_kept", lambda *_: {"methods": methods, "differences": differences})
    assert advice.Figures.selections() == "1 of 3"


def test_the_pages_are_written_of_what_was_run():
    """What was not run is said to be missing."""
    import claims_document
    from advice import write_advice
    from comparing import gap, verdict

    found = claims_document.Findings()
    main = found.studies["main"]
    found.studies = dict.fromkeys(found.studies) | {"main": main}
    page, advice = claims_document.write(found), write_advice(found)
    assert "**Sampled or exact estimator, on policy.**" in page
    assert "have not been run yet" in page
    assert verdict("`opd-exact`", "`opd`", gap(main, "opd-exact", "opd")) in advice
    assert "(not run)" in advice
