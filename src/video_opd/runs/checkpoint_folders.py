"""The folders of checkpoints by their names, and the hashes of their files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MARKER = "COMPLETE.json"
NOT_A_MARKER = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""What reading a file that is no marker raises."""

_CHECKPOINT = re.compile(r"step-(\d{6,})")
_NUM_HASHED_TOGETHER = 8


def checkpoint_folder(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return checkpoints / f"step-{step:06d}"


def list_saved(checkpoints: Path) -> list[tuple[int, Path]]:
    """Every folder with the name of a checkpoint, intact or not, in no order."""
    if not checkpoints.exists():
        return []
    named = ((_CHECKPOINT.fullmatch(path.name), path) for path in checkpoints.iterdir())
    return [(int(match[1]), path) for match, path in named if match]


def find_free_name(folder: Path, ending: str) -> Path:
    """Beside a folder, its name with an ending that is not taken."""
    free, number = folder.with_name(f"{folder.name}.{ending}"), 1
    while os.path.lexists(free):
        number += 1
        free = folder.with_name(f"{folder.name}.{ending}-{number}")
    return free


def hash_files(paths: Sequence[Path]) -> list[str]:
    """Hash several files at the same time, where there are several processors."""
    with ThreadPoolExecutor(min(_NUM_HASHED_TOGETHER, os.cpu_count() or 1)) as pool:
        return list(pool.map(hash_file, paths))


def hash_file(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
