"""The command line. It parses before it imports torch, so `--help` and `metrics` answer at once.

Results go to stdout (or the file named by --out), progress and prose to stderr. Exit status: 0 success; 1 `doctor`
found a problem that would ruin the run; 2 an error that the user can correct (one sentence on stderr); 74 the results
could not be written to stdout; 128 + n signal n stopped the program, and the state was saved, or (141) the reader of
stdout has left.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING

from video_opd.errors import (
    ConfigurationError,
    EngineError,
    Stopped,
    UserError,
    find_disk_failure,
    first_line,
    is_out_of_memory,
)
from video_opd.output_streams import (
    BROKEN_PIPE_STATUS,
    judge_results,
    silence_failed_outputs,
    tolerate_lost_output,
)
from video_opd.ranks import is_first_process, leave_job
from video_opd.redaction import redact_logs
from video_opd.stop_signals import SAME_REQUEST_S, WARNED, set_handler
from video_opd.terminal import guard_terminal, show

if TYPE_CHECKING:
    from video_opd.cli.application import Call

WORDS: ContextVar[Sequence[str]] = ContextVar("WORDS")
"""The command line that is carried out."""

FIRST_SPEAKS_S = 3.0
"""How long the other processes of a job wait at a mistake of the user, so that the first one can say it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    with tolerate_lost_output():
        try:
            return _run_command(argv)
        except SystemExit as end:  # the help was printed, or this process of a job has served the first one
            if status := judge_results(0):
                return status
            raise end
        finally:
            silence_failed_outputs()


def _run_command(argv: Sequence[str] | None) -> int:
    _stop_on_signals()
    if argv is None:
        guard_terminal()
    redact_logs()
    call: Call | None = None
    try:
        given = sys.argv[1:] if argv is None else argv
        WORDS.set(given)
        words, overrides = take_overrides(given)
        from video_opd.cli.application import understand

        gc.disable()  # parsing makes little garbage, and the collector takes a tenth of the time of `--help`
        try:
            call = understand(words)
        except SystemExit:  # the help was printed
            if argv is None:
                gc.freeze()  # else the collector runs when the program ends
            raise
        finally:
            gc.enable()
        if overrides and call.recipe_keys is None:
            raise ConfigurationError(
                f"--{next(iter(overrides))}", reason="this command has no recipe", remedy="leave it out"
            )
        status = judge_results(call.run(overrides))
        leave_job(status)
    except UserError as error:
        if is_first_process():  # the others of a job see the same mistake
            show(f"video-opd: {error}", file=sys.stderr)
        else:  # torchrun stops all processes as soon as one has ended, and the first one has to speak before
            time.sleep(FIRST_SPEAKS_S)
        return 2
    except BrokenPipeError:  # of a pipe that --out names
        return BROKEN_PIPE_STATUS
    except Stopped as stop:
        if is_first_process():
            show(f"video-opd: {stop.sentence}", file=sys.stderr)
        return 128 + stop.number
    except Exception as error:
        refusal = _explain_error(error, call)
        if refusal is None:
            raise
        show(f"video-opd: {refusal}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        show("video-opd: interrupted", file=sys.stderr)
        return 130
    return status


def _stop_on_signals() -> None:
    """Stop at a signal outside the training loop, where no state has to be saved. The loop has its own handlers."""
    if threading.current_thread() is not threading.main_thread():
        return
    stopping: list[float] = []

    def stop(number: int, _: FrameType | None) -> None:
        if stopping and (number in WARNED or time.monotonic() - stopping[0] < SAME_REQUEST_S):
            return  # it is on its way out: a connection that is lost is often told twice
        stopping.append(time.monotonic())
        how = "terminated" if number == signal.SIGTERM else f"stopped by {signal.Signals(number).name}"
        raise Stopped(number, f"{how}; train, compare, score and evaluate continue from where they stopped")

    for number in (signal.SIGTERM, *WARNED):  # Python itself makes a KeyboardInterrupt of SIGINT
        set_handler(number, stop)


def _explain_error(error: Exception, call: Call | None) -> UserError | None:
    """What the user can mend of an error that is none of ours; None: it is a bug."""
    if failure := find_disk_failure(error):
        return failure
    if is_out_of_memory(error) and call is not None:
        return _explain_out_of_memory(error, call)
    if "video_opd.plugins" not in sys.modules:
        return None
    from video_opd.plugins import find_failure_in_plugin

    return find_failure_in_plugin(error)


def _explain_out_of_memory(error: Exception, call: Call) -> EngineError:
    """With a remedy that the command has."""
    if call.recipe_keys is not None:
        remedy = (
            "lower the batch size (compute.evaluation_batch_size to evaluate, training.micro_batch_size in a step) "
            "or the video tokens (video.max_tokens); `video-opd doctor` estimates what a step needs"
        )
    else:
        flags = [flag for flag in ("batch_size", "max_tokens", "fps") if call.has(flag)]
        lower = " or ".join(f"--{flag.replace('_', '-')}" for flag in flags)
        remedy = (f"lower {lower}, or " if lower else "") + "free the device's memory"
    return EngineError("the device's memory is full", reason=first_line(error), remedy=remedy)


def take_overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate the recipe keys (`--training.learning-rate 1e-4`, or with `=`) from the rest of the command line.

    A recipe key is recognised by its dot. The keys are removed before the command line is parsed, because a parser
    would take their values for arguments of the command.

    Raises:
        ConfigurationError: a key has no value.
    """
    rest: list[str] = []
    overrides: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        if word == "--":
            return [*rest, word, *words], overrides
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in key:
            rest.append(word)
            continue
        if not equals:
            following = next(words, None)
            if following is None:
                raise ConfigurationError(f"--{key}", reason="it has no value", remedy=f"write --{key} VALUE")
            value = following
        overrides[key.replace("-", "_")] = value
    return rest, overrides
