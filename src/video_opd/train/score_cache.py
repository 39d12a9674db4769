"""Scores of a run's own models on its own training manifest: made once, taken over where they are still valid."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from video_opd.curriculum import Race, ScoredExample, ScoreFile, ScoreHeader
from video_opd.curriculum.score_file import has_begun, read_header, require_scores_of
from video_opd.data.prompt_source import PromptSource
from video_opd.errors import DataError
from video_opd.eval.pool import RolloutOptions, Scorer
from video_opd.eval.scoring_progress import ScoringProgress
from video_opd.files.durable import write_durably
from video_opd.methods.teachers import Teacher
from video_opd.policy.load import Policy
from video_opd.types import Example

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class WantedScores:
    """Scores that a curriculum asks for."""

    policy: Policy
    header: ScoreHeader
    """What they depend on; scores under another header are others."""
    asking: RolloutOptions
    path: Path
    """The run's file of them."""
    title: str
    """Of the progress bar."""
    examples: Sequence[Example]
    teacher: Teacher | None = None
    """Scores also how far this teacher is from what the model writes."""
    race: Race | None = None
    """Which examples are scored in which order, and which not at all; None: all, in their order."""
    passes: Callable[[ScoredExample], bool] = lambda _: True
    """Whether an example passes the filter, for the race."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PoolScoring:
    """How the pool of a run is scored, and where scores are kept."""

    examples: Sequence[Example]
    manifest_sha256: str
    make_source: Callable[[Policy, bool], PromptSource]
    """Prompts of the pool, the same for every model of the run; and whether teachers judge the answers to them."""
    asked: Mapping[str, Any]
    """How the question is put, as far as scores depend on it: template, frames, precision."""
    batch_size: int
    cache: Path | None
    """Folder of scores that other runs made."""

    def make_header(
        self, policy: Policy, sha256: str, asking: RolloutOptions, examples: Sequence[Example], **more: Any
    ) -> ScoreHeader:
        """Make the header under which scores are kept: it says what they depend on.

        Args:
            policy: the model that is scored.
            sha256: of its files.
            asking: how it is asked.
            examples: what it is asked about.
            more: further settings that the scores depend on.
        """
        settings = {**self.asked, **asking.settings(), **more}
        if len(examples) < len(self.examples):
            ids = "\n".join(sorted(example.id for example in examples))
            settings["only"] = hashlib.sha256(ids.encode()).hexdigest()[:16]
        return ScoreHeader(
            model=policy.name,
            model_sha256=sha256,
            manifest_sha256=self.manifest_sha256,
            settings=settings,
            num_examples=len(examples),
        )

    def score(self, wanted: WantedScores) -> ScoreFile:
        """Get scores from the run's file, or from the cache, or else from the model.

        A file of other scores is moved aside: what was true of other weights is not true of these.
        """
        path, header = wanted.path, wanted.header
        kept = None if self.cache is None else self.cache / f"{_make_key(header)}.jsonl"
        if has_begun(path, header) and not _has_header(path, header):
            aside, number = path.with_name(f"{path.stem}.stale-1.jsonl"), 1
            while aside.exists():
                number += 1
                aside = path.with_name(f"{path.stem}.stale-{number}.jsonl")
            _log.warning("%s holds scores that are no longer valid; they are kept as %s", path, aside.name)
            path.replace(aside)
        if not has_begun(path, header) and kept is not None and kept.exists() and _has_header(kept, header):
            write_durably(path, kept.read_bytes())
        found, whole = self._complete(wanted)
        if kept is not None and not kept.exists() and whole:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_durably(kept, path.read_bytes())
        return found

    def _complete(self, wanted: WantedScores) -> tuple[ScoreFile, bool]:
        """Score what the file lacks. Returns the scores, and whether every video could be used."""
        policy, examples = wanted.policy, wanted.examples
        with (
            closing(self.make_source(policy, wanted.teacher is not None)) as source,
            ScoringProgress(wanted.title, len(examples)) as progress,
        ):
            scorer = Scorer(
                policy=policy, source=source, asking=wanted.asking, batch_size=self.batch_size, teacher=wanted.teacher
            )
            found = scorer.score(
                examples,
                wanted.path,
                wanted.header,
                race=wanted.race,
                passes=wanted.passes,
                on_batch=progress.advance,
            )
        return found, not source.set_aside  # a video that is mended later must not be missing from every later run

    def take_given(self, scores: ScoreFile, sha256: str, examples: Sequence[Example]) -> ScoreFile:
        """Take the scores of these examples from those that the user made with `video-opd score`.

        Args:
            scores: the user's.
            sha256: of the model that they must be of.
            examples: whose scores are wanted.

        Raises:
            DataError: they are of another manifest or of another model, or are not complete.
        """
        require_scores_of(scores, self.manifest_sha256, sha256)
        rows = {example.id: scores.rows[example.id] for example in examples}
        return replace(scores, rows=rows, header=replace(scores.header, num_examples=len(rows)))


def _has_header(path: Path, header: ScoreHeader) -> bool:
    try:
        found = read_header(path)
    except DataError:
        return False
    return found.identity == header.identity and found.num_examples == header.num_examples


def _make_key(header: ScoreHeader) -> str:
    return hashlib.sha256("\n".join(header.identity).encode()).hexdigest()[:32]
