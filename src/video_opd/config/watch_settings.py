"""The table [watch] of a recipe: what counts as a collapse of the student."""

from __future__ import annotations

from video_opd.settings import Flag, MoreThanOne, Positive, Settings, Share


class WatchSettings(Settings):
    """When a run stops because the student has collapsed. Each figure is a mean over some steps."""

    stop: Flag = True
    """Stop the run if a figure stays beyond its limit for another window; false: only warn."""
    window: Positive = 10
    """Steps over which a figure is averaged."""
    distinct_answers: Share = 0.1
    """Lower limit for the share of distinct answers among those to different prompts, relative to its best mean so
    far. 1: all texts differ. 0: all are the same."""
    output_format_rate: Share = 0.2
    """Lower limit for the share of answers in which the parser finds a span, relative to its best mean so far."""
    shortest: Share = 0.1
    """Lower limit for the mean length of the answers, relative to that of the first steps."""
    longest: MoreThanOne = 10.0
    """Upper limit for the mean length of the answers, relative to that of the first steps."""
    teacher_view_miou: Share = 0.5
    """Lower limit for the mIoU of the teacher's own answers in its view, relative to its best value so far, in runs
    that measure it."""
