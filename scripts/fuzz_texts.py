"""Spoil the text files that commands read, and count what ends in a traceback. All in this process.

python scripts/fuzz_texts.py --mutants 100000
python scripts/fuzz_texts.py --kind scores --seed 17 --mutants 1 --keep DIR

A mutant is accepted, or refused by one sentence (`UserError`). Anything else is a failure, and so is a control
character in what is printed. Every failure is printed with kind, seed and the last frames of the traceback. The last
line is `N passed, N failed`; the exit status is 1 if one failed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from spoil_texts import spoil
from texts_to_spoil import Kind, Read, list_kinds

_FRAMES = 3
_SLOW_S = 20.0
_TOLD_EVERY = 5000
_OWN_MORE_OFTEN = 8
"""Kinds that video-opd itself writes are few, and there are many formats of other projects."""

_NOT_FOR_A_TERMINAL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Bench:
    """A folder with the files of one kind, of which one at a time is spoiled."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.written: dict[str, bytes] = {}
        self.restore()
        self.reads: list[Read] = kind.make_reads(folder)
        self.failures: Counter[str] = Counter()

    def restore(self) -> None:
        """Write every file that is not as it should be."""
        for name, text in self.kind.files.items():
            path = self.folder / name
            if not path.is_file() or path.read_bytes() != text:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text)

    def try_seed(self, seed: int, keep: Path | None = None) -> str | None:
        """Spoil a file and read it; returns what went wrong.

        Args:
            seed: chooses the file, the changes and the reader.
            keep: a folder for the mutant.
        """
        self.restore()
        name = self.kind.spoiled[seed % len(self.kind.spoiled)]
        mutant = spoil(self.kind.files[name], f"{self.kind.name} {seed}")
        (self.folder / name).write_bytes(mutant)
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{self.kind.name.replace(' ', '-')}-{seed}-{Path(name).name}").write_bytes(mutant)
        return try_read(self.reads[seed // len(self.kind.spoiled) % len(self.reads)])


def try_read(read: Read) -> str | None:
    """Run a reader; returns what went wrong: neither accepted nor refused by a sentence."""
    from video_opd.errors import UserError

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors=errors) for errors in ("strict", "backslashreplace"))
    began, sentence = time.monotonic(), ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                read()
            except UserError as error:
                sentence = str(error)
            out.flush()
            err.flush()
    except SystemExit as error:
        return f"SystemExit({error.code})"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return describe(error)
    if (seconds := time.monotonic() - began) > _SLOW_S:
        return f"it took {seconds:.0f} s"
    printed = out.buffer.getvalue().decode() + err.buffer.getvalue().decode() + sentence  # type: ignore[attr-defined]
    if found := _NOT_FOR_A_TERMINAL.search(printed):
        return f"control character {found[0]!r} in {printed[max(found.start() - 60, 0) : found.end() + 20]!r}"
    return None


def describe(error: BaseException) -> str:
    """The last frames of a traceback in one line, those of this repository first."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "video_opd" in frame.filename]
    places = [f"{frame.filename.rpartition('video_opd/')[2]}:{frame.lineno}" for frame in frames[-_FRAMES:]]
    return f"{type(error).__name__}: {str(error)[:80]!r} at {' < '.join(reversed(places))}"


def main() -> int:
    """Run as many mutants of every kind as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=2000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--kind", default="", help="only kinds whose name begins like this")
    parser.add_argument("--keep", type=Path, help="folder for the mutants that failed")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after this long")
    given = parser.parse_args()
    kinds = [kind for kind in list_kinds() if kind.name.startswith(given.kind)]
    total, failed, began = Counter[str](), Counter[str](), time.monotonic()
    seconds: Counter[str] = Counter()
    seen: Counter[tuple[str, str]] = Counter()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where a write waits for no disk
    with tempfile.TemporaryDirectory(dir=memory) as scratch:
        benches = []
        for number, kind in enumerate(kinds):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            benches.append(Bench(kind, folder))
        gc.freeze()
        own = [bench for bench in benches if not bench.kind.name.startswith(("annotations", "results"))]
        order, next_seed = [*benches, *own * _OWN_MORE_OFTEN], Counter[str]()
        for count in range(given.mutants):
            if time.monotonic() - began > given.seconds:
                break
            bench = order[count % len(order)]
            seed = given.seed + next_seed[bench.kind.name]
            next_seed[bench.kind.name] += 1
            group = re.sub(r"annotations \d+ of", "annotations of", bench.kind.name)
            total[group] += 1
            started = time.monotonic()
            failure = bench.try_seed(seed)
            seconds[group] += time.monotonic() - started
            if count % _TOLD_EVERY == 0:
                print(f"{count} files, {time.monotonic() - began:.0f} s", flush=True)
            if failure is None:
                continue
            failed[group] += 1
            seen[group, re.sub(r"'.*'", "", failure)] += 1
            if seen[group, re.sub(r"'.*'", "", failure)] == 1:
                print(f"{bench.kind.name!r} seed {seed}: {failure}", flush=True)
            if given.keep:
                bench.try_seed(seed, given.keep)
    for group, count in total.items():
        cost = f"{1000 * seconds[group] / count:.1f} ms each"
        print(f"{group}: {count - failed[group]} passed, {failed[group]} failed, {cost}")
    print(f"{total.total() - failed.total()} passed, {failed.total()} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
