import json
import random
import shlex
import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import manifests, row

from video_opd.cli import main
from video_opd.cli.application import understand
from video_opd.data.manifest import read_manifest, write_manifest
from video_opd.data.overlap import find_shared_rows
from video_opd.data.row_filters import timelens_filter
from video_opd.data.same_video import source_video
from video_opd.data.split_and_merge import merge, parse_parts, sample, split
from video_opd.errors import ConfigurationError, DataError
from video_opd.types import Span

PARTS = {"train": 0.6, "test": 0.4}


def parts_of(examples, by="video", seed=0, parts=PARTS):
    """The part of every id; empty parts are no error here."""
    try:
        found = split(examples, parts, by=by, seed=seed)
    except ConfigurationError:
        return None
    return {example.id: name for name, rows in found.items() for example in rows}


def numbered(examples):
    return list(enumerate(examples, start=1))


# Split


@settings(deadline=None)
@given(manifests(), st.sampled_from(["video", "row"]), st.integers(0, 5))
def test_a_split_puts_every_row_into_one_part_unchanged_and_in_order(examples, by, seed):
    try:
        found = split(examples, PARTS, by=by, seed=seed)
    except ConfigurationError:
        return
    assert list(found) == list(PARTS)
    for rows in found.values():
        assert rows == [example for example in examples if example in rows]
    assert sorted(example.id for rows in found.values() for example in rows) == sorted(e.id for e in examples)


@settings(deadline=None)
@given(manifests(), st.integers(0, 5))
def test_no_video_and_no_crop_of_it_is_in_two_parts(examples, seed):
    places = parts_of(examples, seed=seed)
    if places:
        of_video = {}
        for example in examples:
            of_video.setdefault(source_video(example.video).key, set()).add(places[example.id])
        assert all(len(parts) == 1 for parts in of_video.values())


@settings(deadline=None)
@given(manifests(), manifests(prefix="later-"), st.sampled_from(["video", "row"]))
def test_rows_that_come_later_move_no_row(examples, later, by):
    before, after = parts_of(examples, by=by), parts_of([*later, *examples], by=by)
    if before and after:
        assert before.items() <= after.items()


def test_sizes_are_about_the_shares_and_the_seed_decides():
    examples = [row(f"r{n}", video=f"{n // 2}.mp4") for n in range(4000)]
    shares = {"train": 0.8, "validation": 0.1, "test": 0.1}
    sizes = {name: len(rows) / 4000 for name, rows in split(examples, shares).items()}
    assert sizes == pytest.approx(shares, abs=0.02)
    one, other = parts_of(examples, seed=1), parts_of(examples, seed=2)
    assert 0.4 < sum(one[id] == other[id] for id in one) / 4000 < 0.65
    assert parts_of(examples, seed=1) == one


def test_by_row_a_video_may_be_in_two_parts():
    places = parts_of([row(f"r{n}") for n in range(50)], by="row")
    assert set(places.values()) == {"train", "test"}


IDS = ["".join(random.Random(n).choices(string.ascii_letters + string.digits + "-_", k=11)) for n in range(60)]


def test_parts_share_no_video_where_every_source_has_its_folder_and_its_names():
    examples = [
        row(f"{id}-{number}", (10, 20), video=video, duration=duration)
        for id in IDS
        for number, (video, duration) in enumerate(
            [(f"activitynet/v_{id}.mp4", 200.0), (f"qvhighlights/{id}_0.0_150.0.mp4", 150.0), (f"{id}.webm", 200.0)]
        )
    ]
    parts = split(examples, {"train": 0.5, "test": 0.5})
    assert not find_shared_rows(parts["test"], parts["train"])
    assert all(len(rows) % 3 == 0 for rows in parts.values())


def test_counters_and_words_are_told_apart_by_their_folders():
    examples = [row(f"r{n}", video=f"{id}/video.mp4") for n, id in enumerate(IDS)]
    sizes = [len(rows) for rows in split(examples, {"train": 0.5, "test": 0.5}).values()]
    assert min(sizes) > 15


def test_an_empty_part_is_refused():
    with pytest.raises(ConfigurationError, match=r"part 't(rain|est)' would be empty.* 1 by their names.*--by row"):
        split([row(f"r{n}") for n in range(50)], PARTS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train=0.8 test=0.1", "add up to 0.9"),
        ("train=80 test=20", "'train=80'"),
        ("train=0.5 Train=0.5", "'Train' is there twice"),
        ("train=1 test=0", "'test=0'"),
        ("train test=1", "'train'"),
        ("../x=1", r"'\.\./x=1'"),
        ("=1", "'=1'"),
        ("a=nan b=1", "'a=nan'"),
        ("a=1.5 b=-0.5", "'a=1.5'"),
    ],
)
def test_parts_that_make_no_sense(words, message):
    with pytest.raises(ConfigurationError, match=message):
        parse_parts(words.split())


