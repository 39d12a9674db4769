"""Small real things: Qwen3-VL models with random weights, the package's own processor, a few rendered clips."""

from __future__ import annotations

import atexit
import gc
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import torch

    from video_opd.policy.load import Policy
    from video_opd.types import Prompt

# What takes seconds to import is imported by the fixtures: the process that only hands out the tests (pytest -n) reads
# this file too.

# Half a million objects of torch and transformers stay until the end. The collector need not walk over them, neither
# while they are imported nor later: a full collection takes a quarter of a second.
gc.disable()
atexit.register(gc.unfreeze)  # nanobind reports what is there after the last collection


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage from here on, and only what the tests leave."""
    gc.freeze()
    gc.enable()


# The same examples in every run, so that a landing depends on the change alone, and on no clock. `make fuzz` draws new
# ones.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that two workers end at about the same time."""
    num_slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -num_slow[item.path])

    import torch

    import video_opd.train.build  # noqa: F401 - before a test replaces a function that it takes in by name

    torch.set_num_threads(1)


SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
"""Real annotations, clips and goldens; tests that read them skip where they are absent."""

SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")
"""cause: reason. Remedy."""


@pytest.fixture
def refused(capsys) -> Callable[..., str]:
    """Run a command that must be refused; returns the sentence.

    `late`: the mistake shows only on the way, so that progress may stand on stderr before the sentence.
    """

    from video_opd.cli import main

    def run(*arguments: object, late: bool = False) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        captured = capsys.readouterr()
        lines = [line for line in captured.err.splitlines() if line]
        assert captured.out == ""
        assert late or len(lines) == 1, captured.err
        assert SENTENCE.fullmatch(lines[-1]), lines[-1]
        assert not re.search(r":\.|\.\.( |$)", lines[-1]), lines[-1]
        return lines[-1]

    return run


@pytest.fixture(scope="session")
def sentence() -> re.Pattern[str]:
    return SENTENCE


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.exists():
        pytest.skip("the shared data folder is not here")
    return SHARED


@pytest.fixture(scope="session")
def processor():
    from transformers import AutoProcessor

    from video_opd.policy.location import resolve_model

    return AutoProcessor.from_pretrained(resolve_model("tiny-student"))


@pytest.fixture(scope="session")
def make_policy(processor) -> Callable[..., Policy]:
    """Policies with random weights, spread widely enough that their distributions have shape."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    from video_opd.policy.load import Policy
    from video_opd.policy.token_support import TokenSupport

    def make(seed: int = 0, *, hidden: int = 32, layers: int = 2, dtype: torch.dtype = torch.float32) -> Policy:
        tokenizer = processor.tokenizer
        ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
               ("image_pad", "video_pad", "vision_start", "vision_end", "im_end", "endoftext")}  # fmt: skip
        config = Qwen3VLConfig(
            text_config={
                "vocab_size": 384, "hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": 48,
                "head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.3,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2],
                                    "mrope_interleaved": True},
                "eos_token_id": ids["im_end"], "pad_token_id": ids["endoftext"],
            },
            vision_config={
                "depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "patch_size": 16,
                "out_hidden_size": hidden, "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
                "initializer_range": 0.1,
            },
            image_token_id=ids["image_pad"], video_token_id=ids["video_pad"],
            vision_start_token_id=ids["vision_start"], vision_end_token_id=ids["vision_end"],
        )  # fmt: skip
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config).to(dtype).eval()
        return Policy(
            name=f"random-{seed}", model=model, processor=processor, support=TokenSupport.build(tokenizer, config)
        )

    return make


@pytest.fixture(scope="session")
def teacher(make_policy) -> Policy:
    """A random model, frozen."""
    return make_policy(1).freeze()


@pytest.fixture
def student(make_policy) -> Policy:
    """Another random model, to be trained."""
    return make_policy(0)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Path:
    """A tiny tiny world: 12 training, 4 validation and 4 test queries."""
    from video_opd.data import tiny_world

    folder = tmp_path_factory.mktemp("world")
    sizes = {"train": 12, "validation": 4, "test": 4}
    tiny_world.build(folder, tiny_world.BuildSettings(num_queries=sizes, seed=3))
    return folder


@pytest.fixture(scope="session")
def prompts(world, processor) -> list[Prompt]:
    """Twelve prompts of three different lengths, from real mp4 files."""
    from video_opd.data.manifest import read_manifest
    from video_opd.data.prompt_source import PromptSource
    from video_opd.data.prompt_templates import TEMPLATES
    from video_opd.data.prompts import PromptRenderer
    from video_opd.data.video.video_io import VideoBudget

    budget = VideoBudget(fps=2.0, max_frames=64, max_tokens=64, max_frame_tokens=1)
    source = PromptSource(world / "videos", PromptRenderer(processor, TEMPLATES["tiny"], budget), num_examples=12)
    rendered = source.prompts(read_manifest(world / "train.jsonl"))
    assert len({len(prompt) for prompt in rendered}) > 1
    return rendered


@pytest.fixture
def shorter() -> Callable[[Prompt, int], Prompt]:
    """A prompt with only its last tokens of text cut away from the front of the question; for odd lengths."""

    def cut(prompt: Prompt, count: int) -> Prompt:
        return replace(prompt, input_ids=prompt.input_ids[count:], mm_token_type_ids=prompt.mm_token_type_ids[count:])

    return cut


@pytest.fixture(scope="session")
def models(make_policy, tmp_path_factory) -> dict[str, str]:
    """Folders of a random student and a random teacher, asked as the tiny world is."""
    from video_opd.config import GROUNDING_FILE, AnswerSettings, GroundingDefaults, PromptSettings, VideoSettings

    folders = {}
    for seed, name in enumerate(("student", "teacher")):
        folder = tmp_path_factory.mktemp("models") / name
        policy = make_policy(seed)
        policy.model.save_pretrained(folder)
        policy.processor.save_pretrained(folder)
        defaults = GroundingDefaults(
            prompt=PromptSettings(template="tiny"),
            video=VideoSettings(max_frames=64, max_tokens=64, max_frame_tokens=1),
            answers=AnswerSettings(max_new_tokens=8),
        )
        (folder / GROUNDING_FILE).write_text(defaults.model_dump_json())
        folders[name] = str(folder)
    return folders


@pytest.fixture(scope="session")
def write_recipe(models, world) -> Callable[[Path], Path]:
    """Writes a recipe that trains the random student for two short steps on the tiny tiny world."""
    import tomli_w

    tables = {
        "name": "tiny-tiny",
        "student": {"model": models["student"]},
        "teacher": {"model": models["teacher"]},
        "data": {"videos": str(world / "videos")}
        | {split: str(world / f"{split}.jsonl") for split in ("train", "validation", "test")},
        "prompt": {"template": "tiny"},
        "video": {"max_frames": 64, "max_tokens": 64, "max_frame_tokens": 1},
        "answers": {"max_new_tokens": 8},
        "training": {"steps": 2, "batch_size": 4, "micro_batch_size": 4, "learning_rate": 1e-3},
        "schedule": {"checkpoint_every": 1, "probe_every": 0},
        "compute": {"device": "cpu", "threads": 1, "evaluation_batch_size": 4},
    }

    def write(folder: Path) -> Path:
        path = folder / "recipe.toml"
        path.write_text(tomli_w.dumps(tables))
        return path

    return write


@pytest.fixture
def recipe_file(write_recipe, tmp_path) -> Path:
    """That recipe in a file."""
    return write_recipe(tmp_path)
