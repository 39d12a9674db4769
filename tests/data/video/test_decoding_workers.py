"""Decoding in processes of their own: the same frames; a decoder that hangs, aborts or eats memory costs one clip."""

import contextlib
import gc
import json
import logging
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from contextlib import closing
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from barcodes import encode
from PIL import Image

from video_opd.data.video import decoding_process, decoding_workers, idle_decoders
from video_opd.data.video.decoding_workers import DecodingWorker, DecodingWorkers
from video_opd.data.video.picture_folder import read_video
from video_opd.data.video.video_io import VideoBudget
from video_opd.errors import ConfigurationError, DataError, EngineError
from video_opd.types import Span

BUDGET = VideoBudget(fps=5, max_tokens=256)
MISBEHAVING = """
import os, time
from video_opd.data.video import decoding_process as module
real = module.decode_video
kept = []

def decode(sink, path, *rest):
    if path.stem == "sleeps":
        time.sleep(600)
    if path.stem == "aborts":
        os.abort()
    if path.stem == "allocates":
        held = []
        while True:
            held.append(bytearray(1 << 26))
    if path.stem == "starts-no-thread":
        raise BlockingIOError(11, "Resource temporarily unavailable")
    if path.stem == "keeps":
        kept.append(bytearray(b"x") * (300 << 20))
    if path.stem == "fails":
        raise ZeroDivisionError("ours")
    return real(sink, path, *rest)

module.decode_video = decode
module.main()
"""


@pytest.fixture
def misbehaving(tmp_path, monkeypatch):
    """Workers whose decoder does what the name of a file says."""
    program = tmp_path / "misbehaving.py"
    program.write_text(MISBEHAVING)
    monkeypatch.setattr(decoding_workers, "PROGRAM", (str(program),))
    return program


def is_alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(happens) -> None:
    until = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.02)


def assert_same(found, expected) -> None:
    assert np.array_equal(found.images, expected.images)
    assert (found.times_s, found.duration_s, found.indices, found.video_duration_s) == (
        expected.times_s, expected.duration_s, expected.indices, expected.video_duration_s
    )  # fmt: skip


def test_frames_and_errors_are_those_of_this_process(tmp_path):
    path = encode(tmp_path / "a.mp4", bf=2)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:-900])
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(4):
        Image.fromarray(np.full((32, 48, 3), 60 * number, np.uint8)).save(pictures / f"{number}.png")
    with closing(DecodingWorkers()) as workers:
        for asked in (
            (path, BUDGET), (path, BUDGET, Span(0.4, 1.6)), (path, VideoBudget(fps=25)), (pictures, BUDGET, None, 3.0),
        ):  # fmt: skip
            assert_same(workers.read_video(*asked), read_video(*asked))
        assert workers.take_cpu_seconds() > 0
        assert workers.take_cpu_seconds() == 0
        for asked, kind in (
            ((cut, BUDGET), DataError),
            ((tmp_path / "nowhere", BUDGET), DataError),
            ((path, BUDGET, Span(5.0, 9.0)), DataError),
            ((path, VideoBudget(fps=25, max_tokens=10)), EngineError),
            ((pictures, BUDGET, None, 1e9), ConfigurationError),
        ):
            with pytest.raises(kind) as here:
                read_video(*asked)
            with pytest.raises(kind) as there:
                workers.read_video(*asked)
            assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))
        assert len(workers._free) == 1, "one process served all"


