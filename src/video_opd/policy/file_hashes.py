"""SHA-256 of files of models. A file is read once for as long as it stays as it is: weights have many gigabytes."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content. A second call in the same program reads it again only if the file has changed.

    Raises:
        OSError: it cannot be read.
    """
    found = path.stat()
    state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return _hash_content(path, state)


@lru_cache(maxsize=4096)
def _hash_content(path: Path, state: tuple[int, ...]) -> str:  # noqa: ARG001 - another state is another content
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
