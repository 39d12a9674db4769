"""A command writes over nothing that it reads, whatever the command, the argument and the name of the file."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from video_opd.cli import main
from video_opd.cli.application import list_arguments, list_commands, understand
from video_opd.cli.path_roles import (
    READING,
    WRITING,
    GoesOn,
    Reads,
    ReadsFileOrNames,
    ReadsModelOrNames,
    ReadsVideos,
    Role,
    Writes,
    refuse_losses,
    role_of,
)
from video_opd.data.manifest import read_manifest, write_manifest
from video_opd.errors import ConfigurationError
from video_opd.types import Example, Span

WORDS = {
    "accept_changed", "columns", "device", "lmms_model", "methods", "model_args", "name", "parts", "query", "source",
    "tasks", "template", "scorer", "format", "gpus", "host", "public_name", "group", "project", "run_name", "tracker",
}  # fmt: skip
"""Arguments that are taken as they are written and are never paths."""


class Given(NamedTuple):
    """One argument of a command."""

    name: str
    flag: str | None
    """None: it is positional."""
    annotation: Any
    role: Role | None
    is_list: bool
    takes_several: bool
    """After one flag; otherwise the flag is repeated."""
    required: bool
    choices: tuple[str, ...]


@cache
def commands() -> dict[str, list[Given]]:
    """Every command's name and arguments, as the command line has them."""
    return {
        name: [
            Given(
                name=argument.field_info.name,
                flag=argument.name if argument.name.startswith("-") else None,
                annotation=argument.hint,
                role=role_of(argument.field_info.annotation),
                is_list=argument.token_count()[1],
                takes_several=bool(argument.parameter.consume_multiple),
                required=argument.required,
                choices=argument.get_choices(force=True) or (),
            )
            for argument in list_arguments(command)
        ]
        for name, command in list_commands()
    }


def pairs() -> Iterator[tuple[str, str, str]]:
    for name, arguments in commands().items():
        paths = [argument for argument in arguments if argument.role]
        for number, out in enumerate(paths):
            if out.role in WRITING:
                yield from ((name, out.name, other.name) for other in paths if other.role in READING)
                yield from ((name, out.name, other.name) for other in paths[:number] if other.role in WRITING)


def lists() -> list[tuple[str, str]]:
    return [
        (name, argument.name)
        for name, arguments in commands().items()
        for argument in arguments
        if argument.role in READING and argument.is_list
    ]


def command_line(name: str, values: dict[str, list[Path]], folder: Path) -> list[str]:
    """A command with what it must have, and with `values` for some of its arguments."""
    words = name.split()
    for argument in commands()[name]:
        if argument.name in values:
            given = [str(value) for value in values[argument.name]]
        elif not argument.required:
            continue
        elif argument.choices:
            given = [argument.choices[0]]
        else:
            given = [str(folder / f"some-{argument.name}") if argument.role else "1"]
        if argument.flag and not argument.takes_several:
            words += [word for value in given for word in (argument.flag, value)]
        else:
            words += [*([argument.flag] if argument.flag else []), *given]
    return words


def test_every_argument_says_whether_it_is_a_path():
    """Whoever adds a command that writes a file is told here, and has the guard by saying so."""
    for name, arguments in commands().items():
        for argument in arguments:
            plain = str(argument.annotation)
            if argument.role is None:
                assert "Path" not in plain, f"{name}: say what {argument.name} is to it, with a type of cli.path_roles"
            if argument.role is None and "str" in plain and not argument.choices:
                assert argument.name in WORDS, f"{name}: is {argument.name} a path?"
            if argument.name in ("out", "without", "picture"):
                assert argument.role in WRITING, f"{name} writes {argument.name}"


def test_that_test_sees_the_arguments():
    names = {argument.name for arguments in commands().values() for argument in arguments}
    assert names > WORDS
    assert len([a for arguments in commands().values() for a in arguments if a.role]) > 40


def test_the_commands_that_write_are_found():
    found = {name for name, *_ in pairs()}
    assert found >= {"evaluate", "score", "select", "merge-scores", "train", "compare", "data import", "data stats"}
    assert ("data overlap", "out", "without") in pairs()


@pytest.mark.parametrize(("name", "out", "other"), list(pairs()))
@pytest.mark.parametrize("by", ["name", "detour", "link", "hard link"])
def test_nothing_that_is_read_is_written_over(name, out, other, by, tmp_path):
    file, alias = tmp_path / "file", tmp_path / "folder" / "alias"
    file.write_text("")
    alias.parent.mkdir()
    if by == "link":
        alias.symlink_to(file)
    elif by == "hard link":
        alias.hardlink_to(file)
    else:
        alias = file if by == "name" else alias.parent / ".." / "file"
    assert understand(command_line(name, {out: [tmp_path / "new"], other: [file]}, tmp_path))
    with pytest.raises(ConfigurationError, match="also uses"):
        understand(command_line(name, {out: [alias], other: [file]}, tmp_path))


