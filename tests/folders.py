"""What lies in a folder, to see that nothing of it was lost."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def contents(folder: Path) -> dict[str, str]:
    """Every entry of a folder: of a file its hash, of a link where it leads."""
    return {
        str(path.relative_to(folder)): f"link to {os.readlink(path)}"
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


def kept(before: dict[str, str], folder: Path) -> bool:
    """Every entry of before is there as it was; new ones may have come."""
    return contents(folder).items() >= before.items()
