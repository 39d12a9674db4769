"""The routes of the API: `POST /ground`, jobs, and what tells of models, limits and clips."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from video_opd.data.query_words import refuse_wordless
from video_opd.serve.api_records import (
    ApiError,
    GroundResult,
    Health,
    JobStatus,
    LimitsInfo,
    ServedModelInfo,
    ShownClipInfo,
)
from video_opd.serve.exports import FORMATS
from video_opd.serve.guard import Admission
from video_opd.serve.job import GroundingJob
from video_opd.serve.job_desk import JobDesk
from video_opd.serve.request_errors import RequestError, not_done_error, unknown_file_error, unknown_model_error
from video_opd.serve.serving_limits import ServingLimits
from video_opd.serve.shown_clips import ShownClip
from video_opd.serve.uploads import Upload, receive_upload

FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["video", "query"],
                "properties": {
                    "video": {"type": "string", "format": "binary", "description": "The video file."},
                    "query": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "What to look for, in words. Repeat the field for more queries.",
                    },
                    "model": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Which model is asked, by its name in `GET /models`. By default all are.",
                    },
                    "frames": {
                        "type": "string",
                        "enum": ["true", "false"],
                        "description": "`true`: also make 12 pictures of the video, for a player that cannot play it.",
                    },
                },
            },
            "encoding": {"query": {"explode": True}, "model": {"explode": True}},
        }
    },
}

ERRORS: Mapping[int, str] = {
    400: "The body is not the form that is described.",
    401: "The token is missing or wrong.",
    403: "The request was sent by the page of another site, or to another name.",
    404: "No job, clip or picture has this name.",
    409: "The job was cancelled, or is not done yet.",
    413: "The upload is larger than the limit.",
    422: "The video or a query cannot be used.",
    500: "A fault of the server.",
    503: "The server already has too many requests, or it is stopping. `Retry-After` says when to try again.",
    504: "The upload or the work took longer than the limit.",
    507: "The disk of the server or the memory of its device is full.",
}


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route for OpenAPI, with those that every route has."""
    return {status: {"model": ApiError, "description": ERRORS[status]} for status in sorted({401, 403, *statuses})}


@dataclass(frozen=True, kw_only=True)
class Served:
    """What the routes need."""

    desk: JobDesk
    folder: Path
    """Where uploads lie until their request has ended."""
    admission: Admission
    clips: Mapping[str, ShownClip] = field(default_factory=dict)
    uploading: set[asyncio.Timeout] = field(default_factory=set)
    """The time limits of the uploads that come in."""

    @property
    def limits(self) -> ServingLimits:
        """Those of the desk."""
        return self.desk.limits

    def stop(self) -> None:
        """Take nothing more in, and end what is here; called on the thread that takes uploads in."""
        self.desk.stop()
        for until in self.uploading:
            until.reschedule(0.0)


def route_questions(served: Served) -> APIRouter:
    """`POST /ground` and `POST /jobs`."""
    router, errors = APIRouter(), describe_errors(400, 413, 422, 503, 507)
    more = describe_errors(409, 500, 504)

    @router.post("/ground", responses=errors | more, openapi_extra={"requestBody": FORM})
    async def ground(request: Request) -> GroundResult:
        """Ask about a video, and wait for the answers. Close the connection to cancel."""
        job = await _take_in(served, request)
        await _wait_for_end(served, request, job)
        if job.error is not None:
            raise job.error
        assert job.result is not None
        return job.result

    @router.post("/jobs", status_code=HTTPStatus.ACCEPTED, responses=errors, openapi_extra={"requestBody": FORM})
    async def create_job(request: Request, response: Response) -> JobStatus:
        """Ask about a video without waiting. The answer has the id of the job."""
        job = await _take_in(served, request)
        response.headers["Location"] = f"/jobs/{job.id}"
        return served.desk.tell(job)

    return router


