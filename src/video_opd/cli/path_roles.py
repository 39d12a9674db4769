"""The role of a path on the command line, and the rule that follows: no command overwrites a file that it reads.

Every argument that may be a path has one of these roles as its type. `refuse_losses` checks the rule for all
arguments before the command begins, so that no command has to check it.
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
from video_opd.policy.folder_files import MODEL_FILES
from video_opd.policy.location import BUNDLED


class Role(Enum):
    """What a command does with a path."""

    READS = "a file or folder that is read"
    READS_VIDEOS = "a folder of which only the videos are read"
    READS_MODEL_OR_NAMES = "a folder of which only the model is read; if the folder does not exist, the name of a model"
    READS_FILE_OR_NAMES = "a file that is read if it exists; otherwise a name, such as the name of a split"
    WRITES = "a file, or a folder of files, that is written"
    GOES_ON = "a file or folder that is written, and read to continue it: a run folder, a file of scores"


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
"""Decides whether an argument that may be a name is a path."""
_READ_OF: dict[Role, Collection[str]] = {
    Role.READS_VIDEOS: VIDEO_SUFFIXES,
    Role.READS_MODEL_OR_NAMES: {Path(pattern).suffix for pattern in MODEL_FILES},
}
"""Endings of the files that are read, if the folder may have other files."""


@dataclass(frozen=True)
class GivenPath:
    """One path of a command line; `argument` is its flag, empty for a positional argument."""

    argument: str
    role: Role
    path: Path

    def __str__(self) -> str:
        return f"{self.argument} {self.path}".strip()


def role_of(annotation: Any) -> Role | None:
    """The role in an argument's type, such as `list[Reads] | None`; None if it is not a path."""
    for part in (*getattr(annotation, "__metadata__", ()), *get_args(annotation)):
        found = part if isinstance(part, Role) else role_of(part)
        if found is not None:
            return found
    return None


def refuse_losses(function: Callable[..., Any], bound: inspect.BoundArguments) -> None:
    """Check that no path of a command line is read and written.

    Raises:
        ConfigurationError: the command would write a file that it also reads (also by other names or links), a file
        in a folder that it reads, or a file that this program prints to; or a list names a file twice.
    """
    given = list(_list_given_paths(function, bound))
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
                    reason=f"it already exists among the files of {folder}, which this command reads",
                    remedy="give a new name, preferably outside that folder",
                )


def refuse_same(paths: Sequence[Path]) -> None:
    """Refuse a file that is given twice, also by other names or links.

    Raises:
        ConfigurationError: names the first such file.
    """
    for number, path in enumerate(paths):
        if any(is_same_file(path, other) for other in paths[:number]):
            raise ConfigurationError(
                f"{path} is given twice", reason="every file must count only once", remedy="leave one of the two out"
            )


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one file, also by other names or links."""
    try:
        return one.samefile(other)
    except OSError:  # one of them does not exist
        return os.path.realpath(one) == os.path.realpath(other)


def _list_given_paths(function: Callable[..., Any], bound: inspect.BoundArguments) -> Iterator[GivenPath]:
    """The paths in the arguments, and in the fields of arguments that are records."""
    hints = get_type_hints(function, include_extras=True)
    for name, value in bound.arguments.items():
        is_flag = bound.signature.parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
        yield from _list_paths(f"--{name}" if is_flag else "", hints.get(name), value)


def _list_paths(argument: str, annotation: Any, value: Any) -> Iterator[GivenPath]:
    if dataclasses.is_dataclass(value):
        hints = get_type_hints(type(value), include_extras=True)
        for field in dataclasses.fields(value):
            yield from _list_paths(f"--{field.name}", hints[field.name], getattr(value, field.name))
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
        return  # nothing exists there yet; other problems are found when the file is written
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
    """Whether a file is stdout or stderr, also by another name. The null device is always allowed."""
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
    # Manifests and results often lie beside the videos, and answers in the folder of their model. A file that has
    # no ending may be anything: the hub's cache keeps the files of models in this form.
    endings = _READ_OF.get(folder.role)
    if endings is not None and file.suffix and file.suffix.lower() not in endings:
        return False
    return _is_in_folder(folder.path, file)


def _is_in_folder(folder: Path, file: Path) -> bool:
    """Whether a file lies in a folder, or a link there points to it: a snapshot from the hub consists of links."""
    real, wanted = Path(os.path.realpath(file)), file.stat()
    if real.is_relative_to(os.path.realpath(folder)):
        return True
    with contextlib.suppress(OSError), os.scandir(folder) as entries:  # what may not be listed is not read
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found = _is_in_folder(Path(entry.path), file)
            elif entry.is_symlink():
                there = Path(os.path.realpath(entry.path))
                found = real == there or (there.is_dir() and real.is_relative_to(there))
            else:  # a hard link; the listing has the inode number, so no video is opened, even in a folder of 100,000
                found = entry.inode() == wanted.st_ino and os.path.samestat(entry.stat(), wanted)
            if found:
                return True
    return False
