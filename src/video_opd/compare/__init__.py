"""Methods side by side: the same data, student and seeds, a ledger of what each cost, and what can be said of it."""

from video_opd.compare.comparison_runs import compare

__all__ = ["compare"]
