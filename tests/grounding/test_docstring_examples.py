"""The examples in the docstrings of the public functions are right."""

from __future__ import annotations

import doctest

import pytest

from video_opd.grounding import parser, reward, span


@pytest.mark.parametrize("module", [parser, reward, span], ids=lambda module: module.__name__.rpartition(".")[2])
def test_docstring_examples(module):
    failed, attempted = doctest.testmod(module)
    assert failed == 0
    assert attempted > 0
