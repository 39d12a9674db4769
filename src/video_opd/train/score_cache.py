"""Scores of a run's own models on its own training manifest: made once, taken over where they are still valid."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from video_opd.curriculum import Race, ScoredExample, ScoreFile, ScoreHeader, read_scores
from video_opd.curriculum.score_file import read_header, require_scores_of
from video_opd.data.prompt_source import PromptSource
from video_opd.errors import DataError
from video_opd.eval.pool import Asking, Scorer
from video_opd.eval.scoring_progress import ScoringProgress
from video_opd.files.durable import write_durably
from video_opd.methods.teachers import Teacher
from video_opd.policy.load import Policy
from video_opd.types import Example

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scoring:
    """How the pool of a run is scored, and where scores are kept."""

    examples: Sequence[Example]
    manifest_sha256: str
    make_source: Callable[[Policy], PromptSource]
    """Prompts of the pool; they are the same for every model of the run."""
    asked: Mapping[str, Any]
    """How the question is put, as far as scores depend on it: template, frames, precision."""
    batch_size: int
    cache: Path | None
    """Folder of scores that other runs made."""

    def header(
        self, policy: Policy, sha256: str, asking: Asking, examples: Sequence[Example], **more: Any
    ) -> ScoreHeader:
        """What scores of these examples are of."""
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

    def scores(
        self,
        policy: Policy,
        header: ScoreHeader,
        asking: Asking,
        path: Path,
        *,
        title: str,
        examples: Sequence[Example] | None = None,
        teacher: Teacher | None = None,
        race: Race | None = None,
        passes: Callable[[ScoredExample], bool] = lambda _: True,
    ) -> ScoreFile:
        """The scores that belong under a header: those in the run's file, those in the cache, or new ones.

        A file of other scores is moved aside: what was true of other weights is not true of these.
        """
        examples = self.examples if examples is None else examples
        kept = None if self.cache is None else self.cache / f"{_key(header)}.jsonl"
        if path.exists() and not _bears(path, header):
            aside, number = path.with_name(f"{path.stem}.stale-1.jsonl"), 1
            while aside.exists():
                number += 1
                aside = path.with_name(f"{path.stem}.stale-{number}.jsonl")
            _log.warning("%s holds scores that are no longer valid; they are kept as %s", path, aside.name)
            path.replace(aside)
        if not path.exists() and kept is not None and kept.exists() and _bears(kept, header):
            write_durably(path, kept.read_bytes())
        with closing(self.make_source(policy)) as source, ScoringProgress(title, len(examples)) as progress:
            scorer = Scorer(policy=policy, source=source, asking=asking, batch_size=self.batch_size, teacher=teacher)
            found = scorer.score(examples, path, header, race=race, passes=passes, on_batch=progress.advance)
        whole = not source.set_aside  # a video that is mended later must not be missing from every later run
        if kept is not None and not kept.exists() and whole:
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_durably(kept, path.read_bytes())
        return found

    def given(self, path: Path, sha256: str, examples: Sequence[Example]) -> ScoreFile:
        """Scores of these examples in a file that the user made with `video-opd score`.

        Raises:
            DataError: they are of another manifest or of another model, or are not complete.
        """
        scores = read_scores(path)
        require_scores_of(scores, self.manifest_sha256, sha256)
        rows = {example.id: scores.rows[example.id] for example in examples}
        return replace(scores, rows=rows, header=replace(scores.header, num_examples=len(rows)))


def _bears(path: Path, header: ScoreHeader) -> bool:
    try:
        found = read_header(path)
    except DataError:
        return False
    return found.identity == header.identity and found.num_examples == header.num_examples


def _key(header: ScoreHeader) -> str:
    return hashlib.sha256("\n".join(header.identity).encode()).hexdigest()[:32]
