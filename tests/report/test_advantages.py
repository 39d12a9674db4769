"""Where the advantage goes: by what a token is for, and by its position, early and late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pages import Elements, text_of
from test_report import answer_row, metrics_row, write_lines

from video_opd.report import write_report
from video_opd.report.run.run_contents import read_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Twenty steps: in the first two the wording is wrong, in the last two a digit."""
    (tmp_path / "recipe.toml").write_text('[prompt]\ntemplate = "tiny"\n')
    write_lines(tmp_path / "metrics.jsonl", [metrics_row(step) for step in range(1, 21)])
    write_answers(tmp_path)
    return tmp_path


def write_answers(run: Path, **changes: Any) -> None:
    early, late = {"advantage": [1.0, -3.0, 0.0, 0.0]}, {"advantage": [0.0, 0.0, -0.5, 0.0]}
    rows = [answer_row(step, "a", **(early if step <= 2 else late) | changes) for step in (1, 2, 3, 10, 18, 19, 20)]
    write_lines(run / "answers.jsonl", rows)


def page_of(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_shares_are_of_the_sum_without_signs(run: Path) -> None:
    contents = read_run(run)
    assert (contents.early.num_answers, contents.late.num_answers) == (2, 2), "a tenth of the steps each"
    assert {region: each.total for region, each in contents.early.regions.items()} == {
        "digits": 2.0,
        "format": 6.0,
        "end": 0.0,
    }
    assert [each.mean for each in contents.early.positions] == [1.0, 3.0, 0.0, 0.0]
    page = page_of(run)
    text = text_of(page)
    assert "Steps 1 to 2 2 answers 25 % 0.500 nats per token 75 % 3.000 nats per token 0 %" in text
    assert "Steps 19 to 20 2 answers 100 % 0.250 nats per token 0 %" in text
    assert "Steps 1 to 2: largest at token 2; Steps 19 to 20: largest at token 3." in text
    assert "<title>Steps 1 to 2, token 2: 3.000</title>" in page
    assert '<rect class="c1" x="0.000%" width="25.000%"' in page


def test_reasoning_is_told_by_the_template(run: Path) -> None:
    tokens = {"tokens": ["<think>", "2", "<answer>", " 5"], "advantage": [1.0, 1.0, 1.0, 1.0], "truncated": True}
    write_answers(run, **tokens)
    assert "thinking" not in read_run(run).early.regions
    (run / "recipe.toml").write_text('[prompt]\ntemplate = "time-r1"\n')
    assert {name: each.count for name, each in read_run(run).early.regions.items()} == {
        "thinking": 4,
        "format": 2,
        "digits": 2,
    }
    assert "Reasoning" in text_of(page_of(run))
    for broken in ('prompt = "x"', "[prompt]\ntemplate = 3", "[prompt]\ntemplate = 'none'", "broken ="):
        (run / "recipe.toml").write_text(broken)
        assert "thinking" not in read_run(run).early.regions


def test_a_run_of_one_step_has_one_row_and_one_without_advantages_none(run: Path) -> None:
    write_lines(run / "metrics.jsonl", [metrics_row(1)])
    assert "Step 1 1 answer" in text_of(page_of(run))
    write_answers(run, advantage=[None] * 4)
    assert "Where the advantage goes" not in page_of(run)
    write_answers(run, advantage=[1.0])
    assert "Where the advantage goes" not in page_of(run), "of another answer"
    write_answers(run, tokens=["x"] * 10**4, advantage=[0.1] * 10**4)
    page = page_of(run)
    assert Elements(page).open == []
    assert len(page) < 150_000


def test_of_a_long_run_only_some_answers_are_looked_at_and_the_last_among_them(run: Path) -> None:
    rows = [answer_row(step, id) for step in (1, 5, 7, 8) for id in ("a", f"b{step}")]
    write_lines(run / "answers.jsonl", rows)  # the run went on to step 20, without recording more
    found = {(each.step, each.id) for answers in read_run(run).examples for each in answers}
    assert found == {(1, "a"), (1, "b1"), (8, "a"), (8, "b8")}
