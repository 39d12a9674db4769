"""Something fails on one process of a job: all processes take the same branch, or the job ends and says why."""

from __future__ import annotations

import json
import shutil
import signal
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from run_commands import run
from safetensors.torch import load_file
from test_training_job import FINAL, UNEVEN, as_words, communicate, distance, job_recipe, launch, rows  # noqa: F401

from video_opd.data.batches import choose_batch
from video_opd.data.manifest import read_manifest
from video_opd.errors import ConfigurationError, EngineError
from video_opd.messages import pack_message, unpack_message
from video_opd.ranks import TIMEOUT_VARIABLE, Ranks, find_reply_timeout

pytestmark = [
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("accelerate") is None, reason="sharding needs accelerate"),
]

SECOND = {"rank": 1, "times": 99}
OUT_OF_MEMORY = {**SECOND, "what": "oom", "grad": True, "most_prompts": 1}

PLAIN = ["--method.name", "opd"]
APART = [*PLAIN, "--schedule.probe-every", "0"]
"""No probe has gathered the weights when the second step begins to read."""
REPLICAS = [*PLAIN, "--compute.shards", "1"]
SUSPENDED = [*PLAIN, "--curriculum.suspend-at", "0.4"]

COMMANDS: dict[str, tuple[dict[str, Any] | None, list[str]]] = {
    "ended": (None, APART),
    "plain": (None, PLAIN),
    "gathered": ({**OUT_OF_MEMORY, "at": "read"}, PLAIN),
    "suspended": ({**OUT_OF_MEMORY, "at": "score"}, SUSPENDED),
    "aside": ({**SECOND, "times": 2, "what": "oom", "at": "read", "grad": True}, REPLICAS),
    "bad-clip": (None, REPLICAS),
    "signal": ({**SECOND, "times": 1, "what": "signal", "at": "update"}, PLAIN),
    "resumed": (None, PLAIN),
    "nan-gradient": ({**SECOND, "what": "nan", "at": "update"}, PLAIN),
}
"""Name -> how the second process fails, and keys of the run. The job ends with the last one."""

STATUSES = {"signal": 128 + signal.SIGTERM, "nan-gradient": 2}


@pytest.fixture(scope="module")
def bad_clip(world, tmp_path_factory) -> list[str]:
    """Keys of data in which an example of the second process's share has a video that cannot be decoded."""
    folder = tmp_path_factory.mktemp("bad-clip")
    shutil.copytree(world / "videos", folder / "videos")
    bad = choose_batch(read_manifest(world / "train.jsonl"), 0, 5, 0)[1]
    (folder / "videos" / "bad.mp4").write_bytes(b"no video")
    lines = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    changed = [line | {"video": "bad.mp4"} if line["id"] == bad.id else line for line in lines]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))
    return ["--data.train", str(folder / "train.jsonl"), "--data.videos", str(folder / "videos"),
            "--data.max-bad-share", "0.2"]  # fmt: skip


