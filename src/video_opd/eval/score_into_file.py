"""A pool of examples is scored into a file: the header that says of what the scores are, the rows, the summary.

What stands in the file already is not asked again; a file of other scores is refused before a model is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from video_opd.config import GroundingDefaults
from video_opd.curriculum import Race, ScoredExample, ScoreFile, ScoreHeader
from video_opd.curriculum.score_file import describe_difference, has_begun, read_header
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompts import PromptRenderer
from video_opd.errors import DataError, explain_write_errors
from video_opd.eval.how_asked import describe_asking
from video_opd.eval.pool import RolloutOptions, Scorer
from video_opd.eval.scoring_progress import ScoringProgress
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.load import Policy
from video_opd.policy.location import model_sha256, resolve_model
from video_opd.types import Example


@dataclass(frozen=True, kw_only=True)
class ScoringTask:
    """What is scored, by which model, and how."""

    manifest: Path
    videos: Path
    examples: Sequence[Example]
    """Those of the manifest, or of a shard of it."""
    model: str
    """By its name, as the header says it."""
    how: GroundingDefaults
    precision: str
    asking: RolloutOptions
    batch_size: int
    max_bad_share: float
    shard: tuple[int, int] = (0, 1)
    teacher: str | None = None
    """By its name; the file says how far it is from what the model writes."""
    race: Race | None = None
    threshold: float = 0.0
    """Mean IoU that an example has at least to pass the race."""

    def make_header(self) -> ScoreHeader:
        """What the scores will be of. Of models on the hub the weights are downloaded for it."""
        settings = describe_asking(self.how, self.precision) | self.asking.settings()
        if self.teacher:
            settings["teacher_sha256"] = model_sha256(resolve_model(self.teacher))
        if self.race is not None:
            settings["race"] = f"{self.race}, threshold={self.threshold}"
        return ScoreHeader(
            model=self.model,
            model_sha256=model_sha256(resolve_model(self.model)),
            manifest_sha256=hashlib.sha256(self.manifest.read_bytes()).hexdigest(),
            settings=settings,
            num_examples=len(self.examples),
            shard=self.shard,
        )


@dataclass(frozen=True, kw_only=True)
class CallerWords:
    """What the caller's parameters are called, for messages."""

    max_bad_share: str
    another_file: str
    """How another file is given, in the imperative."""


def score_into(
    out: Path,
    scoring: ScoringTask,
    called: CallerWords,
    *,
    load: Callable[[], tuple[Policy, PromptRenderer]],
    load_teacher: Callable[[str], Policy] | None = None,
    progress: ScoringProgress | None = None,
) -> ScoreFile:
    """Score what is not scored yet, and close the file with a summary.

    Args:
        out: the file of scores.
        scoring: what is scored.
        called: for messages.
        load: gives the model and what puts the questions to it; called once the file was found in order.
        load_teacher: gives the teacher by its name.
        progress: told of every batch.

    Raises:
        DataError: the file holds other scores.
        EngineError: too many examples without a usable video.
    """
    header = scoring.make_header()
    _refuse_other_scores(out, header, called)
    policy, renderer = load()
    teacher = OneTeacher(load_teacher(scoring.teacher)) if scoring.teacher and load_teacher else None
    source = PromptSource(
        scoring.videos,
        renderer,
        num_examples=len(scoring.examples),
        workers=policy.num_readers,
        max_bad_share=scoring.max_bad_share,
        share_is_called=called.max_bad_share,
        in_processes=True,
    )
    scorer = Scorer(policy=policy, source=source, asking=scoring.asking, batch_size=scoring.batch_size, teacher=teacher)

    def is_passing(row: ScoredExample) -> bool:
        return row.mean_iou >= scoring.threshold

    told: dict[str, Any] = {} if progress is None else {"on_batch": progress.advance}
    with ExitStack() as stack:
        stack.enter_context(closing(source))
        if progress is not None:
            stack.enter_context(progress)
        stack.enter_context(explain_write_errors(out))
        return scorer.score(scoring.examples, out, header, race=scoring.race, passes=is_passing, **told)


def _refuse_other_scores(out: Path, header: ScoreHeader, called: CallerWords) -> None:
    if not has_begun(out, header):
        return
    found = read_header(out)
    if found.identity != header.identity or found.shard != header.shard:
        raise DataError(
            f"{out} holds other scores already",
            reason=describe_difference(found, header),
            remedy=f"{called.another_file}, or the settings that this one was begun with",
        )
