"""What videos cost: CPU-seconds to make a prompt of an H.264 clip, and how long a training step waits for its clips.

    python benchmarks/data_wait.py [--videos FILE …] [--out benchmarks/results/data_wait.json] [--quick]

Two clips of 640 x 360 at 25 frames a second are made: 30 s of a moving textured picture with noise and a moving shape,
encoded by x264, and 180 s that repeat these packets six times. `--videos` measures files of your own beside them.

`prompt`: decoding, sampling at 2 frames a second, and rendering under 8,192 video tokens; CPU-seconds of all threads.
`ahead`: clips a second with `data.workers` = 0, 1 and 2. `training`: `video-opd train` with the tiny models, one clip a
step that is shown once: the share of a step that is spent waiting, without and with decoding ahead. `needed`: CPU cores
that keep the device busy = clips of a step x CPU-seconds of a clip / seconds of a step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from transformers import AutoProcessor

from machine import describe_machine
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.policy.location import resolve_model
from video_opd.seeds import generator
from video_opd.types import Example, Span

WIDTH, HEIGHT, RATE = 640, 360, 25
SECONDS, REPEATS = 30, 6
RESULTS = Path(__file__).parent / "results" / "data_wait.json"
STEP_SECONDS = {"one H200": 100.0, "8 H100": 12.6}
"""Of 32 clips of 8,192 video tokens, an 8B taught by a 32B: arithmetic at 45 % utilisation, not measured."""
CLIPS_A_STEP = 32
COMMAND = [sys.executable, "-c", "import sys; from video_opd.cli import main; sys.exit(main())"]


def paint(number: int, texture: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A frame: a texture that is panned, a disc that circles, and noise as of a camera."""
    top, left = 60 + int(60 * np.sin(number / 40)), 3 * number % 640
    image = texture[top : top + HEIGHT, left : left + WIDTH] + noise[number % len(noise)]
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    x, y = 320 + 200 * np.cos(number / 25), 180 + 100 * np.sin(number / 25)
    image[(rows - y) ** 2 + (columns - x) ** 2 < 1600] += 60
    return image.clip(0, 255).astype(np.uint8)