def test_a_decoder_that_hangs_aborts_or_eats_memory_costs_one_clip(tmp_path, misbehaving):
    good = encode(tmp_path / "good.mp4")
    # A busy machine allocates slowly, so only the decoder that sleeps has a short limit.
    with (
        closing(DecodingWorkers(silence_s=120.0, num_bytes=1 << 30)) as patient,
        closing(DecodingWorkers(silence_s=5.0, num_bytes=1 << 30)) as impatient,
    ):
        expected = patient.read_video(good, BUDGET)
        for name, said in (
            ("allocates", r"allocates\.mp4: decoding takes more than 1 GiB of memory: "),
            ("aborts", r"aborts\.mp4: its decoder ended twice, with SIGABRT: .*leave the row out"),
            ("sleeps", r"sleeps\.mp4: decoding takes more than .* 5 s for a frame: .*--decode-here"),
        ):
            workers = impatient if name == "sleeps" else patient
            with pytest.raises(DataError, match=said):
                workers.read_video(tmp_path / f"{name}.mp4", BUDGET)
            assert_same(workers.read_video(good, BUDGET), expected)
        with pytest.raises(RuntimeError, match=r"ZeroDivisionError: ours"):
            patient.read_video(tmp_path / "fails.mp4", BUDGET)
        processes = [worker.process for workers in (patient, impatient) for worker in workers._free]
    idle_decoders.end_idle()
    assert processes
    assert all(process.poll() is not None for process in processes), "none is left"


def test_memory_that_a_process_has_kept_of_other_videos_costs_no_clip(tmp_path, misbehaving):
    keeps = encode(tmp_path / "keeps.mp4")
    with closing(DecodingWorkers(num_bytes=1 << 30)) as workers:
        expected = workers.read_video(keeps, BUDGET)
        (first,) = workers._free
        for _ in range(5):
            assert_same(workers.read_video(keeps, BUDGET), expected)
        (last,) = workers._free
        assert first.process.poll() is not None
        assert last.num_asked < 6
        with pytest.raises(DataError, match="more than 1 GiB of memory"):
            workers.read_video(tmp_path / "starts-no-thread.mp4", BUDGET)


