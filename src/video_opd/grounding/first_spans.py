"""The first spans of answers, beside the examples that they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from video_opd.grounding.packed_examples import PackedExamples
from video_opd.grounding.span import SpanLike


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSpans:
    """What was predicted for each of N examples, in their order."""

    spans_s: np.ndarray
    """(N, 2) the first span of each answer; 0 where it names none."""
    is_named: np.ndarray
    """(N,) whether the answer names a span."""
    is_given: np.ndarray
    """(N,) whether there is an answer."""
    unknown_ids: tuple[str, ...] = ()
    """Of answers to no example."""

    @classmethod
    def of(cls, spans: Mapping[str, Sequence[SpanLike]], examples: PackedExamples) -> FirstSpans:
        """Of the spans of answers, by the ids of the examples."""
        first = np.zeros((len(examples), 2))
        is_named, is_given = np.zeros(len(examples), dtype=bool), np.zeros(len(examples), dtype=bool)
        unknown = []
        for id, named in spans.items():
            place = examples.places.get(id)
            if place is None:
                unknown.append(id)
                continue
            is_given[place] = True
            if named:
                first[place], is_named[place] = named[0], True
        return cls(spans_s=first, is_named=is_named, is_given=is_given, unknown_ids=tuple(unknown))
