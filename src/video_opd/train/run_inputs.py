"""The files that recipes name. From the first look at a recipe to its first step each is read and hashed once."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from video_opd.config import Recipe
from video_opd.curriculum import ScoreFile, Selection, read_scores, read_selection
from video_opd.data.manifest import read_manifest
from video_opd.data.side_questions import SideQuestion, read_side_questions
from video_opd.data.video.video_names import is_picture
from video_opd.errors import DataError
from video_opd.train.build_inputs import find_side_questions_file, list_manifests
from video_opd.types import Example

_T = TypeVar("_T")


class Inputs:
    """What was read of the files so far. Recipes that name the same files share one object.

    It does not notice a file that changes later: make a new one where that is to be seen.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[Any, ...], Any] = {}

    def read_manifest(self, recipe: Recipe, path: Path | None) -> Sequence[Example]:
        """The examples of one of the recipe's manifests; none where it has no such manifest.

        Raises:
            DataError: a manifest that cannot be used.
        """
        videos = recipe.data.videos
        if path is None:
            return []
        return self._read_once(("manifest", path, videos), lambda: read_manifest(path, videos))

    def read_side_questions(self, recipe: Recipe) -> Sequence[SideQuestion]:
        """The recipe's side questions; none where it asks none, or none can be asked.

        Raises:
            ConfigurationError: side questions are asked for and there is no file of them.
            DataError: a file that cannot be read.
        """
        if (path := self.find_side_questions_file(recipe)) is None:
            return []
        return self._read_once(("side questions", path), lambda: read_side_questions(path))

    def find_side_questions_file(self, recipe: Recipe) -> Path | None:
        """Find the file of side questions once; see `build_inputs.find_side_questions_file`."""
        key = ("side questions of", recipe.side_questions, recipe.data)
        return self._read_once(key, lambda: find_side_questions_file(recipe))

    def read_scores(self, path: Path) -> ScoreFile:
        """The scores in a file.

        Raises:
            DataError: a file that cannot be read.
        """
        return self._read_once(("scores", path), lambda: read_scores(path))

    def read_selection(self, recipe: Recipe, path: Path) -> Selection:
        """A selection from the recipe's training manifest.

        Raises:
            DataError: a file that cannot be read, or does not fit the manifest.
        """
        train = recipe.data.train
        ids = {example.id for example in self.read_manifest(recipe, train)}
        return self._read_once(("selection", path, train), lambda: read_selection(path, ids))

    def measure_videos(self, recipe: Recipe) -> dict[str, int | None]:
        """The size of every video that is named, by its name; None where it is missing.

        Raises:
            DataError: a manifest that cannot be used.
        """

        def measure() -> dict[str, int | None]:
            data = recipe.data
            manifests = (self.read_manifest(recipe, path) for path in (data.train, data.validation, data.test))
            is_folder = {example.video: example.frame_rate is not None for each in manifests for example in each}
            is_folder |= {question.video: False for question in self.read_side_questions(recipe)}
            return {
                name: _measure_video(os.path.join(data.videos, name), is_folder[name]) for name in sorted(is_folder)
            }

        return self._read_once(("videos", recipe.side_questions, recipe.data), measure)

    def hash_files(self, *paths: Path) -> str:
        """The hash of one file, or of several one after the other."""
        return self._hash(paths).hexdigest()

    def measure_file(self, path: Path) -> int:
        """The number of bytes that `hash_files` hashed of a file."""
        self.hash_files(path)
        return int(self._kept["bytes", path])

    def hash_data(self, recipe: Recipe) -> str:
        """The hash of the recipe's manifests: whether two runs saw the same examples."""
        return self.hash_files(*list_manifests(recipe.data))

    def hash_everything(self, recipe: Recipe) -> str:
        """The hash of everything a run reads besides models and videos: manifests, given scores and selections."""
        named = [getattr(recipe.curriculum, key, None) for key in ("file", "teacher_scores")]
        files = [path for path in (*named, *(teacher.scores for teacher in recipe.teachers)) if path is not None]
        found = hashlib.sha256(self.hash_data(recipe).encode())
        for path in files:
            content = self._read_content(path)
            found.update(content)
            self._kept["sha256", (path,)] = hashlib.sha256(content)
        return found.hexdigest()

    def _hash(self, paths: tuple[Path, ...]) -> Any:
        """The hash of files one after the other, from that of all but the last."""

        def hash_last() -> Any:
            found, content = self._hash(paths[:-1]).copy(), self._read_content(paths[-1])
            found.update(content)
            self._kept.setdefault(("sha256", paths[-1:]), hashlib.sha256(content))
            return found

        return self._read_once(("sha256", paths), hash_last) if paths else hashlib.sha256()

    def _read_once(self, key: tuple[Any, ...], read: Callable[[], _T]) -> _T:
        if key not in self._kept:
            self._kept[key] = read()
        found: _T = self._kept[key]
        return found

    def _read_content(self, path: Path) -> bytes:
        """The content of a file that is hashed; its size is kept."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read",
                reason=f"the run has to know which content it was begun with ({error.strerror or error})",
                remedy="restore the file, and run the same command again",
            ) from error
        self._kept["bytes", path] = len(content)
        return content


def _measure_video(path: str, is_folder: bool) -> int | None:
    """Bytes of a file, or of the pictures of a folder; None where neither is there."""
    try:
        if is_folder:
            with os.scandir(path) as entries:
                return sum(entry.stat().st_size for entry in entries if is_picture(entry.name))
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
