"""Scores by one of the table's rules."""

from __future__ import annotations

from video_opd.errors import ConfigurationError
from video_opd.eval.scorers import SCORERS
from video_opd.eval.scorers._matching import require_matched
from video_opd.eval.scorers._scorer_types import Answers, GroundTruth, OfficialScores, Scorer


def score_as(scorer: str | Scorer, truth: GroundTruth, answers: Answers) -> OfficialScores:
    """Score answers by the rules of one of `SCORERS`, or by a scorer itself.

    Raises:
        DataError: no answer is about an annotated query.
        ConfigurationError: a scorer of the user's own gives no `OfficialScores`.
        KeyError: no scorer has that name.
    """
    require_matched(answers)
    score = SCORERS[scorer] if isinstance(scorer, str) else scorer
    found = score(truth, answers)
    if not isinstance(found, OfficialScores):
        name = scorer if isinstance(scorer, str) else getattr(scorer, "__name__", repr(scorer))
        raise ConfigurationError(
            f"the scorer {name}",
            reason=f"it returned {type(found).__name__}, and a scorer returns OfficialScores",
            remedy="return video_opd.eval.scorers.OfficialScores",
        )
    return found
