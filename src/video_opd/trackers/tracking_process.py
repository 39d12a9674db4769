"""A process beside a training run that sends its rows to a tracker, as they appear in the run folder.

`python -m video_opd.trackers.tracking_process ORDER`, with the order as JSON. The training tells it nothing: it reads
metrics.jsonl and evaluation/. So a tracker that hangs, fails or needs memory costs the training nothing. The end of
standard input is the end of the run, however it came. Lines on standard output are for the user.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, TextIO

from video_opd.config.tracker_settings import TrackerSettings
from video_opd.plugins import load_plugin
from video_opd.redaction import redact, redact_logs
from video_opd.terminal import show
from video_opd.trackers.sending import Sending, count_unsent, explain
from video_opd.trackers.sent_record import find_sent, hold_sent

LOOK_S = 2.0
"""Between two looks at the run folder."""
MOST_PAUSE_S = 60.0
"""Between two tries, where the tracker fails again and again."""
LAST_S = 120
"""After the end of the run. The training waits less, but it may have been killed."""


def main() -> int:
    """Send until the run ends; returns the exit status."""
    order, lines = json.loads(sys.argv[1]), _take_stdout()
    settings = TrackerSettings.model_validate(order["settings"])
    redact_logs()
    ended = Event()
    Thread(target=_await_end, args=(ended,), daemon=True).start()

    def say(text: str) -> None:
        show(" ".join(redact(text).split()), file=lines, flush=True)

    try:
        if order["plugin"]:
            load_plugin(order["plugin"])
        with hold_sent(Path(order["run"]), waits=True):
            return _send_all(settings, order, ended, say)
    except BaseException as error:  # a tracker may even call sys.exit
        say(f"warning: {settings.name} failed: {explain(error)}")
        return 1


def _send_all(settings: TrackerSettings, order: dict[str, Any], ended: Event, say: Callable[[str], None]) -> int:
    run, resumes_after = Path(order["run"]), order["resumes_after"]
    # A tracker that has all is not asked. One that has later steps than the run is told that they come again.
    while (had := find_sent(run, settings)) and had.step <= resumes_after and not count_unsent(run, settings)[0]:
        if ended.wait(LOOK_S):  # the run was done already
            return 0
    sending = Sending(run=run, settings=settings, resumes_after=resumes_after, is_live=True)
    sending.start()
    say(f"{settings.name}: {sending.record.where}")
    pause, is_ended, has_warned = 0.0, False, False
    while not is_ended:
        is_ended = ended.wait(pause)
        try:
            sending.send_new(is_ended=is_ended)
            pause = LOOK_S
        except Exception as error:
            pause = min(2 * pause + LOOK_S, MOST_PAUSE_S)
            if not has_warned:
                say(f"warning: {settings.name} takes no rows; they are kept and sent later: {explain(error)}")
            has_warned = True
    sending.finish()
    return 0


def _take_stdout() -> TextIO:
    """Keep the pipe to the training for our own lines: what a tracker prints goes nowhere."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    return lines


def _await_end(ended: Event) -> None:
    """Wait for the end of the run. From then on this process lives for at most `LAST_S`, whatever the tracker does."""
    os.read(0, 1)
    signal.alarm(LAST_S)
    ended.set()


if __name__ == "__main__":
    sys.exit(main())
