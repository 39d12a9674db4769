"""The section "What it trained on", from run folders made by hand."""

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from pages import HOSTILE, Elements, check_that_it_loads_and_runs_nothing, text_of

from video_opd.curriculum import MOSTLY_NOISE
from video_opd.report import write_report
from video_opd.report.phases import choose_colours, sort_phases
from video_opd.report.run import curriculum_section as curriculum
from video_opd.report.run.curriculum_figures import Column, draw_columns
from video_opd.report.run.curriculum_section import build_section, draw_coupling
from video_opd.report.run.run_contents import read_run
from video_opd.runs.round_files import read_cost_of_selection

HEADING = "<h2>What it trained on</h2>"
NOISE = "the ranking is mostly noise: another draw of answers would rank otherwise (reliability 0.31 of 1)"


def profile(start_s: float, charades: float) -> dict[str, Any]:
    means = {"start_s": start_s, "start_share": 0.25, "length_s": 4.0, "duration_s": 30.0}
    return means | {"num_examples": 10, "sources": {"charades": charades, "qvh": 1 - charades}}


def facts(round: int, **changes: Any) -> dict[str, Any]:
    found = {
        "round": round,
        "first_step": 10 * (round - 1),
        "num_pool": 10,
        "num_unscored": 3,
        "num_passing": 5,
        "num_kept": 2,
        "kinds": {},
        "pool": profile(8.0, 0.5),
        "kept": profile(10.0 if round == 1 else 9.0, 0.25 if round == 1 else 0.49),
        "reliability_of_teacher": 0.8,
        "reliability_of_student": 0.4,
        "reliability_of_ranking": 0.31 if round == 1 else 0.72,
        "warnings": [NOISE] if round == 1 else [],
        "cost": {"student": {"seconds": 3.0, "cpu_seconds": 2.5, "num_scored": 5}}
        | ({"teacher": {"seconds": 24.0, "cpu_seconds": 20.0, "num_scored": 7}} if round == 1 else {}),
    }
    return found | changes


def selection() -> list[dict[str, Any]]:
    """Ten examples: two kept, three more that passed, two that did not, three that nobody could read."""
    rows: list[dict[str, Any]] = [
        {"id": "a", "tau": 1.0, "sigma": 0.0, "delta": 1.0, "kept": True, "order": 1, "why": "1 of 2 chosen"},
        {"id": "b", "tau": 0.9, "sigma": 0.2, "delta": 0.7, "kept": True, "order": 2, "why": "2 of 2 chosen"},
    ]
    rows += [{"id": f"c{i}", "tau": 0.8, "sigma": 0.6, "delta": 0.2, "kept": False, "why": "not"} for i in range(3)]
    rows += [{"id": f"d{i}", "tau": 0.1, "sigma": None, "delta": None, "kept": False, "why": "below"} for i in range(2)]
    why = ("videos/x.mp4: no such file", "videos/y.mp4: no such file", "2 of the first 9 examples of 'qvh' passed")
    return rows + [
        {"id": f"e{i}", "tau": None, "sigma": None, "delta": None, "kept": False, "why": f"not scored: {each}"}
        for i, each in enumerate(why)
    ]


