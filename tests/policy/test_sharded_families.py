"""Every family sharded over two processes: loss and gradient of one process, and the same files when it is saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_families import KINDS, save_tiny
from transformers import AutoModelForImageTextToText

from started import Started
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.policy.load import load_policy

HERE = Path(__file__).parent


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(tmp_path, processor, world):
    pytest.importorskip("accelerate")
    pytest.importorskip("peft")
    for kind in KINDS:
        policy = load_policy(save_tiny(kind, tmp_path / kind, processor))
        renderer = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
        examples = read_manifest(world / "train.jsonl")[:4]
        torch.save(PromptSource(world / "videos", renderer, num_examples=4).prompts(examples), tmp_path / f"{kind}.pt")
    job = Started([HERE / "sharded_families.py", tmp_path], 2)
    out, err = job.communicate(900)
    assert job.returncode == 0, err[-4000:]
    full = "[Errno 28] No space left on device"
    assert f"full 0 ['{full}', '{full}']" in out
    assert "full 1 []" in out
    finer = [int(line.split()[-1]) for line in out.splitlines() if line.startswith("finer")]
    assert min(finer) > 100, "the head computes in float32"
    lines = [line.split() for line in out.splitlines() if line.startswith("qwen")]
    assert [line[0] for line in lines[: 4 * len(KINDS) : 4]] == list(KINDS)
    assert [line[:2] for line in lines[4 * len(KINDS) :]] == [[kind, "adapter"] for kind in KINDS]
    for *name, loss, gradient in lines:
        assert float(loss) < 1e-5, name
        assert float(gradient) < 1e-4, name
        refuse_other_files(tmp_path / name[0], tmp_path / f"{name[0]}-saved")


def refuse_other_files(of_one: Path, of_two: Path) -> None:
    """Two processes have saved what one would save: the same names, numbers and configuration, in several files."""
    whole = load_file(of_one / "model.safetensors")
    files = sorted(of_two.glob("*.safetensors"))
    assert len(files) > 2
    parts = [load_file(file) for file in files]
    assert sum(map(len, parts)) == len(whole), "a weight is written once"
    for part in parts:
        for name, tensor in part.items():
            assert torch.equal(tensor, whole[name]), name
    again, report = AutoModelForImageTextToText.from_pretrained(of_two, output_loading_info=True)
    assert not any(report.values())
    shutil.copytree(of_one, of_two, ignore=shutil.ignore_patterns("config.json", "*.safetensors"), dirs_exist_ok=True)
    assert load_policy(str(of_two)).num_bytes == load_policy(str(of_one)).num_bytes
    for name, weight in AutoModelForImageTextToText.from_pretrained(of_one).state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