def test_parts_may_be_thirds():
    assert parse_parts(["a=0.3333333", "b=0.3333333", "c=0.3333334"])["c"] == 0.3333334


# Sample


@settings(deadline=None)
@given(manifests(), st.sampled_from(["none", "source", "duration"]), st.integers(0, 3), st.data())
def test_a_smaller_sample_is_part_of_a_larger_one_and_in_the_order_of_the_manifest(examples, by, seed, data):
    large = data.draw(st.integers(1, len(examples)))
    small = data.draw(st.integers(1, large))
    one, other = sample(examples, small, by=by, seed=seed), sample(examples, large, by=by, seed=seed)
    assert len(one) == small
    assert len(other) == large
    assert {example.id for example in one} <= {example.id for example in other}
    assert other == [example for example in examples if example in other]


@settings(deadline=None)
@given(manifests(), st.data())
def test_a_sample_does_not_depend_on_the_order_of_the_manifest(examples, data):
    shuffled = data.draw(st.permutations(examples))
    count = data.draw(st.integers(1, len(examples)))
    for by in ("none", "source", "duration"):
        chosen = {example.id for example in sample(examples, count, by=by)}
        assert chosen == {example.id for example in sample(shuffled, count, by=by)}


def test_every_source_has_equally_many_until_it_runs_out():
    examples = [row(f"r{n}", source=source) for n, source in enumerate(["a"] * 50 + ["b"] * 20 + ["c"] * 3)]

    def counts(count):
        chosen = sample(examples, count, by="source")
        return [sum(example.source == source for example in chosen) for source in "abc"]

    assert counts(9) == [3, 3, 3]
    assert counts(23) == [10, 10, 3]
    assert counts(53) == [30, 20, 3]
    assert sorted(counts(10)) == [3, 3, 4]


def test_buckets_of_duration_are_those_of_timelens():
    durations = [10, 29.9, 30, 59, 60, 210, 239, 240, 5000]
    examples = [row(f"r{n}", duration=float(duration)) for n, duration in enumerate(durations)]
    groups = ({0, 1}, {2, 3}, {4}, {5, 6}, {7, 8})
    chosen = {int(example.id[1:]) for example in sample(examples, 5, by="duration")}
    assert [len(chosen & group) for group in groups] == [1] * 5


def test_another_seed_gives_another_sample():
    examples = [row(f"r{n}") for n in range(200)]
    one, other = ({example.id for example in sample(examples, 100, seed=seed)} for seed in (0, 1))
    assert 30 < len(one & other) < 70


def test_a_sample_cannot_be_larger_than_the_set():
    with pytest.raises(ConfigurationError, match="there are 2 rows"):
        sample([row("a"), row("b")], 3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"duration": 4.9}, "video shorter than 5 s"),
        ({"duration": 500.5}, "video longer than 500 s"),
        ({"query": "w " * 201}, "query of more than 200 words"),
        ({"duration": 5.0, "spans": (Span(4.0, 5.1),)}, "no span within the video"),
        ({"query": "the SOUND of a bell"}, "asks for something to be heard"),
        ({"query": "a bell is heard."}, "asks for something to be heard"),
    ],
)
def test_rows_that_timelens_leaves_out(changes, reason):
    kept, left_out = timelens_filter([row("a"), replace(row("b"), **changes)])
    assert [example.id for example in kept] == ["a"]
    assert left_out == {reason: 1}


def test_rows_that_timelens_keeps():
    rows = [
        row("a", duration=5.0),
        row("b", duration=500.0, query="w " * 200),
        row("c", (90, 101), (4, 4)),  # one of its spans is fit
        row("e", (90, 100)),
        row("d", query="a soundbar, an audiobook and a hearth"),
    ]
    assert timelens_filter(rows) == (rows, {})


# Merge