def write_round(run: Path, round: int, miou: float = 0.5, **changes: Any) -> None:
    folder = run / "rounds" / str(round)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "selection-facts.json").write_text(json.dumps(facts(round, **changes)))
    write_lines(folder / "selection.jsonl", selection())
    (folder / "evaluation.json").write_text(json.dumps({"scores": {"miou": miou}}))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def counted(step: int, active: int, suspended: int, reactivated: int) -> dict[str, Any]:
    names = {"active": active, "suspended": suspended, "reactivated": reactivated}
    anchors = {f"{name}_anchor": min(count, 1) for name, count in names.items()}
    frontier = {f"{name}_frontier": count - min(count, 1) for name, count in names.items()}
    return {"step": step, "seconds": 0.9 * step, "coupling": names | anchors | frontier}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two rounds of ten steps."""
    run = tmp_path / "tvdf"
    run.mkdir()
    (run / "recipe.toml").write_text('name = "tvdf"\n')
    rows = [{"step": s, "seconds": 0.9 * s, "seconds_by_phase": {"read": 0.6, "teacher": 0.3}} for s in range(1, 21)]
    write_lines(run / "metrics.jsonl", rows)
    write_round(run, 1, 0.5)
    write_round(run, 2, 0.625)
    return run


def page_of(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_the_section_says_what_was_chosen_what_that_changed_and_what_it_took(run: Path) -> None:
    text = text_of(page_of(run))
    in_order = [
        "What it trained on",
        "Selection took 30 s, training 18 s: 1.67 to 1.",
        f"Round 1: {NOISE}",
        "examples teacher’s IoU, mean student’s IoU, mean ranking validation",
        "pool unscored passing kept pool kept pool kept reliability mIoU after it",
        "Round 1 from step 1 10 3 5 2 0.643 of 7 0.950 0.400 of 5 0.100 0.31 mostly noise 0.500",
        "Round 2 from step 11 10 3 5 2 0.643 of 7 0.950 0.400 of 5 0.100 0.72 0.625",
        "All rounds: 2 unscored: no such file",
        "All rounds: 1 unscored: 2 of the first 9 examples of &#39;qvh&#39; passed",
        "Teacher’s IoU, round 2",
        "Kept: 2 of the 7 it was asked about.",
        "Student’s IoU, round 1",
        "Kept: 2 of the 5 it was asked about.",
        "Student’s IoU, round 2",
        "pool kept, round 1 kept, round 2",
        "Start of the span 8.00 s 10.00 s +25 % 9.00 s +12 %",
        "Length of the span 4.00 s 4.00 s same 4.00 s same",
        "From charades 50 % 25 % −25 points 49 % −1 point ",
        "From qvh 50 % 75 % +25 points 51 % +1 point ",
        "select examples 30 s, 6",  # of 30 s and 18 s
        "read 12 s, 25 %",
    ]
    places = [text.find(part) for part in in_order]
    assert [part for part, place in zip(in_order, places, strict=True) if place < 0] == []
    assert places == sorted(places)


def test_what_differs_by_more_than_a_fifth_is_set_apart(run: Path) -> None:
    page = page_of(run)
    assert re.findall(r'<td class="apart">([^<]*?) <', page) == ["0.31", "10.00 s", "25 %", "75 %"]


def test_a_rare_source_that_loses_an_example_is_no_shift(run: Path) -> None:
    rare = profile(8.0, 0.01), profile(8.0, 0.0)
    write_round(run, 1, pool=rare[0], kept=rare[1])
    assert "From charades 1.0 % 0 % −1 point " in text_of(page_of(run))
    assert 'class="apart">0 %' not in page_of(run)


def test_the_cost_is_that_of_the_ledger(run: Path) -> None:
    cost = read_cost_of_selection(run / "rounds", "seconds")
    assert cost == {0: 27.0, 10: 3.0}
    assert read_run(run).curriculum.cost_s == sum(cost.values())


def test_what_the_page_calls_noise_is_what_the_curriculum_calls_noise() -> None:
    assert curriculum.MOSTLY_NOISE == MOSTLY_NOISE


def test_kept_examples_stand_at_the_foot_of_their_column(run: Path) -> None:
    found = build_section(read_run(run))
    assert found is not None
    teacher, first, last = found.ious
    # 320 x 150 less the margins; the y axis ends at 3, the fullest column, the x axis at 1
    bars = dict(re.findall(r'class="fill (\w+)" d="(.*?)"', first.image))
    assert bars["kept"] == "M49.0 124.0V87.3H59.6V124.0zM99.4 124.0V87.3H110.0V124.0z"
    assert bars["pool"] == "M200.2 124.0V14.0H210.8V124.0z"
    assert first.image.replace("round 1", "round 2") == last.image
    assert teacher.image.count("M") == first.image.count("M") + 1


def test_without_a_curriculum_there_is_no_section(run: Path) -> None:
    assert HEADING in page_of(run)
    shutil.rmtree(run / "rounds")
    assert HEADING not in page_of(run)
    assert build_section(read_run(run)) is None
    (run / "rounds").mkdir()
    (run / "rounds" / "3").mkdir()
    (run / "rounds" / "notes").mkdir()
    assert HEADING not in page_of(run)
    (run / "rounds" / "3").rmdir()
    shutil.rmtree(run / "rounds")
    (run / "rounds").write_text("a file")
    assert HEADING not in page_of(run)


def test_before_the_first_selection_the_scoring_is_shown(run: Path) -> None:
    shutil.rmtree(run / "rounds")
    folder = run / "rounds" / "1"
    folder.mkdir(parents=True)
    header = {"scores": {"num_examples": 960}}
    rows = [{"id": "a", "mean_iou": 1.0}, {"id": "b", "mean_iou": 0.5}, {"id": "c", "unscored": "x"}]
    write_lines(run / "rounds" / "teacher-2-scores.jsonl", [header, *rows])
    write_lines(folder / "student-scores.jsonl", [{"id": "a", "mean_iou": 0.25}])
    text = text_of(page_of(run))
    assert "Scores of the teacher-2: 3 of 960 so far, mean IoU 0.750." in text
    assert "Scores of the student for round 1: 1 so far, mean IoU 0.250." in text
    write_round(run, 1)
    assert "examples so far" not in text_of(page_of(run))
    (run / "rounds" / "2").mkdir()
    write_lines(run / "rounds" / "2" / "student-scores.jsonl", [header, *rows[:1]])
    assert "Scores of the student for round 2: 1 of 960 so far" in text_of(page_of(run))


@pytest.mark.parametrize("name", ["selection-facts.json", "selection.jsonl", "evaluation.json"])
@pytest.mark.parametrize("content", [None, b"", b"{broken\n{}\n", b"[]", b'"text"\n{}\n', b"\xff\xfe\n{}\n", b"{}\n"])
def test_any_file_of_a_round_may_be_missing_or_broken(run: Path, name: str, content: bytes | None) -> None:
    path = run / "rounds" / "1" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    page = page_of(run)
    assert Elements(page).open == []
    assert "Round 2 from step 11 10 3 5 2 0.643" in text_of(page)


def test_a_folder_in_the_place_of_a_file_does_not_stop_the_report(run: Path) -> None:
    for name in ("selection-facts.json", "selection.jsonl", "evaluation.json"):
        (run / "rounds" / "1" / name).unlink()
        (run / "rounds" / "1" / name).mkdir()
    assert "rounds/1/selection-facts.json is left out: " in text_of(page_of(run))
    assert "A selection is left out: " in text_of(page_of(run))


def test_a_selection_without_facts_is_still_counted(run: Path) -> None:
    shutil.rmtree(run / "rounds" / "2")
    (run / "rounds" / "1" / "selection-facts.json").unlink()
    text = text_of(page_of(run))
    assert "pool unscored kept pool kept" in text
    assert "Round 1 10 3 2 0.643" in text
    assert "Selection took" not in text


def keys_below(value: Any) -> set[str]:
    return set(value).union(*map(keys_below, value.values())) if isinstance(value, dict) else set()


def replaced(value: Any, name: str, by: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: by if key == name else replaced(each, name, by) for key, each in value.items()}


WRONG = [None, "0.5", True, [], {}, [[1]], -3, math.nan, math.inf, pytest.param(10**400, id="huge"), 1e299]


@pytest.mark.parametrize("by", WRONG)
def test_each_value_may_be_something_else(run: Path, by: Any) -> None:
    (run / "rounds" / "3").mkdir()
    for name in sorted(keys_below(facts(1))):
        (run / "rounds" / "1" / "selection-facts.json").write_text(json.dumps(replaced(facts(1), name, by)))
        assert Elements(page_of(run)).open == [], name
    for name in selection()[0]:
        write_lines(run / "rounds" / "1" / "selection.jsonl", [row | {name: by} for row in selection()])
        assert Elements(page_of(run)).open == [], name
    write_lines(run / "rounds" / "3" / "student-scores.jsonl", [{"scores": by}, {"id": by, "mean_iou": by}])
    write_lines(run / "metrics.jsonl", [replaced(counted(1, 3, 1, 1), name, by) for name in counted(1, 3, 1, 1)])
    assert Elements(page_of(run)).open == []


def test_hostile_text_stays_text_wherever_it_comes_from(run: Path) -> None:
    write_lines(run / "metrics.jsonl", [counted(step, 12, 4, 2) for step in range(1, 21)])
    write_round(run, 1, kinds={"anchor": 1})
    elements = Elements(page_of(run))
    sources = {"sources": {HOSTILE: 0.5, "b": 0.5}}
    changes = {"pool": profile(8.0, 0.5) | sources, "kept": profile(8.0, 0.5) | sources}
    write_round(run, 1, warnings=[HOSTILE, "w" * 10**6], kinds={HOSTILE: 2}, **changes)
    rows = [row | {"id": HOSTILE, "why": f"not scored: {HOSTILE}"} for row in selection()]
    write_lines(run / "rounds" / "1" / "selection.jsonl", rows)
    (run / "rounds" / "<img src=x>").mkdir()
    (run / "rounds" / "3").mkdir()
    write_lines(run / "rounds" / "3" / f"{HOSTILE.replace('/', '')}-scores.jsonl", [{"id": HOSTILE}])
    page = page_of(run)
    attacked = Elements(page)
    assert attacked.open == []
    assert attacked.names <= elements.names
    assert attacked.attributes <= elements.attributes
    assert page.count("onerror=alert(1)&gt;") >= 4
    assert "\u202e" not in page
    assert len(page) < 100_000
    check_that_it_loads_and_runs_nothing(page)


def test_many_rounds_many_reasons_and_many_sources_make_a_small_page(run: Path) -> None:
    sources = {f"source {index}": 0.001 for index in range(1000)}
    both = {"pool": profile(8.0, 0.5) | {"sources": sources}, "kept": profile(8.0, 0.5) | {"sources": sources}}
    for round in range(1, 201):
        write_round(run, round, **both, warnings=[f"in round {round}"] * 50)
    rows = [row | {"id": str(index), "why": f"not scored: reason {index}"} for index in range(2000) for row in selection()[:1]]  # fmt: skip  # noqa: E501
    write_lines(run / "rounds" / "1" / "selection.jsonl", rows)
    page = page_of(run)
    assert len(page) < 120_000
    text = text_of(page)
    assert "160 rounds in between are not shown." in text
    assert "Round 1 from step 1 " in text
    assert "Round 200 from step 1,991 " in text
    assert "unscored for other reasons" in text


def test_one_model_alone_has_a_picture_of_its_own(run: Path) -> None:
    shutil.rmtree(run / "rounds" / "2")
    write_lines(run / "rounds" / "1" / "selection.jsonl", [row | {"tau": None} for row in selection()])
    page = page_of(run)
    assert "Teacher’s IoU" not in page
    assert "Student’s IoU</h3>" in page
    write_lines(run / "rounds" / "1" / "selection.jsonl", [row | {"tau": None, "sigma": None} for row in selection()])
    assert "Where the kept examples lie" not in page_of(run)


def test_anchors_and_frontier_are_counted_apart_and_what_was_saved_is_said(run: Path) -> None:
    write_round(run, 1, kinds={"anchor": 1, "frontier": 1}, reliability_of_ranking=0.4)
    rows = [counted(step, *counts) for step, counts in ((1, (12, 4, 2)), (2, (8, 8, 3)), (3, (0, 16, 0)))]
    write_lines(run / "metrics.jsonl", rows)
    text = text_of(page_of(run))
    assert "Round 1 from step 1 10 3 5 2 1 anchor 1 frontier" in text
    assert "0.100 0.40 mostly noise" in text
    assert "Anchors Anchors" not in text
    assert "Trained on 2 times, 2 of them after a suspension; suspended 3 times." in text
    assert "Trained on 18 times, 3 of them after a suspension; suspended 25 times." in text
    assert "58 % of 48 scheduled examples. They cost no teacher pass and no backward pass." in text


def test_a_gate_without_kinds_is_one_picture(run: Path) -> None:
    shutil.rmtree(run / "rounds")
    rows = [{"step": s, "coupling": {"active": 3, "suspended": 1, "reactivated": 1}} for s in (1, 2)]
    write_lines(run / "metrics.jsonl", [*rows, {"step": 3, "coupling": {"active": 0, "suspended": 0}}])
    assert [figure.heading for figure in draw_coupling(read_run(run))] == [
        "All examples",
        "Share that cost only an answer",
    ]
    assert HEADING in page_of(run)


def test_columns_stand_on_one_another_and_many_become_means() -> None:
    parts = (("active", 1.0), ("reactivated", 0.0), ("suspended", 3.0))
    image = draw_columns("t", [Column(1.0, parts), Column(2.0, parts)])
    heights = re.findall(r'class="fill (\w+)" d="M[\d.]+ ([\d.]+)V([\d.]+)H', image)
    assert heights == [("active", "124.0", "96.5"), ("suspended", "96.5", "14.0")]
    many = draw_columns("t", [Column(float(step), parts) for step in range(1, 100_001)])
    assert len(many) < 10_000
    assert re.findall(r'class="fill active" d="M[\d.]+ ([\d.]+)V([\d.]+)H', many) == [("124.0", "96.5")]


def test_a_suspended_answer_says_why_it_has_no_advantage(run: Path) -> None:
    answer = {"step": 1, "id": "a", "query": "q", "duration": 10.0, "annotated": [[2.0, 4.0]], "answer": "2 - 4",
              "spans": [[2.0, 4.0]], "iou": 1.0, "truncated": False, "tokens": ["2", " - 4"],
              "sampler_logprobs": [-1.0, -0.5], "suspended": True}  # fmt: skip
    write_lines(run / "answers.jsonl", [answer])
    page = page_of(run)
    assert "IoU 1.00, suspended: the student was already right, so the teacher was not asked" in text_of(page)
    assert "The number under each token is its advantage" not in text_of(page)
    assert "log-prob of the sampler −1.000" in text_of(page)
    write_lines(run / "answers.jsonl", [answer | {"suspended": False}])
    assert "suspended: the student" not in text_of(page_of(run))


def write_teacher(run: Path, name: str, miou: float) -> None:
    found = {"name": name, "step": None, "split": "test", "scores": {"miou": miou, "num_queries": 400}}
    (run / "evaluation").mkdir(exist_ok=True)
    (run / "evaluation" / f"{name}.json").write_text(json.dumps(found))


def test_each_of_several_teachers_is_shown(run: Path) -> None:
    for name, miou in (("teacher-1", 0.75), ("teacher-2", 0.875)):
        write_teacher(run, name, miou)
    for name, miou, step in (
        ("student-before", 0.375, 0),
        ("validation-000010", 0.5, 10),
        ("student-after", 0.625, 20),
    ):
        write_teacher(run, name, miou)
        path = run / "evaluation" / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"step": step}))
    text = text_of(page_of(run))
    assert "from 0.38 to 0.62 mIoU on 400 held-out queries; its teachers stand at 0.75 and 0.88." in text
    assert "It closed 50 % of the distance to its best teacher." in text
    assert "Student after step 20 0.625 Teacher 1 0.750 Teacher 2 0.875" in text
    assert "best teacher 0.88" in text
    write_teacher(run, "teacher-10", 0.25)
    text = text_of(page_of(run))
    assert "; its 3 teachers stand between 0.25 and 0.88." in text
    assert "Teacher 2 0.875 Teacher 10 0.250" in text


def test_what_was_not_listened_to_is_a_vital_sign(run: Path) -> None:
    rows = [{"step": step, "groups_contradicted": 4 - step, "cut_share": 0.25} for step in (1, 2)]
    write_lines(run / "metrics.jsonl", rows)
    text = text_of(page_of(run))
    assert "Groups that contradict the teacher" in text
    assert "At most 3, at step 1." in text
    assert "From 0.25 to 0.25." in text


def test_a_teacher_that_falls_is_a_vital_sign(run: Path) -> None:
    """It is measured only now and then."""
    rows = [{"step": step, "grad_norm": 1.0} | ({"teacher_view_miou": 0.6 / step} if step != 2 else {})
            for step in (1, 2, 3)]  # fmt: skip
    write_lines(run / "metrics.jsonl", rows)
    text = text_of(page_of(run))
    assert "From 0.6 to 0.2. Of a teacher that follows the student" in text


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        (["read", "decode"], [0, 1]),
        (["teacher", "select"], [8, 3]),
        (["select", "teacher change"], [8, 9]),
        (["anything else", "read"], [1, 7]),
        (["x", "y", "select"], [8, 7, 6]),
    ],
)
def test_a_phase_has_one_colour_wherever_it_is(phases: list[str], expected: list[int]) -> None:
    assert choose_colours(sort_phases(phases)) == expected