@pytest.fixture(scope="module")
def alone(job_recipe, bad_clip, tmp_path_factory) -> Path:  # noqa: F811
    """The run of one process with the bad clip. Elsewhere the job's own run without failures is compared with."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "gradients").mkdir()
    command = ["train", job_recipe, "--out", folder / "run", *UNEVEN, *PLAIN, *bad_clip]
    assert run(folder / "gradients", as_words([command])) == [0]
    return folder


@pytest.fixture(scope="module")
def job(job_recipe, bad_clip, tmp_path_factory) -> tuple[Path, str, str]:  # noqa: F811
    """All commands, run by one job, after another one that ran out of memory; what the two wrote on stderr."""
    folder = tmp_path_factory.mktemp("job")

    def make_command(name: str, failure: dict[str, Any] | None, keys: list[str]) -> list[Any]:
        out = folder / {"resumed": "signal"}.get(name, name)
        more = bad_clip if name == "bad-clip" else ["--data.max-bad-share", "0.2"] if name == "aside" else []
        first = [] if failure is None else [json.dumps(failure)]
        return [*first, "train", job_recipe, "--out", out, *UNEVEN, *keys, *more]

    full = {**OUT_OF_MEMORY, "at": "read", "skip": 1}
    ended = launch(folder / "ended-gradients", [make_command("ended", full, APART)])
    _, before = communicate(ended, 200)
    assert ended.returncode != 0, before
    process = launch(folder / "gradients", [make_command(name, *how) for name, how in COMMANDS.items()])
    _, err = communicate(process, 400)
    found = json.loads((folder / "gradients" / "statuses.json").read_text())
    assert len(found) == len(COMMANDS), err
    assert dict(zip(COMMANDS, found, strict=True)) == {name: STATUSES.get(name, 0) for name in COMMANDS}, err
    return folder, before, err


def gradient(folder: Path, place: int) -> dict[str, torch.Tensor]:
    return load_file(folder / "gradients" / f"{place}-0.safetensors")


def compare_rows(one: Path, other: Path) -> None:
    for mine, theirs in zip(rows(one), rows(other), strict=True):
        for key in ("loss", "grad_norm", "reverse_kl", "miou"):
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4, abs=1e-5), key
        for key in ("num_prompts", "num_answers", "num_answer_tokens", "num_set_aside", "coupling"):
            assert theirs.get(key) == mine.get(key), key


@pytest.mark.parametrize("name", ["gathered", "suspended"])
def test_memory_that_is_full_on_one_process_makes_the_pieces_of_all_smaller(job, name):
    """Whole weights: in any pass. Sharded ones: while they are gathered. The gate counts every example once."""
    folder, _, err = job
    assert [row.get("num_retries", 0) for row in rows(folder / name)] == [1, 0]
    if name == "suspended":
        counts = [row["coupling"] for row in rows(folder / name)]
        assert [each["active"] + each["suspended"] for each in counts] == [5, 5]
        assert any(each["suspended"] for each in counts)
    else:
        compare_rows(folder / "plain", folder / name)
        place = {name: place for place, name in enumerate(COMMANDS)}
        assert distance(gradient(folder, place[name]), gradient(folder, place["plain"])) < 1e-4
    assert json.loads((folder / name / "memory.json").read_text()) == {"micro_batch_size": 1}
    assert err.count("step 1 ran out of memory with training.micro_batch_size = 2; it is done again with 1") == 3, err


def test_memory_that_is_full_while_others_wait_ends_the_job_and_the_same_command_goes_on(job):
    folder, before, _ = job
    said = [line for line in before.splitlines() if line.startswith("video-opd: ")]
    assert "step 2 ran out of memory on process 2 of 2, on examples" in said[0], before
    assert "Run the same command again: it goes on from the newest checkpoint, and reads 1 prompt at once" in said[0]
    assert "OutOfMemoryError" not in before, "no traceback of it"
    assert [row.get("num_retries", 0) for row in rows(folder / "ended")] == [0, 0]
    assert json.loads((folder / "ended" / "memory.json").read_text()) == {"micro_batch_size": 1}
    compare_rows(folder / "plain", folder / "ended")


def test_only_the_example_of_the_process_that_ran_out_of_memory_is_set_aside(job, world):
    folder, _, _ = job
    first, second = rows(folder / "aside")
    assert (first["num_retries"], first["num_prompts"], first["num_set_aside"]) == (2, 4, 1)
    assert (second.get("num_retries", 0), second["num_set_aside"]) == (0, 1)
    batch = choose_batch(read_manifest(world / "train.jsonl"), 0, 5, 0)
    by_length = sorted(batch, key=lambda example: -example.duration)
    state = json.loads((folder / "aside" / "checkpoints" / "step-000002" / "state.json").read_text())
    assert list(state["set_aside"]) == [by_length[1].id], "the second of the two that were read together"


def test_a_bad_clip_of_one_process_is_set_aside(alone, job):
    folder, _, _ = job
    assert rows(folder / "bad-clip")[0]["num_prompts"] == 4
    assert rows(folder / "bad-clip")[0]["num_set_aside"] == 1
    compare_rows(alone / "run", folder / "bad-clip")


def test_a_number_that_is_not_finite_on_one_process_moves_no_weight(job):
    folder, _, err = job
    said = [line for line in err.splitlines() if line.startswith("video-opd: ") and "nan" in line]
    assert len(said) == 1, err
    assert "the gradient is nan on examples" in said[0]
    assert rows(folder / "nan-gradient") == []
    assert not list((folder / "nan-gradient" / "checkpoints").iterdir())


def test_a_signal_to_the_second_process_stops_the_run_after_the_step(job):
    folder, _, err = job
    assert "stopped by SIGTERM after step 1; the state is saved" in err
    one, other = (load_file(folder / name / FINAL) for name in ("signal", "plain"))
    assert all(torch.equal(one[key], other[key]) for key in other)


def test_a_signal_to_the_second_process_stops_a_scoring_and_one_that_hangs_ends_the_job(
    world,
    job_recipe,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    monkeypatch.setenv(TIMEOUT_VARIABLE, "15")
    words = ["score", "tiny-teacher", world / "train.jsonl", "--videos", world / "videos", "--batch-size", 2,
             "--out", tmp_path / "scores.jsonl"]  # fmt: skip
    stop = json.dumps({**SECOND, "times": 1, "what": "signal", "at": "answer"})
    hang = json.dumps({**SECOND, "what": "hang", "at": "read", "grad": True})
    train = ["train", job_recipe, "--out", tmp_path / "run", *UNEVEN, *REPLICAS]
    began = time.monotonic()
    process = launch(tmp_path / "gradients", [[stop, *words], words, [hang, *train]], torchrun=True)
    _, err = communicate(process, 200)
    assert process.returncode != 0
    assert json.loads((tmp_path / "gradients" / "statuses.json").read_text()) == [128 + signal.SIGTERM, 0, 2], err
    said = [line for line in err.splitlines() if line.startswith("video-opd: ")]
    assert "terminated" in said[0]
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 14
    assert "process 2 of 2 is lost: it died, or did not reply within 15 s. Look at its output" in said[-1]
    assert time.monotonic() - began < 200


@pytest.mark.parametrize("given", ["", "soon", "-1", "nan", "inf", "1e300"])
def test_a_timeout_that_is_none_is_refused(given, monkeypatch, sentence):
    monkeypatch.setenv(TIMEOUT_VARIABLE, given)
    with pytest.raises(ConfigurationError, match="not a number of seconds above 0") as refused:
        find_reply_timeout()
    assert sentence.fullmatch(f"video-opd: {refused.value}")


def test_a_process_tells_what_failed(capsys):
    ranks = Ranks(rank=1, size=2)
    given = EngineError("a", reason="b", remedy="c")
    assert ranks._explain(given) is given
    sent = unpack_message(*pack_message(given))
    assert (type(sent), str(sent), sent.remedy) == (EngineError, str(given), "C")
    full = str(ranks._explain(torch.OutOfMemoryError("CUDA out of memory. Tried")))
    assert "memory of the device is full on process 2 of 2: CUDA out of memory" in full
    assert "--batch-size" in full
    assert capsys.readouterr().err == ""
    try:
        raise ValueError("a bug of ours")
    except ValueError as error:
        said = str(ranks._explain(error))
    assert "process 2 of 2 failed: ValueError: a bug of ours" in said
    assert "Traceback" in capsys.readouterr().err


def test_what_nccl_says_is_told():
    def fail(*_: object) -> None:
        raise torch.distributed.DistBackendError("NCCL error:\nunhandled system error")

    with pytest.raises(EngineError, match=r"is lost: .* \(NCCL error: unhandled system error\)"):
        Ranks(rank=0, size=1).call(fail, [None])
