"""One server for all tests of a process: the real one on a free port, with the tiny models, on a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

MISSING = [name for name in ("fastapi", "uvicorn", "python_multipart", "httpx2") if find_spec(name) is None]


def pytest_collect_file() -> None:
    """Skip this folder where its modules could not be imported."""
    if MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)}")


@dataclass
class Running:
    """A server that runs."""

    server: Any
    address: str
    client: Any
    folder: Path
    """Where uploads lie."""

    @property
    def desk(self) -> Any:
        return self.server.desk

    def ask(self, video: bytes, *queries: str, name: str = "clip.mp4", path: str = "/ground", **fields: Any) -> Any:
        """Post a form."""
        data = {"query": list(queries), **fields}
        return self.client.post(path, files={"video": (name, video, "video/mp4")}, data=data)

    def wait(self, id: str) -> dict[str, Any]:
        """The state of a job once it has ended."""
        self.wait_until(lambda: self.client.get(f"/jobs/{id}").json()["state"] in ("done", "failed", "cancelled"))
        return self.client.get(f"/jobs/{id}").json()

    def wait_until(self, happens: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not happens():
            assert time.monotonic() < until
            time.sleep(0.02)

    def wait_until_idle(self) -> None:
        """Until nothing is worked on, and no upload is left."""
        self.wait_until(lambda: self.desk.num_requests == 0 and not list(self.folder.iterdir()))


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    import httpx2 as httpx

    from video_opd.cli.asking import ModelChoices
    from video_opd.cli.serving_commands import WITHOUT_MODEL, _load_models
    from video_opd.serve.guard import Admission
    from video_opd.serve.server_address import LOOPBACK_NAMES, ServerAddress
    from video_opd.serve.serving_limits import ServingLimits
    from video_opd.serve.web_server import ServerSettings, open_server

    models = _load_models(list(WITHOUT_MODEL), ModelChoices(device="cpu"))
    address = ServerAddress(host="127.0.0.1", port=0, public_name=None)
    admission = Admission(token=None, hosts=frozenset(LOOPBACK_NAMES))
    settings = ServerSettings(models=models, limits=ServingLimits(), admission=admission)
    with address.listen() as opened, open_server(settings) as server:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[opened])))
        thread.start()
        where = address.describe(opened)
        with httpx.Client(base_url=where, timeout=60) as client:
            yield Running(server, where, client, server.served.folder)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def server(running) -> Iterator[Running]:
    """The server, with nothing in it before and after the test."""
    yield running
    running.wait_until_idle()


@pytest.fixture(scope="session")
def clips(running) -> Any:
    """The rendered clips by id."""
    return running.server.served.clips


@pytest.fixture(scope="session")
def clip(clips) -> bytes:
    """A clip of 12 s: a blue circle from 5 to 7.5 s, and a red square from 2 to 6 s."""
    return clips["clip-3"].content


class Gate:
    """Holds the work before the first layer of a model, until it is opened, and counts the passes that end."""

    def __init__(self) -> None:
        self.reached, self.opened, self.num_passed = threading.Event(), threading.Event(), 0

    def hold(self, *_: Any) -> None:
        self.reached.set()
        assert self.opened.wait(60)

    def count(self, *_: Any) -> None:
        self.num_passed += 1


@pytest.fixture
def gate(running) -> Iterator[Gate]:
    """Stands in the teacher's language model, so that the work stops in the middle of a pass."""
    layers, made = running.desk.models[0].policy.model.model.language_model.layers, Gate()
    assert len(layers) > 1
    handles = [
        layers[0].register_forward_pre_hook(made.hold, prepend=True),
        layers[-1].register_forward_pre_hook(made.count),
    ]
    yield made
    made.opened.set()
    for handle in handles:
        handle.remove()


@pytest.fixture
def limit(running, monkeypatch) -> Callable[..., None]:
    """Change limits of the server for a test."""

    def change(**limits: Any) -> None:
        monkeypatch.setattr(running.desk, "limits", running.desk.limits.model_copy(update=limits))

    return change
