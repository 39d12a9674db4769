"""Every token belongs to one region, and the answer's parts are where they should be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.grounding import REGIONS, find_regions

SHORT = ["The", " event", " ", "3", ".", "0", " -", " ", "4", ".", "5", "."]


def test_a_short_answer_has_digits_words_and_an_end():
    found = find_regions([*SHORT, "<|im_end|>"], truncated=False)
    assert found[-1] == "end"
    assert [piece for piece, region in zip(SHORT, found, strict=False) if region == "digits"] == ["3", "0", "4", "5"]
    assert "thinking" not in found


def test_what_comes_before_the_answer_is_thinking():
    pieces = ["Seen", " ", "0", "1", "1", ".", " The", " event", " ", "3", "<|im_end|>"]
    found = find_regions(pieces, truncated=False, answer_starts=" The event")
    assert found == ("thinking",) * 6 + ("format", "format", "format", "digits", "end")


def test_an_answer_that_never_comes_is_all_thinking():
    assert set(find_regions(["Seen", "0", "1"], truncated=True, answer_starts="<answer>")) == {"thinking"}


def test_the_last_answer_counts_and_a_token_across_the_border_belongs_to_it():
    pieces = ["<answer>", "1", "</think><", "answer>", "2"]
    found = find_regions(pieces, truncated=True, answer_starts="<answer>")
    assert found == ("thinking", "thinking", "format", "format", "digits")


@given(st.lists(st.sampled_from(["a", "1", "<answer>", " ", ""]), min_size=1), st.booleans(), st.booleans())
def test_one_region_for_each_token(pieces, truncated, thinking):
    found = find_regions(pieces, truncated=truncated, answer_starts="<answer>" if thinking else "")
    assert len(found) == len(pieces)
    assert set(found) <= set(REGIONS)
    assert ("end" in found) == (not truncated)


@pytest.mark.parametrize("truncated", [True, False])
def test_no_more_ends_than_one(truncated):
    assert find_regions(["a", "b", "c"], truncated=truncated).count("end") == (0 if truncated else 1)
