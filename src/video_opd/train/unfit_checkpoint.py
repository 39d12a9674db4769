"""The sentence for a checkpoint that is whole and does not fit the run that should go on from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from video_opd.errors import ConfigurationError

RESTORE = "restore the checkpoint that this run wrote, or begin again in another folder with --out"


def unfit(checkpoint: Path, reason: str) -> ConfigurationError:
    """The error that says why a checkpoint does not fit."""
    return ConfigurationError(
        f"checkpoint {checkpoint} does not fit the student of this run", reason=reason, remedy=RESTORE
    )


@contextmanager
def explain_unfit(checkpoint: Path) -> Iterator[None]:
    """Say of a model in a checkpoint that cannot be used what a run can do about it: its files were not downloaded."""
    try:
        yield
    except ConfigurationError as error:
        raise unfit(checkpoint, f"{error.cause}: {error.reason}") from error
