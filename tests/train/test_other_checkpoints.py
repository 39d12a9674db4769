"""A checkpoint that does not fit the student is refused with one sentence, before anything of it is loaded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from spoiled_checkpoints import CASES, LORA, STEP, seal

from video_opd.cli import main
from video_opd.train.optimizer_state import load_optimizer, refuse_other_optimizer, save_optimizer


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


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(case, begin, whole, request, tmp_path, capsys):
    spoil, sentence = CASES[case]
    other = request.getfixturevalue("adapter") if "adapter" in case else whole
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    spoil(run / STEP, other)
    seal(run / STEP)
    capsys.readouterr()
    assert main(begin(run)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("video-opd: ")]
    assert len(said) == 1
    assert sentence in said[0]
    assert "--out" in said[0] or "update" in said[0]


def test_an_adapter_goes_on_with_nothing_but_its_own_checkpoint(begin, whole, adapter, tmp_path, capsys):
    other_rank = tmp_path / "rank-3"
    assert main(begin(other_rank, "--student.lora.rank", "3")) == 0
    sentences = {
        whole: "it holds a whole model, and the recipe trains an adapter",
        other_rank: "its adapter does not fit the base model",
    }
    for number, (other, sentence) in enumerate(sentences.items()):
        run = tmp_path / str(number)
        shutil.copytree(adapter, run)
        shutil.rmtree(run / STEP)
        shutil.copytree(other / STEP, run / STEP)
        capsys.readouterr()
        assert main(begin(run, *LORA)) == 2
        assert sentence in capsys.readouterr().err


def test_a_weight_that_never_had_a_gradient_has_no_state(whole):
    """It is written all the same, so that a file without it is known to be of another student."""
    used, unused = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    parameters = {"used": used, "unused": unused}
    optimizer = torch.optim.AdamW(parameters.values())
    used.grad = torch.ones(3)
    optimizer.step()
    folder = whole.parent / "unused"
    folder.mkdir()
    save_optimizer(optimizer, parameters, folder)
    refuse_other_optimizer(parameters, folder)
    again = torch.optim.AdamW(parameters.values())
    load_optimizer(again, parameters, folder)
    assert set(again.state) == {used}
    assert all(torch.equal(again.state[used][kind], value) for kind, value in optimizer.state[used].items())
