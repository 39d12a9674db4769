import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, Elements, check_that_it_loads_and_runs_nothing, text_of

from video_opd.errors import ConfigurationError
from video_opd.files.run_records import BestConstant, EvaluationReport, SampledAnswer, StepMetrics
from video_opd.report import write_report
from video_opd.report.figures import choose_ticks, draw_line_chart, label_ticks, shorten, smooth
from video_opd.report.run import run_checks
from video_opd.report.run.answer_cards import build_cards, choose_scale_of
from video_opd.report.run.run_checks import make_checks
from video_opd.report.run.run_contents import RunContents, read_run
from video_opd.report.run.verdict import Standing, build_score_table, format_duration, write_headline, write_remarks
from video_opd.report.visible_text import make_visible

SCORES = {"r1@0.3": 0.8, "r1@0.5": 0.6, "r1@0.7": 0.4, "output_format_rate": 0.97, "num_queries": 400}


def write_evaluation(run: Path, name: str, miou: float, step: int | None = None, **changes: Any) -> None:
    found = {
        "step": step,
        "name": name,
        "split": "test",
        "scores": {"miou": miou} | SCORES,
        "intervals": {"miou": [miou - 0.03, miou + 0.03]},
        "best_constant": {"span": [2.1, 6.4], "miou": 0.31},
        "convention": {"iou": "of the first span", "draws": 2000},
    }
    (run / "evaluation").mkdir(exist_ok=True)
    (run / "evaluation" / f"{name}.json").write_text(json.dumps(found | changes))


def metrics_row(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "seconds": step * 0.19,
        "loss": 1 / step,
        "reverse_kl": 2 / step,
        "sampler_learner_gap": 1e-7,
        "clamped_share": 0.01,
        "truncated_share": 0.0,
        "output_format_rate": 0.9,
        "miou": 0.5,
        "grad_norm": 1.0,
        "num_answer_tokens": 100,
        "num_set_aside": int(step >= 3),
        "seconds_by_phase": {"read": 0.1, "answer": 0.05, "teacher": 0.03},
    } | changes


