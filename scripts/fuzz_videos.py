"""Spoil small clips, read each as a run does, and count what goes wrong. Decodes in a process with limits.

python scripts/fuzz_videos.py --mutants 20000
python scripts/fuzz_videos.py --base h264.mp4 --seed 17 --mutants 1 --keep DIR

A mutant is read with the times of its row, or set aside with one sentence that names it. Anything else is a failure: a
traceback, a process that hangs, a part of the clip that is taken for the whole, and memory, descriptors or processes
that grow. The last line is `N passed, N failed`; the exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spoil_videos import spoil_video
from video_opd.data.video.decoding_workers import DecodingWorkers
from video_opd.data.video.picture_folder import read_video
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.data.video.whole_video import MISSING_SHARE, require_whole
from video_opd.errors import DataError, UserError
from video_opd.types import Example, Span
from videos_to_spoil import ROOT, Base, cut_real, write_rendered, write_world

BUDGET = VideoBudget(fps=4, max_tokens=4096)
ALL_FRAMES = VideoBudget(fps=1000, max_tokens=100_000)
SILENCE_S, CLIP_S = 20.0, 60.0
"""Limits of the process: above what any of these clips needs, below those of a run."""
CLIPPED = 4
"""One mutant of so many is read with a row that has a clip."""
_SAME, _OTHER = 3.0, 12.0
"""Mean difference of two thumbnails, of 255: what another decoding may change; what a viewer sees."""
_EVERY, _WARM = 200, 1000
"""Mutants between two looks at what the processes hold; those after which it should not grow."""
_MOST_GROWTH = 128 << 20
"""Bytes."""

Thumbnails = NDArray[np.float32]


@dataclass(frozen=True)
class Truth:
    """What the clip shows that is not spoiled."""

    times_s: NDArray[np.float64]
    thumbnails: Thumbnails
    duration_s: float
    num_chosen: dict[Span | None, tuple[float, ...]]
    """For each clip of a row: the times that are chosen."""


class Bench:
    """A base, its truth, and the process that reads its mutants."""

    def __init__(self, base: Base, folder: Path) -> None:
        self.base, self.data = base, base.path.read_bytes()
        self.path = folder / f"mutant{base.path.suffix}"
        try:
            self.truth: Truth | None = _find_truth(base.path)
        except DataError:  # a real clip that is damaged already
            self.truth = None

    def try_seed(
        self, seed: int, others: list[bytes], workers: DecodingWorkers, keep: Path | None = None
    ) -> tuple[str, str, str]:
        """Spoil and read; returns the change, the kind of outcome, and what went wrong."""
        mutant, changes = spoil_video(self.data, others, f"{self.base.name} {seed}")
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{self.base.name}-{seed}{self.path.suffix}").write_bytes(mutant)
        return changes[0] if len(changes) == 1 else "several", *self.try_mutant(mutant, seed, workers)

    def try_mutant(self, mutant: bytes, seed: int, workers: DecodingWorkers) -> tuple[str, str]:
        """Read a mutant; returns the kind of outcome, and what went wrong.

        Args:
            mutant: the file.
            seed: decides whether the row has a clip.
            workers: read it.
        """
        self.path.write_bytes(mutant)
        return self._read(_make_row(self.path, self.truth, seed), workers)

    def _read(self, row: Example, workers: DecodingWorkers) -> tuple[str, str]:
        began = time.monotonic()
        try:
            frames = workers.read_video(self.path, BUDGET, row.clip)
            step_s = max(1 / BUDGET.fps, frames.duration_s / len(frames.times_s))
            require_whole(self.path, row, frames.video_duration_s, step_s, frames.duration_s)
        except UserError as error:
            sentence = str(error)
            is_good = str(self.path) in sentence and not re.search(r"\n|\b(nan|inf)\b", sentence)
            wrong = "" if is_good else f"not a sentence: {sentence!r}"
            return _name_refusal(error, self.path), wrong
        except Exception as error:
            return "traceback", f"{type(error).__name__}: {traceback.format_exc()[-700:]}"
        if (seconds := time.monotonic() - began) > CLIP_S:
            return "slow", f"it took {seconds:.0f} s"
        if wrong := _find_nonsense(frames):
            return "nonsense", wrong
        return self._judge(frames, row, step_s) if self.truth else ("read: of a damaged clip", "")

    def _judge(self, frames: Frames, row: Example, step_s: float) -> tuple[str, str]:
        """Compare with what the clip shows."""
        truth = self.truth
        assert truth is not None
        assert frames.video_duration_s is not None
        if frames.video_duration_s - truth.duration_s > max(step_s, MISSING_SHARE * truth.duration_s):
            return "read: longer than its row", ""
        expected = truth.num_chosen[row.clip]
        length_s = expected[-1] - expected[0]
        missing_s = expected[-1] - frames.times_s[-1]
        is_followed = row.clip and frames.duration_s > length_s and frames.video_duration_s >= truth.duration_s - step_s
        if missing_s > max(step_s, MISSING_SHARE * truth.duration_s) + 0.05 and is_followed:
            return "read: one picture is shown for long", ""  # as a recording of a screen may have it
        if missing_s > max(step_s, MISSING_SHARE * truth.duration_s) + 0.05:
            return "part", f"the last frame is at {frames.times_s[-1]:.2f} s, not at {expected[-1]:.2f} s"
        start_s = row.clip.start_s if row.clip else 0.0
        seen = make_thumbnails(frames.images)
        distances = np.abs(seen[:, None] - truth.thumbnails[None]).mean(axis=(2, 3))
        moments = np.array(frames.times_s) + _find_origin(truth, start_s)
        nearest = np.abs(truth.times_s[None] - moments[:, None]).argmin(axis=1)
        here = distances[np.arange(len(seen)), nearest]
        best = distances.argmin(axis=1)
        is_far = np.abs(truth.times_s[best] - moments) > max(step_s, 0.05 * length_s)
        is_moved = is_far & (distances.min(axis=1) < _SAME) & (here > _OTHER)
        concealed = " and said so" if frames.num_concealed else ""
        if is_moved.mean() > 0.25:
            return "read: pictures at other times" + concealed, ""
        if here.max() > _OTHER:
            return "read: damaged pictures" + concealed, ""
        return ("read: as it was" if here.max() <= _SAME else "read: slightly other pictures") + concealed, ""


def make_thumbnails(images: NDArray[np.uint8]) -> Thumbnails:
    """Pictures (T, 8, 16) in grey, each the mean of an area."""
    grey = images.astype(np.float32).mean(axis=3)
    rows = np.linspace(0, grey.shape[1], 9).astype(int)[:-1]
    columns = np.linspace(0, grey.shape[2], 17).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=1), columns, axis=2)
    areas = np.diff([*rows, grey.shape[1]])[:, None] * np.diff([*columns, grey.shape[2]])[None]
    return (sums / areas).astype(np.float32)


def _find_origin(truth: Truth, start_s: float) -> float:
    """When the first frame of a clip is shown, in seconds of the file."""
    return float(truth.times_s[np.searchsorted(truth.times_s, start_s - 1e-3)])


def _find_truth(path: Path) -> Truth:
    frames = read_video(path, ALL_FRAMES)
    rows: tuple[Span | None, ...] = (None, _make_clip(frames.duration_s))
    return Truth(
        times_s=np.array(frames.times_s),
        thumbnails=make_thumbnails(frames.images),
        duration_s=frames.duration_s,
        num_chosen={clip: read_video(path, BUDGET, clip).times_s for clip in rows},
    )


def _make_clip(duration_s: float) -> Span:
    return Span(round(duration_s * 0.25, 2), round(duration_s * 0.75, 2))


def _make_row(path: Path, truth: Truth | None, seed: int) -> Example:
    duration_s = truth.duration_s if truth else 5.0
    clip = _make_clip(duration_s) if seed % CLIPPED == 3 and truth else None
    return Example(id="a", video=path.name, query="a", spans=(), duration=duration_s, clip=clip)


def _find_nonsense(frames: Frames) -> str:
    """What no reader of a video may give."""
    times = np.array(frames.times_s)
    if not len(times) == len(frames.images) == len(frames.indices) >= 2 or len(times) % 2:
        return f"{len(times)} times, {len(frames.images)} pictures, {len(frames.indices)} indices"
    if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) < 0).any() or times[-1] > frames.duration_s:
        return f"times {times.tolist()} of {frames.duration_s} s"
    return ""


def _name_refusal(error: UserError, path: Path) -> str:
    cause = error.cause.replace(str(path), "").strip(": ")
    if "its decoder ended" in cause or "decoding takes" in cause:
        return f"set aside: {cause}"
    cause = re.sub(r"\(0x[0-9A-Fa-f]+\)|'.*'|\(.*\)", "…", cause or error.reason)
    return "set aside: " + re.sub(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", "N", cause)[:90]


def read_holdings(workers: DecodingWorkers) -> dict[str, int]:
    """What this process and the one that decodes hold now."""
    shared = [name for name in os.listdir("/dev/shm") if name.startswith(("video-opd", "psm_", "mp-", "torch"))]
    held = {"descriptors": len(os.listdir("/proc/self/fd")), "shm": len(shared)}
    held["processes"] = sum(_read_parent(entry) == os.getpid() for entry in os.listdir("/proc") if entry.isdigit())
    held["bytes"] = _read_private(os.getpid())
    if workers._free:
        worker = workers._free[0].process.pid
        held["bytes of the decoder"] = _read_private(worker)
        held["descriptors of the decoder"] = len(os.listdir(f"/proc/{worker}/fd"))
    return held


def _read_parent(process: str) -> int:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _read_private(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def compare_holdings(first: dict[str, int], last: dict[str, int]) -> list[str]:
    """What has grown."""
    return [
        f"{what}: {before} before, {last[what]} after"
        for what, before in first.items()
        if last.get(what, 0) > before + (_MOST_GROWTH if what.startswith("bytes") else 0)
    ]


def main() -> int:
    """Run as many mutants as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed of each clip")
    parser.add_argument("--base", default="", help="only clips whose name begins like this")
    parser.add_argument("--videos", type=Path, default=ROOT / ".no-videos", help="folder of real clips")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that failed")
    parser.add_argument("--show", default="", help="print the seeds of outcomes whose name has this in it")
    given = parser.parse_args()
    outcomes, changes, failed = Counter[str](), Counter[tuple[str, str]](), 0
    room = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=room) as scratch, closing(DecodingWorkers(SILENCE_S, CLIP_S)) as workers:
        folder = Path(scratch)
        bases = [*write_rendered(folder), write_world(folder), *cut_real(given.videos, folder)]
        benches = [Bench(base, folder) for base in bases if base.name.startswith(given.base)]
        others = [base.path.read_bytes() for base in bases]
        order = [bench for bench in benches for _ in range(bench.base.weight)]
        next_seed, first, began = Counter[str](), {}, time.monotonic()
        last: dict[str, int] = {}
        for count in range(given.mutants):
            bench = order[count % len(order)]
            seed = given.seed + next_seed[bench.base.name]
            next_seed[bench.base.name] += 1
            change, kind, wrong = bench.try_seed(seed, others, workers, given.keep if given.mutants == 1 else None)
            outcomes[kind] += 1
            changes[change, kind.partition(":")[0]] += 1
            if wrong or (given.show and given.show in kind) or "decoder ended" in kind or "decoding takes" in kind:
                print(f"--base {bench.base.name} --seed {seed} ({change}): {kind} {wrong}", flush=True)
            if wrong:
                failed += 1
                if given.keep:
                    bench.try_seed(seed, others, workers, given.keep)
            if count % _EVERY == 0:
                last = read_holdings(workers)
                first = last if count <= _WARM else first
                if count % (_EVERY * 10) == 0:
                    print(f"{count} mutants, {time.monotonic() - began:.0f} s, {last}", flush=True)
        grown = compare_holdings(first, last)
    for kind, number in outcomes.most_common():
        print(f"{number:6} {kind}")
    print(f"{time.monotonic() - began:.0f} s; {compare_holdings(first, last) or 'nothing has grown'}; {last}")
    print("change: " + ", ".join(f"{change} {kind} {number}" for (change, kind), number in sorted(changes.items())))
    for line in grown:
        print(f"grown: {line}")
    print(f"{given.mutants - failed} passed, {failed + len(grown)} failed")
    return 1 if failed or grown else 0


if __name__ == "__main__":
    sys.exit(main())
