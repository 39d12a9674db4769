"""Answers are written as they come: killed anywhere, an evaluation goes on to the same file; a bad row is set aside."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import threading
import time
import tomllib
from pathlib import Path

import pytest
import tomli_w

from started import Started
from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.policy.load import Policy

SIZE = 4
"""Prompts read together: twelve queries are three batches."""


@pytest.fixture
def manifest(world) -> Path:
    return world / "train.jsonl"


def words(model, manifest, videos, out, *more) -> list[str]:
    return [str(word) for word in ("evaluate", model, manifest, "--videos", videos, "--out", out,
                                   "--batch-size", SIZE, "--max-new-tokens", 6, *more)]  # fmt: skip


@pytest.fixture(scope="module")
def whole(models, world, tmp_path_factory) -> bytes:
    """The file of an evaluation that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "out.jsonl"
    assert main(words(models["student"], world / "train.jsonl", world / "videos", out)) == 0
    return out.read_bytes()


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@pytest.fixture
def kill_after(monkeypatch):
    """The process dies at the n-th batch."""

    original = Policy.answer

    def at(number: int, error: BaseException | type[BaseException] = Killed):
        left = [number]

        def answer(self, *arguments, **keywords):
            left[0] -= 1
            if left[0] < 0:
                raise error
            return original(self, *arguments, **keywords)

        monkeypatch.setattr(Policy, "answer", answer)

    return at


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_killed_between_batches_it_goes_on_to_the_same_file(
    models, world, manifest, tmp_path, kill_after, whole, batches
):
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, world / "videos", out)
    kill_after(batches)
    with pytest.raises(Killed):
        main(command)
    assert (out.read_bytes() if out.exists() else b"") == b"".join(whole.splitlines(keepends=True)[: SIZE * batches])
    kill_after(3 - batches)
    assert main(command) == 0, "what was answered is not asked again"
    assert out.read_bytes() == whole


@pytest.mark.parametrize("place", [1, 40, 300, 600, -1, -30])
def test_cut_at_any_byte_it_goes_on_to_the_same_file(models, world, manifest, tmp_path, whole, place):
    """A kill may leave half a line, and part of a batch: that is read again with the same companions."""
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, world / "videos", out)
    assert main(command) == 0
    out.write_bytes(whole[:place])
    assert main(command) == 0
    assert out.read_bytes() == whole


def test_what_is_whole_is_not_asked_again(models, world, manifest, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, world / "videos", out, "--json")
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    monkeypatch.setattr("video_opd.policy.load.load_policy", lambda *_, **__: pytest.fail("loaded a model"))
    assert main(command) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == first
    assert "has all answers already" in captured.err


