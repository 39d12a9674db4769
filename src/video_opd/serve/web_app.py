"""The application: the routes behind their guard, the files of the page, and every error as JSON."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from video_opd import __version__
from video_opd.errors import UserError
from video_opd.serve.guard import Guard
from video_opd.serve.request_errors import (
    RequestError,
    bug_error,
    cancelled_error,
    invalid_value_error,
    not_served_error,
    problem_of,
    unusable_error,
)
from video_opd.serve.web_routes import Served, route_facts, route_jobs, route_questions

PAGE = Path(__file__).with_name("page")
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}

ABOUT = """Asks one or two models when something happens in a video.

`POST /ground` sends a video with one or more queries and waits for the answers. `POST /jobs` does not wait: ask for the
state with `GET /jobs/ID`, and stop the work with `DELETE /jobs/ID`. One request is worked on at a time. The video is
removed when its request has ended; the answers of a job stay in memory for ten minutes. Every error is JSON with
`cause`, `reason` and `remedy`."""


def make_app(served: Served) -> ASGIApp:
    """Make the application.

    Args:
        served: what it gives access to.
    """

    @contextlib.asynccontextmanager
    async def work(_: FastAPI) -> AsyncIterator[None]:
        served.desk.start()
        try:
            yield
        finally:
            await run_in_threadpool(served.desk.close)

    app = FastAPI(
        title="video-opd", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=work
    )
    for kind in (UserError, HTTPException, RequestValidationError, ClientDisconnect, Exception):
        app.add_exception_handler(kind, _answer_error)
    for path, (name, media_type) in FILES.items():
        content = (PAGE / name).read_bytes()
        app.add_api_route(path, _give_file(content, media_type), methods=["GET", "HEAD"], include_in_schema=False)
    if_needed = HTTPBearer(auto_error=False, description="The token that the server printed, where it has one.")
    needs_token = [Security(if_needed)] if served.admission.token else []
    app.include_router(route_questions(served), dependencies=needs_token)
    app.include_router(route_jobs(served), dependencies=needs_token)
    app.include_router(route_facts(served), dependencies=needs_token)
    # Not as a middleware of it: the answer to an error that no route expects would go around that.
    return Guard(app, admission=served.admission)


def _give_file(content: bytes, media_type: str) -> Callable[[], Response]:
    return lambda: Response(content, media_type=media_type)


def _answer_error(_: Request, error: Exception) -> Response:
    """Every error as our JSON; a traceback goes to the server's messages alone."""
    if isinstance(error, ClientDisconnect):
        found = cancelled_error()
    elif isinstance(error, RequestError):
        found = error
    elif isinstance(error, UserError):
        found = unusable_error(error, "", "")
    elif isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        found = invalid_value_error(str(problem["loc"][-1]), problem["msg"])
    elif isinstance(error, HTTPException):
        found = not_served_error(HTTPStatus(error.status_code))
    else:
        found = bug_error()
    return JSONResponse(problem_of(found), status_code=int(found.status), headers=found.headers)
