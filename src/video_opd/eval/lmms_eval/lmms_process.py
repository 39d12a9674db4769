"""lmms-eval as another process in an environment of its own: find it, start it, take its output, end it."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from threading import Thread
from typing import Any, NoReturn, TextIO

from video_opd.errors import ConfigurationError, EngineError, explain_write_errors
from video_opd.files.strict_json import load_json
from video_opd.redaction import redact

_log = logging.getLogger(__name__)

PYTHON_VARIABLE = "VIDEO_OPD_LMMS_PYTHON"
"""Where --lmms-python is not given."""

HOW_TO_MAKE_ONE = (
    "make an environment with `python3.11 -m venv lmms-env` and `lmms-env/bin/pip install lmms-eval==0.7.3 decord`, "
    f"then give --lmms-python lmms-env/bin/python or set {PYTHON_VARIABLE} to it"
)

_PROBE = """
import importlib.metadata, importlib.util, json, sys
found = importlib.util.find_spec("lmms_eval") is not None
try:
    version = importlib.metadata.version("lmms_eval")
except importlib.metadata.PackageNotFoundError:
    version = None
cuda = None
if found and sys.argv[1] == "auto":
    import torch
    cuda = torch.cuda.is_available()
print(json.dumps({"found": found, "version": version, "cuda": cuda}))
"""
_PROBE_TIMEOUT_S = 300.0
"""Importing torch for the first time from a network disk takes minutes."""

_GRACE_S = 10.0
"""Time that lmms-eval has to end by itself before it is killed."""

_LINGER_S = 5.0
"""Time that the processes which lmms-eval started have to end after it, as Python's resource tracker does."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"(?:^|\s)([\w.]*(?:Error|Exception|Interrupt)\b.*|error: .*)")
_ADVICE = re.compile(r"\s*(Please set `--verbosity=DEBUG`.*|Try `lmms-eval --tasks.*)$")
"""Advice of lmms-eval that a user of this command cannot follow."""