def route_jobs(served: Served) -> APIRouter:
    """What is asked about a job."""
    router, desk = APIRouter(prefix="/jobs"), served.desk

    @router.get("/{id}", responses=describe_errors(404))
    async def get_job(id: str) -> JobStatus:
        """How far a job is, with its answers once it is done."""
        return desk.tell(desk.find(id))

    @router.delete("/{id}", responses=describe_errors(404))
    async def cancel_job(id: str) -> JobStatus:
        """Stop a job, or forget one that has ended. A decoder ends at once, a model before its next layer or prompt."""
        job = desk.find(id)
        desk.cancel(job)
        return desk.tell(job)

    @router.get("/{id}/export", responses=describe_errors(400, 404, 409), response_class=Response)
    async def export(
        id: str,
        format: Annotated[
            Literal["json", "csv", "srt", "ffmpeg"],
            Query(description="`ffmpeg` is a shell script that cuts every span into a file of its own."),
        ],
    ) -> Response:
        """The spans of a job that is done, as a file."""
        job, wanted = desk.find(id), FORMATS[format]
        if job.result is None:
            raise not_done_error(job.state)
        disposition = {"Content-Disposition": f'attachment; filename="{wanted.file_name}"'}
        return Response(wanted.write(job.result), media_type=wanted.media_type, headers=disposition)

    @router.get("/{id}/frames/{number}", responses=describe_errors(400, 404), response_class=Response)
    async def get_frame(id: str, number: int) -> Response:
        """A picture of the video as JPEG, counted from 0, if the form of the job asked for pictures."""
        frames = desk.find(id).frames
        if not 0 <= number < len(frames):
            raise unknown_file_error(f"picture {number}")
        return Response(frames[number], media_type="image/jpeg")

    return router


def route_facts(served: Served) -> APIRouter:
    """What the server has and allows."""
    router = APIRouter()

    @router.get("/models", responses=describe_errors())
    async def list_models() -> list[ServedModelInfo]:
        """The models that answer here."""
        return [ServedModelInfo(name=model.name, knows_shapes_only=model.is_tiny) for model in served.desk.models]

    @router.get("/limits", responses=describe_errors())
    async def get_limits() -> LimitsInfo:
        """What one request may cost, how many may wait, and whether videos are kept."""
        return LimitsInfo(**served.limits.model_dump(), keeps_videos=served.desk.keep is not None)

    @router.get("/clips", responses=describe_errors())
    async def list_clips() -> list[ShownClipInfo]:
        """Rendered clips to try; none where the models are not the tiny ones."""
        return [clip.info for clip in served.clips.values()]

    @router.get("/clips/{id}.mp4", responses=describe_errors(404), response_class=Response)
    async def get_clip(id: str) -> Response:
        """The file of a rendered clip."""
        if id not in served.clips:
            raise unknown_file_error(f"clip {id[:40]!r}")
        return Response(served.clips[id].content, media_type="video/mp4")

    @router.get("/health")
    async def get_health() -> Health:
        """Whether the server works, and how many requests it has."""
        return Health(num_requests=served.desk.num_requests)

    return router


async def _take_in(served: Served, request: Request) -> GroundingJob:
    """Make a job of a form."""
    with served.desk.hold_place() as place:
        try:
            upload = await receive_upload(request, served.folder, served.limits, served.uploading)
        except RequestError:
            served.desk.refuse_if_stopping()
            raise
        try:
            job = _make_job(served, upload)
            served.desk.submit(job, place)
        except BaseException:
            shutil.rmtree(upload.video.parent, ignore_errors=True)
            raise
    return job


def _make_job(served: Served, upload: Upload) -> GroundingJob:
    known = [model.name for model in served.desk.models]
    for name in upload.models:
        if name not in known:
            raise unknown_model_error(name, known)
    for query in upload.queries:
        refuse_wordless(query)
    asked = tuple(name for name in known if not upload.models or name in upload.models)
    return GroundingJob(upload=upload, models=asked, limits=served.limits)


async def _wait_for_end(served: Served, request: Request, job: GroundingJob) -> None:
    """Wait until a job has ended; if its sender leaves, end it."""

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving, ended = asyncio.create_task(leave()), asyncio.wrap_future(job.ended)
    try:
        await asyncio.wait({leaving, ended}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        if not job.ended.done():
            served.desk.cancel(job)
    if not job.ended.done():
        raise ClientDisconnect
