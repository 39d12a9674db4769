"""One HTML page that shows what a run did, made from its folder alone. No torch."""

from video_opd.report.comparison.comparison_page import write_comparison_report
from video_opd.report.comparison.overlay_page import write_overlay_report
from video_opd.report.run.run_page import write_report

__all__ = ["write_comparison_report", "write_overlay_report", "write_report"]
