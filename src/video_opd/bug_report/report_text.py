"""The text of a bug report: Markdown that can be pasted into an issue, without secrets and names of the user."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
from pathlib import Path

from video_opd.bug_report.machine_facts import list_machine_facts, list_variables, list_versions
from video_opd.bug_report.run_facts import ReportBlock, list_run_facts
from video_opd.redaction import redact
from video_opd.terminal import escape_controls

MARK = "# video-opd: bug report"

_HEAD = """\
What did you do? (the command, and what it printed)

What did you expect?

This text has no queries, no answers, no ids of examples and no names of videos. Secrets, the name of the machine, your
user name and your home folder are taken out. The recipe below names your models and folders. Read all of it before you
send it."""


def make_bug_report(run: Path | None) -> str:
    """Describe this installation, this machine, and a run.

    Args:
        run: its folder, in whatever state; None: no run is described.
    """
    sections = [
        ReportBlock("Versions", "\n".join(list_versions())),
        ReportBlock("Machine", "\n".join(list_machine_facts(run or Path.cwd()))),
        ReportBlock("Environment variables", "\n".join(list_variables()) or "none that matters"),
        *(list_run_facts(run) if run else ()),
    ]
    parts = [MARK, _HEAD, *(f"## {section.title}\n\n{_fence(_hide_names(section.text))}" for section in sections)]
    return escape_controls("\n\n".join(parts)) + "\n"


def _fence(text: str) -> str:
    """A block of Markdown that no text within can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def _hide_names(text: str) -> str:
    """Take out secrets, the home folder, the name of the machine, and the user's name where it is a part of a path."""
    text = redact(text)
    home = os.path.expanduser("~")
    if len(home) > 1:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    host = socket.gethostname()
    for name in {host, host.partition(".")[0]} - {"", "localhost"}:
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "[machine]", text)
    user = ""
    with contextlib.suppress(OSError, KeyError):
        user = getpass.getuser()
    if user:
        text = re.sub(rf"(?<=/){re.escape(user)}(?=/|\s|[\"']|$)|\b{re.escape(user)}(?=@)", "[user]", text)
    return text
