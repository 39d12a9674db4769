"""`data stats`, `data split`, `data sample`, `data merge`, `data overlap`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from video_opd.cli.argument_types import Json, Positive, Share, Whole
from video_opd.cli.asking import require_writable
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.path_roles import Reads, ReadsVideos, Writes, refuse_same
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.data.overlap import SharedRows, SharedVideo
    from video_opd.grounding.packed_examples import PackedExamples
    from video_opd.types import Example


Manifest = Annotated[Reads, Parameter(help="questions, JSON lines")]
Manifests = Annotated[tuple[Reads, ...], Parameter(metavar="MANIFEST", help="questions, JSON lines")]
Videos = Annotated[ReadsVideos, Parameter(help="folder of the videos, to measure durations that the rows do not have")]
Seed = Annotated[Whole, Parameter(help="seed of the random draws")]
Out = Annotated[Writes, Parameter(help="manifest to write")]


def stats(
    manifests: Manifests, /, *, videos: Videos | None = None, picture: Writes | None = None, json: Json = False
) -> int:
    """Print statistics of manifests, and draw them.

    Args:
        picture: also draw the statistics: FILE.svg or FILE.html

    Example:
        video-opd data stats train.jsonl test.jsonl --picture statistics.html
    """
    from video_opd.data.manifest import pack_manifest
    from video_opd.data.manifest_statistics import describe

    if picture:
        from video_opd.report.manifest.manifest_page import require_picture

        require_picture(picture)
    measured = {path: describe(pack_manifest(path, videos)) for path in manifests}
    if picture:
        from video_opd.report.manifest.manifest_page import write_statistics

        require_writable(picture, Kind.PICTURE)
        with explain_write_errors(picture):
            write_statistics(picture, dict(zip(_short_names(manifests), measured.values(), strict=True)))
        show(f"picture: {picture}", file=sys.stderr)
    if json:
        rows = [{"manifest": str(path), **statistics.to_dict()} for path, statistics in measured.items()]
        show(dumps({"manifests": rows}, indent=2, ensure_ascii=False))
    else:
        from video_opd.cli.statistics_text import show_statistics

        show_statistics(dict(zip(_short_names(manifests), measured.values(), strict=True)))
    return 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SplitChoices:
    """How a manifest is cut."""

    out: Writes
    """folder for PART.jsonl, one file per part"""
    parts: Annotated[list[str], Parameter(metavar="NAME=SHARE")]
    """shares that add up to 1; the sizes are approximate, so that new rows never move earlier rows to another part"""
    by: Literal["video", "row"] = "video"
    """video: all rows about a video and its crops are in one part"""
    seed: Seed = 0


def split(manifest: Manifest, /, *, into: SplitChoices, json: Json = False) -> int:
    """Cut a manifest into parts that share no video.

    Example:
        video-opd data split all.jsonl --out parts --parts train=0.8 validation=0.1 test=0.1
    """
    from video_opd.data.manifest import pack_manifest, write_manifest
    from video_opd.data.same_video import source_video
    from video_opd.data.split_and_merge import parse_parts, split

    shares = parse_parts(into.parts)
    files = {name: into.out / f"{name}.jsonl" for name in shares}
    for path in files.values():
        if os.path.lexists(path):  # a broken link may belong to a user too
            raise ConfigurationError(
                f"{path} is there already",
                reason="rows would move to another part while earlier results depend on this one",
                remedy="give another folder with --out, or remove the file",
            )
    parts = split(pack_manifest(manifest), shares, by=into.by, seed=into.seed)
    with contextlib.ExitStack() as undo:  # write all parts or none: a leftover part would block the next attempt
        for name, path in files.items():
            require_writable(path, Kind.MANIFEST)
            undo.callback(path.unlink, missing_ok=True)
            with explain_write_errors(path):
                write_manifest(path, parts[name])
        undo.pop_all()
    counts = {name: {"rows": len(rows), "videos": len(rows.videos.texts)} for name, rows in parts.items()}
    places = Counter(key for rows in parts.values() for key in {source_video(path).key for path in rows.videos.texts})
    if in_several := sum(count > 1 for count in places.values()):
        such = "1 video is" if in_several == 1 else f"{in_several:,} videos are"
        show(f"{such} in several parts: training on one part affects the results on another", file=sys.stderr)
    if json:
        show(dumps({name: {"file": str(path), **counts[name]} for name, path in files.items()}, indent=2))
    else:
        total = sum(map(len, parts.values()))
        for name, path in files.items():
            rows, videos = counts[name].values()
            show(f"{path}: {rows:,} rows ({rows / total:.1%}), {videos:,} videos")
    return 0


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Draw:
    """Which rows are drawn."""

    videos: Videos | None = None
    count: Positive
    """number of rows to draw"""
    out: Out
    by: Literal["none", "source", "duration"] = "none"
    """the same number of rows from each source, or from each of TimeLens's nine buckets of duration"""
    filter: Literal["timelens"] | None = None
    """first leave out the rows that TimeLens does not train on: under 5 s or over 500 s, over 200 words, no span within
    the video, questions about sound"""
    seed: Seed = 0


