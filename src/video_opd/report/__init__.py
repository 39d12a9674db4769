"""One HTML page that shows what a run did, made from its folder alone. No torch."""

from video_opd.report.build import write_report

__all__ = ["write_report"]
