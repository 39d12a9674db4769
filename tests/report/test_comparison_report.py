import copy
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, Elements, check_that_it_loads_and_runs_nothing, text_of

from video_opd.errors import ConfigurationError
from video_opd.report import write_comparison_report
from video_opd.report.comparison.comparison_figures import Strip

SIDE = {"accuracy": 0.75, "interval": [0.5, 0.9], "num_questions": 60}


def evaluation(miou: float) -> dict[str, Any]:
    return {
        "split": "test",
        "scores": {"miou": miou, "r1@0.5": 0.4, "num_queries": 400},
        "intervals": {"miou": [miou - 0.03, miou + 0.03]},
        "convention": {"comparator": ">=", "draws": 1000},
        "best_constant": {"span": [1.0, 6.5], "miou": 0.286},
        "side_questions": SIDE,
    }


def point(step: int, cpu_seconds: float, miou: float) -> dict[str, Any]:
    lowest_and_highest = {"lowest": miou - 0.02, "highest": miou + 0.04}
    clocks = {"seconds": {"mean": 7 * cpu_seconds, "sd": 0.0}, "cpu_seconds": {"mean": cpu_seconds, "sd": 0.0}}
    return {"step": step, "miou": {"mean": miou, "sd": 0.01} | lowest_and_highest} | clocks


def method(miou: float, reading: float, writer: str) -> dict[str, Any]:
    total = reading + 10
    return {
        "learning_rate": 0.0005,
        "curve": [point(0, 0.0, 0.41), point(20, total / 2, miou - 0.1), point(40, total, miou)],
        "scores": {"miou": {"mean": miou, "sd": 0.5}, "r1@0.5": {"mean": 0.875, "sd": 0.004}},
        "test_miou": {"mean": miou, "sd_over_seeds": 0.012, "interval": [miou - 0.021, miou + 0.029]},
        "side_questions": {"mean": 0.7, "sd": 0.03},
        "ledger": {
            "examples": 640.0,
            "optimiser_steps": 40.0,
            "answer_tokens_learned_from": 11_100.5,
            "work": {writer: {"answers_written": 5120.0}, "student": {"prompt_passes": 640.0, "answers_written": 0.0}},
            "seconds_by_phase": {"read": 500.0},
            "cpu_seconds_by_phase": {"read": reading, "decode": 10.0},
            "extra_memory_bytes": 200 * 1024**2,
        },
        "to_target": [None, {"step": 20, "seconds": 9.0, "cpu_seconds": 30.0, "miou": 0.7},
                      {"step": 40, "seconds": 9.0, "cpu_seconds": 40.0, "miou": 0.7}],
    }  # fmt: skip


FULL: dict[str, Any] = {
    "name": "tiny",
    "seeds": [0, 1, 2],
    "device": "cpu",
    "time": "cpu_seconds",
    "target_miou": 0.7,
    "data_sha256": "0123456789abcdef" * 4,
    "student_before": evaluation(0.396),
    "teacher": evaluation(0.912),
    "sweep": [
        {"method": name, "learning_rate": rate, "seed": seed, "validation_miou": miou + seed / 10}
        for name, miou in (("opd", 0.6), ("sft", 0.5))
        for rate in (0.001, 0.0005)
        for seed in (0, 1)
    ],
    "methods": {"opd": method(0.82, 80.0, "teacher"), "sft": method(0.64, 30.0, "reference")},
    "differences": [
        {"one": "opd", "other": "sft", "mean": 0.18, "sd_over_seeds": 0.011, "interval": [0.15, 0.21]},
        {"one": "sft", "other": "opd", "mean": 0.01, "sd_over_seeds": 0.0, "interval": [-0.02, 0.04]},
    ],
    "sentences": ["opd beats sft by 0.180 ± 0.030 mIoU.", "No method passes the teacher."],
}

SECTIONS = {
    "How good did they become?",
    "Which differences show?",
    "How soon did they reach the target?",
    "What did they cost?",
    "Which learning rates were tried?",
    "How was it made?",
}


@pytest.fixture
def found() -> dict[str, Any]:
    """A comparison with everything that one may hold, to be spoiled by a test."""
    return copy.deepcopy(FULL)


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    def write_and_read(comparison: dict[str, Any]) -> str:
        (tmp_path / "comparison.json").write_text(json.dumps(comparison))
        page = write_comparison_report(tmp_path)
        assert page == tmp_path / "report.html"
        return page.read_text(encoding="utf-8")

    return write_and_read


