"""The keys of TimeLens's and lmms-eval's result files: `video.mp4>>>query>>>[start, end]`.

The originals split at every `>>>`, which fails on a query that holds one, and TimeLens evaluates the span as code. Here
the key is cut at its first and its last `>>>` (names of videos and spans hold none) and the span is read as numbers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from video_opd.data.query_words import timelens as clean_query
from video_opd.data.video.video_names import video_name
from video_opd.eval.scorers._parsers import Pair
from video_opd.files.strict_json import load_json
from video_opd.types import Example, Span

SEPARATOR = ">>>"
_LONGEST_SPAN = 10_000
"""Characters; more is no span."""
_ROUND_BRACKETS = str.maketrans("()", "[]")


@dataclass(frozen=True, slots=True)
class QueryKey:
    """What a query is known by where it has no id: compares equal however a project writes paths and full stops."""

    video: str
    """Name of the file, without folder and extension."""
    query: str
    span: Pair
    """The first annotated span."""

    @property
    def question(self) -> tuple[str, str]:
        """Video and query, whatever the case: data sets are lower-cased on their way."""
        return self.video, self.query.casefold()


def key_of_example(example: Example) -> QueryKey:
    """The key that an example has in the files of others."""
    start_s, end_s = example.spans[0]
    return QueryKey(video_name(example.video), clean_query(example.query), (start_s, end_s))


def parse_key(text: str) -> QueryKey | None:
    """A key as it stands in a file; None if it is none."""
    video, first, rest = text.partition(SEPARATOR)
    query, last, span = rest.rpartition(SEPARATOR)
    found = _first_span(span)
    return QueryKey(video_name(video), clean_query(query), found) if first and last and found else None


def spans_of_key(text: str) -> tuple[Span, ...]:
    """All annotated spans of a key that `parse_key` reads."""
    _, _, last = text.rpartition(SEPARATOR)
    found = load_json(last.translate(_ROUND_BRACKETS))
    pairs = found if isinstance(found[0], list) else [found]
    return tuple(Span(float(pair[0]), float(pair[1])) for pair in pairs if _first_span(json.dumps(pair)))


def _first_span(text: str) -> Pair | None:
    """Of `[start, end]` or `[[start, end], …]`, also in round brackets."""
    if len(text) > _LONGEST_SPAN:
        return None
    try:
        value = load_json(text.translate(_ROUND_BRACKETS))
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        value = value[0]
    if not isinstance(value, list) or len(value) != 2 or any(type(time) not in (int, float) for time in value):
        return None
    try:
        start, end = float(value[0]), float(value[1])
    except OverflowError:
        return None
    return (start, end) if math.isfinite(start) and math.isfinite(end) else None
