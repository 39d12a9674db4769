"""What the videos of a step cost, and how many workers make them ready in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from math import ceil

from video_opd.doctor.cost_estimate import estimate_cost
from video_opd.doctor.patient import Finding, Patient
from video_opd.methods.teachers import Teacher
from video_opd.train.build import make_source
from video_opd.train.run_inputs import Inputs

NUM_DECODED = 2
"""Clips that are decoded to see what one costs; before them one, whose time does not count."""
LARGEST_WAIT = 0.1
"""Share of a step that it may wait for its videos."""


@dataclass(frozen=True, kw_only=True)
class DecodingCost:
    """What it takes to make the prompts of a step from their videos."""

    batch_size: int
    seconds: float
    """Of one clip, in one process of `data.workers`."""
    cpu_seconds: float
    """Of one clip, of all threads: a decoder has threads of its own."""
    step_seconds: float
    """Of a step, without decoding."""

    @property
    def needed_workers(self) -> int:
        """Workers that make the next batch ready while a step is taken."""
        return max(1, ceil(self.batch_size * self.seconds / self.step_seconds))

    @property
    def needed_cores(self) -> int:
        """CPU cores that they keep busy."""
        return max(1, ceil(self.batch_size * self.cpu_seconds / self.step_seconds))

    def compute_wait(self, workers: int) -> float:
        """Seconds that a step waits for its videos.

        Args:
            workers: processes that decode ahead; 0: a step waits for its own.
        """
        seconds = self.batch_size * self.seconds
        return seconds if workers == 0 else max(0.0, seconds / workers - self.step_seconds)


def estimate_whole_cost(patient: Patient, teacher: Teacher | None, inputs: Inputs) -> Iterator[Finding]:
    """What `estimate_cost` finds, and whether the videos of a step are ready in time.

    Args:
        patient: the models and the prompts.
        teacher: who judges in training.
        inputs: keeps what was read of the recipe's files.
    """
    step_seconds = yield from estimate_cost(patient, teacher, inputs)
    if step_seconds is not None:
        yield judge_decoding(_measure(patient, step_seconds), patient.recipe.data.workers)


def judge_decoding(cost: DecodingCost, workers: int) -> Finding:
    """Compare the time that the videos of a step need with the time of the step.

    Args:
        cost: of the videos.
        workers: the recipe's.
    """
    wait, needed = cost.compute_wait(workers), cost.needed_workers
    waits = wait > LARGEST_WAIT * cost.step_seconds and needed > workers
    found = (
        f"decoding takes {cost.cpu_seconds:.2f} CPU-seconds a clip and {cost.batch_size * cost.cpu_seconds:.1f} a step "
        f"of {cost.batch_size}; data.workers = {needed} keeps the device busy, with {cost.needed_cores} CPU cores"
    )
    if waits:
        found += f"; with data.workers = {workers} a step waits about {wait:.1f} s"
    return Finding(
        checked="the videos of the next step are ready in time",
        found=found,
        verdict="warn" if waits else "ok",
        remedy=f"set data.workers = {needed}, or lower video.fps or video.max_frames" if waits else "",
    )


def _measure(patient: Patient, step_seconds: float) -> DecodingCost:
    """Decode a few clips once more; nothing else runs meanwhile."""
    examples = [prompt.example for prompt in patient.prompts]
    with closing(make_source(patient.recipe, patient.student, examples)) as source:
        source.render(examples[0])
        counted = (examples[1:] or examples)[:NUM_DECODED]
        began, cpu_began = time.perf_counter(), time.process_time()
        for example in counted:
            source.render(example)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    return DecodingCost(
        batch_size=patient.recipe.training.batch_size,
        seconds=min(seconds, cpu_seconds) / len(counted),  # a thread has a core to itself in training
        cpu_seconds=cpu_seconds / len(counted),
        step_seconds=step_seconds,
    )
