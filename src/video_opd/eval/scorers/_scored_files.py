"""Files of predictions, read, matched to the annotations and scored by one rule: what `metrics` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

from video_opd.eval.scorers._ground_truth import read_ground_truth
from video_opd.eval.scorers._matching import read_matched, read_with_truth, require_matched
from video_opd.eval.scorers._packed_answers import PackedAnswers
from video_opd.eval.scorers._score_as import score_as
from video_opd.eval.scorers._scorer_types import Answers, GroundTruth, OfficialScores, Scorer
from video_opd.grounding import Scores, score
from video_opd.grounding.metrics import score_first_spans
from video_opd.grounding.time_units import Unit


class HowRead(TypedDict, total=False):
    """How a file of predictions is read, where its content does not tell it."""

    format: str | None
    """A name of `RESULT_FORMATS`."""
    unit: Unit | None
    """Of the predicted times."""
    fps: float | None
    """Of frames."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFile:
    """A file of predictions and its scores."""

    file: Path
    truth: GroundTruth
    answers: Answers
    result: Scores | OfficialScores
    """`Scores` by our rule, `OfficialScores` by any other."""


def score_files(
    files: Sequence[Path],
    ground_truth: Path | None,
    scorer: str | Scorer = "ours",
    **how: Unpack[HowRead],
) -> list[ScoredFile]:
    """Score files of predictions. Every file is read before the first one is scored.

    Args:
        files: of predictions for the same annotations.
        ground_truth: the annotations; None: those that the first file carries.
        scorer: `ours`, a name of `SCORERS`, or a scorer itself.
        how: how the files are read.

    Raises:
        DataError: a file that cannot be read, or a file without an answer to an annotated query.
        KeyError: no scorer has that name.
    """
    if ground_truth is not None:
        truth = read_ground_truth(ground_truth)
        answers = [read_matched(file, truth, **how) for file in files]
    else:
        truth, first = read_with_truth(files[0], **how)
        answers = [first, *(read_matched(file, truth, **how) for file in files[1:])]
    return [
        ScoredFile(file=file, truth=truth, answers=given, result=_score(scorer, truth, given))
        for file, given in zip(files, answers, strict=True)
    ]


def _score(scorer: str | Scorer, truth: GroundTruth, answers: Answers) -> Scores | OfficialScores:
    if scorer != "ours":
        return score_as(scorer, truth, answers)
    require_matched(answers)
    if isinstance(answers.by_id, PackedAnswers):
        return score_first_spans(answers.by_id.first_spans, answers.by_id.examples)
    return score({id_: answer.parse() for id_, answer in answers.by_id.items()}, truth.examples)
