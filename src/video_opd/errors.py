"""Errors a user can act on. Every one says what is wrong, why that matters, and what to do.

The command line prints `UserError`s as one line on stderr and exits with status 2. Anything else that escapes is a
bug of ours and keeps its traceback. A bad *answer* is neither: it is data, with a reason (`grounding.answer`).
"""

from __future__ import annotations


class UserError(Exception):
    """Something the user can mend.

    Args:
        cause: what was found, naming the file, line or key.
        reason: why the program cannot go on with it.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, *, reason: str, remedy: str) -> None:
        self.cause = cause.rstrip(".")
        self.reason = reason.rstrip(".")
        self.remedy = remedy.rstrip(".")
        super().__init__(f"{self.cause}: {self.reason}. {self.remedy}.")


class ConfigurationError(UserError):
    """A recipe, a flag, a model folder or a run folder that does not fit."""


class DataError(UserError):
    """A manifest, an annotation or a video that cannot be used."""


class EngineError(UserError):
    """A model that did not do what the method needs: non-finite loss, a prompt over the limit, out of memory."""
