"""What a maintainer asks first: versions, machine, and the state of a run, without private texts."""

from video_opd.bug_report.report_text import MARK, make_bug_report

__all__ = ["MARK", "make_bug_report"]
