"""A checkpoint that does not fit the student is refused with one sentence, before anything of it is loaded."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from spoiled_checkpoints import CASES, CASES_OF_ADAPTER, LORA, STATES, STEP, seal

from folders import contents
from video_opd.cli import main
from video_opd.errors import ConfigurationError
from video_opd.runs.checkpoint import Checkpoint
from video_opd.train.optimizer_state import (
    FOLDER,
    ONE_FILE,
    load_optimizer,
    refuse_other_optimizer,
    save_optimizer,
)
from video_opd.train.training_state import read_state


@pytest.fixture(scope="module")
def begin(world, tmp_path_factory) -> Callable[..., list[str]]:
    """The command of a run of one step into a folder."""
    import tomli_w

    recipe = tmp_path_factory.mktemp("one-step") / "recipe.toml"
    tables = {
        "name": "one step",
        "student": {"model": "tiny-student"},
        "data": {"videos": str(world / "videos"), "train": str(world / "train.jsonl")}
        | {"validation": str(world / "validation.jsonl")},
        "method": {"name": "sft"},
        "prompt": {"template": "tiny"},
        "video": {"max_frames": 64, "max_tokens": 64, "max_frame_tokens": 1},
        "answers": {"max_new_tokens": 16},
        "training": {"steps": 1, "batch_size": 2},
        "compute": {"device": "cpu", "threads": 1},
    }
    recipe.write_text(tomli_w.dumps(tables))
    return lambda out, *keys: ["train", str(recipe), "--out", str(out), *keys]


@pytest.fixture(scope="module")
def whole(begin, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    assert main(begin(out)) == 0
    return out


@pytest.fixture(scope="module")
def adapter(begin, tmp_path_factory) -> Path:
    if find_spec("peft") is None:
        pytest.skip("an adapter needs peft")
    out = tmp_path_factory.mktemp("adapter") / "run"
    assert main(begin(out, *LORA)) == 0
    return out


def refuse(command: list[str], run: Path, capsys) -> str:
    """The sentence with which a command refuses a run; nothing in its folder has changed."""
    before = contents(run)
    capsys.readouterr()
    assert main(command) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("video-opd: ")]
    assert len(said) == 1
    assert "--out" in said[0]
    assert contents(run) | {".run.lock": ""} == before | {".run.lock": ""}
    return said[0]


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(case, begin, whole, request, tmp_path, capsys):
    spoil, sentence = CASES[case]
    other = request.getfixturevalue("adapter") if "adapter" in case else whole
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    spoil(run / STEP, other)
    seal(run / STEP)
    assert sentence in refuse(begin(run), run, capsys)


@pytest.mark.parametrize("case", CASES_OF_ADAPTER)
def test_so_it_is_where_an_adapter_is_trained(case, begin, adapter, tmp_path, capsys):
    spoil, sentence = CASES_OF_ADAPTER[case]
    run = tmp_path / "run"
    shutil.copytree(adapter, run)
    spoil(run / STEP, adapter)
    seal(run / STEP)
    assert sentence in refuse(begin(run, *LORA), run, capsys)


def test_an_adapter_goes_on_with_nothing_but_its_own_checkpoint(begin, whole, adapter, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(adapter, run)
    shutil.rmtree(run / STEP)
    shutil.copytree(whole / STEP, run / STEP)
    assert "it holds no adapter, and the recipe trains one" in refuse(begin(run, *LORA), run, capsys)


@pytest.fixture
def saved(tmp_path) -> Callable[[dict], Checkpoint]:
    """A checkpoint of step 2 with this state in it, without weights."""

    def save(state: dict) -> Checkpoint:
        folder = tmp_path / "step-000002"
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps(state))
        names = frozenset({"model/config.json", "optimizer.safetensors", "state.json"})
        return Checkpoint(step=2, folder=folder, files=names)

    return save


GOOD = {"step": 2, "seconds": 1.5, "set_aside": {"q1": "no such file"}, "coupling": {}, "data_sha256": "0"}


@pytest.mark.parametrize("case", STATES)
def test_a_state_that_no_run_writes_is_refused(case, saved):
    keys, sentence = STATES[case]
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        read_state(saved(GOOD | keys), has_gate=False)


@pytest.mark.parametrize("key", GOOD)
def test_a_state_without_a_key_is_refused(key, saved):
    with pytest.raises(ConfigurationError, match=f"state.json cannot be read: it has no {key}. Restore"):
        read_state(saved({name: value for name, value in GOOD.items() if name != key}), has_gate=False)


def test_a_state_is_read_as_it_was_written(saved):
    gate = {"coupling": {"suspended": ["q1"]}}
    assert asdict(read_state(saved(GOOD | gate), has_gate=True)) == GOOD | gate


def test_a_gate_is_not_forgotten(saved):
    with pytest.raises(ConfigurationError, match="does not say which examples are suspended, and the recipe has a"):
        read_state(saved(GOOD), has_gate=True)


UPDATES = 3


@pytest.fixture
def stepped(tmp_path) -> tuple[Path, dict[str, torch.nn.Parameter], torch.optim.AdamW]:
    """The folder of a checkpoint with the optimiser of two weights, one of which never had a gradient."""
    parameters = {name: torch.nn.Parameter(torch.ones(4, 3)) for name in ("used", "un.used")}
    optimizer = torch.optim.AdamW(parameters.values())
    for _ in range(UPDATES):
        parameters["used"].grad = torch.rand(4, 3)
        optimizer.step()
    save_optimizer(optimizer, parameters, tmp_path)
    return tmp_path, parameters, optimizer


def take_up(folder: Path, parameters: dict, optimizer: torch.optim.AdamW) -> torch.optim.AdamW:
    refuse_other_optimizer(parameters, folder, most_updates=UPDATES)
    load_optimizer(optimizer, parameters, folder)
    return optimizer


def test_a_weight_that_never_had_a_gradient_has_no_state(stepped):
    """It is written all the same, so that a file without it is known to be of another student."""
    folder, parameters, optimizer = stepped
    again = take_up(folder, parameters, torch.optim.AdamW(parameters.values()))
    used = parameters["used"]
    assert set(again.state) == {used}
    assert all(torch.equal(again.state[used][kind], value) for kind, value in optimizer.state[used].items())


def replaced(key: str, value: torch.Tensor | None) -> Callable[[dict], dict]:
    return lambda tensors: {name: each for name, each in (tensors | {key: value}).items() if each is not None}


OPTIMIZERS = {
    "nothing": (lambda _: {}, "2 weights, such as un.used, are trained here and not there"),
    "no mean": (replaced("exp_avg.used", None), "for used, its optimiser has no exp_avg"),
    "no mean of squares": (replaced("exp_avg_sq.used", None), "for used, its optimiser has no exp_avg_sq"),
    "no step": (replaced("step.used", None), "for used, its optimiser has no step"),
    "only the step": (
        lambda tensors: {name: each for name, each in tensors.items() if "exp" not in name},
        "step.used is 3, and its means are not there",
    ),
    "no step yet": (replaced("step.used", torch.tensor(0.0)), "step.used is 0, and its means are there"),
    "steps without means": (replaced("step.un.used", torch.tensor(1.0)), "step.un.used is 1, and its means are not"),
    "entry of another optimiser": (
        replaced("max_exp_avg_sq.used", torch.ones(4, 3)),
        "its optimiser has the entry max_exp_avg_sq.used, which AdamW does not have",
    ),
    "entry of nothing": (replaced("momentum", torch.ones(1)), "its optimiser has the entry momentum"),
    "unknown weight": (replaced("step.new", torch.tensor(1.0)), "1 weights, such as new, are trained there"),
    "other shape": (replaced("exp_avg.used", torch.ones(3, 4)), "used is (3, 4) there and (4, 3) here"),
    "other type": (replaced("exp_avg_sq.used", torch.ones(4, 3).half()), "is torch.float16 there and torch.float32"),
    "step of another shape": (replaced("step.used", torch.ones(1)), "used is (1,) there and () here"),
    "step of another type": (replaced("step.used", torch.tensor(1)), "step.used of its optimiser is torch.int64"),
    "step that is not a number": (replaced("step.used", torch.tensor(torch.nan)), "step.used is nan, and the run"),
    "endless step": (replaced("step.used", torch.tensor(torch.inf)), "step.used is inf, and the run"),
    "half a step": (replaced("step.used", torch.tensor(1.5)), "step.used is 1.5, and the run"),
    "step before the first": (replaced("step.used", torch.tensor(-1.0)), "step.used is -1, and the run"),
    "step of a longer run": (replaced("step.used", torch.tensor(4.0)), "has made at most 3 updates"),
    "mean that is not finite": (replaced("exp_avg.used", torch.full((4, 3), torch.nan)), "exp_avg.used of its"),
    "square below 0": (replaced("exp_avg_sq.used", torch.full((4, 3), -1.0)), "is a mean of squares and below 0"),
}


@pytest.mark.parametrize("case", OPTIMIZERS)
def test_half_a_state_of_an_optimiser_is_never_accepted(case, stepped):
    folder, parameters, _ = stepped
    change, sentence = OPTIMIZERS[case]
    save_file(change(load_file(folder / ONE_FILE)), folder / ONE_FILE)
    again = torch.optim.AdamW(parameters.values())
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        take_up(folder, parameters, again)
    assert not again.state


@pytest.mark.parametrize("number", [None, 0, 1])
def test_an_optimiser_of_a_job_of_which_a_part_is_missing_is_refused(number, stepped):
    """Without the check what lies in no file would stay 0."""
    folder, parameters, optimizer = stepped
    tensors = load_file(folder / ONE_FILE)
    (folder / ONE_FILE).unlink()
    (folder / FOLDER).mkdir()
    # The numbers of steps lie in the second file, and where its parts begin tells how large the whole is.
    halves = [{name: each[:2] for name, each in tensors.items() if each.dim()},
              {name: each[2:] if each.dim() else each for name, each in tensors.items()}]  # fmt: skip
    for place, half in enumerate(halves):
        info = {name: {"saved_offsets": [2 * place, 0] if each.dim() else []} for name, each in half.items()}
        if place != number:
            path = folder / FOLDER / f"shard-{place}.safetensors"
            save_file(half, path, {"DCP_SHARDING_INFO": json.dumps(info)})
    again = torch.optim.AdamW(parameters.values())
    if number is None:
        take_up(folder, parameters, again)
        used = parameters["used"]
        assert all(torch.equal(again.state[used][kind], value) for kind, value in optimizer.state[used].items())
        return
    with pytest.raises(ConfigurationError, match=("of its optimiser is not whole", "here and not there")[number]):
        take_up(folder, parameters, again)
    assert not again.state
