"""Tables as dotted keys."""

from __future__ import annotations

from video_opd.files.dotted_keys import flatten_tables


def test_tables_within_tables_are_dotted_keys():
    tables = {"seed": 0, "data": {"test": "a", "tiny": {"videos": [{"a": 1}]}, "none": {}}}
    assert flatten_tables(tables) == {"seed": 0, "data.test": "a", "data.tiny.videos": [{"a": 1}]}
