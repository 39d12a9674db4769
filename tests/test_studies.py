"""What the studies keep of a finished comparison, and what their pages make of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
        ((0.1, 0.1, 0.1), "opd is clearly ahead in 3 of 3, grpo in 0."),
        ((0.1, 0.01, 0.1), "opd is clearly ahead in 2 of 3, grpo in 0."),
        ((0.1, -0.1, 0.1), "opd is clearly ahead in 2 of 3, grpo in 1."),
        ((0.01, -0.01, -0.0001), "opd is clearly ahead in 0 of 3, grpo in 0."),
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

    names = ("whole-pool", "filter", "gap", "scc", "gate, singly", "one seed", "grpo on the candidates")
    methods = dict.fromkeys(names)
    differences = [
        differ("whole-pool", "filter", -0.1),  # the filter is better
        differ("gap", "whole-pool", 0.01),
        differ("scc", "whole-pool", -0.1),
        differ("gate, singly", "whole-pool", 0.1),
        differ("grpo on the candidates", "whole-pool", 0.1),
        differ("filter", "gap", 0.1),
        {"one": "one seed", "other": "whole-pool", "mean": 0.1, "interval": None},
    ]
    monkeypatch.setattr(advice, "read_kept", lambda *_: {"methods": methods, "differences": differences})
    monkeypatch.setattr(advice, "SETTINGS", {"one": "", "other": ""})
    assert advice.Figures.selections() == "2 of 6", "over all studies"


def make_results(methods: Sequence[str], *, steps: dict) -> dict:
    """Of a study with these methods, each clearly apart from the others."""
    scores = {"miou": {"mean": 0.5}, "output_format_rate": {"mean": 1.0}, "r1@0.7": {"mean": 0.4}}
    ledger = {"cpu_seconds_by_phase": {"teacher": 6.0}, "optimiser_steps": 60, "work": {}}
    over = {"mean": -0.1, "interval": [-0.12, -0.08]}
    run = {"scores": {"miou": 0.5, "r1@0.7": 0.4}, "steps": steps, "seed": 0}
    method = {"runs": [run], "scores": scores, "test_miou": {"mean": 0.5}, "learning_rate": 5e-4, "ledger": ledger,
              "teacher_miou": 0.9, "over_its_teacher": over}  # fmt: skip
    before = {"scores": {"miou": 0.4, "r1@0.7": 0.3, "output_format_rate": 1.0}}
    pairs = [differ(one, other, 0.1) for place, one in enumerate(methods) for other in methods[place + 1 :]]
    return {"methods": dict.fromkeys(methods, method), "differences": pairs, "student_before": before, "seeds": [0]}


STEPS = {"last_reverse_kl": 0.25, "median_grad_norm": 2.0, "share_above_1": 1.0, "cut_share": None}


@pytest.mark.parametrize("steps", [STEPS, {}], ids=["all", "kept-before-a-figure-was-added"])
def test_every_section_says_what_its_study_found(steps):
    import release_sections
    import small_sections
    import view_sections
    from claims_studies import studies

    found = {name: make_results(list(study.methods), steps=steps) for name, study in studies(Path("m")).items()}
    tables = {
        "divergences": release_sections.divergences(found["divergences"]),
        "views": view_sections.views(found["views"]),
        "views-margin": view_sections.margins(found["views-margin"]),
        "views-experiments": view_sections.experiments(found["views-experiments"]),
        "views-120": view_sections.longer(found),
        "small-passing": small_sections.passing(found["small-passing"]),
    }
    for name, written in tables.items():
        rows = [line for line in written.splitlines() if line.startswith("| ")]
        assert len(rows) >= 2 + len(found[name]["methods"]), name
    others = view_sections.others(found)
    assert all(name in others for name in ("viewer-1", "viewer-2", "viewer-small-240", "viewer-small-560"))
    assert small_sections.policies(found).count("is better than") == 20  # opd-exact comes after opd
    cut = {name: results | {"methods": {}, "differences": []} for name, results in found.items()}
    assert view_sections.margins(cut["views-margin"])
    assert view_sections.experiments(cut["views-experiments"])
    assert release_sections.divergences(cut["divergences"])


def test_a_study_comes_after_the_one_whose_learning_rates_it_takes():
    from claims_studies import studies

    every, before = studies(Path("m")), set()
    for name, study in every.items():
        if not study.rates:
            assert study.rates_from in before, name
            chosen = every[study.rates_from].methods
            assert {study.rate_of.get(method, method) for method in study.methods} <= chosen.keys(), name
        before.add(name)


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
