"""Runs the server until a signal ends it: cleanly and at once, with no upload left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from video_opd.errors import Stopped
from video_opd.files.unfinished import open_scratch_folder
from video_opd.serve.guard import Admission
from video_opd.serve.job_desk import JobDesk
from video_opd.serve.kept_answers import AnswerKeeper
from video_opd.serve.served_model import ServedModel
from video_opd.serve.serving_limits import ServingLimits
from video_opd.serve.shown_clips import render_clips
from video_opd.serve.web_app import make_app
from video_opd.serve.web_routes import Served
from video_opd.stop_signals import StopNote, handle_stop_signals

END_S = 2
"""Seconds that answers may take at the end of the server."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a server is run."""

    models: Sequence[ServedModel]
    limits: ServingLimits
    admission: Admission
    keep: Path | None = None
    """Folder for videos and answers; None: nothing is kept."""


class WebServer(uvicorn.Server):
    """A server that ends the work on all jobs before it waits for their answers to be sent.

    Args:
        served: what its routes give access to.
    """

    def __init__(self, served: Served) -> None:
        super().__init__(
            uvicorn.Config(
                make_app(served), http="h11", ws="none", loop="asyncio", lifespan="on", log_config=None,
                access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=END_S,
            )
        )  # fmt: skip
        self.served, self.desk = served, served.desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the work, then the connections."""
        self.served.stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the server."""
        yield


@contextlib.contextmanager
def open_server(settings: ServerSettings) -> Iterator[WebServer]:
    """A server for the block, with a temporary folder that is removed with everything in it."""
    with open_scratch_folder() as folder:
        is_tiny = any(model.is_tiny for model in settings.models)
        clips = render_clips(folder) if is_tiny else {}
        keep = None if settings.keep is None else AnswerKeeper(settings.keep)
        desk = JobDesk(settings.models, settings.limits, keep)
        yield WebServer(Served(desk=desk, folder=folder, admission=settings.admission, clips=clips))


def run_server(settings: ServerSettings, opened: socket.socket, announce: Callable[[], None]) -> None:
    """Serve until a signal comes.

    Args:
        settings: what is served.
        opened: where the server listens.
        announce: is called when it answers.

    Raises:
        Stopped: always, in the end.
    """
    note = StopNote()
    with open_server(settings) as server:

        def end(number: int, frame: FrameType | None) -> None:
            note.take(number, frame)
            server.should_exit = True

        with handle_stop_signals(end):
            announce()
            asyncio.run(server.serve(sockets=[opened]))
    raise Stopped(note.number or 0, "the server has stopped; no upload was left behind")
