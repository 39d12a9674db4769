"""What commands cost on files of many rows: CPU time and peak memory; writes results/many_rows.json.

    python benchmarks/many_rows.py [--rows 100000 1000000] [--commands NAME …] [--limit-s 600] [--label after]

The files are made: a manifest of ten queries to a video, predictions for it, and scores of four answers by a teacher
and a student. `reading` is what the JSON of the same files takes: every line through `json.loads`, with nothing kept.
Each command runs in a process of its own. Its import of packages is taken off, by a run on a hundred rows. A command
that takes longer than the limit is stopped, and the row says so. Figures of other labels stay in the file: run it with
`--label before` in the code as it was, and with `--label after` now.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machine import describe_machine

RESULTS = Path(__file__).parent / "results" / "many_rows.json"
WORDS = "a person opens closes takes puts the red blue door cup laptop near table window then walks away slowly"
READ = "import json, sys\nfor name in sys.argv[1:]:\n    for line in open(name): json.loads(line)"
COMMANDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "metrics": (("predictions", "manifest"), ("metrics", "{predictions}", "--ground-truth", "{manifest}", "--json")),
    "data stats": (("manifest",), ("data", "stats", "{manifest}", "--json")),
    "data check": (("manifest",), ("data", "check", "{manifest}", "--json")),
    "data overlap": (("manifest", "other"), ("data", "overlap", "{manifest}", "{other}", "--json")),
    "select": (
        ("teacher", "student"),
        ("select", "--teacher", "{teacher}", "--student", "{student}", "--strategy", "top-k", "--count", "{count}",
         "--out", "{out}", "--json"),
    ),
    "metrics, two files": (
        ("predictions", "others", "manifest"),
        ("metrics", "{predictions}", "--compare", "{others}", "--ground-truth", "{manifest}", "--json"),
    ),
    "metrics --as timelens": (
        ("predictions", "manifest"),
        ("metrics", "{predictions}", "--ground-truth", "{manifest}", "--as", "timelens", "--json"),
    ),
    "data split": (("manifest",), ("data", "split", "{manifest}", "--out", "{folder}", "--parts", "a=0.5", "b=0.5")),
    "data sample": (
        ("manifest",),
        ("data", "sample", "{manifest}", "--count", "{count}", "--by", "duration", "--filter", "timelens",
         "--out", "{out}"),
    ),
    "data merge": (("manifest", "other"), ("data", "merge", "{manifest}", "{other}", "--out", "{out}")),
    "data import": (("manifest",), ("data", "import", "jsonl", "{manifest}", "--out", "{out}")),
    "merge-scores": (("teacher",), ("merge-scores", "{teacher}", "--out", "{out}")),
}  # fmt: skip
"""By name: the files that it reads, and its words."""
FEW = 100
NAMES = ("manifest", "other", "predictions", "others", "teacher", "student")
"""The files that are made."""


def write_files(folder: Path, rows: int, names: Sequence[str] = NAMES) -> dict[str, Path]:
    """The files of so many rows; the others are empty."""
    draw = random.Random(rows)
    paths = {name: folder / f"{name}.jsonl" for name in NAMES}
    files = {name: path.open("w", encoding="utf-8") for name, path in paths.items()}
    for name in ("teacher", "student"):
        head = {"format": 1, "model": name, "model_sha256": name, "manifest_sha256": "m", "settings": {},
                "num_examples": rows, "shard": [0, 1]}  # fmt: skip
        files[name].write(json.dumps({"scores": head}) + "\n")
    for number in range(rows):
        for name, row in make_rows(draw, number).items():
            if name in names:
                files[name].write(json.dumps(row) + "\n")
    for file in files.values():
        file.close()
    return paths | {"out": folder / "written.jsonl", "folder": folder / "parts"}


def make_rows(draw: random.Random, number: int) -> dict[str, dict[str, Any]]:
    """One row of each file."""
    duration = round(draw.uniform(20, 180), 2)
    start = round(draw.uniform(0, duration / 2), 2)
    span = [start, round(start + draw.uniform(1, duration / 3), 2)]
    query = " ".join(draw.choices(WORDS.split(), k=9))
    example = {"id": f"q{number}", "video": f"videos/{number // 10:07d}.mp4", "query": query, "spans": [span],
               "duration": duration, "source": "charades"}  # fmt: skip
    scores = {
        name: {"id": f"q{number}", "answers": [make_answer(draw, span, near) for _ in range(4)], "spans": [span],
               "duration": duration, "source": "charades", "seconds": 0.8, "cpu_seconds": 0.7}
        for name, near in (("teacher", 2.0), ("student", 8.0))
    }  # fmt: skip
    text = f"The event happens in {span[0] + 0.5:.1f} - {span[1] + 0.5:.1f} seconds."
    text_of_other = f"The event happens in {span[0] + 1.5:.1f} - {span[1] + 2.5:.1f} seconds."
    other = example | {"id": f"o{number}", "video": f"videos/{number // 10 + (number % 2) * 10_000_000:07d}.mp4"}
    return {"manifest": example, "other": other, "predictions": {"id": f"q{number}", "answer": text},
            "others": {"id": f"q{number}", "answer": text_of_other}, **scores}  # fmt: skip


def make_answer(draw: random.Random, span: list[float], near: float) -> dict[str, Any]:
    """An answer of a model to an example."""
    found = [round(span[0] + draw.uniform(0, near), 2), round(span[1] + draw.uniform(0, near), 2)]
    overlap = max(0.0, min(found[1], span[1]) - max(found[0], span[0]))
    whole = max(found[1], span[1]) - min(found[0], span[0])
    return {"text": f"The event happens in {found[0]} - {found[1]} seconds.", "span": found, "iou": overlap / whole,
            "logprob": draw.uniform(-9, 0), "num_tokens": 16, "sampled": True}  # fmt: skip


def run(words: Sequence[str], limit_s: float) -> dict[str, Any]:
    """CPU-seconds and the peak of resident memory of a process."""
    child = (
        "import resource, subprocess, sys, json\n"
        "done = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,\n"
        "                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]),) * 2))\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, done.stderr[-300:]]))"
    )
    done = subprocess.run([sys.executable, "-c", child, str(int(limit_s)), *words], stdout=subprocess.PIPE, check=True,
                          text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    status, seconds, size, said = json.loads(done.stdout)
    if status < 0:
        return {"stopped_after_s": limit_s, "peak_mb": size / 1e6}
    if status:
        raise SystemExit(f"{' '.join(words)}: exit status {status}: {said}")
    return {"cpu_seconds": seconds, "peak_mb": size / 1e6}


def read(paths: dict[str, Path], names: Sequence[str]) -> float:
    """CPU-seconds of a process that decodes every line of some files."""
    found = run([sys.executable, "-c", READ, *(str(paths[name]) for name in names)], 3600)
    return float(found["cpu_seconds"])


def fill(words: Sequence[str], paths: dict[str, Path], rows: int) -> list[str]:
    """The words of a command, with its files."""
    values = {name: str(path) for name, path in paths.items()} | {"count": str(max(1, rows // 100))}
    return [sys.executable, "-m", "video_opd", *(word.format(**values) for word in words)]


def measure(command: str, rows: int, paths: dict[str, Path], few: dict[str, Path], limit_s: float) -> dict[str, Any]:
    """One command on many rows, less what it takes on few."""
    names, words = COMMANDS[command]
    start = run(fill(words, few, FEW), limit_s)
    shutil.rmtree(few["folder"], ignore_errors=True)
    reading_s = read(paths, names) - read(few, names)
    row = {"command": command, "rows": rows, "megabytes": sum(paths[name].stat().st_size for name in names) / 1e6}
    found = run(fill(words, paths, rows), limit_s)
    shutil.rmtree(paths["folder"], ignore_errors=True)
    paths["out"].unlink(missing_ok=True)
    few["out"].unlink(missing_ok=True)
    row |= {"reading_s": reading_s, "peak_mb": found["peak_mb"],
            "bytes_per_row": 1e6 * (found["peak_mb"] - start["peak_mb"]) / (rows * len(names))}  # fmt: skip
    if "stopped_after_s" in found:
        return row | {"stopped_after_s": limit_s}
    seconds = found["cpu_seconds"] - start["cpu_seconds"]
    return row | {"cpu_seconds": seconds, "of_reading": seconds / reading_s}


def main() -> None:
    """Measure, print a line for each, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000])
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--limit-s", type=float, default=600, help="CPU-seconds after which a command is stopped")
    parser.add_argument("--label", default="after", help="says which code was measured")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    earlier = json.loads(arguments.out.read_text())["rows"] if arguments.out.exists() else []
    again = [(arguments.label, rows, command) for rows in arguments.rows for command in arguments.commands]
    found = [row for row in earlier if (row["label"], row["rows"], row["command"]) not in again]
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory(prefix="many-rows-") as folder:
            (Path(folder) / "few").mkdir()
            names = {name for command in arguments.commands for name in COMMANDS[command][0]}
            few, paths = write_files(Path(folder) / "few", FEW), write_files(Path(folder), rows, sorted(names))
            for command in arguments.commands:
                began = time.monotonic()
                row = {"label": arguments.label} | measure(command, rows, paths, few, arguments.limit_s)
                found.append(row)
                print({key: round(value, 2) if isinstance(value, float) else value for key, value in row.items()},
                      f"{time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
                arguments.out.write_text(json.dumps(describe_machine() | {"rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