@settings(deadline=None)
@given(manifests(), st.sampled_from(["video", "row"]))
def test_the_parts_of_a_split_merge_to_the_set(examples, by):
    try:
        parts = split(examples, PARTS, by=by)
    except ConfigurationError:
        return
    files = [(Path(f"{name}.jsonl"), numbered(rows)) for name, rows in parts.items()]
    merged = merge(files)
    assert sorted(merged.examples, key=lambda e: e.id) == sorted(examples, key=lambda e: e.id)
    again = merge([*files, (Path("all.jsonl"), numbered(examples))])
    assert (again.examples, again.num_same) == (merged.examples, len(examples))


A, B, C = Path("x/a.jsonl"), Path("x/b.jsonl"), Path("y/a.jsonl")


def test_an_id_of_two_rows_is_refused_with_both_places():
    files = [(A, [(1, row("p")), (4, row("q"))]), (B, [(2, row("q", query="other"))])]
    with pytest.raises(DataError, match=r"x/b\.jsonl, line 2 \(id 'q'\): .* in x/a\.jsonl, line 4: .*--on-conflict"):
        merge(files)


def test_the_first_row_of_an_id_can_be_kept():
    merged = merge([(A, [(1, row("q"))]), (B, [(1, row("q", query="other")), (2, row("r"))])], on_conflict="keep-first")
    assert merged.examples == [row("q"), row("r")]
    assert (merged.num_left_out, merged.num_same) == (1, 0)


def test_a_later_row_can_be_renamed():
    other = row("q", query="other")
    merged = merge([(A, [(1, row("q"))]), (B, [(1, other)])], on_conflict="rename")
    assert merged.examples == [row("q"), replace(other, id="q-b")]
    assert merged.renamed == {"q-b": "q"}


def test_a_renamed_row_that_comes_again_is_the_same_row():
    other = row("q", query="other")
    merged = merge([(A, [(1, row("q"))]), (B, [(1, other)]), (Path("d.jsonl"), [(1, other)])], on_conflict="rename")
    assert [example.id for example in merged.examples] == ["q", "q-b"]
    assert merged.num_same == 1


def test_files_of_one_name_are_told_apart_by_their_folders():
    merged = merge([(A, [(1, row("q"))]), (C, [(1, row("q", query="other"))])], on_conflict="rename")
    assert [example.id for example in merged.examples] == ["q", "q-y-a"]


def test_a_new_id_that_is_taken_is_refused():
    files = [(A, [(1, row("q"))]), (B, [(1, row("q", query="other")), (2, row("q-b"))])]
    with pytest.raises(DataError, match="renamed to 'q-b': that id is taken"):
        merge(files, on_conflict="rename")


# On the command line


@pytest.mark.parametrize("command", ["stats", "split", "sample", "merge", "overlap"])
def test_the_help_has_an_example_that_is_understood(command, capsys):
    with pytest.raises(SystemExit) as exit:
        main(["data", command, "--help"])
    assert exit.value.code == 0
    example = capsys.readouterr().out.split("example:\n  video-opd ")[1]
    assert understand(shlex.split(example)).function.__name__ == command


@pytest.fixture
def everything(tmp_path) -> Path:
    path = tmp_path / "all.jsonl"
    write_manifest(path, [row(f"r{n}", video=f"{n // 3}.mp4", source="ab"[n % 2]) for n in range(300)])
    return path


