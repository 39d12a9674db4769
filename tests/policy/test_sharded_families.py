"""Every family sharded over two processes: loss and gradient of one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_families import KINDS, save_tiny

from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.policy.load import load_policy

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(tmp_path, processor, world):
    pytest.importorskip("accelerate")
    pytest.importorskip("peft")
    for kind in KINDS:
        policy = load_policy(save_tiny(kind, tmp_path / kind, processor))
        renderer = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
        examples = read_manifest(world / "train.jsonl")[:4]
        torch.save(PromptSource(world / "videos", renderer, num_examples=4).prompts(examples), tmp_path / f"{kind}.pt")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    paths = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, HERE / "sharded_families.py", tmp_path],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("qwen")]
    assert [line[0] for line in lines[: 4 * len(KINDS) : 4]] == list(KINDS)
    assert [line[:2] for line in lines[4 * len(KINDS) :]] == [[kind, "adapter"] for kind in KINDS]
    for *name, loss, gradient in lines:
        assert float(loss) < 1e-5, name
        assert float(gradient) < 1e-4, name
