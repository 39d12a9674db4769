"""The errors in the training annotations of the tiny world, as settings of a recipe or a command line."""

from __future__ import annotations

from typing import Annotated

from video_opd.settings import Flagged, NotNegative, Settings, Share


class LabelNoise(Settings):
    """The errors in the training annotations. The defaults follow TimeLens's audit of Charades-STA (arXiv
    2512.14698)."""

    wrong_share: Share = 0.20
    """Share of training spans that belong to another event (TimeLens's audit of Charades-STA: 20.6 %)."""
    imprecise_share: Share = 0.35
    """Share of training spans with displaced ends (the same audit: 34.9 %)."""
    jitter_s: Annotated[NotNegative, Flagged("jitter")] = 1.0
    """Standard deviation of the displacement."""
