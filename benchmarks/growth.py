"""How our step grows with prompt length, answers, answer length and vocabulary; writes results/growth.json.

    python benchmarks/growth.py [--axes NAME …] [--rounds 3] [--out benchmarks/results/growth.json] [--quick]

Models and step are those of shared_reading.py: Video-OPD, vision trained, teacher and optimiser in it. One quantity
changes at a time. The exponent is the slope of a line through the logarithms (least squares): 1 means that twice the
quantity takes twice the CPU time. Beside it stands the exponent of the arithmetic operations at the same points, which
says what to expect where every operation takes the same time. Sizes are measured in turn, so that a busy machine slows
all of them.

The axis `processes` is another measurement: the recipe tiny-opd under torchrun, with weights that are split over all
processes. A step takes the CPU time of all processes together, of a job of nine steps less one of three. The batch is
the same, so the arithmetic says 0: what grows is the work of sharing it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from shared_reading import Ours, build_policy, build_prompt, load_as_package, write_answers, writes
from step import QUICK, SIZES, Sizes
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.policy.load import Policy

RESULTS = Path(__file__).parent / "results" / "growth.json"


@dataclass(frozen=True, kw_only=True)
class Point:
    """The size of a step."""

    seconds: int = 20
    num_answers: int = 1
    answer_tokens: int = 16
    vocabulary: int = 32768


AXES: dict[str, tuple[str, tuple[int, ...]]] = {
    "prompt length": ("seconds", (5, 10, 20, 40, 80)),
    "answers per prompt": ("num_answers", (1, 2, 4, 8)),
    "answer length": ("answer_tokens", (16, 32, 64, 128, 256)),
    "vocabulary": ("vocabulary", (16384, 32768, 65536, 131072)),
}
"""By name: what changes, and its values."""


def count_operations(student: Policy, teacher: Policy, point: Point, tokens: int, patches: int) -> float:
    """Multiplications and additions of a step in its matrix products.

    Args:
        student: read and scored with gradient; the backward pass does twice the work of the forward pass.
        teacher: read and scored.
        point: the size of the step.
        tokens: of the prompt.
        patches: of its clip.
    """
    reads, scores = zip(*(_count_passes(policy, point, tokens, patches) for policy in (student, teacher)), strict=True)
    return 3 * reads[0] + scores[0] + 3 * scores[0] + reads[1] + scores[1]


def _count_passes(policy: Policy, point: Point, tokens: int, patches: int) -> tuple[float, float]:
    """Operations of reading the prompt, and of taking in the answers once."""
    text, vision = policy.model.config.text_config, policy.model.config.vision_config
    parts = {name: p.numel() for name, p in policy.model.named_parameters() if p.dim() > 1 and "embed" not in name}
    layers = sum(count for name, count in parts.items() if ".layers." in name)
    tower = sum(count for name, count in parts.items() if ".blocks." in name)
    mergers = sum(count for name, count in parts.items() if "merger" in name)
    width = text.num_hidden_layers * text.num_attention_heads * text.head_dim
    head = text.vocab_size * text.hidden_size
    group = 128  # patches of a pair of frames, which see each other
    look = patches * (2 * tower + 4 * vision.depth * vision.hidden_size * group) + 2 * mergers * patches / 4
    written = point.num_answers * point.answer_tokens
    return look + 2 * layers * tokens + 2 * width * tokens**2, written * (2 * layers + 2 * head + 4 * width * tokens)


def fit_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of a line through the logarithms."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return statistics.linear_regression(x, y).slope


def build_models(vocabulary: int, sizes: Sizes) -> tuple[Policy, Policy]:
    """Student and teacher, as the package loads them."""
    student, teacher = (load_as_package(build_policy(vocabulary=vocabulary, **size)) for size in sizes)
    return student, teacher.freeze()


def measure_axis(name: str, points: Sequence[Point], rounds: int, sizes: Sizes) -> dict[str, Any]:
    """Steps of all sizes in turn, and the exponents."""
    models = {vocabulary: build_models(vocabulary, sizes) for vocabulary in {point.vocabulary for point in points}}
    seconds: list[list[float]] = [[] for _ in points]
    operations, lengths = [0.0] * len(points), [0] * len(points)
    for number in range(rounds + 1):
        for index, point in enumerate(points):
            student, teacher = models[point.vocabulary]
            write = writes(point.num_answers, point.answer_tokens)
            path = Ours(student, ReverseKLDistillation(write=write, teacher=OneTeacher(teacher)))
            path.is_checked = False
            prompt = build_prompt(student, point.seconds if number else 2, number)  # the first round is short
            answers = write_answers(path.method, student, prompt)
            spent = path.take(prompt, answers)
            if number:
                seconds[index].append(spent)
            lengths[index] = len(prompt)
            operations[index] = count_operations(student, teacher, point, len(prompt), len(prompt.pixel_values))
    field = AXES[name][0]
    measured = [statistics.median(each) for each in seconds]
    at = lengths if field == "seconds" else [getattr(point, field) for point in points]
    return {
        "axis": name,
        "at": at,
        "cpu_seconds": measured,
        "operations": operations,
        "exponent": fit_exponent(at, measured),
        "exponent_of_arithmetic": fit_exponent(at, operations),
        "exponent_between": [fit_exponent(at[i : i + 2], measured[i : i + 2]) for i in range(len(at) - 1)],
    }


WORLD = ("tiny-world", "build", "--out", "world", "--train", "64", "--validation", "8", "--test", "8")
JOB = ("train", "tiny-opd", "--training.batch-size", "16", "--training.micro-batch-size", "4", "--schedule.probe-every",
       "0", "--data.videos", "world/videos", "--data.train", "world/train.jsonl", "--data.validation",
       "world/validation.jsonl", "--data.test", "world/test.jsonl")  # fmt: skip
PROCESSES, STEPS = (1, 2, 4), (3, 9)


def run_command(folder: Path, words: Sequence[str], num_processes: int = 1) -> float:
    """Run a command of the package under torchrun; returns the CPU seconds of all processes."""
    source = Path(__file__).resolve().parents[1] / "src"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(num_processes),
               "-m", "video_opd", *words]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure_processes(rounds: int, counts: Sequence[int] = PROCESSES, steps: tuple[int, int] = STEPS) -> dict[str, Any]:
    """CPU seconds of a step by the number of processes that share it."""
    seconds: list[list[float]] = [[] for _ in counts]
    with tempfile.TemporaryDirectory() as folder:
        run_command(Path(folder), WORLD)
        for number in range(rounds):
            for index, count in enumerate(counts):
                jobs = ([*JOB, "--steps", str(n), "--out", f"{number}-{count}-{n}"] for n in steps)
                short, long = (run_command(Path(folder), job, count) for job in jobs)
                seconds[index].append((long - short) / (steps[1] - steps[0]))
    measured = [statistics.median(each) for each in seconds]
    return {
        "axis": "processes",
        "at": list(counts),
        "cpu_seconds": measured,
        "operations": [1.0] * len(counts),
        "exponent": fit_exponent(counts, measured),
        "exponent_of_arithmetic": 0.0,
        "exponent_between": [fit_exponent(counts[i : i + 2], measured[i : i + 2]) for i in range(len(counts) - 1)],
    }


def write_rows(arguments: argparse.Namespace, rows: Sequence[dict[str, Any]]) -> None:
    """Print the newest row and write the file; rows of other axes that are there stay."""
    row = rows[-1]
    print(f"{row['axis']:<20} exponent {row['exponent']:5.2f}, of the arithmetic {row['exponent_of_arithmetic']:5.2f}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(arguments.out.read_text(encoding="utf-8"))["growth"] if arguments.out.exists() else []
    new = {row["axis"] for row in rows}
    growth = [*(row for row in known if row["axis"] not in new), *rows]
    results = {**describe_machine(), "quick": arguments.quick, "growth": growth}
    arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--axes", nargs="+", choices=(*AXES, "processes"), default=[*AXES, "processes"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="tiny models and sizes, one round: seconds")
    arguments = parser.parse_args(words)
    torch.set_num_threads(1)
    rows = []
    for name in arguments.axes:
        if name == "processes":
            rows.append(measure_processes(arguments.rounds))
            write_rows(arguments, rows)
            continue
        field, values = AXES[name]
        base, sizes, rounds = Point(), SIZES, arguments.rounds
        if arguments.quick:
            base, sizes, rounds = Point(seconds=2, vocabulary=4096), QUICK, 1
            values = tuple(value // 4 for value in values[:2]) if field != "num_answers" else values[:2]
        rows.append(measure_axis(name, [replace(base, **{field: value}) for value in values], rounds, sizes))
        write_rows(arguments, rows)


if __name__ == "__main__":
    main()
