"""Find the source video of a path, because data sets have different names for one video, and the start of a crop in it.

- Folders and the file's ending do not matter: `videos/activitynet/x.mp4` is `x`.
- ActivityNet puts `v_` before the eleven letters of a YouTube id: `v_uqiMw7tQ1Cc` is `uqiMw7tQ1Cc`.
- QVHighlights cuts crops of 150 s and names them after the YouTube id and the crop, in seconds:
  `NUsG9BgSes0_210.0_360.0` is what `NUsG9BgSes0` shows from 210 s on.
- InternVid does the same with clock times: `QtWT8rxUuNk_00:00:39:000_00:01:24:700` begins at 39 s.
- TACoS is `s30-d52` in most files and `s30-d52-cam-002` in VideoMind's.

A row's `clip` begins where it says, counted from the beginning of the file.

A name says which video it is, in whatever folder, unless it is a counter or common words: shorter than five
characters, or lower-case letters and separators with a number of up to eight digits at the end (`1`, `video`,
`clip_012`, `front view`). Such names tell files apart only with their folder: `kitchen/1.mp4` is not `garden/1.mp4`.
Eleven letters and digits are taken for a YouTube id, whatever they are. One YouTube id in ten thousand has a separator
and looks like common words; of the field's names, one of Charades' 1,334 looks like a counter (`00607`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from video_opd.data.video.video_names import video_name
from video_opd.types import Example, Span

_YOUTUBE = r"[A-Za-z0-9_-]{11}"
_PREFIXED = re.compile(rf"v_({_YOUTUBE})")
_CROP = re.compile(rf"(?:v_)?({_YOUTUBE})_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)")
_CLOCK = r"(\d\d):(\d\d):(\d\d):(\d{3})"
_CLOCK_CROP = re.compile(rf"(?:v_)?({_YOUTUBE})_{_CLOCK}_{_CLOCK}")
_CAMERA = re.compile(r"(s\d+-d\d+)-cam-\d+")
_FEWEST_CHARACTERS = 5
_COMMON = re.compile(r"(?![a-z\d]{11}$)[a-z _.-]*\d{0,8}")


@dataclass(frozen=True, slots=True)
class SourceVideo:
    """The video that a file is, or was cut out of."""

    folder: str
    """As in the path, with a slash at its end; empty: none."""
    name: str
    offset_s: float
    """Where the file begins in the video."""

    @property
    def key(self) -> str:
        """The key that files and crops of one video share; if the name identifies the video, it is the same in all
        folders."""
        common = len(self.name) < _FEWEST_CHARACTERS or _COMMON.fullmatch(self.name)
        return self.folder + self.name if common else self.name


def source_video(path: str) -> SourceVideo:
    """The video behind a path of a manifest."""
    folder, slash, _ = path.rpartition("/")
    folder, name = folder + slash, video_name(path)
    if (crop := _CROP.fullmatch(name)) and float(crop[2]) < float(crop[3]):
        return SourceVideo(folder, crop[1], float(crop[2]))
    if crop := _CLOCK_CROP.fullmatch(name):
        hours, minutes, seconds, thousandths = map(int, crop.groups()[1:5])
        return SourceVideo(folder, crop[1], 3600 * hours + 60 * minutes + seconds + thousandths / 1000)
    if known := _PREFIXED.fullmatch(name) or _CAMERA.fullmatch(name):
        name = known[1]
    return SourceVideo(folder, name, 0.0)


def spans_in_source(example: Example) -> list[Span]:
    """A row's spans in seconds of the source video, shifted by the starts of its crop and its clip."""
    offset_s = source_video(example.video).offset_s + (example.clip.start_s if example.clip else 0.0)
    return [Span(span.start_s + offset_s, span.end_s + offset_s) for span in example.spans]
