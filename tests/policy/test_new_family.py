"""A family that nobody publishes, with spellings of its own, is read, answered and scored after one entry."""

from __future__ import annotations

import ast
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_families import TEXT, VISION_2_5
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from video_opd.cli import main
from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget
from video_opd.errors import ConfigurationError
from video_opd.policy import families
from video_opd.policy.families import Clock, Family, SpecialTokens
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import resolve_model
from video_opd.policy.read import collate, rope_positions
from video_opd.types import Sampling

SPELLINGS = {
    "<|video_pad|>": "<film>",
    "<|image_pad|>": "<photo>",
    "<|vision_start|>": "<reel>",
    "<|vision_end|>": "</reel>",
    "<|im_end|>": "<over>",
}

ENTRY = Family(
    name="Harbour-VL",
    model_types=("harbour_vl",),
    processors=("HarbourProcessor",),
    clock=Clock.POSITIONS,
    tokens=SpecialTokens(video="<film>", image="<photo>", start="<reel>", end="</reel>", end_of_turn="<over>"),
    patch_size=14,
)
"""All that has to be written in `src` for it."""


class HarbourConfig(Qwen2_5_VLConfig):
    model_type = "harbour_vl"


class HarbourForConditionalGeneration(Qwen2_5_VLForConditionalGeneration):
    config_class = HarbourConfig


