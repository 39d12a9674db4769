"""A disk that fills, and files that were damaged: one sentence, nothing is lost, and the run goes on rightly."""

from __future__ import annotations

import errno
import json
import os

import pytest

from video_opd.cli import main
from video_opd.errors import DataError
from video_opd.files import outputs
from video_opd.runs.evaluation_files import read_evaluation
from video_opd.runs.round_files import read_cost_of_selection


@pytest.mark.slow
def test_a_run_on_a_disk_that_fills_at_any_small_file_says_so_and_goes_on(
    recipe_file, tmp_path, monkeypatch, capsys, sentence
):
    """The same command again and again: each time the disk takes one name more."""
    command = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--json"]
    replace, taken = os.replace, set()

    def replace_or_fail(source, target):
        name = os.path.basename(target)
        if name not in taken and name != "COMPLETE.json":
            taken.add(name)
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(outputs.os, "replace", replace_or_fail)
    for _ in range(20):
        status = main(command)
        captured = capsys.readouterr()
        if status == 0:
            break
        assert status == 2
        last = captured.err.splitlines()[-1]
        assert sentence.fullmatch(last), last
        assert "No space left on device" in last
        assert str(tmp_path / "run") in last
    assert json.loads(captured.out)["steps"] == 2
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2]
    assert {
        "inputs.json",
        "student-before.json",
        "student-after.json",
        "validation-000002.json",
        "report.html",
    } <= taken

    for name, content in (("student-before.json", ""), ("validation-000002.json", "[1]"), ("student-after.json", "{")):
        path = tmp_path / "run" / "evaluation" / name
        whole = path.read_bytes()
        path.write_text(content)
        assert main(command) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"video-opd: {path} is not an evaluation: ")
        path.unlink()
        assert main(command) == 0
        assert json.loads(path.read_bytes())["scores"] == json.loads(whole)["scores"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT, errno.EFBIG])
def test_every_command_says_it_in_one_sentence(number, monkeypatch, refused):
    def full(*_, **__):
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr("video_opd.doctor.examine", full)
    assert refused("doctor", "tiny-opd").startswith(
        f"video-opd: some/file could not be written or read: {os.strerror(number)}"
    )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_file_that_may_not_be_written_is_one_sentence(number, monkeypatch, refused):
    def forbidden(*_, **__):
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr("video_opd.doctor.examine", forbidden)
    said = refused("doctor", "tiny-opd")
    assert said.startswith(f"video-opd: some/file could not be written or read: {os.strerror(number)}. Give yourself")


def test_another_error_of_the_operating_system_is_a_bug(monkeypatch):
    def broken(*_, **__):
        raise FileNotFoundError(errno.ENOENT, "ours", "some/file")

    monkeypatch.setattr("video_opd.doctor.examine", broken)
    with pytest.raises(FileNotFoundError):
        main(["doctor", "tiny-opd"])


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "{}", '{"scores": []}', '{"scores": {}}', '{"scores": {"miou": "high"}}', "[" * 100_000]
)
def test_a_file_that_is_no_evaluation_is_refused(content, tmp_path):
    path = tmp_path / "validation-000002.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"is not an evaluation: .* Remove the file and run the same command again"):
        read_evaluation(path)


@pytest.mark.parametrize("content", ["", '{"round": 1}', '{"round": 1, "first_step": 0, "cost": []}', "[]"])
def test_the_facts_of_a_round_that_are_damaged_are_refused(content, tmp_path):
    path = tmp_path / "1" / "selection-facts.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(DataError, match=r"selection-facts\.json is damaged"):
        read_cost_of_selection(tmp_path, "seconds")
