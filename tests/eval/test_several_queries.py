"""Queries that share the reading of a video: the same keys, values and answers as if each had been read by itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget, read_frames
from video_opd.eval.several_queries import count_shared_tokens, read_shared_part, read_the_rest
from video_opd.policy.load import load_policy
from video_opd.types import Prompt, Sampling

QUERIES = ("a red circle", "the large blue square that moves to the left", "a triangle", "a red circle")
GREEDY = Sampling(max_new_tokens=12, greedy=True)


@pytest.fixture
def render(world, processor):
    def rendered(template: str) -> list[Prompt]:
        example = read_manifest(world / "test.jsonl")[0]
        budget = VideoBudget(max_frames=64, max_tokens=64, max_frame_tokens=1)
        renderer = PromptRenderer(processor, TEMPLATES[template], budget)
        budget = replace(budget, pixels_per_token_side=renderer.pixels_per_token_side)
        frames = read_frames(world / "videos" / example.video, budget)
        return [
            renderer(replace(example, id=f"q{number}", query=query), frames) for number, query in enumerate(QUERIES)
        ]

    return rendered


@pytest.mark.parametrize("template", ["timelens", "time-r1", "qwen3-vl-json"])
def test_the_reading_is_the_same(teacher, render, template):
    prompts = render(template)
    shared = count_shared_tokens(prompts)
    assert 0 < shared < min(map(len, prompts)) - 1
    before = teacher.work.prompt_tokens
    mine = read_the_rest(teacher, prompts, read_shared_part(teacher, prompts, shared))
    assert teacher.work.prompt_tokens - before < sum(map(len, prompts))
    for row, prompt in enumerate(prompts):
        alone = teacher.read([prompt])
        seen = mine.context_mask[row]
        assert int(seen.sum()) == len(prompt) - 1
        for ours, theirs in zip(mine.layers, alone.layers, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                torch.testing.assert_close(one[row][:, seen], other[0], atol=2e-5, rtol=1e-4)
        assert mine.head_ids[row] == alone.head_ids[0]
        assert mine.head_positions[row] == alone.head_positions[0]
        (group,) = teacher.answer(alone, sampling=GREEDY)
        assert teacher.answer(mine, sampling=GREEDY)[row].answers[0].token_ids == group.answers[0].token_ids


def test_recurrent_layers_read_the_rests_one_by_one(render, processor, tmp_path):
    """They forget over padding, so rests of several lengths do not go through them together."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "policy"))
    from tiny_families import save_tiny

    policy = load_policy(save_tiny("qwen3_5", tmp_path / "model", processor))
    prompts = render("timelens")
    mine = read_the_rest(policy, prompts, read_shared_part(policy, prompts, count_shared_tokens(prompts)))
    assert len(mine.prompts) == len(prompts)
    groups = policy.answer(mine, count=2, sampling=Sampling(max_new_tokens=4, seed=1))
    together = policy.score(mine, groups)
    for row, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        alone = policy.read([prompt])
        for ours, theirs in zip(mine.select_rows([row]).layers, alone.layers, strict=True):
            for one, other in zip(ours, theirs, strict=True):
                kept = one[:, :, -other.shape[2] :]  # keys and values are padded on the left
                torch.testing.assert_close(kept, other, atol=5e-5, rtol=1e-3)
        logprobs = policy.score(alone, [group]).logprobs
        ours = together.logprobs[2 * row : 2 * row + 2, : logprobs.shape[1]]
        torch.testing.assert_close(ours, logprobs, atol=1e-4, rtol=1e-4)


def test_nothing_is_shared_where_the_query_stands_before_the_video(render):
    assert count_shared_tokens(render("tiny")) == 0


def test_equal_queries_share_all_but_the_end(render):
    first, *_, last = render("timelens")
    assert count_shared_tokens([first, last]) == len(first) - 2


def test_a_model_asks_in_this_way(world, monkeypatch):
    import video_opd
    from video_opd.api import grounding_model

    monkeypatch.setattr(grounding_model, "QUERIES_AT_ONCE", 3)
    model = video_opd.load("tiny-teacher", device="cpu", template="timelens", max_new_tokens=16)
    assert model.shares_video
    clip = world / "videos" / read_manifest(world / "test.jsonl")[0].video
    alone = [model.ground(clip, query) for query in QUERIES]
    before = model.policy.work.prompt_passes
    assert model.ground(clip, QUERIES) == alone
    assert model.policy.work.prompt_passes == before + 1
