"""Manifests cut into parts, thinned out and put together. Rows keep their ids, and what happens to a row depends on a
seed and on the row itself, not on what else is in the file: a set that grows keeps the parts and samples it had.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, overload

from video_opd.data.manifest import iterate_numbered
from video_opd.data.same_video import source_video
from video_opd.errors import ConfigurationError, DataError
from video_opd.grounding.packed_examples import PackedExamples
from video_opd.seeds import uniform
from video_opd.types import Example

SplitBy = Literal["video", "row"]
SampleBy = Literal["none", "source", "duration"]
OnConflict = Literal["refuse", "keep-first", "rename"]

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_BUCKET_S, _NUM_BUCKETS = 30.0, 9
"""TimeLens's buckets of durations: 0-30, 30-60 … 210-240, and 240 s and more."""


def parse_parts(words: Sequence[str]) -> dict[str, float]:
    """`train=0.8 test=0.2` as part -> share.

    Raises:
        ConfigurationError: a name that is no file name or comes twice, a share that is not above 0, shares that do not
            add up to 1.
    """
    parts: dict[str, float] = {}
    for word in words:
        name, _, share = word.partition("=")
        try:
            parts_share = float(share)
        except ValueError:
            parts_share = math.nan
        if not (_PART.fullmatch(name) and 0 < parts_share <= 1):
            raise ConfigurationError(
                f"part {word!r}",
                reason="it is not NAME=SHARE, with a name of letters, digits, - and _ and a share above 0",
                remedy="write such as train=0.8",
            )
        if name.casefold() in map(str.casefold, parts):
            raise ConfigurationError(
                f"part {name!r} is there twice", reason="both would be one file", remedy="give it another name"
            )
        parts[name] = parts_share
    total = math.fsum(parts.values())
    if abs(total - 1) > 1e-6:
        raise ConfigurationError(
            f"the shares of {', '.join(parts)} add up to {total:g}",
            reason="every row goes into exactly one part",
            remedy="give shares that add up to 1, such as train=0.8 validation=0.1 test=0.1",
        )
    return parts


def split(
    examples: Iterable[Example], parts: Mapping[str, float], *, by: SplitBy = "video", seed: int = 0
) -> dict[str, PackedExamples]:
    """Put every row into one part; the order within a part is that of the manifest.

    The place of a video (a row) is a number in 0..1 drawn from the seed and its name, with its folder where the name
    alone does not say which video it is (`same_video`), and the parts are stretches of 0..1. So rows that come later
    move none of the old ones, and the sizes are what chance makes of the shares: 0.1 of 1,000 videos are 100 give or
    take 10.

    Args:
        examples: the rows.
        parts: name -> share, adding up to 1.
        by: `video` keeps the rows about one video together, and the crops of one video too; `row` does not.
        seed: of the draws.

    Raises:
        ConfigurationError: a part comes out empty.
    """
    split = {name: PackedExamples() for name in parts}
    keys: set[str] = set()
    names, bounds = list(parts), [math.fsum(list(parts.values())[: place + 1]) for place in range(len(parts))]
    for example in examples:
        key = source_video(example.video).key if by == "video" else example.id
        keys.add(key)
        place = uniform(seed, "split", by, key)
        name = next((name for name, bound in zip(names, bounds, strict=True) if place < bound), names[-1])
        split[name].add(example)
    empty = [name for name, rows in split.items() if not rows]
    if empty:
        raise ConfigurationError(
            f"part {empty[0]!r} would be empty",
            reason=f"its share of {sum(map(len, split.values())):,} rows is {parts[empty[0]]:g}, and places are drawn "
            f"by {by}" + (f", of which there are {len(keys):,} by their names" if by == "video" else ""),
            remedy="give it a larger share or another --seed" + (", or split --by row" if by == "video" else ""),
        )
    return split


def sample(examples: Sequence[Example], count: int, *, by: SampleBy = "none", seed: int = 0) -> list[Example]:
    """Draw `count` rows, in the order of the manifest.

    Rows are ranked by a number drawn from the seed and their id, so a smaller sample is part of every larger one. With
    `by`, sources or buckets of durations take turns: all have equally many rows until one runs out, and then the others
    share what is left.

    Args:
        examples: the rows.
        count: how many, at least 1.
        by: `source`; `duration`, in the nine buckets of TimeLens (0-30, …, 210-240, 240 s and more), as it draws the
            30,000 examples of its supervised fine-tuning; or `none`.
        seed: of the draws.

    Raises:
        ConfigurationError: more rows than there are.
    """
    if count > len(examples):
        raise ConfigurationError(
            f"--count {count}", reason=f"there are {len(examples):,} rows", remedy="ask for at most as many"
        )
    packed = PackedExamples.of(examples)
    drawn = array("d", (uniform(seed, "sample", id) for id in packed.ids))
    turns: Counter[int] = Counter()
    strata = _list_strata(packed, by)
    turn_of = array("Q", [0]) * len(packed)
    order = sorted(range(len(packed)), key=lambda place: (drawn[place], packed.ids[place]))
    for place in order:
        turn_of[place] = turns[strata[place]]
        turns[strata[place]] += 1
    order.sort(key=turn_of.__getitem__)  # stable: within a turn the order of the draws stays
    return [packed[place] for place in sorted(order[:count])]


