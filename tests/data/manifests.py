"""Rows at random, as the tests of what arranges and measures manifests want them."""

from __future__ import annotations

from hypothesis import strategies as st

from video_opd.types import Example, Span


def row(id: str, *spans: tuple[float, float], video: str = "a.mp4", query: str = "q", duration: float = 100.0, **more):
    """A row, by default with one span."""
    return Example(
        id=id, video=video, query=query, spans=tuple(Span(*span) for span in spans or ((1.0, 2.0),)), duration=duration,
        **more,
    )  # fmt: skip


@st.composite
def manifests(draw, prefix: str = "", max_size: int = 40) -> list[Example]:
    """Rows with distinct ids about a few videos, some of which are one video by several names."""
    videos = [
        "a.mp4",
        "b.mp4",
        "x/c.mp4",
        "NUsG9BgSes0_0.0_150.0.mp4",
        "NUsG9BgSes0_60.0_210.0.mp4",
        "v_NUsG9BgSes0.mp4",
    ]
    seconds = st.integers(0, 30).map(float)
    spans = st.tuples(seconds, seconds).map(lambda ends: Span(*sorted(ends)))
    ids = draw(st.lists(st.integers(0, 200), unique=True, min_size=1, max_size=max_size))
    return [
        Example(
            id=f"{prefix}{id}",
            video=draw(st.sampled_from(videos)),
            query=draw(st.sampled_from(["one", "two words", "One."])),
            spans=tuple(draw(st.lists(spans, min_size=1, max_size=3))),
            duration=draw(st.sampled_from([10.0, 30.0, 45.0, 300.0])),
            source=draw(st.sampled_from(["", "s", "t"])),
        )
        for id in ids
    ]