def answer_row(step: int, id: str, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "id": id,
        "query": f"what happens in {id}",
        "duration": 10.0,
        "annotated": [[2.0, 4.0]],
        "answer": "2 - 5",
        "spans": [[2.0, 5.0]],
        "reason": None,
        "iou": 2 / 3,
        "truncated": False,
        "tokens": ["2", " -", " 5", "<|im_end|>"],
        "advantage": [0.5, -0.25, -1.0, 0.0],
        "sampler_logprobs": [-1.0, -0.5, -0.25, 0.0],
        "teacher_logprobs": [-0.5, -0.75, -1.25, 0.0],
    } | changes


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of 60 steps with everything a run folder may hold."""
    run = tmp_path / "tiny-opd"
    run.mkdir()
    (run / "recipe.toml").write_text('method = "opd"\nseed = 17\n')
    (run / "environment.json").write_text('{"torch": "2.12"}')
    rows = [metrics_row(step) for step in range(1, 61)]
    for row in rows[9::10]:
        row |= {"reverse_kl_before": 0.5, "reverse_kl_after": 0.6 if row["step"] == 30 else 0.4}
    write_lines(run / "metrics.jsonl", rows)
    write_lines(run / "answers.jsonl", [answer_row(step, id) for step in (1, 2, 60) for id in ("a", "b", "c", "d")])
    write_evaluation(run, "student-before", 0.371, 0)
    write_evaluation(run, "validation-000030", 0.55, 30)
    write_evaluation(run, "validation-000060", 0.64, 60)
    write_evaluation(run, "student-after", 0.652, 60)
    write_evaluation(run, "teacher", 0.843)
    return run


def page_of(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_the_page_says_what_the_numbers_say(run: Path) -> None:
    text = text_of(page_of(run))
    assert (
        "In 60 steps and 11 s the student went from 0.37 to 0.65 mIoU on 400 held-out queries; "
        "its teacher stands at 0.84." in text
    )
    assert "It closed 60 % of the distance to its teacher." in text
    assert "The 95 % intervals before and after do not overlap." in text
    assert "Best constant answer always 2.1–6.4 s 0.310 – – – – " in text
    assert "Student before step 0 0.371 0.341–0.401 0.800 0.600 0.400 0.970" in text
    assert "Student after step 60 0.652 0.622–0.682" in text
    assert "Teacher 0.843 0.813–0.873" in text
    assert "0.371 at step 0, 0.652 at step 60." in text  # not the 0.64 of validation-000060, the same model
    assert "It fell in 5 of 6 probes." in text
    assert "answer tokens learned from 6,000" in text
    assert "examples set aside 1" in text
    assert "read 6.0 s, 53 %" in text  # 60 x 0.1 s of 60 x 0.19 s
    assert "anything else 0.6 s, 5 %" in text
    assert "draws 2000" in text
    assert "seed = 17" in text
    assert "&#34;torch&#34;: &#34;2.12&#34;" in text


def test_the_top_has_a_picture_the_cost_and_the_checks(run: Path) -> None:
    (run / "environment.json").write_text('{"device": "a card"}')
    page = page_of(run)
    top = page.split("<section>")[0]
    labels = re.findall(r'class="standing (\w+)" role="img" aria-label="(.*?)"', top)
    assert labels == [
        ("before", "Student before: 0.371 mIoU, 95 % interval 0.341–0.401"),
        ("after", "Student after: 0.652 mIoU, 95 % interval 0.622–0.682"),
        ("teacher", "Teacher: 0.843 mIoU, 95 % interval 0.813–0.873"),
        ("floor", "Best constant answer: 0.310 mIoU"),
    ]
    # a place on the axis: 2 % of room at both ends
    assert '<circle cx="64.62%"' in top  # (0.652 + 0.02) / 1.04
    text = text_of(top)
    assert "Student after 0.652 0.622–0.682" in text
    assert "steps 60 training time 11 s answer tokens learned from 6,000 device a card examples set aside 1" in text
    assert "6 of 9 checks passed, 1 deserves a look, 2 were not made." in text
    assert "look Every example could be used. Set aside: 1 in training." in text


def outcomes(run: Path) -> dict[str, str]:
    contents = read_run(run)
    checks = make_checks(contents, Standing.sort_evaluations(contents.evaluations)).checks
    return {each.checked: each.outcome for each in checks}


def test_each_check_can_fail_and_can_be_impossible(run: Path) -> None:
    sound = outcomes(run)
    rows = [metrics_row(step, num_set_aside=0) for step in range(1, 61)]
    write_lines(run / "metrics.jsonl", rows)
    assert outcomes(run) == sound | {
        "Every example could be used": "passed",
        "An update lowers the reverse KL of its own batch": "not made",
    }
    for key, value, checked in (
        ("loss", None, "The loss is a finite number in every step"),
        ("sampler_learner_gap", 0.01, "The model that writes is the model that learns"),
        ("num_damaged", 1, "Every example could be used"),
    ):
        write_lines(run / "metrics.jsonl", [*rows[:-1], rows[-1] | {key: value}])
        assert outcomes(run)[checked] == "look", key
    write_lines(run / "metrics.jsonl", [row | {"reverse_kl_before": 1, "reverse_kl_after": 2} for row in rows])
    assert outcomes(run)["An update lowers the reverse KL of its own batch"] == "look"
    write_lines(run / "metrics.jsonl", [row | {"output_format_rate": float(row["step"] < 30)} for row in rows])
    assert outcomes(run)["The student did not collapse"] == "look"
    write_evaluation(run, "student-after", 0.6, 60, set_aside={"x": "no file"}, warnings=["in per cent"],
                     scores={"miou": 0.6} | SCORES | {"output_format_rate": 0.5})  # fmt: skip
    found = outcomes(run)
    assert found["Answers name a span"] == found["Answers are in seconds"] == "look"
    assert found["Every example could be used"] == "look"
    for path in ("metrics.jsonl", "evaluation"):
        (run / path).rename(run.parent / path)
    assert set(outcomes(run).values()) == {"not made"}


def test_the_limits_of_the_checks_are_those_of_the_doctor() -> None:
    from video_opd.doctor import checks as doctor

    assert (run_checks.ROUNDING_NATS, run_checks.BLIND_NATS) == (doctor.ROUNDING_NATS, doctor.BLIND_NATS)


def test_the_page_is_one_file_that_loads_and_runs_nothing(run: Path) -> None:
    page = page_of(run)
    check_that_it_loads_and_runs_nothing(page)
    assert len(page) < 100_000


def test_the_same_folder_gives_the_same_page(run: Path) -> None:
    assert page_of(run) == page_of(run)


def test_hostile_text_stays_text_wherever_it_comes_from(run: Path) -> None:
    elements = Elements(page_of(run))
    (run / "recipe.toml").write_text(f"# {HOSTILE}")
    (run / "environment.json").write_text(HOSTILE)
    write_evaluation(run, "teacher", 0.8, convention={HOSTILE: HOSTILE})
    write_evaluation(run, "student-before", 0.3, 0, split=f"train{HOSTILE}")
    write_evaluation(run, "student-after", 0.4, 60, split=f"train{HOSTILE}")
    (run / "evaluation" / "zz<img onerror=a>.json").write_text(HOSTILE)
    hostile = dict.fromkeys(("query", "answer", "reason"), HOSTILE) | {"tokens": [HOSTILE] * 4, "spans": []}
    write_lines(
        run / "answers.jsonl", [answer_row(1, HOSTILE, **hostile), answer_row(2, "b", **hostile, advantage=[1e-9] * 4)]
    )
    rows = [metrics_row(step, seconds_by_phase={HOSTILE: 1.0}) for step in (1, 2)]
    write_lines(run / "metrics.jsonl", rows)
    page = page_of(run)
    attacked = Elements(page)
    assert attacked.open == []
    assert attacked.names <= elements.names | {"br"}
    assert attacked.attributes <= elements.attributes
    assert page.count("&lt;/script&gt;") > 10
    assert "{{ 7*7 }}" in page
    for example in re.findall(r"<article>.*?</article>", page, flags=re.DOTALL):
        assert "\u202e" not in example
        assert "[U+202E]gnp.exe" in example


def test_a_megabyte_of_query_and_of_answer_does_not_make_a_megabyte_of_page(run: Path) -> None:
    long = "long " * 200_000
    write_lines(
        run / "answers.jsonl",
        [
            answer_row(1, "a" * 10**6, query=long, answer=long, reason=long, tokens=[long] * 4),
            answer_row(2, "b", tokens=["x"] * 10**5, advantage=[0.1] * 10**5),
        ],
    )
    page = page_of(run)
    assert len(page) < 120_000
    assert "… 99904 more …" in text_of(page)


def test_half_a_surrogate_pair_does_not_stop_the_report(run: Path) -> None:
    write_lines(run / "answers.jsonl", [answer_row(1, "a", query="broken \ud83d emoji")])
    assert "broken ? emoji" in page_of(run)


@pytest.mark.parametrize("missing", ["recipe.toml", "environment.json", "metrics.jsonl", "answers.jsonl", "evaluation"])
def test_any_part_may_be_missing(run: Path, missing: str) -> None:
    (run / missing).rename(run.parent / "elsewhere")
    elements = Elements(page_of(run))
    assert elements.open == []
    assert "h1" in elements.names


def test_each_key_of_the_metrics_may_be_missing(run: Path) -> None:
    for key in metrics_row(1).keys() - {"step"}:
        rows = [metrics_row(step) for step in range(1, 4)]
        for row in rows:
            del row[key]
        write_lines(run / "metrics.jsonl", rows)
        assert Elements(page_of(run)).open == []


def test_a_run_that_has_only_just_begun(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('method = "opd"')
    assert "This run has only just begun: no step has been taken yet" in text_of(page_of(tmp_path))
    write_lines(tmp_path / "metrics.jsonl", [metrics_row(1)])
    text = text_of(page_of(tmp_path))
    assert "1 step so far, in 0.2 s, and nothing has been evaluated." in text
    write_evaluation(tmp_path, "student-before", 0.37, 0)
    assert "Before training, the student stands at 0.37 mIoU on 400 held-out queries; 1 step so far" in text_of(
        page_of(tmp_path)
    )


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not the folder of a run"):
        write_report(tmp_path)
    with pytest.raises(ConfigurationError, match="not the folder of a run"):
        write_report(tmp_path / "absent")


def test_damaged_parts_are_left_out_and_named(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    (run / "metrics.jsonl").write_text("\n".join([*lines[:5], "{broken", *lines[5:]]))
    (run / "answers.jsonl").write_text('{"step": 1\n[]\n')
    (run / "evaluation" / "teacher.json").write_text('{"scores": {"miou": "high"}}')
    text = text_of(page_of(run))
    assert "The curves are left out: " in text
    assert "metrics.jsonl line 6 is broken" in text
    assert "The examples are left out: " in text
    assert "evaluation/teacher.json is left out: it holds no mIoU." in text
    assert "the student went from 0.37 to 0.65 mIoU" in text


@pytest.mark.parametrize("value", [None, "0.5", True, [], {}, math.nan, math.inf, pytest.param(10**400, id="huge")])
def test_a_value_that_is_no_number_is_a_missing_value(run: Path, value: Any) -> None:
    assert StepMetrics.from_json({"step": 1, "loss": value}).loss is None
    row = dict.fromkeys(metrics_row(1), value) | {"step": 1}
    answer = dict.fromkeys(answer_row(1, "a"), value) | {"step": 1}
    for path, rows in ((run / "metrics.jsonl", [row]), (run / "answers.jsonl", [answer])):
        write_lines(path, rows)
    write_evaluation(run, "validation-000010", 0.5, best_constant=value, intervals={"miou": value}, convention=value)
    assert Elements(page_of(run)).open == []


def test_a_loss_that_was_not_finite_is_said(run: Path) -> None:
    write_lines(run / "metrics.jsonl", [metrics_row(1), metrics_row(2, loss=None), metrics_row(3, loss=None)])
    assert "The loss was not a finite number in 2 of 3 steps, first in step 2." in text_of(page_of(run))


def evaluation(
    name: str, miou: float, step: int | None, split: str = "test", reach: float = 0.03, num_queries: int = 400
) -> EvaluationReport:
    return EvaluationReport(
        name=name,
        step=step,
        split=split,
        scores={"miou": miou, "num_queries": num_queries},
        intervals={"miou": (miou - reach, miou + reach)},
        best_constant=BestConstant(miou=0.31),
    )


EMPTY = RunContents(name="run", recipe=None, environments={}, rows=[], evaluations=[], examples=[], notices=[])


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (0.37, 0.65, "In 60 steps the student went from 0.37 to 0.65 mIoU on 400 held-out queries."),
        (0.65, 0.37, "In 60 steps the student fell from 0.65 to 0.37 mIoU on 400 held-out queries."),
        (0.371, 0.372, "In 60 steps the student stayed at 0.37 mIoU on 400 held-out queries."),
    ],
)
def test_the_headline_knows_up_from_down(before: float, after: float, sentence: str) -> None:
    standing = Standing.sort_evaluations(
        [evaluation("student-after", after, 60), evaluation("student-before", before, 0)]
    )
    assert write_headline(EMPTY, standing) == sentence


def test_what_was_scored_on_other_queries_is_not_compared() -> None:
    standing = Standing.sort_evaluations(
        [
            evaluation("student-before", 0.4, 0, split="validation"),
            evaluation("teacher", 0.9, None, split="train"),
            evaluation("student-after", 0.6, 60),
        ]
    )
    assert write_headline(EMPTY, standing) == "After 60 steps the student stands at 0.60 mIoU on 400 held-out queries."
    assert standing.before is None
    assert standing.teacher is None
    assert len(standing.curve) == 1


def test_without_a_final_evaluation_the_newest_validation_counts() -> None:
    standing = Standing.sort_evaluations(
        [evaluation(f"validation-{step:06d}", step / 100, step) for step in (0, 20, 40)]
    )
    assert write_headline(EMPTY, standing).startswith("In 40 steps the student went from 0.00 to 0.40")


def test_a_gain_within_the_noise_and_a_student_on_the_floor_are_said() -> None:
    standing = Standing.sort_evaluations([evaluation("student-after", 0.31, 60), evaluation("student-before", 0.29, 0)])
    said = " ".join(write_remarks(EMPTY, standing))
    assert "overlap, so the change may be chance" in said
    assert "no better than one constant answer to every query (0.31 mIoU)" in said
    assert build_score_table(Standing()) is None


@pytest.mark.parametrize(
    ("num_queries", "counted"), [(1, "1 held-out query"), (2, "2 held-out queries"), (29, "29 held-out queries")]
)
@pytest.mark.parametrize("after", [0.0, 0.29, 0.31, 1.0])
def test_of_few_queries_nothing_is_said_but_that(num_queries: int, counted: str, after: float) -> None:
    """Neither of the intervals, nor of the distance to the teacher, nor of the constant answer."""
    standing = Standing.sort_evaluations(
        [
            evaluation("student-after", after, 60, num_queries=num_queries),
            evaluation("student-before", 0.29, 0, num_queries=num_queries),
            evaluation("teacher", 0.9, None, num_queries=num_queries),
        ]
    )
    (said,) = write_remarks(EMPTY, standing)
    assert said.startswith(f"Whether the student improved cannot be said from {counted}")
    assert said.endswith(": a 95 % interval needs at least 30 held-out queries.")
    assert f"on {counted}" in write_headline(EMPTY, standing)


def test_from_thirty_queries_on_something_is_said() -> None:
    standing = Standing.sort_evaluations(
        [evaluation(name, miou, step, num_queries=30) for name, miou, step in
         (("student-after", 0.6, 60), ("student-before", 0.29, 0))]
    )  # fmt: skip
    assert write_remarks(EMPTY, standing) == ["The 95 % intervals before and after do not overlap."]


def test_a_student_that_did_not_change_is_not_told_that_its_change_may_be_chance() -> None:
    standing = Standing.sort_evaluations([evaluation("student-after", 0.5, 60), evaluation("student-before", 0.5, 0)])
    assert write_remarks(EMPTY, standing) == []


def test_a_run_with_one_test_query(run: Path) -> None:
    """Also one whose evaluations were written by an earlier version, with intervals of no width."""
    for name, miou, step in (("student-before", 0.0, 0), ("student-after", 0.7, 60), ("teacher", 0.9, None)):
        write_evaluation(
            run, name, miou, step, scores=SCORES | {"miou": miou, "num_queries": 1}, intervals={"miou": [miou, miou]}
        )
    text = text_of(page_of(run))
    assert "Whether the student improved cannot be said from 1 held-out query" in text
    assert "intervals before and after" not in text
    assert "of the distance to its teacher" not in text
    assert "no better than one constant" not in text
    assert "All of them answered the same query." in text
    assert "Small figures: 95 % intervals" not in text
    assert "best constant answer is fitted to these few queries" in text
    assert "ends well above the best constant" not in text
    assert "0.700–0.700" not in text


def answer(step: int, id: str, advantage: tuple[float | None, ...] = (1.0,)) -> dict[str, Any]:
    return answer_row(step, id, tokens=["x"] * len(advantage), advantage=list(advantage))


def examples_of(run: Path, rows: list[dict[str, Any]]) -> list[list[tuple[int, str]]]:
    write_lines(run / "answers.jsonl", rows)
    return [[(found.step, found.id) for found in group] for group in read_run(run).examples]


def test_examples_are_the_first_queries_with_their_first_and_latest_answers(run: Path) -> None:
    rows = [answer(step, id) for step in (1, 5, 9) for id in ("a", "b", "c", "d") for _ in range(2)]
    assert examples_of(run, rows) == [[(1, id), (9, id)] for id in ("a", "b", "c")]


def test_queries_that_never_come_again_stand_alone(run: Path) -> None:
    rows = [answer(1, "a"), answer(1, "b"), answer(2, "c"), answer(3, "d"), answer(3, "e")]
    assert examples_of(run, rows) == [[(1, "a")], [(1, "b")], [(3, "d")], [(3, "e")]]
    assert examples_of(run, rows[:2]) == [[(1, "a")], [(1, "b")]]
    assert examples_of(run, []) == []


def shown(run: Path, rows: list[dict[str, Any]]) -> tuple[list[tuple[SampledAnswer, ...]], list[list[str]]]:
    write_lines(run / "answers.jsonl", rows)
    examples = read_run(run).examples
    return examples, [
        [chip.style for chip in attempt.chips] for card in build_cards(examples) for attempt in card.attempts
    ]


def test_tokens_are_coloured_by_advantage_on_one_scale(run: Path) -> None:
    examples, styles = shown(run, [answer(1, "a", (2.0, -2.0, 1.0, -0.1, None)), answer(1, "b", (-9.0, 0.5))])
    assert choose_scale_of(examples) == 2.0  # the -9 is beyond it
    assert styles == [["plus-4", "minus-4", "plus-2", "zero", "zero"], ["minus-4", "plus-1"]]


def test_advantages_that_do_not_match_the_tokens_are_not_shown(run: Path) -> None:
    _, styles = shown(run, [answer_row(1, "a", advantage=[5.0, 5.0])])
    assert styles == [["zero"] * 4]


def test_timelines_lie_where_the_spans_are(run: Path) -> None:
    write_lines(run / "answers.jsonl", [answer_row(1, "a", annotated=[[2.0, 4.0]], spans=[[-3.0, 5.0], [9.0, 99.0]])])
    page = page_of(run)
    assert '<rect class="annotated" x="20.00%" width="20.00%"' in page
    assert '<rect class="student" x="0.00%" width="50.00%"' in page
    assert '<rect class="student" x="90.00%" width="10.00%"' in page


def test_the_gap_is_shown_in_each_part_of_an_answer_that_has_one(run: Path) -> None:
    assert "Where student and teacher differ" not in text_of(page_of(run))
    regions = {"digits": {"mean": 0.75, "num_tokens": 8}, "format": {"mean": float("nan"), "num_tokens": 0}}
    write_lines(run / "metrics.jsonl", [metrics_row(step, reverse_kl_by_region=regions) for step in (1, 2)])
    shown = text_of(page_of(run))
    assert "In the times" in shown
    assert "From 0.75 to 0.75." in shown
    assert "In the words around them" not in shown
    assert "In the reasoning" not in shown


def test_a_line_passes_through_its_points() -> None:
    image = draw_line_chart("t", [(0.0, 0.0), (10.0, 1.0)], y_range=(0.0, 1.0))
    # 480 x 240 less the margins: 48 left, 20 right, 14 above, 26 below
    assert 'class="line" d="M48.0 214.0L460.0 14.0"' in image


def test_an_exploding_step_is_named_and_does_not_flatten_the_others() -> None:
    points = [(float(step), 1e6 if step == 17 else 1.0) for step in range(100)]
    image = draw_line_chart("t", points)
    assert "▲ 1M at step 17" in image
    assert ">1.5<" in image or ">2<" in image


def test_among_a_handful_of_values_none_is_an_outlier() -> None:
    assert "▲" not in draw_line_chart("t", [(1.0, 100.0), (2.0, 1.0)])


def test_probes_that_would_cover_each_other_are_thinned_but_all_counted(run: Path) -> None:
    rows = [metrics_row(step, reverse_kl_before=0.5, reverse_kl_after=0.4) for step in range(1, 301)]
    write_lines(run / "metrics.jsonl", rows)
    page = page_of(run)
    assert "It fell in 300 of 300 probes. One in 5 is drawn." in text_of(page)
    assert page.count('class="ring"') == 60


def test_a_hundred_thousand_steps_make_a_small_picture_and_keep_their_spikes() -> None:
    points = [(float(step), 1.0 + (step == 77_777)) for step in range(100_000)]
    image = draw_line_chart("t", points)
    assert len(image) < 20_000
    faint = re.search(r'class="faint" d="([^"]*)"', image)
    assert faint is not None
    assert min(float(pair.split()[1]) for pair in re.split("[ML]", faint[1])[1:]) == 14.0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 60, [0, 20, 40, 60]),
        (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
        (0, 3e-7, [0, 1e-7, 2e-7, 3e-7]),
    ],
)
def test_ticks_are_round_and_hold_the_range(low: float, high: float, expected: list[float]) -> None:
    assert choose_ticks(low, high, 5) == pytest.approx(expected, abs=1e-12)


def test_numbers_are_short() -> None:
    values = (0, 0.25, 40, 12_000, 1e6, 2e-6, -0.5, 2_400_000, 1234)
    assert [shorten(value) for value in values] == ["0", "0.25", "40", "12k", "1M", "2e-6", "-0.5", "2.4M", "1234"]


def test_labels_of_an_axis_tell_its_ticks_apart() -> None:
    assert label_ticks([17.1, 17.12, 17.14]) == ["17.1", "17.12", "17.14"]
    assert label_ticks([0, 0.25, 12_000]) == ["0", "0.25", "12k"]
    assert label_ticks([0.5, 0.5]) == ["0.5", "0.5"]
    assert [format_duration(s) for s in (0.84, 11.4, 59.7, 200, 7500)] == [
        "0.8 s",
        "11 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_smoothing_keeps_a_line_and_calms_a_zigzag() -> None:
    assert smooth([(float(x), 2.0) for x in range(50)]) == [(float(x), 2.0) for x in range(50)]
    calmed = [y for _, y in smooth([(float(x), float(x % 2)) for x in range(200)])]
    assert max(calmed) - min(calmed) < 0.2


def test_invisible_and_direction_changing_characters_are_spelled_out() -> None:
    assert make_visible("a\u202eb\x00c\u200fd\n") == "a[U+202E]b[U+0000]c[U+200F]d\n"
    assert make_visible("x" * 500) == "x" * 400 + "…"
    assert make_visible("اردو 第二 👩‍👧") == "اردو 第二 👩‍👧"


def test_the_report_does_not_import_torch() -> None:
    check = "import sys, video_opd.report, video_opd.runs; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def old_names(run: Path) -> None:
    """As versions before the metric had one name wrote the files of a run."""
    for path in [run / "metrics.jsonl", *(run / "evaluation").glob("*.json")]:
        text = path.read_text()
        assert '"output_format_rate"' in text
        path.write_text(text.replace('"output_format_rate"', '"format_rate"'))


def test_a_run_begun_by_an_earlier_version_gives_the_same_page(run: Path) -> None:
    """Its metric was called format_rate; and a run that went on since has both names in one journal."""
    page = page_of(run)
    assert page.count("utput format rate") >= 2, "a column and a figure"
    old_names(run)
    assert page_of(run) == page
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    lines[-1] = lines[-1].replace('"format_rate"', '"output_format_rate"')
    (run / "metrics.jsonl").write_text("".join(lines))
    assert page_of(run) == page


def test_what_the_student_forgets_is_in_the_table(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_evaluation(run, "student-before", 0.3, 0)
    assert "side questions" not in text_of(write_report(run).read_text())
    asked = {"accuracy": 0.7125, "interval": [0.6, 0.8], "num_questions": 80}
    write_evaluation(run, "student-after", 0.6, 60, side_questions=asked)
    text = text_of(write_report(run).read_text())
    assert re.search("Student after step 60 0.600 0.570–0.630 .*0.713 0.600–0.800", text)
    assert "If it falls, the student forgets." in text