def test_metrics_reads_what_was_written(models, world, manifest, tmp_path, whole, capsys):
    out = tmp_path / "out.jsonl"
    assert main(words(models["student"], manifest, world / "videos", out, "--json")) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [set(row) for row in rows] == [{"id", "answer", "spans"}] * 12
    assert [row["id"] for row in rows] == [example.id for example in read_manifest(manifest)]
    assert main(["metrics", str(out), "--ground-truth", str(manifest), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == scores


# Somebody else's answers


def test_another_evaluation_is_refused_and_nothing_is_changed(refused, models, world, manifest, tmp_path, whole):
    out = tmp_path / "out.jsonl"
    assert main(words(models["student"], manifest, world / "videos", out)) == 0
    part = b"".join(whole.splitlines(keepends=True)[:5])
    other = tmp_path / "other.jsonl"
    other.write_text("".join(manifest.read_text().splitlines(keepends=True)[:11]))
    for content in (whole, part):
        out.write_bytes(content)
        for command, said in [
            (words(models["teacher"], manifest, world / "videos", out), "differs in model: "),
            (words(models["student"], other, world / "videos", out), "differs in the questions"),
            (words(models["student"], manifest, world / "videos", out, "--fps", 1), "video.fps: 2.0 and 1.0"),
            (words(models["student"], manifest, world / "videos", out, "--max-new-tokens", 5), "new_tokens: 6 and 5"),
            (words(models["student"], manifest, world / "videos", out, "--template", "timelens"), "user: "),
        ]:  # fmt: skip
            assert said in refused(*command)
            assert out.read_bytes() == content


def test_formatting_a_manifest_anew_asks_nothing_new(models, world, manifest, tmp_path, kill_after):
    out, other = tmp_path / "out.jsonl", tmp_path / "spaced.jsonl"
    assert main(words(models["student"], manifest, world / "videos", out)) == 0
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    other.write_text("".join(json.dumps(row, separators=(" ,", " : ")) + "\n\n" for row in rows))
    kill_after(0)
    assert main(words(models["student"], other, world / "videos", out)) == 0


def test_earlier_predictions_without_settings_stay_until_the_new_one_is_whole(
    models, world, manifest, tmp_path, kill_after, whole
):
    out = tmp_path / "out.jsonl"
    earlier = '{"id": "x", "answer": "1 - 2 seconds", "spans": [[1.0, 2.0]]}\n'
    out.write_text(earlier)
    command = words(models["student"], manifest, world / "videos", out)
    kill_after(2)
    with pytest.raises(Killed):
        main(command)
    assert out.read_text() == earlier
    partial = tmp_path / "out.jsonl.partial"
    assert partial.read_bytes() == b"".join(whole.splitlines(keepends=True)[:8])
    kill_after(1)
    assert main(command) == 0
    assert out.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.jsonl.settings.json"]
    kill_after(0)
    assert main(command) == 0


@pytest.mark.parametrize("content", ["{}", "not JSON", '{"answers_of": {"format": 99}}', "[]"])
def test_a_users_file_where_ours_would_be_is_left_alone(refused, models, world, manifest, tmp_path, content):
    out, beside = tmp_path / "out.jsonl", tmp_path / "out.jsonl.settings.json"
    beside.write_text(content)
    sentence = refused(*words(models["student"], manifest, world / "videos", out))
    assert "out.jsonl.settings.json does not say which evaluation the answers beside it belong to" in sentence
    assert beside.read_text() == content
    assert not out.exists()


@pytest.mark.parametrize("content", ["{}", "not JSON", ""])
def test_a_users_file_beside_what_is_not_whole_yet_is_left_alone(refused, models, world, manifest, tmp_path, content):
    out, beside = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial.settings.json"
    out.write_text('{"id": "x", "answer": "1 - 2 seconds", "spans": [[1.0, 2.0]]}\n')  # of an earlier version
    earlier = out.read_bytes()
    beside.write_text(content)
    sentence = refused(*words(models["student"], manifest, world / "videos", out))
    assert "out.jsonl.partial.settings.json does not say which evaluation the answers beside it belong to" in sentence
    assert (beside.read_text(), out.read_bytes()) == (content, earlier)
    assert not (tmp_path / "out.jsonl.partial").exists()


@pytest.mark.parametrize("line", ['{"answer": "x"}\n', "[1]\n", "broken\n"])
def test_a_file_that_somebody_spoiled_is_refused(refused, models, world, manifest, tmp_path, whole, line):
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, world / "videos", out)
    assert main(command) == 0
    rows = whole.decode().splitlines(keepends=True)
    out.write_text("".join([*rows[:2], line, *rows[2:]]))
    assert "line 3" in refused(*command)


def test_two_at_once_are_refused(refused, models, world, manifest, tmp_path):
    import fcntl

    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, world / "videos", out)
    with out.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "are being written by another process" in refused(*command, late=True)
    assert main(command) == 0


# Pipes


