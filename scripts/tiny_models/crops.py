"""Part of a clip, on the clip's own clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from video_opd.data.video.video_io import Frames
from video_opd.types import Span

FRAMES_PER_GROUP = 2


def keep_groups(frames: Frames, spans: Iterable[Span], margin_s: float = 0.0) -> Frames:
    """The temporal groups that overlap a span, each with the timestamp it has in the whole clip.

    A model of this processor sees frames two by two. So a crop begins and ends where a group does: other pairs would
    have timestamps that the model has never read. A crop has one group at least, the nearest to the first span.

    Args:
        frames: of the whole clip, or of a part that begins with a group.
        spans: in seconds of the clip.
        margin_s: added to both ends of every span.
    """
    starts = np.array(frames.times_s[::FRAMES_PER_GROUP])
    ends = np.append(starts[1:], max(frames.duration_s, starts[-1]))
    wanted = [Span(span.start_s - margin_s, span.end_s + margin_s) for span in spans]
    kept = np.any([(starts < span.end_s) & (ends > span.start_s) for span in wanted], axis=0)
    if not kept.any():
        middle = (wanted[0].start_s + wanted[0].end_s) / 2
        kept[np.abs((starts + ends) / 2 - middle).argmin()] = True
    indices = np.flatnonzero(np.repeat(kept, FRAMES_PER_GROUP))
    return replace(
        frames,
        images=np.ascontiguousarray(frames.images[indices]),
        times_s=tuple(frames.times_s[index] for index in indices),
        indices=tuple(frames.indices[index] for index in indices),
    )