def test_the_next_reader_takes_over_the_processes_of_the_last_one(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    idle_decoders.end_idle()

    def read(path, **limits):
        with closing(DecodingWorkers(**limits)) as workers:
            workers.read_video(path, BUDGET)
            (worker,) = workers._free
        return worker

    first = read(path)
    assert read(path) is first
    assert read(path, num_bytes=1 << 30) is not first, "its limit is another"
    (tmp_path / "folder").mkdir()
    encode(tmp_path / "folder" / "b.mp4")
    monkeypatch.chdir(tmp_path / "folder")
    assert read(Path("b.mp4")) is first, "a path may count from a folder that this process has changed to"
    for worker in (dead := [first, DecodingWorker()]):
        worker.process.kill()
        worker.process.wait()
    idle_decoders.leave_idle(dead[1])
    second = read(path)
    assert second not in dead, "both had ended, for no fault of the video"
    with monkeypatch.context() as patch:
        patch.setattr(decoding_workers.os, "getpid", lambda: 1)
        kind = DecodingWorker.describe(decoding_workers.CLIP_BYTES)
        assert idle_decoders.take_idle(kind) is None, "it belongs to another process"
    monkeypatch.setattr(idle_decoders, "MOST_IDLE", 0)
    read(path)
    assert second.process.poll() is not None, "more than are kept"


def test_signals_are_for_the_run_and_a_process_that_was_killed_is_replaced(tmp_path):
    path = encode(tmp_path / "a.mp4")
    with closing(DecodingWorkers()) as workers:
        expected = workers.read_video(path, BUDGET)
        (worker,) = workers._free
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            worker.process.send_signal(number)
        assert_same(workers.read_video(path, BUDGET), expected)
        assert workers._free == [worker]
        workers._free.append(DecodingWorker())
        for each in workers._free:
            each.process.kill()
            each.process.wait()
        assert_same(workers.read_video(path, BUDGET), expected)
        assert workers._free != [worker]
        assert len(workers._free) == 1, "both had ended, and the video is not to blame"


def test_closing_does_not_wait_for_a_decoder_that_hangs(tmp_path, misbehaving):
    workers, raised = DecodingWorkers(), []

    def read() -> None:
        try:
            workers.read_video(tmp_path / "sleeps.mp4", BUDGET)
        except CancelledError as error:
            raised.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    wait_until(lambda: workers._busy)
    workers.close()
    thread.join(30)
    assert len(raised) == 1
    with pytest.raises(CancelledError):
        workers.read_video(tmp_path / "sleeps.mp4", BUDGET)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_run_leaves_no_decoder_behind(tmp_path, misbehaving):
    """Also where it hangs and looks at no connection."""
    run = f"""
import sys, threading
from pathlib import Path
from video_opd.data.video import decoding_workers
from video_opd.data.video.video_io import VideoBudget
decoding_workers.PROGRAM = ({str(misbehaving)!r},)
workers = decoding_workers.DecodingWorkers()
threading.Thread(target=workers.read_video, args=(Path("sleeps.mp4"), VideoBudget()), daemon=True).start()
while not workers._busy:
    pass
print(next(iter(workers._busy)).process.pid, *(name in sys.modules for name in ("torch", "transformers")), flush=True)
sys.stdin.read()
"""
    started = subprocess.Popen([sys.executable, "-c", run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process, *heavy = started.stdout.readline().split()
    assert heavy == ["False", "False"], "a worker imports less than this"
    assert is_alive(int(process))
    started.send_signal(signal.SIGKILL)
    started.wait()
    wait_until(lambda: not is_alive(int(process)))
    started.stdin.close()
    started.stdout.close()


def list_descriptors() -> set[tuple[str, str]]:
    """Numbers of open descriptors, and what they lead to."""
    found = set()
    for number in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # that of the list itself
            found.add((number, os.readlink(f"/dev/fd/{number}")))
    return found


def test_where_no_process_starts_videos_are_decoded_here(tmp_path, monkeypatch, caplog):
    path = encode(tmp_path / "a.mp4")
    monkeypatch.setattr(decoding_workers, "PROGRAM", ("-c", "raise SystemExit(3)"))
    gc.collect()  # descriptors of earlier tests are closed now, and not in the middle of this one
    descriptors = list_descriptors()
    with closing(DecodingWorkers()) as workers, caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(workers.read_video(path, BUDGET), read_video(path, BUDGET))
    assert [record.message for record in caplog.records] == [
        "videos are decoded in this process, without limits on time and memory: the process ended with status 3"
    ]
    assert list_descriptors() <= descriptors, "none of a process that did not start is left"


def test_the_switch_decodes_here(tmp_path, monkeypatch):
    """As `--decode-here` does; the environment takes it to processes that this one starts."""
    monkeypatch.setenv("VIDEO_OPD_DECODE_HERE", "0")  # so that it is put back
    path = encode(tmp_path / "a.mp4")
    decoding_workers.decode_here()
    with closing(DecodingWorkers()) as workers:
        assert_same(workers.read_video(path, BUDGET), read_video(path, BUDGET))
        assert workers._free == []


def test_frames_of_any_size_wait_for_the_other_process():
    """Small ones many at a time, large ones few, and in between the places are divided anew."""
    draw = np.random.default_rng(0)
    sizes = [(900, 1200), *[(4, 6)] * 150, *[(900, 1200)] * 9, (5, 5), *[(900, 1200)] * 3, *[(4, 6)] * 40]
    images = [draw.integers(0, 255, (*size, 3), dtype=np.uint8) for size in sizes]
    ours, theirs = Pipe()
    memory = mmap.mmap(-1, decoding_process.MEMORY_BYTES)
    frames = decoding_process.SentFrames(theirs, memory)

    def send() -> None:
        for place, image in enumerate(images):
            frames.add(image, [place])
        frames.finish()
        theirs.send_bytes(b'{"end": true}')
        theirs.recv_bytes()  # the next question

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    time.sleep(0.2)  # so that frames wait
    found, waiting = [], 0
    while "end" not in (said := json.loads(ours.recv_bytes())):
        if "frame" in said:
            at, height, width = said["frame"]
            found.append(np.frombuffer(memory, np.uint8, height * width * 3, at).reshape(height, width, 3).copy())
        if said["answer"]:
            waiting += 1
            ours.send_bytes(b"taken")
    assert all(np.array_equal(one, other) for one, other in zip(found, images, strict=True))
    assert waiting < len(images) / 4
    assert sender.is_alive()
    ours.send_bytes(b"a question")
    sender.join(10)
    assert not sender.is_alive()
