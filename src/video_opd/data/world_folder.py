"""The folder of a rendered world: what was made there, file by file, and nothing else is touched.

`world.json` is the first file of it and says what is rendered. When all is there, it also has the SHA-256 of every
file, so that a file that was changed, or put there by hand, is told from one that was rendered. No file is replaced: a
name that is taken is never written over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.files.outputs import create, replace_file
from video_opd.files.strict_json import load_json
from video_opd.files.unfinished import open_scratch_folder

RECORD = "world.json"
_FILES = "files"
_SETTINGS = frozenset({"seed", "world", "noise", "num_queries", "version"})
"""Keys by which a record is told from a `world.json` of another program."""

_REMEDY = "give the tiny world a new folder, such as `video-opd tiny-world build --out FOLDER`, or move what is there"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldRecord:
    """What `world.json` says."""

    settings: dict[str, Any]
    sha256: Mapping[str, str] | None
    """Of every file, by its name; None: of none, since rendering is under way or an earlier version rendered."""
    is_of_earlier_version: bool
    """It was written last, and without hashes."""

    @property
    def is_finished(self) -> bool:
        """All files were made."""
        return self.is_of_earlier_version or self.sha256 is not None

    def has_all_manifests(self, folder: Path) -> bool:
        """Whether its files but the clips are there, as far as it is known which they are."""
        return all(os.path.exists(folder / name) for name in self.sha256 or {} if "/" not in name)

    def is_unchanged(self, folder: Path, name: str) -> bool:
        """Whether a file is there just as it was rendered; of a world without hashes that cannot be known."""
        return name in (self.sha256 or {}) and _hash_file(folder / name) == (self.sha256 or {})[name]

    def refuse_changed(self, folder: Path, files: Mapping[str, Callable[[Path], object]]) -> None:
        """Refuse to go on with a world that holds files of which no record shows that they were rendered.

        Args:
            files: all files of such a world, and what writes them. Of a rendering that was killed the clips that are
                there are compared later, when they are rendered.

        Raises:
            ConfigurationError: a file differs from what was rendered; a rendering that was killed left a folder in
                which there is something else too; or a world without hashes is not complete.
        """
        if self.is_of_earlier_version:
            missing = [name for name in files if not (folder / name).exists()]
            if missing:
                raise ConfigurationError(
                    f"the tiny world in {folder} has no {missing[0]}",
                    reason="an earlier version rendered it and kept no hashes, so its files cannot be told from yours",
                    remedy=_REMEDY,
                )
        elif self.sha256 is None:
            known = {folder / RECORD, folder / "videos", *(folder / name for name in files)}
            for path in sorted([*folder.iterdir(), *(folder / "videos").glob("*")]):
                if path not in known and not path.name.startswith("."):
                    raise _foreign_error(path)
            with open_scratch_folder() as scratch:
                for name, write in files.items():
                    if "/" not in name and os.path.lexists(folder / name):
                        write(scratch / name)
                        if _hash_file(folder / name) != _hash_file(scratch / name):
                            raise _foreign_error(folder / name)
        for name, digest in (self.sha256 or {}).items():
            if os.path.lexists(folder / name) and _hash_file(folder / name) != digest:
                raise _foreign_error(folder / name)


def read_record(folder: Path) -> WorldRecord | None:
    """What is recorded of a world in a folder; None where there is none, or a `world.json` of something else."""
    try:
        found = load_json((folder / RECORD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not found.keys() >= _SETTINGS:
        return None
    settings = {key: value for key, value in found.items() if key != _FILES}
    return WorldRecord(settings=settings, sha256=found.get(_FILES), is_of_earlier_version=_FILES not in found)


def refuse_occupied(folder: Path) -> None:
    """Refuse a folder that holds anything, hidden files aside.

    Raises:
        ConfigurationError: naming what it holds.
        OSError: it is a file, or cannot be read.
    """
    names = sorted(name for name in os.listdir(folder) if not name.startswith(".")) if os.path.lexists(folder) else []
    if names:
        path = folder / names[0]
        kind = "folder" if path.is_dir() else "manifest" if path.suffix == ".jsonl" else "file"
        raise ConfigurationError(
            f"{path} is there already",
            reason=f"{folder} has no {RECORD} of a world that was rendered there, so it is a {kind} of something else",
            remedy=_REMEDY,
        )


@dataclass(kw_only=True)
class WorldFolder:
    """A world's folder while files are put into it."""

    folder: Path
    known: Mapping[str, str]
    """Hashes of files of an earlier call."""
    scratch: Path
    """Where files are made before they are put."""
    sha256: dict[str, str] = field(default_factory=dict)

    @classmethod
    @contextlib.contextmanager
    def open(cls, folder: Path, settings: dict[str, Any], record: WorldRecord | None) -> Iterator[WorldFolder]:
        """A folder for the block; at its end the record says that all is there.

        Args:
            record: what is recorded there now; None: the folder holds nothing.
        """
        if record is None:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):  # another process renders the same world
                create(folder / RECORD, _as_json(settings | {_FILES: None}))
        found = read_record(folder)
        if found is None or found.settings != settings:
            raise _foreign_error(folder / RECORD)
        with open_scratch_folder() as scratch:
            world = cls(folder=folder, known=(record and record.sha256) or {}, scratch=scratch)
            yield world
        finished = _as_json(settings | {_FILES: dict(sorted(world.sha256.items()))})
        if (folder / RECORD).read_bytes() != finished:
            with replace_file(folder / RECORD) as unfinished:
                unfinished.write_bytes(finished)

    def put(self, name: str, write: Callable[[Path], object]) -> None:
        """Make a file that is not there. One that is there must be the same, and stays.

        Args:
            write: writes the file to the path it is given.

        Raises:
            ConfigurationError: another file has the name.
        """
        path = self.folder / name
        if name in self.known and path.is_file() and not path.is_symlink():
            self.sha256[name] = self.known[name]  # compared before
            return
        made = self.scratch / path.name
        write(made)
        content = made.read_bytes()
        made.unlink()
        if path.parent != self.folder:
            if path.parent.is_symlink():
                raise _foreign_error(path.parent)
            path.parent.mkdir(exist_ok=True)
        try:
            create(path, content)
        except FileExistsError:
            if path.is_symlink() or not path.is_file() or path.read_bytes() != content:
                raise _foreign_error(path) from None
        self.sha256[name] = hashlib.sha256(content).hexdigest()


def _foreign_error(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is there already",
        reason="it is not what was rendered there, so it is yours and is not written over",
        remedy=_REMEDY,
    )


def _hash_file(path: Path) -> str:
    """Of a file that is no link; of anything else an empty text."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _as_json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