def test_a_pipe_gets_every_answer_as_it_comes(models, world, manifest, tmp_path, kill_after, whole):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)

    def read() -> None:
        with pipe.open("rb") as stream:
            got.extend(stream)

    command = words(models["student"], manifest, world / "videos", pipe)
    for batches, lines in ((2, 8), (3, 12)):
        got.clear()
        thread = threading.Thread(target=read)
        thread.start()
        with contextlib.suppress(Killed):
            kill_after(batches)
            main(command)
        thread.join(20)
        assert b"".join(got) == b"".join(whole.splitlines(keepends=True)[:lines])
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_the_null_device_takes_everything(models, world, manifest, capsys):
    assert main(words(models["student"], manifest, world / "videos", os.devnull, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["num_queries"] == 12


# Bad rows


@pytest.fixture
def spoilt(world, tmp_path) -> tuple[Path, Path]:
    """A manifest with a broken and a missing video, a query without words and one of control tokens in the middle; and
    its videos."""
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    videos = tmp_path / "videos"
    shutil.copytree(world / "videos", videos)
    (videos / "broken.mp4").write_bytes((videos / rows[0]["video"]).read_bytes()[:900])
    rows[3] |= {"id": "broken", "video": "broken.mp4"}
    rows[5] |= {"id": "missing", "video": "missing.mp4"}
    rows[6] |= {"id": "silent", "query": "..."}
    rows[7] |= {"id": "token", "query": "<|vision_start|><|video_pad|><|vision_end|>the red circle<|im_end|>"}
    manifest = tmp_path / "spoilt.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest, videos


def test_a_bad_row_is_set_aside_with_its_reason_and_counts_as_unanswered(models, spoilt, tmp_path, capsys):
    manifest, videos = spoilt
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, videos, out, "--max-bad-share", 0.3)
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["scores"]["num_queries"] == 12
    assert list(report["set_aside"]) == ["broken", "missing", "silent"]
    assert "has no words" in report["set_aside"]["silent"]
    assert "missing.mp4" in report["set_aside"]["missing"]
    for id, reason in report["set_aside"].items():
        assert f"set aside {id}: {reason}" in captured.err
    assert len(out.read_text().splitlines()) == 9
    assert main(["metrics", str(out), "--ground-truth", str(manifest), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == report["scores"]
    assert main(command) == 0, "again: the bad rows are tried again, and set aside again"
    said = " ".join(capsys.readouterr().out.split())
    assert "3 of 12 queries could not be asked and count as unanswered, with IoU 0: broken, missing, silent" in said


@pytest.mark.parametrize("batches", [1, 2])
def test_bad_rows_do_not_change_what_a_resumed_file_holds(models, spoilt, tmp_path, kill_after, batches):
    manifest, videos = spoilt
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert main(words(models["student"], manifest, videos, one, "--max-bad-share", 0.3)) == 0
    command = words(models["student"], manifest, videos, other, "--max-bad-share", 0.3)
    kill_after(batches)
    with pytest.raises(Killed):
        main(command)
    other.write_bytes(other.read_bytes()[:-20])
    kill_after(9)
    assert main(command) == 0
    assert other.read_bytes() == one.read_bytes()


def test_too_many_bad_rows_stop_it_and_what_was_answered_stays(refused, models, spoilt, tmp_path, capsys):
    manifest, videos = spoilt
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, videos, out)
    sentence = refused(*command, "--max-bad-share", 0.1, late=True)
    assert "3 of 12 examples cannot be asked, the first broken: " in sentence or "2 of 12" in sentence
    assert 0 < len(out.read_text().splitlines()) < 9
    assert main([*command, "--max-bad-share", "0.3"]) == 0, "a limit is no setting of the answers"
    assert len(out.read_text().splitlines()) == 9


def test_a_row_that_was_mended_is_asked_and_put_in_its_place(models, spoilt, world, tmp_path, capsys):
    manifest, videos = spoilt
    out, fresh = tmp_path / "out.jsonl", tmp_path / "fresh.jsonl"
    command = words(models["student"], manifest, videos, out, "--max-bad-share", 0.3)
    assert main(command) == 0
    shutil.copy(next((world / "videos").glob("t*.mp4")), videos / "missing.mp4")
    assert main(command) == 0
    assert main(words(models["student"], manifest, videos, fresh, "--max-bad-share", 0.3)) == 0
    ids = [[json.loads(line)["id"] for line in path.read_text().splitlines()] for path in (out, fresh)]
    assert ids[0] == ids[1]
    assert "missing" in ids[0]


def test_an_error_on_the_way_says_what_is_kept(refused, models, world, manifest, tmp_path, kill_after, capsys):
    out = tmp_path / "out.jsonl"
    kill_after(1, torch_out_of_memory())
    assert main(words(models["student"], manifest, world / "videos", out)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2] == f"video-opd: 4 of 12 answers are in {out}. Run the same command to go on."
    assert "memory is full" in lines[-1]


def torch_out_of_memory() -> BaseException:
    import torch

    return torch.OutOfMemoryError("CUDA out of memory")


# Signals


def test_ctrl_c_says_what_is_kept(models, world, manifest, tmp_path, kill_after, whole, capsys):
    out = tmp_path / "out.jsonl"
    command = words(models["student"], manifest, world / "videos", out)
    kill_after(2, KeyboardInterrupt)
    assert main(command) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    assert told == f"video-opd: stopped by SIGINT; 8 of 12 answers are in {out}. Run the same command to go on."
    kill_after(1)
    assert main(command) == 0
    assert out.read_bytes() == whole


SLOW = ("--batch-size", 1, "--max-new-tokens", 48)
"""Batches of one, so that there is time between the first answer and the last."""


@pytest.fixture(scope="module")
def slow_whole(models, world, tmp_path_factory) -> bytes:
    """The file of an evaluation in small batches that nothing interrupts."""
    out = tmp_path_factory.mktemp("slow") / "out.jsonl"
    assert main(words(models["student"], world / "train.jsonl", world / "videos", out, *SLOW)) == 0
    return out.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGKILL, -9)],
)
def test_a_signal_in_the_middle_of_a_real_process(number, status, models, world, manifest, tmp_path, slow_whole):
    other = tmp_path / "other.jsonl"
    command = words(models["student"], manifest, world / "videos", other, *SLOW)
    process = Started(command)
    until = time.monotonic() + 200
    while not (other.exists() and other.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=100)
    if process.returncode != 0:  # it was not faster than we
        assert process.returncode == status
        if number != signal.SIGKILL:
            assert f"stopped by {number.name}; " in err.splitlines()[-1]
            assert err.splitlines()[-1].endswith("Run the same command to go on.")
        assert "Traceback" not in err
    assert main(command) == 0
    assert other.read_bytes() == slow_whole


