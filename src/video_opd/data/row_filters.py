"""Select the rows that are suitable for training, by rules of the field."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from video_opd.grounding.packed_examples import PackedExamples
from video_opd.types import Example

_LEAST_S, _MOST_S, _MOST_WORDS = 5.0, 500.0, 200
_AUDIO = re.compile(r"\b(hear|heard|hears|hearing|sound|sounded|sounds|sounding|audio)\b", re.IGNORECASE)


def timelens_filter(examples: Iterable[Example]) -> tuple[PackedExamples, Counter[str]]:
    """The rows that TimeLens trains on, and the number of rows left out for each reason.

    5 to 500 s of video, at most 200 words, at least one span that lies within the video, and nothing to be heard, since
    the models see and do not hear (TimeLens 5d90c06, the row filter of its supervised fine-tuning and of GRPO). A row
    counts for the first reason that holds.
    """
    kept = PackedExamples()
    left_out: Counter[str] = Counter()
    for example in examples:
        reason = _timelens_reason(example)
        if reason:
            left_out[reason] += 1
        else:
            kept.add(example)
    return kept, left_out


def _timelens_reason(example: Example) -> str:
    """Why TimeLens would leave a row out; empty if it would keep it."""
    duration = example.known_duration
    if duration < _LEAST_S:
        return f"video shorter than {_LEAST_S:g} s"
    if duration > _MOST_S:
        return f"video longer than {_MOST_S:g} s"
    if len(example.query.split()) > _MOST_WORDS:
        return f"query of more than {_MOST_WORDS} words"
    if not any(0 <= span.start_s <= span.end_s <= duration for span in example.spans):
        return "no span within the video"
    return "asks for something to be heard" if _AUDIO.search(example.query) else ""
