"""What goes into the field's scorers and what comes out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from video_opd.grounding import GivenAnswer, ParsedAnswer, SpanLike
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.grounding.time_units import Unit, remove_unit
from video_opd.types import Example, Span


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultAnswer(GivenAnswer):
    """An answer of a result file. Text and spans may both be there: which of them counts is the scorer's to say."""

    confidences: tuple[float, ...] | None = None
    """One for each span, higher is surer."""
    saliency: tuple[float, ...] | None = None
    """One for each clip of 2 s of the video."""
    is_right: bool | None = None
    """Whether the option chosen is the right one, where the file says so itself; `choice` is judged otherwise."""
    seconds_per_unit: float = 1.0
    """Of the numbers that are read in the text; `spans` are seconds."""

    def parse(self) -> ParsedAnswer:
        """By our rules, in seconds."""
        found = GivenAnswer.parse(self)
        return found if self.text is None else replace(found, spans=self.scale_spans(found.spans))

    def scale_spans(self, read: Iterable[SpanLike]) -> tuple[Span, ...]:
        """What another project's parser read in the text, in seconds."""
        return _multiply_spans(read, self.seconds_per_unit)

    def convert_to_seconds(self, unit: Unit, by: float) -> ResultAnswer:
        """The same answer, whose times were in `unit`: spans multiplied by `by`, numbers in the text when read."""
        text = None if self.text is None else remove_unit(self.text, unit)
        spans = None if self.spans is None else _multiply_spans(self.spans, by)
        return replace(self, text=text, spans=spans, seconds_per_unit=by)

    def all_spans(self) -> tuple[Span, ...]:
        """For scorers that take numbers: the file's own as they stand, else what our parser reads in the text.

        In our own format the text is what a model said, and numbers beside it are not read: an empty text is no answer.
        """
        return self.parse().spans if self.spans is None else self.spans


def _multiply_spans(spans: Iterable[SpanLike], by: float) -> tuple[Span, ...]:
    """Without the last bits of a multiplication, which a scorer that ceils times would make seconds of. A finite time
    stays finite: scorers make whole numbers of times, and confidences count on the number of spans."""
    if by == 1.0:
        return tuple(Span(start, end) for start, end in spans)
    return tuple(Span(_multiply(start, by), _multiply(end, by)) for start, end in spans)


def _multiply(time: float, by: float) -> float:
    product = time * by
    if math.isinf(product) and math.isfinite(time):
        return math.copysign(sys.float_info.max, product)
    return round(product, 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A result file, matched to the annotations."""

    file: str
    format: str
    """Key of `RESULT_FORMATS`."""
    num_rows: int
    by_id: Mapping[str, ResultAnswer]
    """Example id -> answer, in the order of the file, in which the official scorers add up."""
    repeated: Mapping[str, tuple[ResultAnswer, ...]] = field(default_factory=dict)
    """Example id -> all its answers, in the order of the file, where several rows are for it; `by_id` has the last."""
    unknown: tuple[str, ...] = ()
    """Ids or keys of the file that no annotation has; they count nowhere."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MomentQuestion:
    """The multiple-choice question that a moment belongs to."""

    options: tuple[str, ...]
    right: int
    """Place of the right one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundTruth:
    """Annotations, with what only the original files hold."""

    examples: Sequence[Example]
    saliency: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    """QVHighlights: example id -> for each clip of 2 s what the annotators gave it, 0 to 4."""
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """VUE-TR: example id -> its categories of duration, format and modality."""
    questions: Mapping[str, MomentQuestion] = field(default_factory=dict)
    """NExT-GQA, CG-Bench: example id -> the question that is asked beside the moment."""
    votes: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """DiDeMo: example id -> first and last chunk of 5 s by each annotator."""

    def order_as_file(self, answers: Answers) -> list[Example]:
        """All examples: those with an answer as the file orders them, then the rest. Sums of floats depend on it."""
        place = {id_: number for number, id_ in enumerate(answers.by_id)}
        return sorted(self.examples, key=lambda example: place.get(example.id, len(place)))

    def find_missing(self, answers: Answers) -> tuple[str, ...]:
        """Examples that the file has no answer to."""
        return tuple(id for id in PackedExamples.of(self.examples).ids if id not in answers.by_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """The rule a score was made by, so that a number never travels without it."""

    source: str
    """Repository and file of the official scorer."""
    comparator: str
    rounding: str
    """Of times before scoring, and of scores when they are printed."""
    denominator: str
    prediction: str
    """Which predicted spans count."""
    annotation: str
    """Which annotated spans count."""
    parser: str
    """What read the text of an answer, with its version."""
    units: str
    failure: str
    """What an answer without a span scores."""

    @property
    def is_unit_aware(self) -> bool:
        """Whether texts are read by our parser, which takes `200 ms` for 0.2 s; the official ones take it for 200 s."""
        return self.parser.startswith("video-opd ")

    def to_dict(self) -> dict[str, str]:
        """Every part by its name."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialScores:
    """What one of the field's scorers says."""

    convention: Convention
    scores: Mapping[str, Any]
    """Names and units of the official scorer; nested where its are."""
    per_query: Mapping[str, Mapping[str, float]]
    """Name, as in `flat`, of a score that is a mean over queries -> example id -> its value there, in the unit of the
    score."""
    notes: tuple[str, ...] = ()
    """Sentences: what was unusual, and where the official scorer would have stopped with an error."""

    def flat(self) -> dict[str, float]:
        """All scores, the names of nested ones joined by blanks: `full MR-mAP 0.5`."""
        return dict(_flat(self.scores))


def _flat(scores: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", value


Scorer = Callable[[GroundTruth, Answers], OfficialScores]
"""Scores answers by the rule of a project."""