def sample(manifest: Manifest, /, *, draw: Draw, json: Json = False) -> int:
    """Draw rows at random. A smaller sample is part of a larger one.

    Example:
        video-opd data sample all.jsonl --count 30000 --by duration --filter timelens --out sample.jsonl
    """
    from video_opd.data.manifest import pack_manifest, write_manifest
    from video_opd.data.row_filters import timelens_filter
    from video_opd.data.split_and_merge import sample

    examples = pack_manifest(manifest, draw.videos)
    num_rows = len(examples)
    left_out: Counter[str] = Counter()
    if draw.filter:
        examples, left_out = timelens_filter(examples)
        if not examples:
            raise ConfigurationError(
                f"no row of {manifest} passes --filter {draw.filter}",
                reason="; ".join(f"{_rows(count)} left out: {reason}" for reason, count in left_out.most_common()),
                remedy="sample without --filter, or another manifest",
            )
    chosen = sample(examples, draw.count, by=draw.by, seed=draw.seed)
    for reason, count in left_out.most_common():
        show(f"{_rows(count)} left out: {reason}", file=sys.stderr)
    require_writable(draw.out, Kind.MANIFEST)
    with explain_write_errors(draw.out):
        write_manifest(draw.out, chosen)
    if json:
        facts = {"read": num_rows, "left_out": left_out, "rows": len(chosen), "videos": _num_videos(chosen)}
        show(dumps({"file": str(draw.out), **facts}, indent=2))
    else:
        show(f"{draw.out}: {len(chosen):,} rows of {len(examples):,}, {_num_videos(chosen):,} videos")
    return 0


def merge(
    manifests: Manifests,
    /,
    *,
    out: Out,
    on_conflict: Literal["refuse", "keep-first", "rename"] = "refuse",
    json: Json = False,
) -> int:
    """Merge manifests into one.

    Args:
        on_conflict: what to do if two different rows have one id; rename appends the name of the later file

    Example:
        video-opd data merge charades.jsonl activitynet.jsonl --out all.jsonl
    """
    from video_opd.data.manifest import write_manifest
    from video_opd.data.split_and_merge import NumberedRows, merge

    if len(manifests) < 2:
        raise ConfigurationError(
            f"one manifest, {manifests[0]}", reason="there is nothing to merge it with", remedy="give at least two"
        )
    merged = merge([(path, NumberedRows(path)) for path in manifests], on_conflict=on_conflict)
    require_writable(out, Kind.MANIFEST)
    with explain_write_errors(out):
        write_manifest(out, merged.examples)
    facts = {"rows": len(merged.examples), "same": merged.num_same, "left_out": merged.num_left_out}
    if json:
        show(dumps({"file": str(out), **facts, "renamed": merged.renamed}, indent=2))
        return 0
    show(f"{out}: {len(merged.examples):,} rows")
    for count, what in (
        (merged.num_same, "kept once: several files have the identical row"),
        (merged.num_left_out, "left out: an earlier file has the id for another row"),
        (len(merged.renamed), "renamed: an earlier file has the id for another row"),
    ):
        if count:
            show(f"{_rows(count)} {what}", file=sys.stderr)
    return 0


