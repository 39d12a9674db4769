"""Text that a person reads on a terminal: no file, name or answer can send it a command.

Control characters, marks that change the direction of writing and halves of surrogate pairs are written as JSON writes
them, such as `\\u001b`. So JSON that goes through here stays the same JSON. All output of the package goes through
`show`, `consoles.EscapingConsole` or the message of a `UserError`.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from types import TracebackType
from typing import TextIO

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    "\u2028\u2029\ufeff\ud800-\udfff]"
)


def escape_controls(text: str) -> str:
    """The same text with escapes in place of what a terminal obeys or cannot show. Tabs and newlines stay."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def show(text: object = "", *, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print a text as `print` does, with `escape_controls`.

    Args:
        text: what to print.
        end: what follows it.
        file: None: stdout.
        flush: as of `print`.
    """
    print(escape_controls(str(text)), end=end, file=file, flush=flush)


class EscapedLogRecord(logging.LogRecord):
    """A message of any logger, also of another library's."""

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        """The message with its arguments, with `escape_controls`."""
        return escape_controls(super().getMessage())


def guard_terminal() -> None:
    """Escape what does not go through `show`: messages of loggers, warnings, and the traceback at the end."""
    logging.setLogRecordFactory(EscapedLogRecord)
    format_warning = warnings.formatwarning
    warnings.formatwarning = lambda *parts, **more: escape_controls(format_warning(*parts, **more))
    sys.excepthook = show_traceback


def show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of an error on stderr."""
    show("".join(traceback.format_exception(kind, error, trace)), end="", file=sys.stderr)
