"""What a path on the command line is to its command, and the rule that follows: nothing that is read is written over.

Every argument that may be a path has one of these as its `type`. `Parser` holds all of a command's arguments against
the rule before the command begins, so that no command need think of it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from video_opd.data.video.video_names import VIDEO_SUFFIXES
from video_opd.errors import ConfigurationError
from video_opd.policy.location import BUNDLED, MODEL_FILES


def reads(text: str) -> Path:
    """A file or folder that the command reads."""
    return Path(text)


def reads_videos(text: str) -> Path:
    """A folder of which the command reads videos, and nothing else that may lie there."""
    return Path(text)


def reads_model_or_names(text: str) -> str:
    """A folder of which the command reads a model, and nothing else, if there is one; otherwise a model's name."""
    return text


def reads_file_or_names(text: str) -> str:
    """A file that the command reads if there is one; otherwise a name, such as a split's."""
    return text


def writes(text: str) -> Path:
    """A file, or a folder of files, that the command writes."""
    return Path(text)


def goes_on(text: str) -> Path:
    """What the command writes, and reads to go on with: a run folder, a file of scores."""
    return Path(text)


READING, WRITING = (reads, reads_videos, reads_model_or_names, reads_file_or_names), (writes, goes_on)
_THERE: dict[object, Callable[[str], bool]] = {
    reads_model_or_names: lambda text: text not in BUNDLED and os.path.exists(text),
    reads_file_or_names: os.path.isfile,
}
"""Whether what may be a name is a path."""
_READ_OF: dict[object, Collection[str]] = {
    reads_videos: VIDEO_SUFFIXES,
    reads_model_or_names: {Path(pattern).suffix for pattern in MODEL_FILES},
}
"""Endings of the files that are read, where others may lie beside them."""


@dataclass(frozen=True)
class _Given:
    """One path of a command line."""

    argument: str
    role: object
    path: Path

    def __str__(self) -> str:
        return f"{self.argument} {self.path}".strip()


def refuse_losses(actions: Iterable[argparse.Action], namespace: argparse.Namespace) -> None:
    """Hold the paths of a command line against one another.

    Raises:
        ConfigurationError: a file would be written that is also read (by whatever names and links), that lies in a
            folder that is read, or that this program prints to; or a file stands twice in a list.
    """
    given = [one for action in actions for one in _given(action, namespace)]
    read = [one for one in given if one.role in READING]
    written = [one for one in given if one.role in WRITING]
    for number, out in enumerate(written):
        if any(same_file(out.path, other.path) for other in (*read, *written[:number])):
            kind = "folder" if os.path.isdir(out.path) else "file"
            raise ConfigurationError(
                str(out), reason=f"it is a {kind} that this command also uses", remedy="give another name"
            )
        _refuse_what_is_no_file(out)
        for folder in read:
            if out.role is writes and _may_be_read_from(folder, out.path):
                raise ConfigurationError(
                    str(out),
                    reason=f"it is there already, among the files of {folder}, which this command reads",
                    remedy="give a name that is not taken, best outside that folder",
                )


def refuse_same(paths: Sequence[Path]) -> None:
    """Refuse a file that is given twice, by whatever names and links.

    Raises:
        ConfigurationError: naming the first.
    """
    for number, path in enumerate(paths):
        if any(same_file(path, other) for other in paths[:number]):
            raise ConfigurationError(
                f"{path} is given twice", reason="every file counts once", remedy="leave one of the two out"
            )


def same_file(one: Path, other: Path) -> bool:
    """By whatever names and links."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return os.path.realpath(one) == os.path.realpath(other)


def _given(action: argparse.Action, namespace: argparse.Namespace) -> Iterator[_Given]:
    value = getattr(namespace, action.dest, None)
    if action.type not in (*READING, *WRITING) or value is None:
        return
    if isinstance(value, list):
        refuse_same(value)
    for text in value if isinstance(value, list) else [value]:
        if action.type not in _THERE or _THERE[action.type](text):
            yield _Given(next(iter(action.option_strings), ""), action.type, Path(text))


def _refuse_what_is_no_file(out: _Given) -> None:
    try:
        found = out.path.stat()
    except OSError:
        return  # nothing there yet; whatever else is wrong shows when it is written
    if out.role is goes_on and not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise ConfigurationError(
            str(out),
            reason="it is a pipe or a device, and this command reads back what it has written",
            remedy="give the name of a file on a disk",
        )
    if _is_printed_to(found):
        raise ConfigurationError(
            str(out),
            reason="this command prints its messages there, which would mix with the file",
            remedy="give the name of a file, or of a pipe: in bash, `>(COMMAND)` is one",
        )


def _is_printed_to(found: os.stat_result) -> bool:
    """Whether it is stdout or stderr, by whatever name. Into the null device anything may go."""
    for descriptor in (1, 2):
        try:
            if os.path.samestat(found, os.fstat(descriptor)):
                return not os.path.samestat(found, os.stat(os.devnull))
        except OSError:  # it was closed
            continue
    return False


def _may_be_read_from(folder: _Given, file: Path) -> bool:
    if not os.path.isdir(folder.path) or not os.path.isfile(file):
        return False
    # Manifests and results often lie beside the videos, and answers in the folder of the model that gave them. What has
    # no ending may be anything: the hub's cache keeps the files of models so.
    endings = _READ_OF.get(folder.role)
    if endings is not None and file.suffix and file.suffix.lower() not in endings:
        return False
    return _holds(folder.path, file)


def _holds(folder: Path, file: Path) -> bool:
    """Whether a file lies in a folder, or is what a link there leads to: a snapshot from the hub is made of links."""
    real, wanted = Path(os.path.realpath(file)), file.stat()
    if real.is_relative_to(os.path.realpath(folder)):
        return True
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # what may not be listed is not read either
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found = _holds(Path(entry.path), file)
            elif entry.is_symlink():
                there = Path(os.path.realpath(entry.path))
                found = real == there or (there.is_dir() and real.is_relative_to(there))
            else:  # a hard link; the listing has the number, so of 100,000 videos none is looked at by itself
                found = entry.inode() == wanted.st_ino and os.path.samestat(entry.stat(), wanted)
            if found:
                return True
    return False
