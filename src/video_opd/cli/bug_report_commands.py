"""`bug-report`."""

from __future__ import annotations

from pathlib import Path

from video_opd.cli.path_roles import Reads, Writes
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.terminal import show


def bug_report(run: Reads | None = None, /, *, out: Writes | None = None) -> int:
    """Describe versions, machine and a run as a text for an issue, without secrets, queries and answers.

    Args:
        run: folder of the run that failed; it may be damaged
        out: Markdown file (default: stdout)

    Example:
        video-opd bug-report runs/demo --out bug.md
    """
    from video_opd.bug_report import MARK, make_bug_report
    from video_opd.files.outputs import refuse_foreign, replace_file

    if run is not None and not run.is_dir():
        raise ConfigurationError(
            f"{run} is not a folder",
            reason="a run is a folder",
            remedy="name the folder that was given to `video-opd train --out`, or leave it out",
        )
    if out is None:
        show(make_bug_report(run), end="")
        return 0

    def is_report(path: Path) -> bool:
        return path.read_bytes().startswith(MARK.encode())

    with explain_write_errors(out):
        refuse_foreign(out, is_report, "a bug report of this program")
        text = make_bug_report(run)
        with replace_file(out) as unfinished:
            unfinished.write_text(text, encoding="utf-8", errors="replace")
    show(out)
    return 0
