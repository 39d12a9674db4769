"""What a path on the command line is to its command, and the rule that follows: nothing that is read is written over.

Every argument that may be a path has one of these as its type. `refuse_losses` holds all of a command's arguments
against the rule before the command begins, so that no command need think of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

from video_opd.data.video.video_names import VIDEO_SUFFIXES
from video_opd.errors import ConfigurationError
from video_opd.policy.location import BUNDLED, MODEL_FILES


class Role(Enum):
    """What a path is to a command."""

    READS = "a file or folder that is read"
    READS_VIDEOS = "a folder of which videos are read, and nothing else that may lie there"
    READS_MODEL_OR_NAMES = "a folder of which a model is read, and nothing else, if there is one; otherwise its name"
    READS_FILE_OR_NAMES = "a file that is read if there is one; otherwise a name, such as a split's"
    WRITES = "a file, or a folder of files, that is written"
    GOES_ON = "what is written, and read to go on with: a run folder, a file of scores"


Reads = Annotated[Path, Role.READS]
ReadsVideos = Annotated[Path, Role.READS_VIDEOS]
ReadsModelOrNames = Annotated[str, Role.READS_MODEL_OR_NAMES]
ReadsFileOrNames = Annotated[str, Role.READS_FILE_OR_NAMES]
Writes = Annotated[Path, Role.WRITES]
GoesOn = Annotated[Path, Role.GOES_ON]

WRITING = (Role.WRITES, Role.GOES_ON)
READING = tuple(role for role in Role if role not in WRITING)
_IS_THERE: dict[Role, Callable[[str], bool]] = {
    Role.READS_MODEL_OR_NAMES: lambda text: text not in BUNDLED and os.path.exists(text),
    Role.READS_FILE_OR_NAMES: os.path.isfile,
}
"""Whether what may be a name is a path."""
_READ_OF: dict[Role, Collection[str]] = {
    Role.READS_VIDEOS: VIDEO_SUFFIXES,
    Role.READS_MODEL_OR_NAMES: {Path(pattern).suffix for pattern in MODEL_FILES},
}
"""Endings of the files that are read, where others may lie beside them."""


@dataclass(frozen=True)
class GivenPath:
    """One path of a command line; `argument` is its flag, empty for a positional argument."""

    argument: str
    role: Role
    path: Path

    def __str__(self) -> str:
        return f"{self.argument} {self.path}".strip()


def role_of(annotation: Any) -> Role | None:
    """The role in an argument's type, such as `list[Reads] | None`; None: it is no path."""
    for part in (*getattr(annotation, "__metadata__", ()), *get_args(annotation)):
        found = part if isinstance(part, Role) else role_of(part)
        if found is not None:
            return found
    return None


def refuse_losses(function: Callable[..., Any], bound: inspect.BoundArguments) -> None:
    """Hold the paths of a command line against one another.

    Raises:
        ConfigurationError: a file would be written that is also read (by whatever names and links), that lies in a
            folder that is read, or that this program prints to; or a file stands twice in a list.
    """
    given = list(_paths_given(function, bound))
    read = [one for one in given if one.role in READING]
    written = [one for one in given if one.role in WRITING]
    for number, out in enumerate(written):
        if any(is_same_file(out.path, other.path) for other in (*read, *written[:number])):
            kind = "folder" if os.path.isdir(out.path) else "file"
            raise ConfigurationError(
                str(out), reason=f"it is a {kind} that this command also uses", remedy="give another name"
            )
        _refuse_what_is_no_file(out)
        for folder in read:
            if out.role is Role.WRITES and _may_be_read_from(folder, out.path):
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
        if any(is_same_file(path, other) for other in paths[:number]):
            raise ConfigurationError(
                f"{path} is given twice", reason="every file counts once", remedy="leave one of the two out"
            )


def is_same_file(one: Path, other: Path) -> bool:
    """By whatever names and links."""
    try:
        return one.samefile(other)
    except OSError:  # one of them is not there
        return os.path.realpath(one) == os.path.realpath(other)


def _paths_given(function: Callable[..., Any], bound: inspect.BoundArguments) -> Iterator[GivenPath]:
    """Of the arguments, and of the fields of those that are records."""
    hints = get_type_hints(function, include_extras=True)
    for name, value in bound.arguments.items():
        is_flag = bound.signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        yield from _paths_of(f"--{name}" if is_flag else "", hints.get(name), value)


def _paths_of(argument: str, annotation: Any, value: Any) -> Iterator[GivenPath]:
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value), include_extras=True)
        for field in dataclasses.fields(value):
            yield from _paths_of(f"--{field.name}", hints[field.name], getattr(value, field.name))
        return
    role = role_of(annotation)
    if role is None or value is None:
        return
    values: Iterable[Path | str] = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, list | tuple):
        refuse_same(value)
    for one in values:
        if role not in _IS_THERE or _IS_THERE[role](str(one)):
            yield GivenPath(argument.replace("_", "-"), role, Path(one))


def _refuse_what_is_no_file(out: GivenPath) -> None:
    try:
        found = out.path.stat()
    except OSError:
        return  # nothing there yet; whatever else is wrong shows when it is written
    if out.role is Role.GOES_ON and not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
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


def _may_be_read_from(folder: GivenPath, file: Path) -> bool:
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
