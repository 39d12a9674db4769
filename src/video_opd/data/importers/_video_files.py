"""Find the file of the video that an annotation names, and its true duration."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from video_opd.data.video.video_names import VIDEO_SUFFIXES, is_picture, video_name
from video_opd.errors import DataError


class VideoFiles:
    """The video files of a folder and its sub-folders.

    Args:
        frame_rate: pictures per second of videos that are folders of numbered pictures; None: such folders are none.

    Raises:
        DataError: the folder does not exist.
    """

    def __init__(self, folder: Path, frame_rate: float | None = None) -> None:
        if not folder.is_dir():
            raise DataError(
                f"videos folder {folder}: no such folder",
                reason="the durations of its files must be compared",
                remedy="give the folder of the videos",
            )
        self.folder, self.frame_rate = folder, frame_rate
        self.unreadable: dict[str, str] = {}
        """Path below the folder -> why it cannot be used."""
        self.ambiguous: dict[str, list[str]] = {}
        """Name that was looked for -> the several files of that name, none of which is taken."""
        self._paths: set[str] = set()
        self._by_name: dict[str, list[str]] = {}
        for root, folders, names in os.walk(folder):
            folders.sort()
            if frame_rate is not None and Path(root) != folder and any(map(is_picture, names)):
                path = Path(root).relative_to(folder).as_posix()
                self._paths.add(path)
                self._by_name.setdefault(video_name(path), []).append(path)
            for name in sorted(names):
                if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES:
                    path = (Path(root) / name).relative_to(folder).as_posix()
                    self._paths.add(path)
                    self._by_name.setdefault(video_name(name), []).append(path)
        self._durations: dict[str, float | None] = {}
        self._outside: dict[str, str] = {}
        self._root = folder.resolve()

    def find(self, video: str) -> str | None:
        """The path below the folder of the file that a data set's name or path means; None if there is none.

        Looked for in this order: that very path; the path less its leading folders; the only file of that name with
        whatever ending; the only file of that name and `v_` in front (ActivityNet), or a camera behind
        (`s30-d52-cam-002.mp4`, TACoS).
        """
        parts = PurePosixPath(video).parts
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            if path in self._paths:
                return path
        name = video_name(video)
        same = self._by_name.get(name, [])
        if not same:
            same = self._by_name.get(f"v_{name}", []) or [
                path for other, paths in self._by_name.items() if other.startswith(f"{name}-cam-") for path in paths
            ]
        if len(same) > 1:
            self.ambiguous[video] = same
        return same[0] if len(same) == 1 else None

    def rate_of(self, path: str) -> float | None:
        """Pictures per second of a video that is a folder; None: it is a file."""
        return self.frame_rate if os.path.isdir(self.folder / path) else None

    def resolve_outside(self, path: str) -> str:
        """Where a file really lies, if a link leads out of the folder: `resolve_video` refuses it. "" if none does."""
        if path not in self._outside:
            file = (self.folder / path).resolve()  # a circle of links has no duration either, and never comes here
            self._outside[path] = "" if file.is_relative_to(self._root) else str(file)
        return self._outside[path]

    def read_duration(self, path: str) -> float | None:
        """Seconds by the file's own packets; None if it cannot be read, which `unreadable` then explains."""
        from video_opd.data.video.picture_folder import probe_video  # here, so that importing does not load FFmpeg

        if path not in self._durations:
            try:
                self._durations[path] = probe_video(self.folder / path, self.rate_of(path)).duration_s
            except DataError as error:
                self._durations[path] = None
                self.unreadable[path] = error.reason
        return self._durations[path]
