"""Records of files: what was written is read again, and what anybody else made of a file stops no reader."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import video_opd
from video_opd.files.comparison_records import Comparison
from video_opd.files.run_records import (
    EvaluationReport,
    SampledAnswer,
    ScoreHead,
    ScoreRow,
    SelectionFacts,
    SelectionRow,
    StepMetrics,
)
from video_opd.files.written_record import WrittenRecord

SOURCE = Path(video_opd.__file__).parent
RECORDS = [Comparison, EvaluationReport, SampledAnswer, ScoreHead, ScoreRow, SelectionFacts, SelectionRow, StepMetrics]
FOREIGN = [None, "0.5", True, [], {}, [[1]], [None], {"a": None}, math.nan, -math.inf, 10**400, 1e299]


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return numbers_in(list(value.values()))
    if isinstance(value, list | tuple):
        return [number for each in value for number in numbers_in(each)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize("value", FOREIGN, ids=lambda value: repr(value)[:12])
def test_a_foreign_value_is_a_missing_one(record: type[WrittenRecord], value: Any) -> None:
    step = {"step": 1} if "step" in record.model_fields else {}
    found = record.from_json(dict.fromkeys(record.model_fields, value) | step)
    for name, field in record.model_fields.items():
        if "Any" not in str(field.annotation):  # whatever stands in such a field, nobody calculates with it
            assert all(abs(each) < 1e300 for each in numbers_in(getattr(found, name))), name
    assert record.from_json(step | {"what nobody wrote": value}).to_json() == step


def test_what_is_no_table_is_an_empty_record() -> None:
    for value in FOREIGN:
        if not isinstance(value, dict):
            assert EvaluationReport.from_json(value) == EvaluationReport()
    assert EvaluationReport.from_json({"side_questions": 5, "best_constant": [1]}) == EvaluationReport()


def test_a_list_and_a_table_lose_only_the_items_that_are_foreign() -> None:
    row = StepMetrics.from_json({"step": 1, "seconds_by_phase": {"read": 1, "answer": "2", "score": math.nan}})
    assert row.seconds_by_phase == {"read": 1.0}
    answer = SampledAnswer.from_json({"step": 1, "spans": [[1, 2], [1], [3, "4"], 5, [6, 7.5]]})
    assert answer.spans == [(1, 2), (6, 7.5)]
    found = Comparison.from_json({"methods": {"opd": {"curve": [{"step": 1}, {"step": 2, "miou": {"mean": 0.5}}, 3]}}})
    assert [point.step for point in found.methods["opd"].curve] == [2]


def test_a_row_without_its_step_is_left_out() -> None:
    assert [row.step for row in StepMetrics.from_rows([{"step": 1}, {}, {"step": "2"}, {"step": 3.0}, 4])] == [1]


def test_a_loss_that_is_null_was_no_number_and_a_loss_that_is_absent_was_none() -> None:
    assert StepMetrics.from_json({"step": 1, "loss": None}).is_broken
    assert not StepMetrics.from_json({"step": 1}).is_broken


def test_the_writer_gets_its_numbers_back_as_they_were() -> None:
    row = {"loss": math.inf, "num_prompts": 4, "mean_answer_tokens": 4.0, "step": 7}
    assert json.dumps(StepMetrics(**row).to_json()) == '{"loss": Infinity, "num_prompts": 4, ' + (
        '"mean_answer_tokens": 4.0, "step": 7}'
    )


@pytest.mark.parametrize("wrong", [{"los": 1.0}, {"loss": "1"}, {"loss": True}, {"work": {"student": {"a": "b"}}}])
def test_a_writer_cannot_write_what_the_record_does_not_have(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        StepMetrics(step=1, **wrong)


BY_A_FORMULA = {"reverse_kl_by_region", "gap_on_annotations_by_region"}
"""Written as `f"{gap}_by_region"`."""


def test_every_field_has_a_writer() -> None:
    """That no writer has a key that the record lacks is seen when it writes."""
    records = {"run_records.py", "comparison_records.py", "written_record.py"}
    files = [
        path
        for path in SOURCE.rglob("*.py")
        if path.name not in records and "report" not in path.relative_to(SOURCE).parts
    ]
    words = {word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    for record in RECORDS:
        assert record.model_fields.keys() - words - BY_A_FORMULA == set(), record


def test_a_dotted_key_leads_into_a_table() -> None:
    row = StepMetrics(step=1, reverse_kl_by_region={"digits": {"mean": 0.5}})
    assert row.find_number("reverse_kl_by_region.digits.mean") == 0.5
    assert row.find_number("reverse_kl_by_region.digits") is None
    assert row.find_number("reverse_kl_by_region.format.mean") is None
