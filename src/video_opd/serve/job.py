"""A job: one video, the queries about it, how far the work is, and how it is stopped."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from video_opd.data.video.decoding_workers import DecodingWorkers
from video_opd.serve.api_records import ApiError, GroundResult, JobState, JobStatus
from video_opd.serve.request_errors import RequestError, problem_of, too_slow_error
from video_opd.serve.serving_limits import ServingLimits
from video_opd.serve.uploads import Upload


@dataclass(eq=False, kw_only=True)
class GroundingJob:
    """Asks one or two models about one uploaded video."""

    upload: Upload
    models: tuple[str, ...]
    """Names of the models that are asked."""
    limits: ServingLimits
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: JobState = "waiting"
    step: str = ""
    """What the state is about, such as the model that answers."""
    num_answered: int = 0
    frames: tuple[bytes, ...] = ()
    """Pictures of the video as JPEG."""
    result: GroundResult | None = None
    error: RequestError | None = None
    ended: Future[None] = field(default_factory=Future)
    ended_at: float | None = None

    def __post_init__(self) -> None:
        self.workers = DecodingWorkers(num_bytes=self.limits.max_decoder_bytes, may_decode_here=False)
        self.ended.set_running_or_notify_cancel()  # whoever waits for it cannot cancel it
        self._stopped_by: RequestError | None = None
        self._until = float("inf")

    @property
    def video(self) -> Path:
        """Where the uploaded video lies."""
        return self.upload.video

    @property
    def num_answers(self) -> int:
        """Answers in all."""
        return len(self.upload.queries) * len(self.models)

    def begin(self) -> None:
        """Let the time of the work run from now."""
        self._until = time.monotonic() + self.limits.max_seconds

    def enter(self, state: JobState, step: str) -> None:
        """Note what is done now; the same as `check` before it.

        Raises:
            RequestError: as `check`.
        """
        self.check()
        self.state, self.step = state, step

    def check(self) -> None:
        """Go on only if the job has not been stopped and has time left.

        Raises:
            RequestError: why it must end.
        """
        if self._stopped_by is not None:
            raise self._stopped_by
        if time.monotonic() > self._until:
            raise too_slow_error("the work on the request", self.limits.max_seconds)

    def limit_decoding(self) -> DecodingWorkers:
        """What decodes the video, for at most the time that is left."""
        self.check()
        self.workers.clip_s = self.workers.silence_s = max(0.01, self._until - time.monotonic())
        return self.workers

    def stop(self, error: RequestError) -> None:
        """Let the work end at its next safe point; a decoder ends at once."""
        self._stopped_by = self._stopped_by or error
        self.workers.close()

    def end(self, outcome: GroundResult | RequestError) -> None:
        """Note the outcome, and tell those who wait for it."""
        if isinstance(outcome, GroundResult):
            self.result, self.state = outcome, "done"
        else:
            self.error, self.state = outcome, "cancelled" if self._stopped_by is outcome else "failed"
        self.ended_at = time.monotonic()
        self.ended.set_result(None)
        self.workers.close()

    def tell(self, ahead: int) -> JobStatus:
        """How far it is.

        Args:
            ahead: jobs that come before it.
        """
        sentence = self.step
        if self.state == "waiting":
            sentence = f"waiting for {ahead} earlier request{'s' * (ahead > 1)}" if ahead else "about to begin"
        elif self.state == "done":
            sentence = f"done: {self.num_answers} answer{'s' * (self.num_answers != 1)}"
        elif self.error is not None:
            sentence = str(self.error)
        return JobStatus(
            id=self.id,
            state=self.state,
            sentence=sentence,
            ahead=ahead if self.state == "waiting" else 0,
            num_answered=self.num_answered,
            num_answers=self.num_answers,
            num_frames=len(self.frames),
            result=self.result,
            error=ApiError(**problem_of(self.error)) if self.error else None,
        )
