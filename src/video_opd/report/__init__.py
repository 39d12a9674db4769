"""One HTML page that shows what a run did, made from its folder alone. No torch."""

from video_opd.report.build import write_report
from video_opd.report.comparison import write_comparison_report

__all__ = ["write_comparison_report", "write_report"]
