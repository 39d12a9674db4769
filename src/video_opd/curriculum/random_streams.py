"""Which random numbers a file of scores was drawn with, and whether two files share them.

Teacher and student must not share them. With the same random numbers the errors of their means are correlated, and the
error of their difference cannot be computed from the two errors.
"""

from __future__ import annotations

import hashlib
import json

from video_opd.curriculum.score_file import ScoreFile, ScoreHeader

_OF_THE_SAME_DRAWS = {"num_answers", "skip_below", "race", "only", "teacher_sha256"}
"""Settings for the number of draws, the examples, and the judge. Scorings that differ only in these make the same
draws, so that they can be compared draw by draw."""


def stream_of(header: ScoreHeader) -> str:
    """Names the random numbers of a scoring: a function of the model, its role, the seed, and how the question is put.

    Neither of the shard nor of what was scored before a kill. A file that was written before there were roles names its
    own in the same way, though it drew otherwise: see `has_same_draws`.
    """
    settings = {name: value for name, value in header.settings.items() if name not in _OF_THE_SAME_DRAWS}
    return hashlib.sha256(json.dumps([header.model_sha256, settings], sort_keys=True).encode()).hexdigest()


def has_same_draws(one: ScoreFile, other: ScoreFile) -> bool:
    """Whether answers in both were drawn with the same random numbers.

    In files that do not say whose draws they hold, every model drew with the numbers of the seed alone.
    """
    if not all(any(answer.sampled for row in file.rows.values() for answer in row.answers) for file in (one, other)):
        return False
    settings, others = one.header.settings, other.header.settings
    if "draws" in settings or "draws" in others:
        return stream_of(one.header) == stream_of(other.header)
    return "seed" in settings and settings["seed"] == others.get("seed")
