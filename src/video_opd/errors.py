"""Errors that a user can correct. Every message says what is wrong, why that matters, and what to do.

The command line prints a `UserError` as one line on stderr and exits with status 2. Any other exception is a bug of
this program and keeps its traceback. A bad *answer* is not an error: it is data, with a reason (`grounding.parser`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from video_opd.redaction import redact
from video_opd.terminal import escape_controls


class UserError(Exception):
    """An error that the user can correct; as text, one line: "cause: reason. Remedy."

    Capitals, full stops and line breaks in the arguments do not matter.

    Args:
        cause: what was found, with the file, line or key.
        reason: why the program cannot go on with it.
        remedy: what to do about it.
    """

    def __init__(self, cause: str, *, reason: str, remedy: str) -> None:
        self.cause, self.reason, remedy = _clause(cause), _clause(reason), _clause(remedy)
        self.remedy = remedy[:1].upper() + remedy[1:]
        super().__init__(f"{self.cause}: {self.reason}. {self.remedy}.")

    def __reduce__(self) -> tuple[Any, ...]:
        """So that one process of a job can tell it to another."""
        return _make_again, (type(self), self.cause, self.reason, self.remedy)


def _make_again(kind: type[UserError], cause: str, reason: str, remedy: str) -> UserError:
    error = kind.__new__(kind)
    UserError.__init__(error, cause, reason=reason, remedy=remedy)
    return error


def _clause(text: str) -> str:
    """Put a clause on one line: without a full stop at its end, secrets, and what a terminal obeys."""
    return escape_controls(redact(re.sub(r"\s*[\r\n]+\s*", " ", text.strip()))).rstrip(".")


class ConfigurationError(UserError):
    """A recipe, a flag, a model folder or a run folder is not valid."""


class DataError(UserError):
    """A manifest, an annotation or a video cannot be used."""


class QueryError(DataError):
    """A model cannot be asked this query."""


class EngineError(UserError):
    """A model failed during the method: the loss is not finite, a prompt is over the limit, the memory is full."""


class Stopped(SystemExit):
    """A signal ends the program.

    Args:
        number: the number of the signal; the exit status is 128 more.
        sentence: tells the user what was saved, and how to resume.
    """

    def __init__(self, number: int, sentence: str) -> None:
        super().__init__(128 + number)
        self.number, self.sentence = number, sentence


def first_line(error: BaseException) -> str:
    """The first line of what an error says. Some say nothing, such as a bare `MemoryError()`: then what kind it is.

    Args:
        error: the error.
    """
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a device or of the machine is full, by an error of torch, which is not imported here."""
    if type(error).__name__ == "OutOfMemoryError":
        return True
    signs = ("DefaultCPUAllocator", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def require_path(argument: str, value: object) -> Path:
    """Return an argument of the API as a path.

    Raises:
        ConfigurationError: it is empty, or neither a text nor a path.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ConfigurationError(
            f"{argument} = {value!r}", reason="this is not a path or a name", remedy="give a text or a pathlib.Path"
        )
    return Path(value)


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of the operating system while the block writes `path` into a `ConfigurationError`."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written",
            reason=error.strerror or str(error),
            remedy="choose a folder where you may write, on a disk with free space",
        ) from error


_AGAIN = ", then run the same command again; what was saved is kept"
_FREE = "free some space or repair the disk" + _AGAIN
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE), _FREE),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give yourself the permission" + _AGAIN),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "give another name"),
}
"""What to do about an error of the operating system at a file: the disk is full, failing, read-only or gone; the file
is of another user; no file can have that name."""


def find_disk_failure(error: BaseException) -> EngineError | None:
    """What a user can do about an error of the operating system at a file; None: it is another error."""
    if not isinstance(error, OSError) or error.errno not in _REMEDIES:
        return None
    noted: list[str] = getattr(error, "__notes__", [])  # `files.outputs` notes which file it was writing
    return EngineError(
        f"{noted[0] if noted else error.filename or 'a file'} could not be written or read",
        reason=error.strerror or str(error),
        remedy=_REMEDIES[error.errno],
    )


@contextlib.contextmanager
def explain_disk_failures() -> Iterator[None]:
    """Turn an error of the operating system at any file that the block writes or reads into an `EngineError`.

    For work that writes many files. Where the block writes one file of the user's choice, `explain_write_errors` has
    the better remedy.
    """
    try:
        yield
    except OSError as error:
        if (failure := find_disk_failure(error)) is None:
            raise
        raise failure from error
