"""Takes jobs in, works on one at a time on the one thread that uses the models, and forgets them some minutes later."""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from video_opd.serve.api_records import GroundResult, JobStatus
from video_opd.serve.job import GroundingJob
from video_opd.serve.job_steps import answer_job
from video_opd.serve.request_errors import (
    RequestError,
    bug_error,
    busy_error,
    cancelled_error,
    stopping_error,
    unknown_job_error,
)
from video_opd.serve.served_model import ServedModel, share_towers
from video_opd.serve.serving_limits import ServingLimits

_log = logging.getLogger(__name__)

KEPT_S, MOST_KEPT = 600.0, 64
"""How long the answers of a job are kept in memory after its end, and of how many jobs."""
FIRST_GUESS_S = 5.0
"""Seconds of a job, before one has ended."""
PATIENCE_S = 3.0
"""Seconds that the end of the server waits for the work to reach a safe point."""

Keep = Callable[[GroundingJob, GroundResult], None]


@dataclass
class Place:
    """One of the places for requests: it is held during the upload, and then by the job."""

    is_passed_on: bool = False


class JobDesk:
    """The jobs of a server.

    Args:
        models: one or two; nothing else may use them.
        limits: what a job may cost, and how many may wait.
        keep: is given every job with its answers, before its video is removed.
    """

    def __init__(self, models: Sequence[ServedModel], limits: ServingLimits, keep: Keep | None = None) -> None:
        self.models, self.limits, self.keep = tuple(models), limits, keep
        self._changed = threading.Condition()
        self._waiting: deque[GroundingJob] = deque()
        self._current: GroundingJob | None = None
        self._known: dict[str, GroundingJob] = {}
        self._num_taken = 0
        self._is_stopping = False
        self._job_s = FIRST_GUESS_S
        self._thread: threading.Thread | None = None
        share_towers(self.models)
        for model in self.models:
            model.stop_by(self._check_current)

    def start(self) -> None:
        """Begin to work."""
        self._thread = threading.Thread(target=self._work, name="video-opd-models", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more in, and let all jobs end at their next safe point; returns at once."""
        with self._changed:
            self._is_stopping = True
            unfinished = [job for job in self._known.values() if job.ended_at is None]
            self._changed.notify_all()
        for job in unfinished:
            job.stop(stopping_error())

    def close(self) -> None:
        """The same, and wait until the work has ended."""
        self.stop()
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                _log.warning("the work on a request did not end within %g s", PATIENCE_S)

    def refuse_if_stopping(self) -> None:
        """Raise what tells a sender that the server is stopping, if it is.

        Raises:
            RequestError: it is.
        """
        if self._is_stopping:
            raise stopping_error()

    @property
    def num_requests(self) -> int:
        """Requests that are uploaded, waiting or worked on."""
        return self._num_taken

    @contextlib.contextmanager
    def hold_place(self) -> Iterator[Place]:
        """A place for a request in the block, and afterwards for the job that it was passed on to.

        Raises:
            RequestError: there is none, or the server is stopping.
        """
        with self._changed:
            self.refuse_if_stopping()
            num_places = 1 + self.limits.max_queue
            if self._num_taken >= num_places:
                raise busy_error(num_places, min(60, max(1, math.ceil(self._job_s))))
            self._num_taken += 1
        place = Place()
        try:
            yield place
        finally:
            if not place.is_passed_on:
                self._free_place()

    def submit(self, job: GroundingJob, place: Place) -> None:
        """Let a job wait for its turn. From now on its place and its file are the desk's.

        Args:
            job: a new one.
            place: which the caller holds.

        Raises:
            RequestError: the server is stopping; both are still the caller's.
        """
        with self._changed:
            self.refuse_if_stopping()
            place.is_passed_on = True
            self._known[job.id] = job
            self._waiting.append(job)
            self._changed.notify_all()

    def find(self, id: str) -> GroundingJob:
        """The job of an id.

        Raises:
            RequestError: there is none.
        """
        with self._changed:
            self._forget_old()
            job = self._known.get(id)
        if job is None:
            raise unknown_job_error()
        return job

    def tell(self, job: GroundingJob) -> JobStatus:
        """How far a job is."""
        with self._changed:
            ahead = self._waiting.index(job) + (self._current is not None) if job in self._waiting else 0
        return job.tell(ahead)

    def cancel(self, job: GroundingJob) -> None:
        """End a job, at its next safe point where it is worked on, else at once. Forget one that has ended."""
        with self._changed:
            if job.ended_at is not None:
                self._known.pop(job.id, None)
                return
            is_waiting = job in self._waiting
            if is_waiting:
                self._waiting.remove(job)
        error = cancelled_error()
        job.stop(error)
        if is_waiting:
            self._end(job, error)

    def _work(self) -> None:
        while (job := self._take_next()) is not None:
            outcome = self._carry_out(job)
            with self._changed:
                self._current = None
            try:
                self._end(job, outcome)
            except Exception:  # this thread goes on with the next job
                _log.exception("the end of a request failed")

    def _carry_out(self, job: GroundingJob) -> GroundResult | RequestError:
        began = time.monotonic()
        try:
            job.begin()
            result = answer_job(job, [model for model in self.models if model.name in job.models])
        except RequestError as error:
            # These hold the frames of the calls, and with them the video's tensors.
            error.__traceback__ = error.__cause__ = error.__context__ = None
            return error
        except Exception:
            _log.exception("a request failed")
            return bug_error()
        self._job_s += (time.monotonic() - began - self._job_s) / 2
        return result

    def _take_next(self) -> GroundingJob | None:
        """The job whose turn it is; None: the server stops, and none is left."""
        with self._changed:
            while not self._waiting:
                if self._is_stopping:
                    return None
                self._changed.wait(timeout=KEPT_S / 10)
                self._forget_old()
            self._current = self._waiting.popleft()
            return self._current

    def _end(self, job: GroundingJob, outcome: GroundResult | RequestError) -> None:
        """Remove the job's file, free its place, and tell those who wait for it."""
        if isinstance(outcome, GroundResult) and self.keep is not None:
            outcome = self._keep_answer(job, outcome)
        shutil.rmtree(job.video.parent, ignore_errors=True)
        self._free_place()
        job.end(outcome)

    def _keep_answer(self, job: GroundingJob, result: GroundResult) -> GroundResult:
        assert self.keep is not None
        try:
            self.keep(job, result)
        except OSError as error:
            why = error.strerror or str(error)
            _log.warning("an answer could not be kept: %s", why)
        except Exception:
            why = "the server failed at it"
            _log.exception("an answer could not be kept")
        else:
            return result
        return result.model_copy(update={"notices": [*result.notices, f"The answer could not be kept: {why}."]})

    def _free_place(self) -> None:
        with self._changed:
            self._num_taken -= 1

    def _forget_old(self) -> None:
        ended = [job for job in self._known.values() if job.ended_at is not None]
        old = time.monotonic() - KEPT_S
        for place, job in enumerate(ended):
            if job.ended_at < old or place < len(ended) - MOST_KEPT:  # type: ignore[operator]
                del self._known[job.id]

    def _check_current(self) -> None:
        if self._current is not None:
            self._current.check()