PageOf = Callable[[dict[str, Any]], str]


def sections(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


def test_the_sections_come_in_order_with_their_numbers(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(found)
    assert set(sections(page)) == SECTIONS
    text = text_of(page)
    in_order = [
        "Comparison tiny 2 methods side by side, 40 steps each, 3 seeds.",
        "Validation mIoU against steps",
        "Before training: 0.410 on these queries, 0.396 on the test queries.",
        "Validation mIoU against CPU time",
        "opd beats sft by 0.180 ± 0.030 mIoU. No method passes the teacher.",
        "test queries 400 side questions 60 target, validation mIoU 0.7",
        "learning rate mIoU R1@0.5 CPU time side questions",
        "Student before – 0.396 0.366–0.426 0.400 – 0.750 0.500–0.900",
        "opd 0.0005 0.820 0.799–0.849 sd 0.012 0.875 sd 0.004 1 min 30 s 0.700 sd 0.030",
        "Teacher – 0.912 0.882–0.942",
        "The best constant answer, always 1–6.5 s, needs no video and has 0.286 mIoU.",
        "difference 95 % interval sd over seeds",
        "opd − sft +0.180 +0.150 to +0.210 0.011",
        "sft − opd +0.010 −0.020 to +0.040 0.000",
        "seeds that reached it steps CPU time",
        "opd 2 of 3 30 –, 20, 40 35 s –, 30 s, 40 s",
        "examples optimiser steps teacher reference student answer tokens learned from extra memory",
        "opd 640 40 5,120 – 640 11,100 200 MiB",
        "sft 640 40 – 5,120 640 11,100 200 MiB",
        "total, s decode read opd 90.0 10.0 80.0 sft 40.0 10.0 30.0",
        "0.0005 0.001 opd 0.650 chosen 0.650 sft 0.550 chosen 0.550",
        "seeds 0, 1, 2 device cpu data, SHA-256 0123456789ab comparator &gt;= draws 1000",
    ]
    places = [text.find(part) for part in in_order]
    assert [part for part, place in zip(in_order, places, strict=True) if place < 0] == []
    assert places == sorted(places)
    assert "0123456789abc" not in text


def test_the_page_is_one_file_that_loads_and_runs_nothing(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(found)
    check_that_it_loads_and_runs_nothing(page)
    assert page == page_of(found)


def test_hostile_text_stays_text_wherever_it_comes_from(found: dict[str, Any], page_of: PageOf) -> None:
    elements = Elements(page_of(found))
    hostile = json.loads(json.dumps(found).replace('"opd"', json.dumps(HOSTILE)).replace('"sft"', '"<b>"'))
    hostile |= {"name": HOSTILE, "device": HOSTILE, "seeds": [HOSTILE], "sentences": [HOSTILE], "data_sha256": "<i>"}
    hostile["student_before"]["convention"] = {HOSTILE: HOSTILE}
    for each in hostile["methods"].values():
        each["ledger"]["cpu_seconds_by_phase"][HOSTILE] = 1.0
        each["ledger"]["work"][HOSTILE] = {"prompt_passes": 1.0}
    page = page_of(hostile)
    attacked = Elements(page)
    assert attacked.open == []
    assert attacked.names <= elements.names
    assert attacked.attributes <= elements.attributes
    assert "&lt;b&gt; − " in page
    assert "{{ 7*7 }}" in page
    assert "\u202egnp" not in page.split("How was it made?")[0]  # below, a convention stands in a bdi


def spoiled(found: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Without these keys, at the top and in every method."""
    for table in (found, *found["methods"].values()):
        for name in keys:
            table.pop(name, None)
    return found


@pytest.mark.parametrize(
    ("keys", "section"),
    [
        (("student_before", "teacher", "scores", "test_miou"), "How good did they become?"),
        (("differences",), "Which differences show?"),
        (("to_target",), "How soon did they reach the target?"),
        (("target_miou",), "How soon did they reach the target?"),
        (("ledger",), "What did they cost?"),
        (("student_before", "teacher", "seeds", "device", "data_sha256"), "How was it made?"),
    ],
)
def test_what_is_absent_is_left_out(
    found: dict[str, Any], page_of: PageOf, keys: tuple[str, ...], section: str
) -> None:
    page = page_of(spoiled(found, *keys))
    assert set(sections(page)) == SECTIONS - {section}
    assert Elements(page).open == []


def test_without_curves_there_is_no_chart(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(spoiled(found, "curve"))
    assert set(sections(page)) == SECTIONS
    assert "Validation mIoU against" not in page


def test_five_findings_are_seen_at_once_and_all_behind_one_word(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(found | {"sentences": [f"Finding {number}." for number in range(5)]})
    assert "All 5 findings" not in page
    page = page_of(found | {"sentences": [f"Finding {number}." for number in range(7)]})
    seen, hidden = page.split("All 7 findings")
    assert re.findall(r"Finding (\d)", seen) == list("01234")
    assert re.findall(r"Finding (\d)", hidden) == list("0123456")


def test_a_comparison_without_a_sweep_says_so(found: dict[str, Any], page_of: PageOf) -> None:
    assert "No sweep was made" not in page_of(found)
    assert "No sweep was made" in page_of(found | {"sweep": []})


def test_without_side_questions_or_teacher_there_is_no_column_and_no_row(
    found: dict[str, Any], page_of: PageOf
) -> None:
    del found["student_before"]["side_questions"]
    spoiled(found, "side_questions")
    text = text_of(page_of(found | {"teacher": None, "sentences": []}))
    assert "side questions" not in text
    assert "Teacher" not in text
    assert "Student before – 0.396" in text


def keys_below(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_below, value.values()))
    return set().union(*map(keys_below, value)) if isinstance(value, list) else set()


def replaced(value: Any, name: str, by: Any) -> Any:
    """The value with `by` wherever something is called `name`; None: nothing stands there."""
    if isinstance(value, dict):
        kept = {key: by if key == name else replaced(each, name, by) for key, each in value.items()}
        return {key: each for key, each in kept.items() if key != name or by is not None}
    return [replaced(each, name, by) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("by", [None, "0.5", [], {}, math.nan, pytest.param(10**400, id="huge")])
def test_each_key_may_be_absent_or_hold_something_else(found: dict[str, Any], page_of: PageOf, by: Any) -> None:
    for name in sorted(keys_below(found) - {"methods"}):
        assert Elements(page_of(replaced(found, name, by))).open == [], name


def test_a_method_without_runs_to_its_end_does_not_hide_the_others(found: dict[str, Any], page_of: PageOf) -> None:
    found["methods"]["sft"] = {}
    text = text_of(page_of(found))
    assert set(sections(page_of(found))) == SECTIONS
    assert "opd 0.0005 0.820" in text
    assert "sft – – – – – Teacher" in text


def test_the_honest_clock_is_used(found: dict[str, Any], page_of: PageOf) -> None:
    text = text_of(page_of(found | {"time": "seconds"}))
    assert "CPU" not in text
    assert "Validation mIoU against training time" in text
    assert "total, s read opd 500.0 500.0" in text
    assert "opd 2 of 3 30 –, 20, 40 9.0 s –, 9.0 s, 9.0 s" in text


def test_an_interval_with_zero_is_a_ring_and_one_without_a_dot(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(found)
    forests = re.findall(r'<svg class="forest" role="img" aria-label="(.*?):.*?<circle class="(\w+)"', page)
    assert forests == [("opd − sft", "dot"), ("sft − opd", "ring")]
    strip = Strip(low=-1.0, high=1.0)
    for interval, style in (((0.0, 0.5), "ring"), ((-0.5, 0.0), "ring"), ((-0.5, -0.1), "dot")):
        whisker = strip.draw_whisker("t", 0.1, interval)
        assert f'<circle class="{style}" cx="55.00%"' in whisker
        assert f'x1="{50 + 50 * interval[0]:.2f}%" x2="{50 + 50 * interval[1]:.2f}%"' in whisker
        assert 'class="origin" x1="50.00%" x2="50.00%"' in whisker


def test_bars_have_one_scale(found: dict[str, Any], page_of: PageOf) -> None:
    bars = re.findall(r'<svg class="bar"[^>]*>(.*?)</svg>', page_of(found))
    ends = [sum(float(width) for width in re.findall(r'width="([\d.]+)%"', bar)) for bar in bars]
    assert ends == pytest.approx([100.0, 100 * 40 / 90], abs=0.01)
    colours = [re.findall(r'class="(c\d)"', bar) for bar in bars]
    assert colours[0] == colours[1] == ["c0", "c1"]


def test_selecting_examples_is_a_phase_with_a_name_and_a_colour_of_its_own(
    found: dict[str, Any], page_of: PageOf
) -> None:
    assert "Selecting examples is" not in text_of(page_of(found))
    found["methods"]["sft"]["ledger"]["cpu_seconds_by_phase"]["select"] = 60.0
    page = page_of(found)
    text = text_of(page)
    assert "select examples decode read" in text
    assert "total, s select examples decode read opd 90.0 – 10.0 80.0 sft 100.0 60.0 10.0 30.0" in text
    assert "Selecting examples is the scoring of models for a curriculum" in text
    bars = re.findall(r'<svg class="bar"[^>]*>(.*?)</svg>', page)
    widths = [dict(re.findall(r'class="(c\d)".*? width="([\d.]+)%"', bar)) for bar in bars]
    assert widths[1] == {"c8": "60.000", "c0": "10.000", "c1": "30.000"}
    assert widths[0]["c8"] == "0.000"
    assert '<i class="c8"></i>select examples' in page


def test_methods_with_several_teachers_leave_the_row_of_the_teacher_out(found: dict[str, Any], page_of: PageOf) -> None:
    found["teacher"] = None  # there is no one teacher that all were taught by
    for method in found["methods"].values():
        method["over_its_teacher"] = {"mean": 0.1, "sd_over_seeds": 0.0, "interval": [0.0, 0.2]}
        method["ledger"]["work"]["teacher"] = {"prompt_passes": 1280.0}
    page = page_of(found)
    assert Elements(page).open == []
    assert set(sections(page)) == SECTIONS
    assert text_of(page).count(" 640 1,280 ") == 2


def test_bands_reach_from_the_lowest_seed_to_the_highest(found: dict[str, Any], page_of: PageOf) -> None:
    found["methods"]["opd"]["curve"][2]["miou"] |= {"lowest": 0.0, "highest": 1.0}
    bands = re.findall(r'class="span s0" d="(.*?)"', page_of(found))
    assert len(bands) == 2
    assert all(" 14.0L" in band and " 284.0L" in band for band in bands)


def test_rules_are_drawn_where_they_can_be_compared(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(found)
    assert page.count("teacher 0.91, on the test queries") == page.count("target 0.7<") == 2
    found["teacher"]["scores"]["num_queries"] = 40
    assert "teacher 0.91" not in page_of(found | {"target_miou": None})
    assert "target 0.7" not in page_of(found | {"target_miou": None})


def test_every_line_has_its_name_beside_it_and_in_the_legend(found: dict[str, Any], page_of: PageOf) -> None:
    page = page_of(found)
    steps, time = re.findall(r'<svg class="chart".*?</svg>', page)
    assert re.findall(r'class="lead (s\d)".*?>(\w+)</text>', steps) == [("s0", "opd"), ("s1", "sft")]
    assert "lead" not in time
    assert re.findall(r"<li><svg class=\"key\".*?</svg><bdi>(\w+)</bdi></li>", page) == ["opd", "sft"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read"),
        (b'{"methods": {', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "names no methods"),
        (b'{"methods": []}', "names no methods"),
    ],
)
def test_without_a_comparison_there_is_no_page(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "comparison.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason) as refusal:
        write_comparison_report(tmp_path)
    assert "video-opd compare" in refusal.value.remedy
    assert not (tmp_path / "report.html").exists()


def test_a_comparison_on_few_queries_has_no_intervals(found: dict[str, Any], page_of: PageOf) -> None:
    """Nor have those that an earlier version wrote."""
    for count, there in ((29, False), (30, True)):
        found["student_before"]["scores"]["num_queries"] = found["teacher"]["scores"]["num_queries"] = count
        for each in found["differences"]:
            each["num_queries"] = count
        for each in found["methods"].values():
            each["test_miou"]["num_queries"] = count
        page = page_of(found)
        assert ("Small figures: 95 % intervals" in text_of(page)) == there
        assert ("Which differences show?" in sections(page)) == there
        assert ("0.366–0.426" in page) == ("0.799–0.849" in page) == there
        assert ("fitted to these few queries" in page) != there