class HarbourProcessor(Qwen2_5_VLProcessor):
    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, video_processor: Any = None, chat_template: Any = None
    ) -> None:
        super().__init__(image_processor, tokenizer, video_processor, chat_template)
        self.video_token, self.image_token = "<film>", "<photo>"
        self.video_token_id, self.image_token_id = self.tokenizer.convert_tokens_to_ids(["<film>", "<photo>"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The model, as its authors would publish it for a transformers that knows it."""
    AutoConfig.register("harbour_vl", HarbourConfig, exist_ok=True)
    AutoModelForImageTextToText.register(HarbourConfig, HarbourForConditionalGeneration, exist_ok=True)
    AutoProcessor.register(HarbourConfig, HarbourProcessor, exist_ok=True)
    folder = tmp_path_factory.mktemp("harbour")
    tiny = Path(resolve_model("tiny-student"))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        text = (tiny / name).read_text()
        for qwen, own in SPELLINGS.items():
            text = text.replace(qwen, own)
        (folder / name).write_text(text)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"processor_class": "HarbourProcessor"}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    names = {"image": "<photo>", "video": "<film>", "vision_start": "<reel>", "vision_end": "</reel>"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}
    text = {**TEXT, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(0)
    config = HarbourConfig(text_config=text, vision_config=VISION_2_5, **ids)
    HarbourForConditionalGeneration(config).save_pretrained(folder)
    HarbourProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=14),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(patch_size=14),
        chat_template=(folder / "chat_template.jinja").read_text(),
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def entered(monkeypatch) -> None:
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES, ENTRY))


@pytest.fixture
def policy(folder, entered) -> Policy:
    return load_policy(str(folder))


def prompts_of(policy: Policy, world: Path, query: str | None = None):
    renderer = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
    examples = read_manifest(world / "train.jsonl")[:3]
    prompts = PromptSource(world / "videos", renderer, num_examples=3).prompts(examples)
    if query is None:
        return prompts
    asked = [replace(examples[0], query=query)]
    return PromptSource(world / "videos", renderer, num_examples=1).prompts(asked)


def test_without_its_entry_it_is_refused(folder):
    known = r"Qwen3-VL, Qwen3\.5, Qwen2\.5-VL or Qwen2-VL"
    with pytest.raises(ConfigurationError, match=rf"harbour_vl.* does not belong to a supported family.* {known}"):
        load_policy(str(folder))


def test_it_is_read_answered_and_scored(policy, world):
    assert policy.family is ENTRY
    prompts = prompts_of(policy, world)
    film = policy.tokenizer.convert_tokens_to_ids("<film>")
    for prompt in prompts:
        assert prompt.num_video_tokens == int((prompt.input_ids == film).sum()) == prompt.grid_thw[0] * 4
    reading = policy.read(prompts)
    groups = policy.answer(reading, count=2, sampling=Sampling(max_new_tokens=6, seed=1))
    scores = policy.score(reading, groups)
    for row, answer in enumerate(scores.answers):
        assert scores.logprobs[row, : len(answer)].tolist() == pytest.approx(answer.sampler_logprobs, abs=1e-4)
    best = policy.find_best_answers(reading, count=2, max_new_tokens=4)
    assert [len(group.answers) for group in best] == [2, 2, 2]


def test_its_clock_counts_seconds(policy, world):
    """Two frames a second, two a group, two positions a second (`tokens_per_second`): a step of two a group."""
    (prompt, *_) = prompts_of(policy, world)
    batch = collate([prompt], pad_token_id=0, device="cpu")
    times = rope_positions(policy.model, batch)[0, 0, prompt.mm_token_type_ids == 2][::4]
    assert (times - times[0]).tolist() == [2 * group for group in range(prompt.grid_thw[0])]


def test_its_tokens_are_text_where_a_query_spells_them(policy, world):
    """And its own are never written: the support bans them, the end of turn excepted."""
    (prompt,) = prompts_of(policy, world, query="a red <film> on a <reel>")
    film, reel = policy.tokenizer.convert_tokens_to_ids(["<film>", "<reel>"])
    assert prompt.num_video_tokens == int((prompt.input_ids == film).sum()) == prompt.grid_thw[0] * 4
    assert int((prompt.input_ids == reel).sum()) == 1
    over = policy.tokenizer.convert_tokens_to_ids("<over>")
    assert policy.support.end_token_id == over
    banned = policy.support.banned
    assert banned[[film, reel]].all()
    assert not banned[over]


def test_the_vision_parts_are_found_by_the_names_of_the_entry(policy):
    parts = {policy.family.vision_part(name) for name, _ in policy.model.named_parameters()}
    assert parts == {"tower", "merger", None}
    other = Family(
        name="Other", model_types=(), processors=(), clock=Clock.NONE, tokens=ENTRY.tokens, patch_size=14,
        vision_module="vision_tower", merger="projector",
    )  # fmt: skip
    names = ("model.vision_tower.layers.0.weight", "model.vision_tower.projector.weight", "model.visual.merger.weight")
    assert [other.vision_part(name) for name in names] == ["tower", "merger", None]


def test_ground_asks_it(folder, entered, world, tmp_path, capsys):
    clip = shutil.copy(next((world / "videos").glob("*.mp4")), tmp_path / "a.mp4")
    assert main(["ground", str(folder), str(clip), "the red circle", "--json"]) == 0
    assert "answer" in json.loads(capsys.readouterr().out)


CONVENTION = re.compile(
    r"<\|(?:video_pad|image_pad|vision_start|vision_end|im_start|im_end)\|>|qwen\w*_vl\w*|pixel_values_videos|video_grid_thw"
    r"|second_per_grid_ts|mm_token_type_ids|(?:spatial_|temporal_)?(?:merge|patch)_size|tokens_per_second|visual"
)


def conventions(text: str) -> set[str]:
    """What a family calls its things, as a string that the code works with; docstrings and messages may name them."""
    tree = ast.parse(text)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in said)
    return {node.value for node in strings if isinstance(node.value, str) and CONVENTION.fullmatch(node.value)}


def test_the_conventions_of_families_stand_in_one_file():
    source = Path(families.__file__).parents[1]
    found = {str(path.relative_to(source)): conventions(path.read_text()) for path in source.rglob("*.py")}
    assert len(found.pop("policy/families.py")) > 15
    assert {file: names for file, names in found.items() if names} == {}
