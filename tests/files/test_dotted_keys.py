"""Tables as dotted keys."""

from __future__ import annotations

from video_opd.files.dotted_keys import flatten_tables, is_covered


def test_tables_within_tables_are_dotted_keys():
    tables = {"seed": 0, "data": {"test": "a", "tiny": {"videos": [{"a": 1}]}, "none": {}}}
    assert flatten_tables(tables) == {"seed": 0, "data.test": "a", "data.tiny.videos": [{"a": 1}]}


def test_a_key_is_covered_by_its_name_and_by_its_table():
    assert is_covered("tracker.name", {"tracker"})
    assert is_covered("seed", {"seed"})
    assert not is_covered("seeds", {"seed"})
    assert not is_covered("tracker", {"tracker.name"})