@pytest.mark.parametrize(("name", "argument"), lists())
def test_no_file_counts_twice(name, argument, tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("")
    link.symlink_to(file)
    with pytest.raises(ConfigurationError, match="is given twice"):
        understand(command_line(name, {argument: [file, link]}, tmp_path))


def parse(role, *words, more=Writes):
    """A command that reads `--in` and writes `--out`, called with some words."""

    def command(*, read, out): ...

    command.__annotations__ = {"read": role, "out": more}
    given = dict(zip(words[::2], words[1::2], strict=True))
    values = {"read": given.get("--in"), "out": given.get("--out")}
    bound = inspect.signature(command).bind(**{name: value and str(value) for name, value in values.items()})
    refuse_losses(command, bound)
    return True


@pytest.fixture
def folder(tmp_path) -> Path:
    """A data set: files of its own, a link to one that is elsewhere, and a link to a folder that is elsewhere."""
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for file in (folder / "own" / "a.json", folder / "clip.mp4", elsewhere / "blob", elsewhere / "clips" / "b.mp4"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.name)
    (folder / "own" / "link.json").symlink_to(elsewhere / "blob")
    (folder / "clips").symlink_to(elsewhere / "clips")
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    (elsewhere / "hard.mp4").hardlink_to(folder / "clip.mp4")
    return folder


@pytest.mark.parametrize("role", [Reads, ReadsVideos, ReadsModelOrNames])
@pytest.mark.parametrize(
    "file",
    [
        "data/own/a.json", "data/clip.mp4", "data/own/link.json", "data/clips/b.mp4", "elsewhere/blob",
        "elsewhere/clips/b.mp4", "elsewhere/hard.mp4",
    ],
)  # fmt: skip
def test_no_file_of_a_folder_that_is_read_is_written_over(role, file, folder):
    not_read = {ReadsVideos: ".json", ReadsModelOrNames: ".mp4"}.get(role)
    if Path(file).suffix == not_read:
        assert parse(role, "--in", folder, "--out", folder.parent / file)
        return
    with pytest.raises(ConfigurationError, match=r"among the files of --read .*data"):
        parse(role, "--in", folder, "--out", folder.parent / file)
    assert parse(role, "--in", folder, "--out", folder.parent / file, more=GoesOn), "its own file, to go on with"


def test_what_is_not_read_may_be_written(folder):
    assert parse(Reads, "--in", folder, "--out", folder / "new.json")
    (folder.parent / "predictions.jsonl").write_text("")
    assert parse(Reads, "--in", folder, "--out", folder.parent / "predictions.jsonl")
    (folder / "predictions.jsonl").write_text("")
    assert parse(ReadsVideos, "--in", folder, "--out", folder / "predictions.jsonl"), "no video"
    assert parse(ReadsModelOrNames, "--in", folder, "--out", folder / "predictions.jsonl"), "nothing of a model's"
    with pytest.raises(ConfigurationError, match="among the files"):
        parse(Reads, "--in", folder, "--out", folder / "predictions.jsonl")
    assert parse(ReadsFileOrNames, "--in", folder, "--out", folder / "clip.mp4"), "a split, of a folder's name"
    assert parse(ReadsModelOrNames, "--in", "Qwen/Qwen3-VL-2B-Instruct", "--out", folder / "clip.mp4")


def test_a_model_that_ships_with_the_package_is_no_folder_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-student").mkdir()
    (tmp_path / "tiny-student" / "a.json").write_text("")
    assert parse(ReadsModelOrNames, "--in", "tiny-student", "--out", "tiny-student/a.json")
    with pytest.raises(ConfigurationError, match="among the files"):
        parse(ReadsModelOrNames, "--in", "./tiny-student", "--out", "tiny-student/a.json")


def test_what_is_read_back_is_a_file(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigurationError, match="reads back"):
        parse(Reads, "--out", pipe, more=GoesOn)
    assert parse(Reads, "--out", pipe)


def test_nothing_is_written_where_messages_are_printed(tmp_path):
    link = tmp_path / "stdout"
    for descriptor in (1, 2):
        link.symlink_to(f"/proc/self/fd/{descriptor}")
        with pytest.raises(ConfigurationError, match="prints its messages there"):
            parse(Reads, "--out", link)
        link.unlink()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        assert parse(Reads, "--out", os.devnull), "parsed only; nothing is written"
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)


# From the outside


def test_evaluate_keeps_its_manifest_and_its_videos(refused, models, world, tmp_path):
    before = (world / "test.jsonl").read_bytes()
    words = ("evaluate", models["student"], world / "test.jsonl", "--videos", world / "videos", "--out")
    assert "also uses" in refused(*words, world / "test.jsonl")
    clip = world / "videos" / read_manifest(world / "test.jsonl")[0].video
    assert "among the files of --videos" in refused(*words, clip)
    assert "among the files of" in refused(*words, Path(models["student"]) / "config.json")
    last = ("evaluate", models["student"], "--videos", world / "videos", "--out", world / "test.jsonl")
    assert "also uses" in refused(*last, world / "test.jsonl"), "MANIFEST after the options"
    assert (world / "test.jsonl").read_bytes() == before