_NO_HUB = re.compile(r"LocalEntryNotFound|OfflineMode|Connect\w*Error|Max retries")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A Python that has lmms-eval."""

    python: str
    version: str | None
    """Of lmms-eval; None: it is not installed as a package."""
    has_cuda: bool | None
    """None: not asked."""


def find_python(given: str | None) -> str:
    """The Python of lmms-eval's environment, as a path that works from anywhere.

    Links are not followed: it is by its link that a Python knows its environment.

    Raises:
        ConfigurationError: none is named, or there is none of that name.
    """
    name = given or os.environ.get(PYTHON_VARIABLE)
    if not name:
        raise ConfigurationError(
            "lmms-eval needs an environment of its own, and none is named",
            reason="its dependencies conflict with those of video-opd",
            remedy=HOW_TO_MAKE_ONE,
        )
    found = shutil.which(Path(name).expanduser())
    if found is None:
        raise ConfigurationError(f"--lmms-python {name}", reason="no program has that name", remedy=HOW_TO_MAKE_ONE)
    return os.path.abspath(found)


def look_into(python: str, device: str) -> Environment:
    """Ask a Python whether it has lmms-eval; where the device is `auto`, also whether it sees a GPU.

    Raises:
        ConfigurationError: it has none, or is not a Python that runs.
    """
    try:
        done = subprocess.run(
            [python, "-I", "-c", _PROBE, device],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        _refuse(python, f"it cannot be run ({error.strerror})")
    except subprocess.TimeoutExpired:
        _refuse(python, f"it did not answer within {_PROBE_TIMEOUT_S:.0f} s")
    try:
        answer: dict[str, Any] = load_json(done.stdout.splitlines()[-1])
        found = answer["found"]
    except (IndexError, ValueError, TypeError, KeyError):
        _refuse(python, find_last_error(done.stderr) or f"it ended with exit status {done.returncode}")
    if not found:
        _refuse(python, "lmms_eval is not installed in its environment")
    return Environment(python=python, version=answer["version"], has_cuda=answer["cuda"])


def _refuse(python: str, reason: str) -> NoReturn:
    raise ConfigurationError(f"{python} cannot run lmms-eval", reason=reason, remedy=HOW_TO_MAKE_ONE)


def run(command: Sequence[str], log: Path, *, timeout_s: float | None, on_line: Callable[[str], None]) -> None:
    """Run lmms-eval to its end, or end it with all processes of its group when this process is interrupted.

    Its exit status says little: after most failures it is 0. Whether there are results is for the caller to see.
    Workers that it leaves behind, and that hold its output, are ended with a warning.

    Args:
        command: of which the first word is a Python.
        log: file for all that it prints; secrets, such as HF_TOKEN, which lmms-eval prints, are left out.
        timeout_s: end it after so many seconds; None: never.
        on_line: told every line as it comes, on another thread; a progress bar's every state is one.

    Raises:
        EngineError: it was killed, took too long, or ended with another exit status than 0.
        ConfigurationError: the log cannot be written.
    """
    in_time = True
    with explain_write_errors(log):
        file = log.open("w", encoding="utf-8")
        process = _start(command, file)
        listener = _Listener(process, file, on_line)
        listener.start()
        try:
            process.wait(timeout_s)
            listener.join(_LINGER_S)
            if listener.is_alive():
                _warn_of_leftovers(process)
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            _end(process, listener)
        if listener.error is not None:
            raise listener.error
    if not in_time:
        raise failure(f"lmms-eval took longer than {timeout_s:g} s and was ended", log, "raise --timeout")
    status = process.returncode
    if status < 0:
        raise failure(
            f"lmms-eval was ended by {signal.Signals(-status).name}",
            log,
            "if the machine ran out of memory, lower --batch-size or the frames",
        )
    if status > 0:
        raise failure(f"lmms-eval ended with exit status {status}", log)


class _Listener(Thread):
    """Takes what a process prints, line by line, until no process holds the other end of the pipe."""

    def __init__(self, process: subprocess.Popen[str], log: TextIO, on_line: Callable[[str], None]) -> None:
        super().__init__(daemon=True)  # what left the group may hold the pipe for ever
        self.process, self.log, self.on_line = process, log, on_line
        self.error: OSError | None = None
        """Why the log could not be written; then the pipe is closed, and the process ends by itself."""

    def run(self) -> None:
        assert self.process.stdout is not None
        try:
            with self.log, self.process.stdout as lines:
                for line in lines:
                    clean = redact(line)
                    self.log.write(clean)
                    self.log.flush()
                    self.on_line(_COLOURS.sub("", clean).strip())
        except OSError as error:
            self.error = error


def _start(command: Sequence[str], log: TextIO) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",  # and so each `\r` of a progress bar begins a line
            errors="replace",
            start_new_session=True,  # a group of its own, so that its workers can be ended with it
            env={"TQDM_MININTERVAL": "2", **os.environ},
        )
    except OSError as error:
        log.close()
        _refuse(command[0], f"it cannot be run ({error.strerror})")


def _warn_of_leftovers(process: subprocess.Popen[str]) -> None:
    if _signal_group(process, 0):
        _log.warning("lmms-eval ended and left processes running; they were stopped")
    else:
        _log.warning(
            "lmms-eval came to its end, and something it started in a session of its own still holds its output; "
            "that goes on running"
        )


def _end(process: subprocess.Popen[str], listener: Thread) -> None:
    """Ask the whole group to end, and make it where it does not; whoever holds its output has not ended yet."""
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _signal_group(process, number):
                listener.join(_GRACE_S)
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:  # a process that waits for a dead disk does not even hear SIGKILL
        pass
    except BaseException:  # a second Ctrl-C: the user does not want to wait
        _signal_group(process, signal.SIGKILL)
        raise


def _signal_group(process: subprocess.Popen[str], number: int) -> bool:
    """Whether there was a group to be signalled."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # the latter is how macOS says that there are but zombies
        return False
    return True


def failure(cause: str, log: Path, remedy: str = "correct what it names") -> EngineError:
    """lmms-eval's failure in one sentence, with the last error in its log as the reason."""
    reason = find_last_error(log.read_text(encoding="utf-8", errors="replace")) or "it printed nothing"
    if _NO_HUB.search(reason):
        remedy = "run it once where there is a network, since its tasks' data come from the Hugging Face hub (HF_HOME)"
    return EngineError(cause, reason=reason, remedy=f"{remedy}; all that it printed is in {log}")


def find_last_error(text: str) -> str:
    """The last line of a log that names an error, else its last line; without colours, time stamps and advice."""
    lines = [line for line in (line.strip() for line in _COLOURS.sub("", text).splitlines()) if line]
    for line in reversed(lines):
        if found := _ERROR.search(line):
            return _shorten(found[1])
    return _shorten(lines[-1]) if lines else ""


def _shorten(line: str) -> str:
    return shorten(_ADVICE.sub("", line.strip().removeprefix("Error during evaluation: ")), 300, placeholder=" …")
