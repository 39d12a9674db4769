"""A note on spans that end after their video: they are kept as annotated, so the user must hear of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from video_opd.data.video.video_sampling import DURATION_TOLERANCE_S
from video_opd.sample_size import count_of
from video_opd.types import Example


def note_late_spans(examples: Sequence[Example]) -> Iterator[str]:
    """One sentence with the number of such spans and the first of them; nothing where there is none."""
    late = [
        (example, span.end_s, example.duration)
        for example in examples
        for span in example.spans
        if example.duration is not None and span.end_s > example.duration + DURATION_TOLERANCE_S
    ]
    if late:
        example, end_s, duration_s = late[0]
        yield (
            f"{count_of(len(late), 'span ends', 'spans end')} after the video, the first in {example.id} at "
            f"{end_s:g} s of {duration_s:g} s: correct the table if it is a mistake."
        )
