"""Recognises a file that should be text and is not. Imports nothing from the package."""

from __future__ import annotations

_PACKED = {
    b"\x1f\x8b": ("gzip", "gunzip"),
    b"PK\x03\x04": ("a zip archive", "unzip"),
    b"BZh": ("bzip2", "bunzip2"),
    b"\xfd7zXZ\x00": ("xz", "unxz"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unzstd"),
}
"""First bytes -> name, and the program that unpacks it."""
_LOOKED_AT = 8192
"""Bytes at the beginning; text of any encoding but UTF-16 and UTF-32 has no NUL there."""


def explain_not_text(beginning: bytes) -> tuple[str, str] | None:
    """Why bytes that are not UTF-8 are not text in another encoding either.

    Args:
        beginning: the file from its first byte, or a part of that.

    Returns:
        Reason and remedy; None: they may well be text.
    """
    if found := explain_packed(beginning):
        return found
    if b"\0" in beginning[:_LOOKED_AT]:
        return "the file is binary (a video, a pickle, an array), not text", "Give a file of text or JSON"
    return None


def explain_packed(beginning: bytes) -> tuple[str, str] | None:
    """Check by its first bytes whether a file is packed: a small archive may be valid UTF-8 up to its first line break.

    Returns:
        Reason and remedy; None: it is not.
    """
    for magic, (kind, program) in _PACKED.items():
        if beginning.startswith(magic):
            return f"the file is packed ({kind})", f"Unpack it, such as with `{program}`"
    return None
