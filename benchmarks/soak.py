"""An hour of training with processes that decode: do memory, open files, threads and processes level off?

    python benchmarks/soak.py [--seconds 3600] [--out benchmarks/results/soak.json]

`video-opd train tiny-opd` trains on rendered clips, more than it remembers, so that every clip is decoded again in each
epoch, by two processes. It is scored and saved on schedule. From outside, the run and all its children are measured
every five seconds. After `--seconds` the run gets SIGTERM and must save and end with status 143.

The first third is not counted: caches fill. The rest is cut into twelve windows, and a straight line is fitted to the
medians of each series in them, so that an evaluation or a checkpoint, which takes memory and threads for a moment, does
not count, and what stays does. A series levels off where this line rises by less than its allowance in an hour: 2 % of
the memory, one file, thread or process. The last line is `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "soak.json"
COMMAND = [sys.executable, "-c", "import sys; from video_opd.cli import main; sys.exit(main())"]
EVERY_S = 5.0
HOUR_S = 3600.0
NUM_CLIPS = 400
MAX_TOKENS = 400
"""So a run remembers 250 prompts (`REMEMBERED_TOKENS` / `video.max_tokens`), which are fewer than the clips."""

NUM_WINDOWS = 12
ALLOWED = {"memory_mb": 0.02, "largest_decoder_mb": 0.02, "open_files": 1.0, "threads": 1.0, "processes": 1.0}
"""By which a series may rise in an hour: a share of its mean for memory, else a number."""


def sample(run: psutil.Process, began: float) -> dict[str, float] | None:
    """The run and its children at this moment; None where it has ended. Memory is that which no other process shares,
    and that of each child."""
    try:
        family = [run, *run.children(recursive=True)]
        memory, files, threads = [], 0, 0
        for process in family:
            with process.oneshot():
                memory.append(process.memory_full_info().uss / 1e6)
                files += process.num_fds()
                threads += process.num_threads()
    except psutil.NoSuchProcess:
        return None  # a process ended while it was looked at: the next sample has it right
    return {
        "second": time.monotonic() - began,
        "memory_mb": sum(memory), "largest_decoder_mb": max(memory[1:], default=0.0),
        "open_files": files, "threads": threads, "processes": len(family),
    }  # fmt: skip


def fit(samples: Sequence[dict[str, float]]) -> dict[str, dict[str, float | bool]]:
    """By series, over the last two thirds of the time: median, least, most, rise in an hour, whether it levels off."""
    counted = [row for row in samples if row["second"] >= samples[-1]["second"] / 3]
    windows = np.array_split(np.arange(len(counted)), min(NUM_WINDOWS, len(counted)))
    seconds = [np.median([counted[at]["second"] for at in window]) for window in windows]
    found = {}
    for name, allowed in ALLOWED.items():
        values = np.array([row[name] for row in counted])
        rise = float(np.polyfit(seconds, [np.median(values[window]) for window in windows], 1)[0]) * HOUR_S
        median = float(np.median(values))
        found[name] = {
            "median": median, "least": float(values.min()), "most": float(values.max()), "rise_per_hour": rise,
            "levels_off": rise < (allowed * median if name.endswith("_mb") else allowed),
        }  # fmt: skip
    return found


def soak(folder: Path, seconds: float) -> dict[str, Any]:
    """Train for so long after the first step, and measure; returns status, steps and samples."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*COMMAND, "tiny-world", "build", "--out", str(folder / "world"), "--train", str(NUM_CLIPS),
                    "--validation", "32", "--test", "64"], check=True,
                   env=environment, stdout=subprocess.DEVNULL)  # fmt: skip
    keys: dict[str, Any] = {
        **{f"data.{part}": folder / "world" / f"{part}.jsonl" for part in ("train", "validation", "test")},
        "data.videos": folder / "world" / "videos", "data.workers": 2, "video.max-tokens": MAX_TOKENS,
        "training.steps": 1_000_000,
        "training.learning-rate": 1e-5, "schedule.evaluate-every": 200, "schedule.checkpoint-every": 100,
        "schedule.keep-checkpoints": 2, "schedule.probe-every": 50,
    }  # fmt: skip
    words = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    with (folder / "log.txt").open("w") as log:
        train = subprocess.Popen([*COMMAND, "train", "tiny-opd", "--out", str(folder / "run"), *words],
                                 stdout=log, stderr=log, env=environment)  # fmt: skip
        run, samples, journal = psutil.Process(train.pid), [], folder / "run" / "metrics.jsonl"
        try:
            while train.poll() is None and not journal.exists():
                time.sleep(1)
            began = time.monotonic()
            while train.poll() is None and time.monotonic() - began < seconds:
                time.sleep(EVERY_S)
                if (found := sample(run, began)) is not None:
                    samples.append(found)
            train.send_signal(signal.SIGTERM)
            status = train.wait(120)
        finally:
            train.kill()  # it would train for a million steps
    if status != 128 + signal.SIGTERM:
        print((folder / "log.txt").read_text()[-3000:])
    lines = journal.read_text().splitlines() if journal.exists() else []
    steps = [row for line in lines if "loss" in (row := json.loads(line))]
    return {"status": status, "steps": len(steps), "clips": 16 * len(steps), "samples": samples}


def main() -> int:
    """Soak, fit, write, and say what did not level off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=HOUR_S)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = soak(Path(folder), given.seconds)
    samples = found.pop("samples")
    if not samples:
        print(f"failed: the run ended with status {found['status']} before its first sample")
        print(f"0 passed, {len(ALLOWED) + 1} failed")
        return 1
    series = fit(samples)
    failed = [name for name, row in series.items() if not row["levels_off"]]
    if found["status"] != 128 + signal.SIGTERM:
        failed.append("status")
    a_minute = samples[:: max(1, round(60 / EVERY_S))]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(
        json.dumps({**describe_machine(), "seconds": round(samples[-1]["second"]), **found, "series": series,
                    "samples": [{name: round(value, 1) for name, value in row.items()} for row in a_minute]}, indent=1)
        + "\n"
    )  # fmt: skip
    for name, row in series.items():
        print(f"{name}: {row['median']:.1f}, {row['rise_per_hour']:+.2f} in an hour")
    for name in failed:
        print(f"failed: {name}")
    print(f"{len(ALLOWED) + 1 - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
