"""What a video is called, whatever folder and format it lies in. Imports nothing of the package."""

from __future__ import annotations

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".ts", ".mts",
    ".m2ts", ".ogv", ".3gp", ".3g2", ".wmv"))  # fmt: skip

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Of the pictures in a folder that is a video."""


def is_picture(name: str) -> bool:
    """Whether a file is one of a folder's pictures, by its name: not what macOS puts beside it (`._00001.jpg`)."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def video_name(path: str) -> str:
    """A video's name without folders and without the ending of a video file.

    `a_210.0_360.0` has no ending; 53 names of DiDeMo's validation set end in a bare dot. Paths written on Windows have
    backslashes; blanks around a name come from tables.
    """
    name = path.replace("\\", "/").rpartition("/")[2].strip()
    stem, dot, ending = name.rpartition(".")
    return stem if dot + ending.lower() in VIDEO_SUFFIXES else name.rstrip(".")
