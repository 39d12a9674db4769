"""Limits, refusals and ends: what is too large, too slow or too many is refused in words, and no upload is left."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from torch import OutOfMemoryError

from video_opd.data.video import decoding_workers
from video_opd.serve import served_model
from video_opd.serve.api_records import GroundResult
from video_opd.serve.guard import HEADERS
from video_opd.serve.job import GroundingJob
from video_opd.serve.job_desk import JobDesk
from video_opd.serve.kept_answers import AnswerKeeper
from video_opd.serve.request_errors import RequestError
from video_opd.serve.serving_limits import ServingLimits
from video_opd.serve.uploads import FormReader, Upload

SLOW_DECODER = """
import time
from video_opd.data.video import decoding_process as module
module.decode_video = lambda *words: time.sleep(600)
module.main()
"""


def refusal(answer) -> tuple[int, str]:
    """Status and cause of an answer that must be a sentence, without the place of a file."""
    said = answer.json()
    assert set(said) == {"cause", "reason", "remedy"}
    assert all(said.values())
    assert "Traceback" not in answer.text
    assert "scratch" not in answer.text
    return answer.status_code, said["cause"]


@contextlib.contextmanager
def sending(server, length: int, body: bytes, *, path: str = "/ground", more: str = ""):
    """A connection by hand, on which a form was begun."""
    with socket.create_connection(("127.0.0.1", server.client.base_url.port)) as sender:
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        sender.sendall(f"{head}{more}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode() + body)
        yield sender


def receive_all(sender: socket.socket) -> str:
    return b"".join(iter(lambda: sender.recv(65536), b"")).decode()


def boundary_form(*parts: tuple[str, bytes]) -> bytes:
    """A form by hand: the headers of each part, and its content."""
    body = b"".join(b"--edge\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return body + b"--edge--\r\n"


VIDEO = 'Content-Disposition: form-data; name="video"; filename="a.mp4"'
WRONG = 'Content-Disposition: form-data; name="qurey"'
QUERY = 'Content-Disposition: form-data; name="query"'

BEGUN = boundary_form((VIDEO, b"x" * 100))[:-20]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b"", "the form ends in the middle"),
        (b"nonsense", "the body is not a form that can be read"),
        (boundary_form((VIDEO, b"x"), (QUERY, b"y"))[:-9], "the form ends in the middle"),
        (boundary_form((VIDEO, b"x")), "the form has no `query`"),
        (boundary_form((QUERY, b"x")), "the form has no `video`"),
        (boundary_form((VIDEO, b"x"), (VIDEO, b"x")), "the form has more than one video"),
        (boundary_form((VIDEO.partition("; file")[0], b"x")), "the video is not a file"),
        (boundary_form((VIDEO, b"x"), (QUERY, b"\xff")), "a `query` is not UTF-8"),
        (boundary_form((VIDEO, b"x"), (QUERY, b"a" * 2001)), "a `query` has more than 2000 characters"),
        (boundary_form((VIDEO, b"x"), (QUERY, b"a" * 9000)), "a `query` has more than 2000 characters"),
        (boundary_form((VIDEO, b"x"), *[(QUERY, b"a")] * 17), "the form has more than 16 `query` fields"),
        (boundary_form((WRONG, b"x")), "the form has an unknown field 'qurey'"),
        (
            boundary_form(("X: " + "y" * 3000 + "\r\nY: " + "y" * 3000 + "\r\nZ: " + "y" * 3000, b"x")),
            "a part of the form has too many headers",
        ),
    ],
)
def test_a_form_that_is_not_as_it_should_be(server, body, cause):
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    assert refusal(server.client.post("/ground", content=body, headers=kind)) == (400, cause)


def test_what_is_no_form_or_has_no_words(server, clip):
    assert refusal(server.client.post("/ground", json={"query": "x"}))[1] == "the body is not multipart/form-data"
    assert refusal(server.ask(clip, " \u200b "))[1] == "the query ' \\u200b ' has no words"
    assert refusal(server.ask(b"", "x")) == (422, "clip.mp4: the file is empty")
    status, cause = refusal(server.ask(b"no video", "x", name="/etc/../notes.mp4"))
    assert (status, cause.partition(":")[0]) == (422, "notes.mp4")


def test_what_is_too_large_or_too_long(server, clip, limit):
    limit(max_upload_mb=1)
    assert refusal(server.ask(bytes(1_000_001), "x")) == (413, "the upload has more than 1 MB")
    pieces = (bytes(65536) for _ in range(40))  # without a length, so that it is found on the way
    kind = {"Content-Type": "multipart/form-data; boundary=edge"}
    begun = boundary_form((VIDEO, b""))[: -len(b"\r\n--edge--\r\n")]
    answer = server.client.post("/ground", content=(piece for piece in (begun, *pieces)), headers=kind)
    assert refusal(answer)[0] == 413
    with sending(server, 10**12, b"", more="Expect: 100-continue\r\n") as sender:
        assert receive_all(sender).startswith("HTTP/1.1 413 "), "and not: go on"
    limit(max_video_s=11.0)
    assert refusal(server.ask(clip, "x", name="a b.mp4")) == (422, "a b.mp4 lasts 12 s")


def test_a_slow_upload_gives_its_place_back(server, limit):
    limit(max_seconds=0.2)
    with sending(server, 100_000, BEGUN) as sender:
        answer = receive_all(sender)
    assert answer.startswith("HTTP/1.1 504 ")
    assert "the upload took more than 0.2 s" in answer


def test_a_slow_model_is_ended_in_the_middle_of_a_pass(server, clip, gate, limit):
    limit(max_seconds=0.5)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(server.ask(clip, "a", "b")))
    thread.start()
    assert gate.reached.wait(60)
    time.sleep(0.5)
    gate.opened.set()
    thread.join()
    assert refusal(answers[0]) == (504, "the work on the request took more than 0.5 s")
    assert gate.num_passed == 0, "the next layer did not run"


def test_cancel_ends_the_work_at_the_next_layer(server, clip, gate):
    job = server.ask(clip, "a", path="/jobs").json()
    waiting = server.ask(clip, "b", path="/jobs").json()
    assert gate.reached.wait(60)
    assert server.client.delete(f"/jobs/{waiting['id']}").json()["state"] == "cancelled"
    server.client.delete(f"/jobs/{job['id']}")
    gate.opened.set()
    ended = server.wait(job["id"])
    assert (ended["state"], ended["error"]["cause"]) == ("cancelled", "the request was cancelled")
    assert (ended["num_answered"], gate.num_passed) == (0, 0)
    assert server.ask(clip, "the red square").status_code == 200, "the models are as they were"
    assert gate.num_passed > 1


def test_cancel_ends_a_decoder_at_once(server, clip, tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(SLOW_DECODER)
    monkeypatch.setattr(decoding_workers, "PROGRAM", (str(tmp_path / "slow.py"),))
    job = server.ask(clip, "a", path="/jobs").json()["id"]
    server.wait_until(lambda: "decoding" in server.client.get(f"/jobs/{job}").json()["sentence"])
    began = time.monotonic()
    server.client.delete(f"/jobs/{job}")
    assert server.wait(job)["state"] == "cancelled"
    assert time.monotonic() - began < 5
    monkeypatch.undo()


def test_a_decoder_that_hangs_is_told_in_words(server, clip, tmp_path, monkeypatch, limit):
    (tmp_path / "slow.py").write_text(SLOW_DECODER)
    monkeypatch.setattr(decoding_workers, "PROGRAM", (str(tmp_path / "slow.py"),))
    limit(max_seconds=1.0)
    assert refusal(server.ask(clip, "a"))[0] == 504


def test_a_decoder_that_does_not_start_is_no_reason_to_decode_here(server, clip, monkeypatch):
    monkeypatch.setattr(decoding_workers, "PROGRAM", ("-c", "raise SystemExit(3)"))
    assert refusal(server.ask(clip, "a")) == (500, "the process that decodes videos does not start")


def test_who_leaves_cancels_the_request(server, clip, gate):
    body = boundary_form((VIDEO, clip), (QUERY, b"a"))
    with sending(server, len(body), body):
        assert gate.reached.wait(60)
    time.sleep(0.2)
    gate.opened.set()
    server.wait_until_idle()
    assert gate.num_passed == 0


def test_who_leaves_during_the_upload_leaves_nothing(server):
    with sending(server, 100_000, BEGUN, path="/jobs"):
        server.wait_until(lambda: bool(list(server.folder.glob("*/video.mp4"))))
        assert server.desk.num_requests == 1
    server.wait_until_idle()


def test_twenty_at_once_are_answered_or_told_to_come_again(server, clip, gate, limit):
    limit(max_queue=5)
    before, refused = psutil.Process().memory_info().rss, []
    heavy = clip + bytes(2_000_000)  # an mp4 may have bytes behind its end

    def ask(_: int):
        answer = server.ask(heavy, "the red square", model="tiny-teacher")
        refused.append(answer) if answer.status_code == 503 else None
        return answer

    with ThreadPoolExecutor(20) as pool:
        answers = pool.map(ask, range(20))
        server.wait_until(lambda: len(refused) == 14)
        assert server.desk.num_requests == 6, "one that is worked on, and five that wait"
        gate.opened.set()
        answered = [answer for answer in answers if answer not in refused]
    assert [answer.status_code for answer in answered] == [200] * 6
    assert all(answer.json()["models"][0]["answers"][0]["spans"] == [[2.0, 6.0]] for answer in answered)
    assert all(refusal(answer) == (503, "the server already has 6 requests") for answer in refused)
    assert all(1 <= int(answer.headers["retry-after"]) <= 60 for answer in refused)
    assert psutil.Process().memory_info().rss - before < 200 << 20


def test_a_fault_of_ours_is_told_without_its_traceback(server, clip, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("a secret /place")

    monkeypatch.setattr(served_model, "parse_answer", fail)
    assert refusal(server.ask(clip, "a")) == (500, "the server failed at this request")
    assert "a secret /place" in caplog.text


def test_a_bug_in_a_route_is_told_with_the_headers_of_every_answer(server, monkeypatch):
    def fail(*_):
        raise RuntimeError("a secret /place")

    monkeypatch.setattr(server.desk, "find", fail)
    answer = server.client.get("/jobs/x")
    assert refusal(answer) == (500, "the server failed at this request")
    assert "secret" not in answer.text
    assert answer.headers.items() >= {name.lower(): value for name, value in HEADERS.items()}.items()


def test_a_bug_at_the_end_of_a_job_does_not_end_the_work_on_others(server, clip, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(GroundingJob, "end", fail)
    server.ask(clip, "a", path="/jobs", model="tiny-student")
    server.wait_until_idle()
    server.wait_until(lambda: "the end of a request failed" in caplog.text)
    monkeypatch.undo()
    monkeypatch.setattr(server.desk, "keep", fail)
    answer = server.ask(clip, "a", model="tiny-student").json()
    assert answer["notices"] == ["The answer could not be kept: the server failed at it."]


def test_a_job_that_comes_while_the_server_stops_is_refused(tmp_path):
    upload = Upload(video=tmp_path / "video", name="a.mp4", queries=("a",), models=(), wants_frames=False)
    desk = JobDesk([], ServingLimits())
    job = GroundingJob(upload=upload, models=(), limits=desk.limits)
    with desk.hold_place() as place:
        desk.stop()
        with pytest.raises(RequestError, match="the server is stopping"):
            desk.submit(job, place)
    assert desk.num_requests == 0


@pytest.mark.parametrize(
    "error",
    [OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nand more"), OutOfMemoryError(""), MemoryError()],
)
def test_a_full_memory_is_told(server, clip, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(served_model, "parse_answer", fail)
    assert refusal(server.ask(clip, "a")) == (507, "the memory of the server's device is full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_told(server, clip, monkeypatch):
    open_part = FormReader._open_part

    def open_on_full_disk(reader):
        open_part(reader)
        if reader._file is not None:
            reader._file.close()
            reader._file = Path("/dev/full").open("wb")  # noqa: SIM115 - the reader closes it

    monkeypatch.setattr(FormReader, "_open_part", open_on_full_disk)
    answer = server.ask(b"it fails when it is closed", "a")
    assert refusal(answer) == (507, "the upload cannot be stored")
    assert answer.json()["reason"] == os.strerror(errno.ENOSPC)
    with sending(server, len(BEGUN) + 100_000, BEGUN) as sender:  # it fails when it is written, and when it is closed
        server.wait_until(lambda: bool(list(server.folder.glob("*/video.mp4"))))
        sender.sendall(bytes(100_000))
        assert receive_all(sender).startswith("HTTP/1.1 507 ")


def test_a_disk_without_room_for_a_folder_is_told(server, clip, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    assert refusal(server.ask(clip, "a")) == (507, "the upload cannot be stored")


def test_an_ended_job_is_forgotten_and_holds_no_frames(server, clip, monkeypatch):
    from video_opd.serve import job_desk

    def fail(*_):
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    monkeypatch.setattr(served_model, "parse_answer", fail)
    ids = [server.ask(clip, "a", path="/jobs", model="tiny-student").json()["id"] for _ in range(3)]
    ended = [server.wait(id) for id in ids]
    assert {each["state"] for each in ended} == {"failed"}
    found: GroundingJob = server.desk.find(ids[0])
    assert found.error is not None
    assert (found.error.__traceback__, found.error.__context__) == (None, None)
    monkeypatch.setattr(job_desk, "MOST_KEPT", 1)
    assert [server.client.get(f"/jobs/{id}").status_code for id in ids] == [404, 404, 200]
    monkeypatch.setattr(job_desk, "KEPT_S", 0.0)
    assert server.client.get(f"/jobs/{ids[2]}").status_code == 404


def test_what_is_kept_never_replaces_anything(server, clip, tmp_path, monkeypatch):
    keeper = AnswerKeeper(tmp_path / "kept")
    monkeypatch.setattr(server.desk, "keep", keeper)
    assert server.client.get("/limits").json()["keeps_videos"]
    for _ in range(2):
        assert server.ask(clip, "the red square", name="../../evil.mp4").status_code == 200
    folders = sorted((tmp_path / "kept").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["answers.json", "video.mp4"]
        assert (folder / "video.mp4").read_bytes() == clip
        assert json.loads((folder / "answers.json").read_text())["video"] == "evil.mp4"
    (tmp_path / "full").write_text("a file in the way")
    monkeypatch.setattr(server.desk, "keep", AnswerKeeper(tmp_path / "full"))
    answer = server.ask(clip, "the red square").json()
    assert answer["notices"] == ["The answer could not be kept: Not a directory."]
    assert (tmp_path / "full").read_text() == "a file in the way"


def test_an_answer_that_could_not_be_kept_leaves_no_half_folder(tmp_path):
    upload = Upload(video=tmp_path / "gone.mp4", name="a.mp4", queries=("a",), models=(), wants_frames=False)
    job = GroundingJob(upload=upload, models=(), limits=ServingLimits())
    with pytest.raises(FileNotFoundError):
        AnswerKeeper(tmp_path / "kept")(job, GroundResult(video="a.mp4", duration=1.0, models=[], notices=[]))
    assert list((tmp_path / "kept").iterdir()) == []
