"""Takes secrets out of a text before it becomes a message, a log line or a record."""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from typing import Any

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(r"TOKEN(?!IZ)|SECRET|PASSW|API_?KEY|ACCESS_?KEY|CREDENTIAL|PRIVATE_?KEY", re.IGNORECASE)
_NO_SECRET_NAME = re.compile(r"_(PATH|FILE|DIR|URL|COUNT)$|MAX_|NUM_", re.IGNORECASE)
_LEAST_LENGTH = 8
"""A shorter value is a switch or a number, and would be found in harmless words."""

_IN_TEXT = (
    # What stands before the host of a URL; a path has lost one of the two slashes. A password may have an @ or a slash;
    # after a host and its port there may be an @ as well, which is no secret. A text of many URLs is scanned once: the
    # part without a slash ends at the next one, and the other has a greatest length.
    (
        re.compile(
            r"\b([a-z][a-z0-9+.-]*:/{1,2})"
            r"(?:[^/\s'\"@]+(?:@[^/\s'\"@]*)*|[^/\s'\":@\[]{1,100}:(?!\d+/)[^\s'\"]{0,100})@",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}@",
    ),
    (
        re.compile(
            r"([?&;][\w.-]*(?:token|secret|signature|sig|passw(?:or)?d|key|credential|auth)[\w.-]*=)[^&;#\s'\"]+",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(Bearer\s+)[\w.~+/=-]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\bhf_[A-Za-z0-9]{20,}"), HIDDEN),
)


def redact(text: str) -> str:
    """Replace secrets of the environment (`HF_TOKEN`, `WANDB_API_KEY` …) by their names, and those in URLs."""
    for name, secret in list_secrets():
        text = text.replace(secret, f"[{name}]")
    if ":" in text or "=" in text or "hf_" in text or "earer" in text:
        for pattern, replacement in _IN_TEXT:
            text = pattern.sub(replacement, text)
    return text


def list_secrets() -> tuple[tuple[str, str], ...]:
    """The variables of the environment that hold secrets, and their values; longer values first."""
    named = [(name, os.environ[name]) for name in os.environ if is_secret_name(name)]
    found = [(name, value) for name, value in named if len(value) >= _LEAST_LENGTH and not value.isdecimal()]
    return tuple(sorted(found, key=lambda pair: -len(pair[1])))


@lru_cache(maxsize=4096)  # every message asks it of every variable
def is_secret_name(name: str) -> bool:
    """Whether a variable of the environment holds a secret, by its name."""
    return bool(_SECRET_NAME.search(name)) and not _NO_SECRET_NAME.search(name)


def redact_logs() -> None:
    """Take secrets out of every log record of this process. A second call changes nothing."""
    make = logging.getLogRecordFactory()
    if getattr(make, "hides_secrets", False):
        return

    def make_clean(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):  # logging itself says what is wrong with the arguments
            return record
        clean = redact(text)
        if clean != text:
            record.msg, record.args = clean, ()
        return record

    make_clean.hides_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_clean)