def test_data_split(everything, tmp_path, capsys):
    out = tmp_path / "new" / "parts"
    words = ["data", "split", str(everything), "--out", str(out), "--parts", "train=0.8", "test=0.2"]
    assert main(words) == 0
    captured = capsys.readouterr()
    parts = {path.stem: read_manifest(path) for path in out.iterdir()}
    assert set(parts) == {"train", "test"}
    assert captured.err == ""
    assert captured.out.splitlines()[1].startswith(f"{out / 'test.jsonl'}: {len(parts['test'])} rows (")
    assert parts == split(read_manifest(everything), {"train": 0.8, "test": 0.2})

    assert main([*words[:4], str(tmp_path / "again"), *words[5:], "--by", "row", "--json"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert sum(part["rows"] for part in facts.values()) == 300
    assert "videos are in several parts" in captured.err


def test_crops_of_one_video_in_two_parts_are_said(tmp_path, capsys):
    path = tmp_path / "all.jsonl"
    crops = [f"{folder}NUsG9BgSes0_{60 * n}.0_{60 * n + 150}.0.mp4" for n in range(20) for folder in ("", "x/")]
    write_manifest(path, [row(f"r{n}", video=video) for n, video in enumerate(crops)])
    words = ["data", "split", str(path), "--out", str(tmp_path / "parts"), "--parts", "train=0.5", "test=0.5"]
    assert main([*words, "--by", "row"]) == 0
    assert "1 video is in several parts" in capsys.readouterr().err


def test_a_split_that_fails_leaves_nothing(everything, tmp_path, monkeypatch, refused):
    def full(path, rows):
        if path.name == "test.jsonl":
            raise OSError(28, "No space left on device")
        write_manifest(path, rows)

    monkeypatch.setattr("video_opd.data.manifest.write_manifest", full)
    out = tmp_path / "parts"
    sentence = refused("data", "split", everything, "--out", out, "--parts", "train=0.5", "test=0.5")
    assert "No space left" in sentence
    assert list(out.iterdir()) == []


def test_a_split_does_not_overwrite(everything, tmp_path, refused):
    old = tmp_path / "test.jsonl"
    old.write_text("precious")
    words = ("data", "split", everything, "--out", tmp_path, "--parts", "train=0.5", "test=0.5")
    assert "test.jsonl is there already" in refused(*words)
    assert old.read_text() == "precious"
    assert not (tmp_path / "train.jsonl").exists()


def test_data_sample(everything, tmp_path, capsys):
    out = tmp_path / "sample.jsonl"
    words = ["data", "sample", str(everything), "--count", "10", "--by", "source", "--out", str(out)]
    assert main(words) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 10 rows of 300")
    assert read_manifest(out) == sample(read_manifest(everything), 10, by="source")
    first = out.read_bytes()
    assert main(words) == 0
    assert out.read_bytes() == first


def test_data_sample_tells_what_the_filter_left_out(tmp_path, capsys):
    manifest, out = tmp_path / "m.jsonl", tmp_path / "sample.jsonl"
    write_manifest(manifest, [row("a"), row("b", duration=3.0), row("c", query="a sound"), row("d", duration=2.5)])
    assert main(["data", "sample", str(manifest), "--count", "1", "--filter", "timelens", "--out", str(out)]) == 0
    assert capsys.readouterr().err.splitlines() == [
        "2 rows left out: video shorter than 5 s",
        "1 row left out: asks for something to be heard",
    ]
    words = ["data", "sample", str(manifest), "--count", "1", "--filter", "timelens", "--out", str(out), "--json"]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["left_out"] == {"video shorter than 5 s": 2, "asks for something to be heard": 1}
    assert (facts["read"], facts["rows"]) == (4, 1)


def test_data_merge(everything, tmp_path, capsys):
    other, out = tmp_path / "other.jsonl", tmp_path / "merged.jsonl"
    write_manifest(other, [row("r0", video="0.mp4", source="a"), row("new"), row("r1")])
    assert main(["data", "merge", str(everything), str(other), "--out", str(out), "--on-conflict", "rename"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}: 302 rows\n"
    assert captured.err.splitlines() == [
        "1 row kept once: several files have the identical row",
        "1 row renamed: an earlier file has the id for another row",
    ]
    assert [example.id for example in read_manifest(out)[-2:]] == ["new", "r1-other"]


def test_what_cannot_be_arranged(everything, tmp_path, refused):
    before = everything.read_bytes()
    link, out, parts = tmp_path / "link.jsonl", tmp_path / "out.jsonl", ("--parts", "a=0.5", "b=0.5")
    link.symlink_to(everything)
    nowhere = tmp_path / "none.jsonl"
    assert "add up to 0.5" in refused("data", "split", everything, "--out", tmp_path, "--parts", "a=0.5")
    assert "No such file" in refused("data", "split", nowhere, "--out", tmp_path, *parts)
    assert "also uses" in refused("data", "split", everything, "--out", link, *parts)
    assert "cannot be written" in refused("data", "split", everything, "--out", __file__, *parts)
    assert "there are 300 rows" in refused("data", "sample", everything, "--count", 301, "--out", out)
    assert "whole number of at least 1" in refused("data", "sample", everything, "--count", 0, "--out", out)
    assert "also uses" in refused("data", "sample", everything, "--count", 3, "--out", link)
    assert "also uses" in refused("data", "merge", everything, nowhere, "--out", nowhere)
    assert "is given twice" in refused("data", "merge", everything, link, "--out", out)
    assert "at least two" in refused("data", "merge", everything, "--out", out)
    other = tmp_path / "other.jsonl"
    write_manifest(other, [row("new"), row("r1")])
    assert "other.jsonl, line 2 (id 'r1')" in refused("data", "merge", everything, other, "--out", out)
    assert not out.exists()
    assert everything.read_bytes() == before
