"""HTML pages that show runs and comparisons, made from what lies on the disk. No torch."""

from video_opd.report.comparison.comparison_page import write_comparison_report
from video_opd.report.comparison.overlay_page import write_overlay_report
from video_opd.report.run.run_page import write_report

__all__ = ["write_comparison_report", "write_overlay_report", "write_report"]
