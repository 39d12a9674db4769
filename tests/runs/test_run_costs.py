"""What runs cost, added up by step, by phase and over seeds."""

from __future__ import annotations

from typing import Any

import pytest

from video_opd.runs.run_costs import add_up_costs, average_ledgers, measure_time


def row(step: int, **more: Any) -> dict[str, Any]:
    times = {"seconds_by_phase": {"decode": 0.5, "read": 2.0}, "cpu_seconds_by_phase": {"read": 4.0}}
    return {"step": step, **times, "work": {"teacher": {"prompt_passes": 3}}, **more}


def test_time_counts_selecting_and_decoding_where_it_was_done():
    rows = [row(1), row(2, seconds_to_decode=1.5), row(3, seconds_to_decode=None)]
    assert measure_time(rows, {0: 10.0, 2: 5.0}, "seconds") == {0: 0.0, 1: 12.5, 2: 16.0, 3: 23.5}
    assert measure_time(rows, {0: 10.0, 2: 5.0}, "cpu_seconds") == {0: 0.0, 1: 14.0, 2: 18.0, 3: 27.0}
    costs = add_up_costs(rows, {"seconds": {0: 10.0, 2: 5.0}, "cpu_seconds": {}})
    assert costs["seconds_by_phase"] == pytest.approx({"decode": 2.5, "read": 6.0, "select": 15.0})
    assert costs["cpu_seconds_by_phase"] == {"read": 12.0}
    assert costs["work"] == {"teacher": {"prompt_passes": 9}}


def test_a_mean_ledger_keeps_the_most_memory():
    mean = average_ledgers([{"a": {"b": 1}, "extra_memory_bytes": 5}, {"a": {"b": 3, "c": 4}, "extra_memory_bytes": 9}])
    assert mean == {"a": {"b": 2, "c": 2}, "extra_memory_bytes": 9}
