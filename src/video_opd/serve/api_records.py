"""What the HTTP API answers: records with a description of every field, of which OpenAPI is made."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from video_opd.serve.serving_limits import ServingLimits

JobState = Literal["waiting", "decoding", "reading", "answering", "done", "failed", "cancelled"]


class ApiRecord(BaseModel):
    """A record whose fields are described by the texts under them."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class QueryAnswer(ApiRecord):
    """What one model answered to one query: what `video-opd ground --json` prints, and more."""

    query: str
    """What was looked for."""
    spans: list[tuple[float, float]]
    """Start and end in seconds of every span that the answer names, the most important one first."""
    answer: str
    """The text that the model wrote."""
    duration: float
    """Seconds of the video."""
    num_video_tokens: int
    """Video tokens in the prompt."""
    reason: str | None
    """Why there is no span; null where there is one."""
    seconds: float
    """Seconds for this answer alone: to read the rest of the prompt, and to write."""


class ModelAnswers(ApiRecord):
    """The answers of one model, and what they cost."""

    model: str
    """The name of the model."""
    seconds_to_decode: float
    """Seconds to decode the video, once for all queries. About 0 where the other model has the same frames."""
    seconds_to_read: float
    """Seconds to read the video, before the first answer. Where the prompt has the video before the query, this serves
    all queries."""
    answers: list[QueryAnswer]
    """One for each query, in their order."""


class GroundResult(ApiRecord):
    """The answers of one or two models to one or more queries about one video."""

    video: str
    """Name of the uploaded file."""
    duration: float
    """Seconds of the video."""
    models: list[ModelAnswers]
    """One entry for each model that was asked."""
    notices: list[str]
    """What a reader should know of these answers; often empty."""


class ApiError(ApiRecord):
    """Why a request was refused or failed."""

    cause: str
    """What was found."""
    reason: str
    """Why the server cannot go on with it."""
    remedy: str
    """What to do about it."""


class JobStatus(ApiRecord):
    """How far a job is."""

    id: str
    """Its id. Whoever knows it may read and cancel the job."""
    state: JobState
    """`waiting` until the jobs before it have ended; the last three states are final."""
    sentence: str
    """The same in words."""
    ahead: int
    """Jobs that come before it."""
    num_answered: int
    """Answers that are written."""
    num_answers: int
    """Answers in all: queries times models."""
    num_frames: int
    """Pictures of the video under `/jobs/ID/frames/NUMBER`; 0 unless the form asked for them."""
    result: GroundResult | None = None
    """The answers; only of a job that is done."""
    error: ApiError | None = None
    """Why it failed or was cancelled."""


class ServedModelInfo(ApiRecord):
    """A model that answers here."""

    name: str
    """How the form calls it in `model`."""
    knows_shapes_only: bool
    """Whether it is a tiny model, which knows the rendered shapes of the tiny world and nothing else."""


class LimitsInfo(ServingLimits):
    """What one request may cost, how many may wait, and whether anything is kept."""

    keeps_videos: bool
    """whether the server keeps every video with its answers, in a folder of its own"""


class ShownClipInfo(ApiRecord):
    """A rendered clip to try."""

    id: str
    """Its file is `/clips/ID.mp4`."""
    duration: float
    """Seconds of the clip."""
    queries: list[str]
    """What can be looked for in it."""
    shown_at: float
    """A second at which something is seen."""


class Health(ApiRecord):
    """Whether the server works."""

    status: Literal["ok"] = "ok"
    """Always `ok` where there is an answer."""
    num_requests: int
    """Requests that are uploaded, waiting or worked on."""