def test_evaluate_keeps_the_questions_of_a_benchmark(refused, tmp_path):
    questions = tmp_path / "questions" / "yes_no.json"
    questions.parent.mkdir()
    questions.write_text("{}")
    words = ("evaluate", "tiny-student", "--benchmark", "tempcompass", "--data", tmp_path)
    assert "among the files of --data" in refused(*words, "--out", questions)
    assert questions.read_text() == "{}"


def test_scores_are_kept(refused, tmp_path):
    files = [tmp_path / "teacher.jsonl", tmp_path / "student.jsonl"]
    for file in files:
        file.write_text("GPU hours")
    assert "also uses" in refused("merge-scores", *files, "--out", files[0])
    choose = ("select", "--teacher", files[0], "--student", files[1], "--count", 1)
    assert "also uses" in refused(*choose, "--out", files[1])
    assert [file.read_text() for file in files] == ["GPU hours"] * 2


def test_import_keeps_its_list_of_videos_and_reads_no_file_twice(refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("list.txt").write_text("a\n")
    Path("a.jsonl").write_text('{"video": "a.mp4", "query": "q", "start": 1, "end": 2, "duration": 10}\n')
    assert "also uses" in refused("data", "import", "jsonl", "a.jsonl", "--split", "list.txt", "--out", "list.txt")
    assert Path("list.txt").read_text() == "a\n"
    assert "given twice" in refused("data", "import", "jsonl", "a.jsonl", "./a.jsonl", "--out", "m.jsonl")
    assert main(["data", "import", "jsonl", "a.jsonl", "--split", "list.txt", "--out", "m.jsonl"]) == 0


def test_a_tiny_world_replaces_no_manifest_of_others(refused, tmp_path):
    manifest = tmp_path / "validation.jsonl"
    manifest.write_text("annotated by hand")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "validation.mp4").touch()
    assert "is there already" in refused("tiny-world", "build", "--out", tmp_path)
    assert manifest.read_text() == "annotated by hand"
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["validation.jsonl", "validation.mp4"]


@pytest.fixture
def manifests(tmp_path) -> list[Path]:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file in files:
        row = Example(id=file.stem, video=f"{file.stem}.mp4", query="q", spans=(Span(1.0, 2.0),), duration=10.0)
        write_manifest(file, [row])
    return files


WRITERS = {
    "sample": "data sample {a} --count 1 --out {out}",
    "merge": "data merge {a} {b} --out {out}",
    "overlap": "data overlap {a} {b} --without {out}",
    "pairs": "data overlap {a} {b} --out {out}",
    "stats": "data stats {a} --picture {out}",
    "import": "data import jsonl {records} --out {out}",
}


@pytest.mark.parametrize("command", WRITERS.values(), ids=WRITERS)
def test_links_are_followed_and_pipes_written_into(command, manifests, tmp_path, capsys):
    (tmp_path / "records").write_text('{"video": "a.mp4", "query": "q", "start": 1, "end": 2, "duration": 10}\n')
    names = {"a": manifests[0], "b": manifests[1], "records": tmp_path / "records"}
    plain, link, target, pipe = (tmp_path / name for name in ("plain.svg", "link.svg", "target", "pipe.svg"))
    link.symlink_to(target.name)
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)  # so that a writer need not wait for somebody who reads
    try:
        for out in (plain, link, pipe, link):
            assert main(command.format(out=out, **names).split()) == 0
        content = b""
        while chunk := _read(reader):
            content += chunk
    finally:
        os.close(reader)
    assert link.is_symlink()
    assert pipe.is_fifo()
    assert content == target.read_bytes() == plain.read_bytes()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except BlockingIOError:
        return b""


def test_a_folder_or_a_loop_of_links_is_refused_before_the_work(manifests, refused, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for out in (loop, tmp_path):
        assert f"{out} cannot be written" in refused("data", "sample", manifests[0], "--count", 1, "--out", out)
    assert loop.is_symlink()


def test_sample_with_nothing_left_is_one_sentence(refused, tmp_path):
    manifest = tmp_path / "m.jsonl"
    rows = [
        Example(id=name, video="a.mp4", query=query, spans=(Span(1.0, 2.0),), duration=length)
        for name, query, length in (("a", "q", 3.0), ("b", "q", 4.0), ("c", "a sound", 10.0))
    ]
    write_manifest(manifest, rows)
    said = refused("data", "sample", manifest, "--count", 1, "--filter", "timelens", "--out", tmp_path / "out.jsonl")
    assert "2 rows left out: video shorter than 5 s; 1 row left out: asks for something" in said
    said = refused("data", "sample", manifest, "--count", 9, "--out", tmp_path / "out.jsonl")
    assert "there are 3 rows" in said


def test_evaluate_writes_into_a_pipe(models, world, tmp_path, capsys):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    words = ["evaluate", models["student"], world / "test.jsonl", "--videos", world / "videos", "--out", pipe, "--json"]
    try:
        assert main([str(word) for word in words]) == 0
        rows = [json.loads(line) for line in _read(reader).splitlines()]
    finally:
        os.close(reader)
    assert {row["id"] for row in rows} == {example.id for example in read_manifest(world / "test.jsonl")}
