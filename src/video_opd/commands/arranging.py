"""`data stats`, `data split`, `data sample`, `data merge`, `data overlap`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_opd.arguments.paths import refuse_same
from video_opd.commands.asking import Overrides, require_writable
from video_opd.commands.earlier_outputs import Kind
from video_opd.errors import ConfigurationError, writing

if TYPE_CHECKING:
    from video_opd.data.overlap import Shared
    from video_opd.types import Example


def data_stats(arguments: argparse.Namespace, _: Overrides) -> int:
    """Measure manifests, each by itself."""
    from video_opd.data.manifest import read_manifest
    from video_opd.data.manifest_statistics import describe

    paths: list[Path] = arguments.manifests
    if arguments.picture:
        from video_opd.report.manifest.manifest_page import require_picture

        require_picture(arguments.picture)
    measured = {path: describe(read_manifest(path, arguments.videos)) for path in paths}
    if arguments.picture:
        from video_opd.report.manifest.manifest_page import write_statistics

        require_writable(arguments.picture, Kind.PICTURE)
        with writing(arguments.picture):
            write_statistics(arguments.picture, dict(zip(_short_names(paths), measured.values(), strict=True)))
        print(f"picture: {arguments.picture}", file=sys.stderr)
    if arguments.json:
        rows = [{"manifest": str(path), **statistics.to_dict()} for path, statistics in measured.items()]
        print(json.dumps({"manifests": rows}, indent=2, ensure_ascii=False))
    else:
        from video_opd.commands.statistics_text import show_statistics

        show_statistics(dict(zip(_short_names(paths), measured.values(), strict=True)))
    return 0


def data_split(arguments: argparse.Namespace, _: Overrides) -> int:
    """Cut a manifest into parts."""
    from video_opd.data.manifest import read_manifest, write_manifest
    from video_opd.data.same_video import source_video
    from video_opd.data.split_and_merge import parse_parts, split

    shares = parse_parts(arguments.parts)
    files = {name: arguments.out / f"{name}.jsonl" for name in shares}
    for path in files.values():
        if os.path.lexists(path):  # a link that leads nowhere is somebody's too
            raise ConfigurationError(
                f"{path} is there already",
                reason="rows would change from one part to another behind the back of whoever uses it",
                remedy="give another folder with --out, or remove the file",
            )
    parts = split(read_manifest(arguments.manifest), shares, by=arguments.by, seed=arguments.seed)
    with contextlib.ExitStack() as undo:  # all parts or none: some of them would stand in the way of the next attempt
        for name, path in files.items():
            require_writable(path, Kind.MANIFEST)
            undo.callback(path.unlink, missing_ok=True)
            with writing(path):
                write_manifest(path, parts[name])
        undo.pop_all()
    counts = {name: {"rows": len(rows), "videos": _num_videos(rows)} for name, rows in parts.items()}
    places = Counter(video for rows in parts.values() for video in {source_video(row.video).key for row in rows})
    if in_several := sum(count > 1 for count in places.values()):
        such = "1 video is" if in_several == 1 else f"{in_several:,} videos are"
        print(f"{such} in several parts: what is learned from one shows in another", file=sys.stderr)
    if arguments.json:
        print(json.dumps({name: {"file": str(path), **counts[name]} for name, path in files.items()}, indent=2))
    else:
        total = sum(map(len, parts.values()))
        for name, path in files.items():
            rows, videos = counts[name].values()
            print(f"{path}: {rows:,} rows ({rows / total:.1%}), {videos:,} videos")
    return 0


def data_sample(arguments: argparse.Namespace, _: Overrides) -> int:
    """Draw rows."""
    from video_opd.data.manifest import read_manifest, write_manifest
    from video_opd.data.row_filters import timelens_filter
    from video_opd.data.split_and_merge import sample

    examples = read_manifest(arguments.manifest, arguments.videos)
    num_rows = len(examples)
    left_out: Counter[str] = Counter()
    if arguments.filter:
        examples, left_out = timelens_filter(examples)
        if not examples:
            raise ConfigurationError(
                f"no row of {arguments.manifest} passes --filter {arguments.filter}",
                reason="; ".join(f"{_rows(count)} left out: {reason}" for reason, count in left_out.most_common()),
                remedy="sample without --filter, or another manifest",
            )
    chosen = sample(examples, arguments.count, by=arguments.by, seed=arguments.seed)
    for reason, count in left_out.most_common():
        print(f"{_rows(count)} left out: {reason}", file=sys.stderr)
    require_writable(arguments.out, Kind.MANIFEST)
    with writing(arguments.out):
        write_manifest(arguments.out, chosen)
    if arguments.json:
        facts = {"read": num_rows, "left_out": left_out, "rows": len(chosen), "videos": _num_videos(chosen)}
        print(json.dumps({"file": str(arguments.out), **facts}, indent=2))
    else:
        print(f"{arguments.out}: {len(chosen):,} rows of {len(examples):,}, {_num_videos(chosen):,} videos")
    return 0


def data_merge(arguments: argparse.Namespace, _: Overrides) -> int:
    """Put manifests together."""
    from video_opd.data.manifest import read_numbered, write_manifest
    from video_opd.data.split_and_merge import merge

    paths: list[Path] = arguments.manifests
    if len(paths) < 2:
        raise ConfigurationError(
            f"one manifest, {paths[0]}", reason="there is nothing to merge it with", remedy="give at least two"
        )
    merged = merge([(path, read_numbered(path)) for path in paths], on_conflict=arguments.on_conflict)
    require_writable(arguments.out, Kind.MANIFEST)
    with writing(arguments.out):
        write_manifest(arguments.out, merged.examples)
    facts = {"rows": len(merged.examples), "same": merged.num_same, "left_out": merged.num_left_out}
    if arguments.json:
        print(json.dumps({"file": str(arguments.out), **facts, "renamed": merged.renamed}, indent=2))
        return 0
    print(f"{arguments.out}: {len(merged.examples):,} rows")
    for count, what in (
        (merged.num_same, "that stood in two files word for word, kept once"),
        (merged.num_left_out, "left out: an earlier file has the id for another row"),
        (len(merged.renamed), "renamed: an earlier file has the id for another row"),
    ):
        if count:
            print(f"{_rows(count)} {what}", file=sys.stderr)
    return 0


def data_overlap(arguments: argparse.Namespace, _: Overrides) -> int:
    """Find the rows of one manifest that ask what another one asks."""
    from video_opd.data.manifest import read_manifest, write_manifest
    from video_opd.data.overlap import overlapping, shared_rows

    paths = [arguments.first, arguments.second]
    refuse_same(paths)
    sets = [read_manifest(path) for path in paths]
    shared = [shared_rows(one, other) for one, other in (sets, sets[::-1])]
    found = overlapping(shared[0], arguments.threshold)
    stained = {row.example.id for row in found}
    clean = [example for example in sets[0] if example.id not in stained]
    if arguments.out:
        require_writable(arguments.out, Kind.PAIRS)
    if arguments.without:
        if not clean:
            raise ConfigurationError(
                f"every row of {paths[0]} overlaps with {paths[1]}",
                reason="nothing would be left to write",
                remedy="raise --threshold, or leave out --without",
            )
        require_writable(arguments.without, Kind.MANIFEST)
        with writing(arguments.without):
            write_manifest(arguments.without, clean)
    if arguments.out:
        _write_pairs(arguments.out, found)
    facts = [
        {"manifest": str(path), **_counts(examples, rows, arguments.threshold)}
        for path, examples, rows in zip(paths, sets, shared, strict=True)
    ]
    if arguments.json:
        print(json.dumps({"threshold": arguments.threshold, "a": facts[0], "b": facts[1]}, indent=2))
    else:
        _tell_overlap(facts, _short_names(paths), arguments.threshold)
    if arguments.without:
        print(f"{arguments.without}: the other {_rows(len(clean))}", file=sys.stderr)
    return 0


def _counts(examples: Sequence[Example], shared: Sequence[Shared], threshold: float) -> dict[str, int]:
    from video_opd.data.overlap import overlapping

    return {
        "rows": len(examples),
        "videos": _num_videos(examples),
        "shared_videos": _num_videos([row.example for row in shared]),
        "about_shared_videos": len(shared),
        "overlapping": len(overlapping(shared, 0.0)),
        "at_threshold": len(overlapping(shared, threshold)),
        "same_query": sum(row.same_query for row in shared),
        "durations_apart": sum(row.durations_apart for row in shared),
    }


def _tell_overlap(facts: Sequence[dict[str, Any]], names: Sequence[str], threshold: float) -> None:
    at = f"IoU >= {threshold:g}" if threshold else "any overlap"
    for of, name, other in zip(facts, names, reversed(names), strict=True):
        print(
            f"{_rows(of['at_threshold'])} of {name} ({of['at_threshold'] / of['rows']:.1%}) "
            f"{_asks(of['at_threshold'])} about a moment that {other} asks about too ({at})."
        )
        print(
            f"  {of['shared_videos']:,} of its {of['videos']:,} videos are in both, with "
            f"{_rows(of['about_shared_videos'])}; {of['overlapping']:,} overlap at all, "
            f"{of['same_query']:,} {_asks(of['same_query'])} the same question about the same video."
        )
        if of["durations_apart"]:
            print(
                f"  {_rows(of['durations_apart'])} of them {_asks(of['durations_apart'])} about videos that bear one "
                "name and differ by more than 5 s in duration: perhaps two videos."
            )


def _write_pairs(path: Path, found: Sequence[Shared]) -> None:
    """Every row that overlaps, with the one it overlaps most."""
    from video_opd.files.durable import write_durably

    lines = []
    for row in found:
        one, other = row.example, row.other
        pair = {"id": one.id, "other_id": other.id, "iou": row.iou, "same_query": row.same_query}
        words = {"video": one.video, "other_video": other.video, "query": one.query, "other_query": other.query}
        lines.append(json.dumps(pair | words, ensure_ascii=False) + "\n")
    with writing(path):
        write_durably(path, "".join(lines).encode())


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def _asks(count: int) -> str:
    return "asks" if count == 1 else "ask"


def _num_videos(examples: Sequence[Example]) -> int:
    return len({example.video for example in examples})


def _short_names(paths: Sequence[Path]) -> list[str]:
    """File names where they tell the files apart, else the paths."""
    distinct = len({path.name for path in paths}) == len(paths)
    return [path.name if distinct else str(path) for path in paths]
