"""What it costs to decode in processes of their own instead of threads: CPU-seconds, seconds, memory.

    python benchmarks/decoding_processes.py [--out benchmarks/results/decoding_processes.json] [--quick]

A clip of data_wait.py, and one of 64 x 64 pixels and 4 s as in the tiny world. Each is decoded and rendered `--clips`
times by one worker, first by a thread, then by a process. CPU-seconds are those of this process and its children from
the making of the source to its end, and so with the start of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from data_wait import ask, make_clips, make_source
from video_opd.data.prompt_source import PromptSource
from video_opd.data.video.video_io import write_video

RESULTS = Path(__file__).parent / "results" / "decoding_processes.json"


def count_cpu_seconds() -> float:
    """Of this process and of the children that have ended."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def measure(path: Path, count: int, *, in_processes: bool) -> dict[str, Any]:
    """Decode and render a clip several times with one worker."""
    renderer = make_source(path.parent, 0).renderer
    began, cpu_began = time.perf_counter(), count_cpu_seconds()
    with closing(PromptSource(path.parent, renderer, num_examples=1, workers=1, in_processes=in_processes)) as source:
        source.prefetch(ask(path, count))
        source.prompts(ask(path, count))
        memory = [read_memory(worker.process.pid) for worker in source._processes._free] if in_processes else []
    seconds, cpu_seconds = time.perf_counter() - began, count_cpu_seconds() - cpu_began
    return {
        "clip": path.name, "in_processes": in_processes, "clips": count, "seconds": seconds, "cpu_seconds": cpu_seconds,
        "own_memory_mb": memory,
    }  # fmt: skip


def read_memory(process: int) -> float:
    """Megabytes that a process has for itself."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> None:
    """Measure, print a line for each, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="shorter clips and fewer repeats: does everything run?")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="decoding-clips-") as folder:
        large, *_ = make_clips(Path(folder), 2 if arguments.quick else 10)
        small = Path(folder) / "small.mp4"
        write_video(small, np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3), np.uint8), 8)
        for path, count in ((small, 4 if arguments.quick else 60), (large, 2 if arguments.quick else 3)):
            measure(path, 1, in_processes=False)  # warms up
            for in_processes in (False, True):
                rows.append(measure(path, count, in_processes=in_processes))
                print(json.dumps(rows[-1]), flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"cpus": os.cpu_count(), "load_of_the_machine": round(os.getloadavg()[1], 1), "rows": rows}
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