def _list_strata(examples: PackedExamples, by: SampleBy) -> Sequence[int]:
    """The number of the stratum of each row."""
    if by == "source":
        return array("I", examples.sources_of_rows)
    if by == "duration":
        buckets = (example.known_duration // _BUCKET_S for example in examples)
        return bytearray(int(min(bucket, _NUM_BUCKETS - 1)) for bucket in buckets)
    return bytearray(len(examples))


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Several manifests as one."""

    examples: PackedExamples
    """Of the first file in its order, then what is new in the next, and so on."""
    num_same: int
    """Rows that stood in an earlier file already, word for word."""
    num_left_out: int
    """Rows whose id an earlier file gave to another row, left out."""
    renamed: dict[str, str]
    """New id -> the id that the row had."""


class NumberedRows(Sequence[tuple[int, Example]]):
    """The rows of a manifest, each with its line in the file, or its number where the file is a list, from 1.

    Args:
        path: the manifest.

    Raises:
        DataError: as `manifest.read_manifest`.
    """

    def __init__(self, path: Path) -> None:
        self.lines, self.examples = array("Q"), PackedExamples()
        for line, example in iterate_numbered(path):
            self.lines.append(line)
            self.examples.add(example)

    @overload
    def __getitem__(self, place: int) -> tuple[int, Example]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[int, Example]]: ...
    def __getitem__(self, place: int | slice) -> tuple[int, Example] | list[tuple[int, Example]]:
        if isinstance(place, slice):
            return list(zip(self.lines[place], self.examples[place], strict=True))
        return self.lines[place], self.examples[place]

    def __len__(self) -> int:
        return len(self.lines)


def merge(files: Sequence[tuple[Path, Sequence[tuple[int, Example]]]], *, on_conflict: OnConflict = "refuse") -> Merged:
    """Put manifests one after the other. A row that stands in two of them word for word is kept once.

    Args:
        files: path, and its rows with their lines (`NumberedRows`).
        on_conflict: what to do with an id that stands for another row in an earlier file: `refuse`; `keep-first`, which
            leaves the later row out; `rename`, which gives the later row the id `ID-STEM`, by the name of its file
            (with its folder's name before it, where two files are called the same).

    Raises:
        DataError: an id that stands for two rows, with `refuse`; or a new id that is taken, with `rename`.
    """
    suffixes = _make_suffixes([path for path, _ in files])
    taken = {example.id for _, rows in files for _, example in rows} if on_conflict == "rename" else set[str]()
    merged = PackedExamples()
    places: dict[str, int] = {}
    """Id that a row had -> place of the first such row in `merged`."""
    others: dict[str, list[int]] = {}
    """The same of further rows, which were renamed."""
    lines, origins = array("Q"), array("I")
    renamed: dict[str, str] = {}
    num_same = num_left_out = 0
    for number, ((path, rows), suffix) in enumerate(zip(files, suffixes, strict=True)):
        for line, example in rows:
            first = places.setdefault(example.id, len(merged))
            is_new = first == len(merged)
            earlier = [] if is_new else [first, *others.get(example.id, ())]
            if any(replace(merged[place], id=example.id) == example for place in earlier):
                num_same += 1
                continue
            if earlier and on_conflict == "refuse":
                raise DataError(
                    f"{path}, line {line} (id {example.id!r}): the id is already that of another row, in "
                    f"{files[origins[first]][0]}, line {lines[first]}",
                    reason="scores and selections tell rows by their ids",
                    remedy="say what to do with --on-conflict keep-first or rename",
                )
            if earlier and on_conflict == "keep-first":
                num_left_out += 1
                continue
            kept = example
            if earlier:
                kept = replace(example, id=f"{example.id}-{suffix}")
                if kept.id in taken:
                    raise DataError(
                        f"{path}, line {line}: the row {example.id!r} would be renamed to {kept.id!r}",
                        reason="that id is taken",
                        remedy="give the file another name",
                    )
                taken.add(kept.id)
                renamed[kept.id] = example.id
                others.setdefault(example.id, []).append(len(merged))
            lines.append(line)
            origins.append(number)
            merged.add(kept)
    return Merged(examples=merged, num_same=num_same, num_left_out=num_left_out, renamed=renamed)


def _make_suffixes(paths: Sequence[Path]) -> list[str]:
    """What tells the rows of each file apart from those of the others."""
    stems = Counter(path.stem for path in paths)
    return [path.stem if stems[path.stem] == 1 else f"{path.resolve().parent.name}-{path.stem}" for path in paths]
