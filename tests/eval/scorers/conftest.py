"""Small annotations and answers for the field's scorers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from video_opd.eval.scorers import Answers, GroundTruth, ResultAnswer
from video_opd.types import Example, Span


@pytest.fixture
def truth() -> Callable[..., GroundTruth]:
    """Queries named a, b, c … of videos a.mp4 …, each with one span or a list of spans, 100 s long."""

    def make(*annotated: tuple[float, float] | list[tuple[float, float]]) -> GroundTruth:
        return GroundTruth(
            examples=tuple(
                Example(
                    id=name, video=f"videos/{name}.mp4", query=f"query {name}", duration=100.0,
                    spans=tuple(Span(*map(float, span)) for span in (spans if isinstance(spans, list) else [spans])),
                )
                for name, spans in zip("abcdefghij", annotated, strict=False)
            )
        )  # fmt: skip

    return make


@pytest.fixture
def answers() -> Callable[..., Answers]:
    """Answers to a, b, c … in turn: a text, a list of spans, or both as a pair; None: no row for that query."""

    def make(*given: object, format: str = "ours") -> Answers:
        by_id = {}
        for name, answer in zip("abcdefghij", given, strict=False):
            if isinstance(answer, str):
                by_id[name] = ResultAnswer(text=answer)
            elif isinstance(answer, list):
                by_id[name] = ResultAnswer(spans=tuple(Span(*map(float, span)) for span in answer))
            elif isinstance(answer, ResultAnswer):
                by_id[name] = answer
        return Answers(file="answers", format=format, num_rows=len(by_id), by_id=by_id)

    return make
