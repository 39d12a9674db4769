"""Errors a user can act on. Every one says what is wrong, why that matters, and what to do.

The command line prints `UserError`s as one line on stderr and exits with status 2. Anything else that escapes is a
bug of ours and keeps its traceback. A bad *answer* is neither: it is data, with a reason (`grounding.answer`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path


class UserError(Exception):
    """Something the user can mend; as text, one line: "cause: reason. Remedy."

    Whoever raises it need not mind capitals, full stops or line breaks.

    Args:
        cause: what was found, naming the file, line or key.
        reason: why the program cannot go on with it.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, *, reason: str, remedy: str) -> None:
        self.cause, self.reason, remedy = _clause(cause), _clause(reason), _clause(remedy)
        self.remedy = remedy[:1].upper() + remedy[1:]
        super().__init__(f"{self.cause}: {self.reason}. {self.remedy}.")


def _clause(text: str) -> str:
    """On one line, without a full stop at its end."""
    return re.sub(r"\s*[\r\n]+\s*", " ", text.strip()).rstrip(".")


class ConfigurationError(UserError):
    """A recipe, a flag, a model folder or a run folder that does not fit."""


class DataError(UserError):
    """A manifest, an annotation or a video that cannot be used."""


class QueryError(DataError):
    """A query that a model cannot be asked."""


class EngineError(UserError):
    """A model that did not do what the method needs: non-finite loss, a prompt over the limit, out of memory."""


class Stopped(SystemExit):
    """A signal ends the program.

    Args:
        number: of the signal; the exit status is 128 more.
        sentence: what was done is kept, and how to go on.
    """

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(128 + number)
        self.number, self.sentence = number, sentence


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the operating system says against writing `path` in the block becomes a `ConfigurationError`."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written",
            reason=error.strerror or str(error),
            remedy="choose a place on a disk with space where you may write",
        ) from error