def overlap(
    first: Annotated[Reads, Parameter(name="A")],
    second: Annotated[Reads, Parameter(name="B")],
    /,
    *,
    threshold: Share = 0.5,
    without: Annotated[Writes | None, Parameter(metavar="FILE")] = None,
    out: Annotated[Writes | None, Parameter(metavar="FILE")] = None,
    json: Json = False,
) -> int:
    """Find rows of two manifests that ask about the same moment of a video.

    Args:
        first: manifest A, such as the training examples
        second: manifest B, such as the test examples
        threshold: smallest temporal IoU that counts; 0: any overlap
        without: write the rows of A whose overlap is below the threshold
        out: write the overlapping pairs, JSON lines

    Example:
        video-opd data overlap train.jsonl test.jsonl --without clean.jsonl
    """
    import numpy as np

    from video_opd.data.manifest import pack_manifest, write_manifest
    from video_opd.data.overlap import find_shared_rows

    paths = [first, second]
    refuse_same(paths)
    sets = [pack_manifest(path) for path in paths]
    shared = [find_shared_rows(one, other) for one, other in (sets, sets[::-1])]
    found = shared[0].select_overlapping(threshold)
    clean = np.setdiff1d(np.arange(len(sets[0])), found.rows)
    if out:
        require_writable(out, Kind.PAIRS)
    if without:
        if not clean.size:
            raise ConfigurationError(
                f"every row of {paths[0]} overlaps with {paths[1]}",
                reason="no row would be left to write",
                remedy="raise --threshold, or leave out --without",
            )
        require_writable(without, Kind.MANIFEST)
        with explain_write_errors(without):
            write_manifest(without, (sets[0][place] for place in clean.tolist()))
    if out:
        _write_pairs(out, found)
    facts = [
        {"manifest": str(path), **_counts(examples, rows, threshold)}
        for path, examples, rows in zip(paths, sets, shared, strict=True)
    ]
    if json:
        show(dumps({"threshold": threshold, "a": facts[0], "b": facts[1]}, indent=2))
    else:
        _tell_overlap(facts, _short_names(paths), threshold)
    if without:
        show(f"{without}: the other {_rows(len(clean))}", file=sys.stderr)
    return 0


def _counts(examples: PackedExamples, shared: SharedRows, threshold: float) -> dict[str, int]:
    return {
        "rows": len(examples),
        "videos": len(examples.videos.texts),
        "shared_videos": shared.count_videos(),
        "about_shared_videos": len(shared),
        "overlapping": len(shared.select_overlapping(0.0)),
        "at_threshold": len(shared.select_overlapping(threshold)),
        "same_query": int(shared.are_same_query.sum()),
        "durations_apart": shared.count_durations_apart(),
    }


def _tell_overlap(facts: Sequence[dict[str, Any]], names: Sequence[str], threshold: float) -> None:
    at = f"IoU >= {threshold:g}" if threshold else "any overlap"
    for of, name, other in zip(facts, names, reversed(names), strict=True):
        show(
            f"{_rows(of['at_threshold'])} of {name} ({of['at_threshold'] / of['rows']:.1%}) "
            f"{_asks(of['at_threshold'])} about a moment that {other} asks about too ({at})."
        )
        show(
            f"  {of['shared_videos']:,} of its {of['videos']:,} videos are in both, with "
            f"{_rows(of['about_shared_videos'])}; {of['overlapping']:,} overlap at all, "
            f"{of['same_query']:,} {_asks(of['same_query'])} the same question about the same video."
        )
        if of["durations_apart"]:
            show(
                f"  {_rows(of['durations_apart'])} of them {_asks(of['durations_apart'])} about videos of one name "
                "whose durations differ by more than 5 s: perhaps they are different videos."
            )


def _write_pairs(path: Path, found: SharedRows) -> None:
    """Every row that overlaps, with the one it overlaps most."""
    from video_opd.files.durable import write_durably

    with explain_write_errors(path):
        write_durably(path, map(_make_pair_line, found))


def _make_pair_line(row: SharedVideo) -> bytes:
    one, other = row.example, row.other
    pair = {"id": one.id, "other_id": other.id, "iou": row.iou, "same_query": row.same_query}
    words = {"video": one.video, "other_video": other.video, "query": one.query, "other_query": other.query}
    return (dumps(pair | words, ensure_ascii=False) + "\n").encode()


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _asks(count: int) -> str:
    return "asks" if count == 1 else "ask"


def _num_videos(examples: Sequence[Example]) -> int:
    return len({example.video for example in examples})


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The names of the files if they differ, else the paths."""
    distinct = len({path.name for path in paths}) == len(paths)
    return [path.name if distinct else str(path) for path in paths]
