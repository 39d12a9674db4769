"""Another family through the same door: Qwen2.5-VL, with 28-pixel tokens, no markers, and a clock in its positions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from video_opd.data.manifest import read_manifest
from video_opd.data.prompts import TEMPLATES, PromptRenderer
from video_opd.data.source import PromptSource
from video_opd.data.video import VideoBudget
from video_opd.policy.load import load_policy, resolve_model
from video_opd.policy.reading import collate
from video_opd.vocabulary import Sampling


@pytest.fixture(scope="module")
def policy(tmp_path_factory, processor):
    """Saved and loaded again, as a user's checkpoint is."""
    tokenizer = AutoTokenizer.from_pretrained(resolve_model("tiny-student"))
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
           ("image_pad", "video_pad", "vision_start", "vision_end")}  # fmt: skip
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 384, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48,
            "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
        },
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
                       "fullatt_block_indexes": [1], "window_size": 56, "tokens_per_second": 2},
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
    )  # fmt: skip
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("qwen2_5")
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=14),
        chat_template=processor.chat_template,
    ).save_pretrained(folder)
    return load_policy(str(folder))


@pytest.fixture(scope="module")
def prompts(policy, world):
    render = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
    return PromptSource(world / "videos", render, num_examples=3).prompts(read_manifest(world / "train.jsonl")[:3])


def test_frames_are_cut_in_squares_of_28_pixels(prompts):
    assert {prompt.grid_thw[1:] for prompt in prompts} == {(4, 4)}
    assert all(prompt.num_video_tokens == prompt.grid_thw[0] * 4 for prompt in prompts)


def test_the_clock_is_that_of_our_frames(prompts):
    """Two frames a second, two frames a group: one second per group."""
    for prompt in prompts:
        assert torch.as_tensor(prompt.model_inputs["second_per_grid_ts"]).tolist() == [pytest.approx(1.0)]


def test_read_answer_score_equals_the_plain_path(policy, prompts):
    groups = policy.answer(policy.read(prompts), sampling=Sampling(max_new_tokens=8, seed=1))
    scores = policy.score(policy.read(prompts), groups)
    for row, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        ids = torch.tensor(group.answers[0].token_ids)
        whole = replace(
            prompt,
            input_ids=torch.cat([prompt.input_ids, ids]),
            mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)]),
        )
        batch = collate([whole], pad_token_id=0, device="cpu")
        with torch.no_grad():
            logits = policy.model(**batch, use_cache=False).logits[0, len(prompt) - 1 : -1]
        expected = policy.support.log_softmax(logits).gather(1, ids[:, None])[:, 0]
        assert torch.allclose(scores.logprobs[row, : len(ids)], expected, atol=1e-5)


def test_several_answers_score_as_each_does_alone(policy, prompts):
    groups = policy.answer(policy.read(prompts), count=3, sampling=Sampling(max_new_tokens=6, seed=2))
    together = policy.score(policy.read(prompts), groups).logprobs
    for number, (prompt, group) in enumerate(zip(prompts, groups, strict=True)):
        for place, answer in enumerate(group):
            one = replace(group, answers=(answer,))
            alone = policy.score(policy.read([prompt]), [one]).logprobs[0]
            assert torch.allclose(together[3 * number + place, : len(answer)], alone, atol=1e-4)
            assert alone.tolist() == pytest.approx(answer.sampler_logprobs, abs=1e-4)


def test_best_answers_score_as_each_does_alone(policy, prompts):
    groups = policy.best_answers(policy.read(prompts), count=4, max_new_tokens=8)
    for prompt, group in zip(prompts, groups, strict=True):
        scores = policy.score(policy.read([prompt]), [group]).logprobs
        for answer, row in zip(group, scores, strict=True):
            assert row[: len(answer)].tolist() == pytest.approx(answer.sampler_logprobs, abs=1e-4)


def test_gradient_reaches_the_vision_tower(policy, prompts):
    groups = policy.answer(policy.read(prompts[:1]), sampling=Sampling(max_new_tokens=4, seed=1))
    policy.score(policy.read(prompts[:1], grad=True), groups, grad=True).logprobs.sum().backward()
    assert policy.model.model.visual.patch_embed.proj.weight.grad.abs().max() > 0


def old_names(name: str) -> str:
    """As transformers 4 saved them, and as they lie on the hub."""
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


@pytest.mark.parametrize("rename", [old_names, str], ids=["transformers-4", "transformers-5"])
def test_names_of_older_and_newer_checkpoints_are_taken(rename, policy, tmp_path):
    folder = Path(shutil.copytree(policy.name, tmp_path / "renamed"))
    weights = policy.model.state_dict()
    renamed = {rename(name): tensor.clone() for name, tensor in weights.items()}
    assert any(name.startswith("visual.") for name in renamed) == (rename is old_names)
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    again = load_policy(str(folder)).model.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in weights.items())


def test_an_output_layer_that_is_tied_may_stand_in_the_file(models, tmp_path):
    """The published Qwen2.5-VL-3B holds lm_head.weight beside the embedding it is tied to."""
    folder = Path(shutil.copytree(models["student"], tmp_path / "tied"))
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (folder / "config.json").write_text(json.dumps(config))
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.language_model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    model = load_policy(str(folder)).model
    assert model.lm_head.weight is model.get_input_embeddings().weight
