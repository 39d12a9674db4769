"""`video-opd serve`: what it refuses, what it prints, and how it ends."""

from __future__ import annotations

import importlib.util
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from started import Started
from video_opd.data.video import decoding_workers


def test_a_missing_extra_is_told_with_the_command(refused, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "video_opd.serve.server_address.find_spec", lambda name: None if name == "uvicorn" else found(name)
    )
    assert refused("serve") == (
        "video-opd: not installed: uvicorn: the page and the HTTP API need it. "
        "Install the extra: `pip install 'video-opd[serve]'`."
    )


def test_what_cannot_be_served_is_refused(refused, tmp_path):
    assert "tiny-student is given twice" in refused("serve", "tiny-student", "tiny-student")
    assert "no-such-file" in refused("serve", "--token-file", tmp_path / "no-such-file")
    assert "'70000' is not a whole number from 0 to 65535" in refused("serve", "--port", "70000")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "another program uses it" in refused("serve", "--port", taken.getsockname()[1])
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("serve", "--keep", tmp_path / "file")
    assert "max-queue" in refused("serve", "--max-queue", "-1")
    said = refused("serve", "--max-decoder-mb", "511")
    assert "max-decoder-mb" in said
    assert "512" in said
    assert "--public-name https://demo.example: " in refused("serve", "--public-name", "https://demo.example")


def test_a_server_that_would_decode_itself_does_not_start(refused, monkeypatch):
    monkeypatch.setenv("VIDEO_OPD_DECODE_HERE", "0")  # so that it is put back
    assert refused("serve", "--port", "0", "--decode-here").startswith("video-opd: --decode-here: ")
    monkeypatch.setenv("VIDEO_OPD_DECODE_HERE", "1")
    assert refused("serve", "--port", "0").startswith("video-opd: VIDEO_OPD_DECODE_HERE=1: ")
    monkeypatch.setenv("VIDEO_OPD_DECODE_HERE", "0")
    monkeypatch.setattr(decoding_workers, "PROGRAM", ("-c", "raise SystemExit(3)"))
    assert "does not start: the process ended with status 3. " in refused("serve", "--port", "0")


@pytest.mark.slow
def test_it_says_where_it_is_and_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("VIDEO_OPD_SERVE_TOKEN", raising=False)
    process = Started(["serve", "tiny-student", "--device", "cpu", "--port", "0", "--host", "0.0.0.0"])
    until = time.monotonic() + 120
    while "token: " not in process.out.read_text() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    first, second = process.out.read_text().splitlines()
    port = int(first.removeprefix("serving tiny-student at http://0.0.0.0:"))
    token = second.removeprefix("token: ")
    head = f"GET /limits HTTP/1.1\r\nHost: demo.example\r\nAuthorization: Bearer {token}\r\n\r\n"
    there = ("127.0.0.1", port)
    with socket.create_connection(there) as waiting, socket.create_connection(there) as one:
        one.sendall(head.encode())
        assert one.recv(999).startswith(b"HTTP/1.1 200 ")
        # An upload that has begun does not hold the end up.
        waiting.sendall(head.replace("GET /limits", "POST /ground").replace("\r\n\r\n", "\r\n").encode())
        waiting.sendall(b"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: 9999\r\n\r\n--edge\r\n")
        assert next(path.name for path in tmp_path.iterdir()).startswith("video-opd-scratch-")
        time.sleep(0.2)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT
        assert time.monotonic() - began < 6
        assert waiting.recv(999).startswith(b"HTTP/1.1 503 ")
    assert process.err.read_text().splitlines()[-1] == "video-opd: the server has stopped; no upload was left behind"
    assert "Traceback" not in process.err.read_text()
    assert list(tmp_path.iterdir()) == []
