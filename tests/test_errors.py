"""Errors of others, in one line."""

from __future__ import annotations

import pytest

from video_opd.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [(MemoryError(), "MemoryError"), (ValueError("\n a\nb"), "a"), (OSError(" \n"), "OSError"), (KeyError("x"), "'x'")],
)
def test_the_first_line_of_an_error_is_never_empty(error, line):
    assert first_line(error) == line
