"""docs/RUNNING.md: its table is what `video-opd plan` says today, and every recipe fits the cards of the table."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from video_opd.cli import main
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.plan import make_plan, parse_gpus

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "RUNNING.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("plan_recipes", ROOT / "scripts" / "plan_recipes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["plan_recipes"] = module  # its dataclass looks for itself there
    spec.loader.exec_module(module)
    yield module
    del sys.modules["plan_recipes"]


@pytest.fixture(scope="module")
def plans(script, tmp_path_factory):
    """By recipe. A folder without manifests is the present one, as where the page was written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        return {run.recipe: run.plan() for run in script.RUNS}


def test_every_recipe_of_the_real_size_is_planned(script):
    names = {name for name in shipped_recipes() if not name.startswith(("tiny-", "compare-", "own-data"))}
    assert {run.recipe for run in script.RUNS} | {"qwen3-vl-8b-opd"} == names, "its teacher is a folder of the user's"


def test_every_recipe_fits_its_cards(plans):
    assert {name: plan.fit for name, plan in plans.items() if plan.fit == "does not fit"} == {}
    assert plans["one-gpu-lora-24gb"].fit == "fits"
    assert plans["one-gpu-lora-24gb"].room < 24 * 2**30
    assert plans["two-nodes"].memory.peak == plans["paper/video-opd-8b"].memory.peak, "each node holds a copy"


def test_the_recipe_for_own_data_fits_one_card(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = make_plan(load_recipe(Path("own-data")), parse_gpus("1xH100-80GB"))
    assert (plan.fit, plan.num_steps) == ("fits", 79)


def test_the_table_is_up_to_date(script, plans):
    rows = [script.write_row(run, plans[run.recipe]) for run in script.RUNS]
    table = TEXT.partition(script.BEGIN)[2].partition(script.END)[0]
    assert table.splitlines(keepends=True)[2:] == rows, "run `python scripts/plan_recipes.py`"


def test_a_recipe_that_does_not_fit_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "one-gpu-lora-80gb", "--gpus", "1xRTX4090-24GB", "--json"]) == 2
    assert "does not fit 1xRTX4090-24GB" in capsys.readouterr().err


def test_the_steps_of_the_page_are_those_of_the_recipes(plans):
    assert re.search(r"one pass: 79 steps of 32 over 2,500 examples", TEXT)
    assert {name: plan.num_steps for name, plan in plans.items()} == dict.fromkeys(plans, 79)
    presented = {name: sum(plan.step_sizes) for name, plan in plans.items()}
    assert presented == dict.fromkeys(plans, 79 * 32) | {"paper/scc-8b": 1004}


def test_the_hours_of_a_front_loaded_run_are_those_of_its_examples(plans):
    """On eight cards a step of 32 takes four rounds, one of 31 four, one of 8 one, and one of 1 one."""
    plan = plans["paper/scc-8b"]
    rounds = sum(-(-size // 8) for size in plan.step_sizes)
    assert plan.training_s == pytest.approx(rounds / 4 * plan.step_s)
    assert 1004 / 32 < rounds / 4 < 79