def make_clips(folder: Path, seconds: int = SECONDS) -> list[Path]:
    """The short clip and the long one."""
    rng = generator(0, "clip")
    coarse = rng.normal(128, 40, (24, 64, 3)).repeat(20, axis=0).repeat(20, axis=1)
    fine = rng.normal(0, 12, (120, 320, 3)).repeat(4, axis=0).repeat(4, axis=1)
    texture = (coarse + fine).astype(np.float32)
    texture = np.concatenate([texture, texture[:, :WIDTH]], axis=1)
    noise = rng.normal(0, 3, (8, HEIGHT, WIDTH, 3)).astype(np.float32)
    short, long = folder / f"{seconds}s.mp4", folder / f"{REPEATS * seconds}s.mp4"
    with av.open(str(short), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "20", "preset": "fast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(seconds * RATE):
            frame = av.VideoFrame.from_ndarray(paint(number, texture, noise), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    repeat_packets(short, long, seconds)
    return [short, long]


def repeat_packets(source: Path, target: Path, seconds: int) -> None:
    """The same pictures several times, one after another, without encoding again."""
    with av.open(str(target), "w") as output:
        stream = None
        for number in range(REPEATS):
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                offset = int(Fraction(number * seconds) / video.time_base)
                for packet in container.demux(video):
                    if packet.dts is not None:
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        packet.stream = stream
                        output.mux(packet)


def describe(path: Path) -> dict[str, Any]:
    """What a file holds."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return {
            "file": path.name, "codec": video.codec.name, "width": video.width, "height": video.height,
            "frames_per_second": round(float(video.average_rate), 3), "seconds": round(container.duration / 1e6, 2),
            "kilobits_per_second": round(container.bit_rate / 1000),
        }  # fmt: skip


def make_source(folder: Path, workers: int) -> PromptSource:
    """As a recipe with the defaults of [video] has it; nothing is remembered."""
    processor = AutoProcessor.from_pretrained(resolve_model("tiny-student"))
    renderer = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget(fps=2.0, max_frames=768, max_tokens=8192))
    return PromptSource(folder, renderer, num_examples=1, workers=workers)


def ask(path: Path, count: int) -> list[Example]:
    """Different questions about one clip."""
    about: dict[str, Any] = {"video": path.name, "spans": (Span(1, 2),), "duration": None}
    return [Example(id=f"{path.stem}-{number}", query=f"event {number}", **about) for number in range(count)]


def measure_prompt(path: Path, repeats: int) -> dict[str, float]:
    """CPU-seconds and seconds to make one prompt, the median; the first one warms up."""
    rows = []
    with closing(make_source(path.parent, 0)) as source:
        for example in ask(path, repeats + 1):
            began, cpu_began = time.perf_counter(), time.process_time()
            prompt = source.render(example)
            rows.append((time.process_time() - cpu_began, time.perf_counter() - began))
    cpu, wall = (statistics.median(row[part] for row in rows[1:]) for part in (0, 1))
    seconds = describe(path)["seconds"]
    return {
        "cpu_seconds": cpu, "seconds": wall, "cpu_seconds_per_second_of_video": cpu / seconds,
        "video_tokens": prompt.num_video_tokens,
    }  # fmt: skip


def measure_ahead(path: Path, workers: int, count: int) -> dict[str, float]:
    """Clips a second from asking for a batch until its last prompt is there."""
    with closing(make_source(path.parent, workers)) as source:
        source.render(ask(path, 1)[0])
        began, cpu_began = time.perf_counter(), time.process_time()
        source.prefetch(ask(path, count))
        source.prompts(ask(path, count))
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    return {"workers": workers, "clips": count, "clips_per_second": count / wall, "cores_used": cpu / wall}


def measure_training(path: Path, workers: int, steps: int) -> dict[str, float]:
    """Train the tiny student, one clip a step, and read from metrics.jsonl how long each step waited."""
    with tempfile.TemporaryDirectory(prefix="data-wait-") as name:
        folder = Path(name)
        spans = {"spans": [[1.0, 9.0]], "duration": describe(path)["seconds"]}
        for part, count in (("train", steps), ("validation", 1)):
            rows = ({"id": e.id, "video": e.video, "query": e.query} | spans for e in ask(path, count))
            (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        keys: dict[str, Any] = {
            "data.videos": path.parent, "data.train": folder / "train.jsonl", "data.workers": workers,
            "data.validation": folder / "validation.jsonl", "data.test": folder / "validation.jsonl",
            "training.steps": steps, "training.batch-size": 1, "training.micro-batch-size": 1,
            "schedule.evaluate-every": 0, "schedule.probe-every": 0, "schedule.checkpoint-every": 1000,
            "video.max-frames": 360, "video.max-tokens": 1440, "video.max-frame-tokens": 8, "training.warmup-steps": 0,
        }  # fmt: skip
        words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
        done = subprocess.run([*COMMAND, "train", "tiny-opd", "--out", str(folder / "run"), *words], check=False,
                              capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        if done.returncode:
            raise SystemExit(f"video-opd train failed:\n{done.stderr}")
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line)["seconds_by_phase"] for line in lines][1:]  # the first step has nothing to wait beside
    waited = sum(row["decode"] for row in rows)
    worked = sum(value for row in rows for phase, value in row.items() if phase != "decode")
    return {
        "workers": workers, "steps": len(rows), "seconds_waiting": waited / len(rows),
        "seconds_computing": worked / len(rows), "share_waiting": waited / (waited + worked),
    }  # fmt: skip


def count_needed(cpu_seconds: float) -> dict[str, float]:
    """CPU cores that keep the device busy."""
    return {where: CLIPS_A_STEP * cpu_seconds / seconds for where, seconds in STEP_SECONDS.items()}


def measure(path: Path, *, quick: bool) -> dict[str, Any]:
    """All figures of a file."""
    row: dict[str, Any] = {"video": describe(path), "prompt": measure_prompt(path, 1 if quick else 3)}
    row["needed"] = count_needed(row["prompt"]["cpu_seconds"])
    clips, steps = (2, 3) if quick or row["video"]["seconds"] > 60 else (4, 6)
    row["ahead"] = [measure_ahead(path, workers, clips) for workers in (0, 1, 2)]
    row["training"] = [measure_training(path, workers, steps) for workers in (0, 1)]
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """Measure, print a line for every video, and write the figures after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="files of your own")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="shorter clips and fewer repeats: does everything run?")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "clips": "made for this: a panned texture, a moving disc, noise; the long one repeats the short one",
        **describe_machine(), "cpus": os.cpu_count(), "av": version("av"),
        "step_seconds": STEP_SECONDS | {"clips": CLIPS_A_STEP, "from": "arithmetic, not measured"}, "rows": [],
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="data-wait-clips-") as folder:
        clips = make_clips(Path(folder), 2 if arguments.quick else SECONDS)
        for path in (*clips, *arguments.videos):
            row = measure(path, quick=arguments.quick)
            found["rows"].append(row | {"load_of_the_machine": round(os.getloadavg()[1], 1)})
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
