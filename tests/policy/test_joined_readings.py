"""Prompts that were read apart are answered together as they are by themselves, for every family."""

from __future__ import annotations

import pytest
from tiny_families import KINDS, save_tiny

from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.policy.load import load_policy
from video_opd.policy.read import join_readings
from video_opd.types import Sampling, flatten


@pytest.mark.parametrize("kind", KINDS)
def test_joined_readings_are_answered_as_each_by_itself(kind, tmp_path, processor, world):
    """No padding goes through a recurrent layer; keys and values are padded on the left, and hidden."""
    policy = load_policy(save_tiny(kind, tmp_path / "model", processor))
    renderer = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
    examples = read_manifest(world / "train.jsonl")[:6]
    prompts = PromptSource(world / "videos", renderer, num_examples=6).prompts(examples)
    assert len({len(prompt) for prompt in prompts}) > 1
    readings = [policy.read(prompts[at : at + 1]) for at in range(5)]
    for count in (1, 3):
        sampling = Sampling(max_new_tokens=6, seed=5)
        apart = [flatten(policy.answer(reading, count=count, sampling=sampling)) for reading in readings]
        together = flatten(policy.answer(join_readings(readings), count=count, sampling=sampling))
        for one, other in zip([answer for each in apart for answer in each], together, strict=True):
            assert one.token_ids == other.token_ids
            assert one.sampler_logprobs == pytest.approx(other.sampler_logprobs, abs=1e-5)