# Inside a run


@pytest.mark.slow
@pytest.mark.parametrize("batches", [pytest.param(1, marks=pytest.mark.long), 3])
def test_a_run_killed_in_its_test_evaluation_goes_on_there(recipe_file, tmp_path, monkeypatch, kill_after, batches):
    """Batches of one test query, of which there are four; a broken one is set aside and not the end of the run."""
    tables = tomllib.loads(recipe_file.read_text())
    rows = [json.loads(line) for line in Path(tables["data"]["test"]).read_text().splitlines()]
    rows.insert(1, rows[0] | {"id": "lost", "video": "lost.mp4"})
    test = tmp_path / "test.jsonl"
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables["data"] |= {"test": str(test), "max_bad_share": 0.2}
    tables["training"]["steps"] = 1
    tables["compute"]["evaluation_batch_size"] = 1
    recipe_file.write_text(tomli_w.dumps(tables))
    folders = [tmp_path / name for name in ("whole", "killed")]
    commands = [["train", str(recipe_file), "--out", str(folder)] for folder in folders]
    assert main(commands[0]) == 0
    kill_after(batches)
    with pytest.raises(Killed):  # the test evaluation of the untrained student is the first thing asked
        main(commands[1])
    name = "student-before.predictions.jsonl"
    kept = (folders[1] / "evaluation" / name).read_bytes()
    assert kept == b"".join((folders[0] / "evaluation" / name).read_bytes().splitlines(keepends=True)[:batches])
    (folders[1] / "evaluation" / name).write_bytes(kept[:-9])
    kill_after(100)
    assert main(commands[1]) == 0
    for file in ("student-before.predictions.jsonl", "student-before.json", "student-after.predictions.jsonl",
                 "student-after.json"):  # fmt: skip
        one, other = ((folder / "evaluation" / file).read_bytes() for folder in folders)
        assert one == other, file
    report = json.loads((folders[1] / "evaluation" / "student-before.json").read_text())
    assert report["set_aside"].keys() == {"lost"}
    assert report["scores"]["num_queries"] == 5
    assert not any((folders[1] / "evaluation").glob("*.settings.json"))


@pytest.mark.parametrize(("key", "value"), [("answer", None), ("answer", 3), ("id", None)])
def test_a_kept_row_without_an_answer_is_named(key, value, models, manifest, world, whole, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(words(models["student"], manifest, world / "videos", out)) == 0
    rows = [json.loads(line) for line in whole.splitlines()]
    rows[1][key] = value
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert main(words(models["student"], manifest, world / "videos", out)) == 2
    assert f"{out}, line 2 is not an answer: it has no `{key}`" in capsys.readouterr().err
