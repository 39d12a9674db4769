"""Every family of models through the same door: positions, verbs and attention backends."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from tiny_families import KINDS, RECURRENT, save_tiny
from transformers import AutoProcessor

from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptSource
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget, read_frames
from video_opd.errors import ConfigurationError
from video_opd.policy.layer_states import KeysValues
from video_opd.policy.load import load_policy
from video_opd.policy.location import resolve_model
from video_opd.policy.positions import video_positions
from video_opd.policy.read import collate, rope_positions
from video_opd.types import Example, Sampling, Span

BACKENDS = ("sdpa", "eager")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, processor) -> dict[str, str]:
    """Saved and loaded again, as a user's checkpoint is."""
    return {kind: save_tiny(kind, tmp_path_factory.mktemp("family") / kind, processor) for kind in KINDS}


@pytest.fixture(scope="module")
def policies(folders):
    loaded = {}

    def load(kind: str, backend: str = "sdpa"):
        if (kind, backend) not in loaded:
            loaded[kind, backend] = load_policy(asking_for(folders[kind], backend))
        return loaded[kind, backend]

    return load


def asking_for(folder: str, backend: object, key: str = "attn_implementation") -> str:
    """A copy of the folder whose config.json asks for this attention backend."""
    copy = Path(f"{folder}-{str(backend).replace('/', '-')}")
    if not copy.exists():
        shutil.copytree(folder, copy)
        config = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config | {key: backend}))
    return str(copy)


@pytest.fixture(scope="module")
def prompts_of(world):
    """Three prompts of different lengths, as the family's own processor makes them."""
    rendered = {}

    def render(policy, kind: str):
        if kind not in rendered:
            renderer = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=4))
            examples = read_manifest(world / "train.jsonl")[:6]
            all_of_them = PromptSource(world / "videos", renderer, num_examples=6).prompts(examples)
            rendered[kind] = sorted({len(prompt): prompt for prompt in all_of_them}.values(), key=len)[:3]
            assert len({len(prompt) for prompt in rendered[kind]}) > 1
        return rendered[kind]

    return render


# Positions, as transformers 4.57.1 computes them (5.17 to 5.24 does so only for Qwen3-VL).

ROWS = {
    "one": [(4, (6, 4, 4), 9), (2, (1, 8, 6), 3), (7, (3, 2, 10), 12)],
    "minute": [(4, (60, 16, 28), 9)],
    "wide": [(3, (2, 4, 40), 6)],
}
"""Tokens of text before a video, its grid in patches, tokens of text after it; padded to one length."""

WRITTEN_DOWN = {
    ("qwen2_vl", "one"): [(5, 10, 11, 20), (3, 3, 7, 10), (8, 10, 13, 25)],
    ("qwen2_vl", "minute"): [(5, 64, 65, 74)],
    ("qwen2_vl", "wide"): [(4, 5, 24, 30)],
    ("qwen2_5_vl", "one"): [(5, 15, 16, 25), (3, 3, 7, 10), (8, 12, 13, 25)],
    ("qwen2_5_vl", "minute"): [(5, 123, 124, 133)],
    ("qwen2_5_vl", "wide"): [(4, 6, 24, 30)],
    ("qwen3_vl", "one"): [(10, 55, 57, 66), (8, 8, 12, 15), (13, 37, 42, 54)],
    ("qwen3_vl", "minute"): [(10, 1299, 1313, 1322)],
    ("qwen3_vl", "wide"): [(9, 36, 56, 62)],
}
"""Temporal position of the first video token and of the last, then the first position behind the video (its end marker)
and the last of all."""


def tokens_of(kind: str, before: int, grid: tuple[int, int, int], after: int) -> list[int]:
    """0 text, 2 video: the vision markers included, and for Qwen3-VL five or six tokens of time before every group."""
    groups, size = grid[0], grid[1] * grid[2] // 4
    if kind.startswith("qwen3"):
        marked = [[0] * (6 if group < 10 else 7) + [2] * size + [0] for group in range(groups)]
        return [*[0] * before, *chain.from_iterable(marked), *[0] * after]
    return [0] * (before + 1) + [2] * groups * size + [0] * (after + 1)


def batch_of(kind: str, rows, seconds_per_group: float = 1.0) -> dict[str, torch.Tensor]:
    tokens = [tokens_of(kind, *row) for row in rows]
    longest = max(map(len, tokens))
    kinds = torch.tensor([[0] * (longest - len(row)) + row for row in tokens])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in tokens])
    return {
        "input_ids": torch.zeros_like(kinds),
        "mm_token_type_ids": kinds,
        "attention_mask": mask,
        "video_grid_thw": torch.tensor([grid for _, grid, _ in rows]),
        "second_per_grid_ts": torch.full((len(rows),), seconds_per_group),
    }


def config_of(kind: str, per_second: int = 2) -> SimpleNamespace:
    vision = SimpleNamespace(spatial_merge_size=2, tokens_per_second=per_second)
    return SimpleNamespace(model_type=kind, vision_config=vision, get_text_config=SimpleNamespace)


@pytest.mark.parametrize(("kind", "name"), WRITTEN_DOWN)
def test_positions_are_those_of_transformers_4_57(kind, name):
    batch = batch_of(kind, ROWS[name])
    positions = video_positions(config_of(kind), batch)
    for row, written in enumerate(WRITTEN_DOWN[kind, name]):
        seen = batch["attention_mask"][row].bool()
        mine, video = positions[:, row, seen], (batch["mm_token_type_ids"][row, seen] == 2).nonzero()[:, 0]
        first, last = int(video[0]), int(video[-1])
        assert (mine[0, first], mine[0, last], mine[0, last + 1], mine[0, -1]) == written
        assert torch.equal(mine[0, last + 1 :], torch.arange(written[2], written[3] + 1))
        for axis in mine[:, [*range(first), *range(last + 1, mine.shape[1])]]:  # of text all three axes are alike
            assert torch.equal(axis, mine[0, [*range(first), *range(last + 1, mine.shape[1])]])


def test_rows_and_columns_are_counted_from_where_a_block_begins():
    """Two groups of 2 x 3 tokens after one of text and a marker, in whole: written down from 4.57.1 as well."""
    rows, columns = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]
    positions = video_positions(config_of("qwen2_5_vl"), batch_of("qwen2_5_vl", [(1, (2, 4, 6), 1)]))[:, 0].tolist()
    assert positions == [
        [0, 1, *[2] * 6, *[4] * 6, 5, 6],
        [0, 1, *[2 + place for place in 2 * rows], 5, 6],
        [0, 1, *[2 + place for place in 2 * columns], 5, 6],
    ]
    positions = video_positions(config_of("qwen3_vl"), batch_of("qwen3_vl", [(1, (2, 4, 6), 1)]))[:, 0].tolist()
    texts = [[*range(7)], [10, 11, 12, 13, 14, 15, 16], [20, 21]]
    first, second = ([7 + place for place in rows], [17 + place for place in rows])
    assert positions[0] == [*texts[0], *[7] * 6, *texts[1], *[17] * 6, *texts[2]]
    assert positions[1] == [*texts[0], *first, *texts[1], *second, *texts[2]]
    assert positions[2] == [*texts[0], *[7 + c for c in columns], *texts[1], *[17 + c for c in columns], *texts[2]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("qwen3")])
@pytest.mark.parametrize("name", ROWS)
def test_positions_with_markers_are_those_of_the_model_itself(policies, kind, name):
    batch = batch_of(kind, ROWS[name])
    of_groups = {
        "video_grid_thw": batch["video_grid_thw"],
        "mm_token_type_ids": batch["mm_token_type_ids"],
        "attention_mask": batch["attention_mask"],
    }
    theirs, _ = policies(kind).model.model.get_rope_index(batch["input_ids"], **of_groups)
    seen = batch["attention_mask"].bool()
    assert torch.equal(video_positions(config_of(kind), batch)[:, seen], theirs[:, seen])


@pytest.mark.parametrize(
    ("seconds_per_group", "per_second", "expected"),
    [
        (1.0, 2, [0, 2, 4, 6, 8, 10, 12]),
        (4.0, 2, [0, 8, 16, 24, 32, 40, 48]),
        (0.5, 2, [0, 1, 2, 3, 4, 5, 6]),  # four frames a second: 4.57 cut this to 0, Qwen's own code did not
        (2 / 3, 2, [0, 1, 2, 4, 5, 6, 8]),  # three frames a second: 3 * (2 / 3) is 2, whatever float32 makes of it
        (0.7, 2, [0, 1, 2, 4, 5, 7, 8]),  # 5 * 1.4 is 7, and in float32 0.7 is a little less
        (1.05, 2, [0, 2, 4, 6, 8, 10, 12]),
        (1.0, 25, [0, 25, 50, 75, 100, 125, 150]),
    ],
)
def test_a_clock_of_positions_counts_seconds(seconds_per_group, per_second, expected):
    batch = batch_of("qwen2_5_vl", [(3, (7, 2, 2), 2)], seconds_per_group)
    positions = video_positions(config_of("qwen2_5_vl", per_second), batch)[0, 0, 4:-3]
    assert (positions - positions[0]).tolist() == expected


def test_several_videos_in_a_prompt_take_their_grids_in_order():
    first, second = batch_of("qwen2_5_vl", [(1, (2, 4, 4), 1)]), batch_of("qwen2_5_vl", [(1, (3, 4, 4), 1)])
    both = {name: torch.cat([first[name], second[name]], dim=int(first[name].shape[0] == 1 and first[name].dim() == 2
            and name != "video_grid_thw")) for name in first}  # fmt: skip
    alone = [video_positions(config_of("qwen2_5_vl"), batch)[:, 0] for batch in (first, second)]
    together = video_positions(config_of("qwen2_5_vl"), both)[:, 0]
    assert torch.equal(together, torch.cat([alone[0], alone[1] + int(alone[0].max()) + 1], dim=1))


def test_video_tokens_that_are_not_those_of_the_grid_are_a_bug():
    batch = batch_of("qwen2_5_vl", [(1, (2, 4, 4), 1)])
    for grid in ([3, 4, 4], [2, 4, 6]):
        with pytest.raises(ValueError, match="block of"):
            video_positions(config_of("qwen2_5_vl"), batch | {"video_grid_thw": torch.tensor([grid])})
    with pytest.raises(ValueError, match="fewer videos"):
        video_positions(
            config_of("qwen2_5_vl"),
            batch | {"video_grid_thw": torch.tensor([[2, 4, 4]] * 2), "second_per_grid_ts": torch.ones(2)},
        )


# What is refused, and what is said.


@pytest.mark.parametrize(
    ("kind", "why"),
    [("llava", "positions"), ("qwen3", "positions"), ("glm4v", "GLM spells"), ("glm46v", "GLM spells"),
     ("glm4v_moe", "ends a turn"), ("internvl", "InternVL numbers the frames")],
)  # fmt: skip
def test_a_family_that_is_not_known_is_refused(kind, why):
    with pytest.raises(ConfigurationError, match=f"does not belong to a supported family: .*{why}"):
        video_positions(config_of(kind), batch_of("qwen3_vl", ROWS["wide"]))


def test_layers_that_keep_something_else_are_refused_before_weights_are_read(
    folders, tmp_path, monkeypatch, refused, world
):
    from transformers import AutoModelForImageTextToText

    copy = Path(shutil.copytree(folders["qwen3_5"], tmp_path / "sliding"))
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["layer_types"][1] = "sliding_attention"
    (copy / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(AutoModelForImageTextToText, "from_pretrained", None)
    said = refused("ground", copy, next((world / "videos").glob("*.mp4")), "the red circle")
    assert "sliding_attention" in said
    assert "full_attention or linear_attention" in said


def test_a_model_that_is_told_no_seconds_is_spoken_of(folders, caplog):
    with caplog.at_level(logging.WARNING):
        load_policy(folders["qwen2_5_vl"])
        assert not caplog.records
        load_policy(folders["qwen2_vl"])
    assert "gets no times of its frames" in caplog.text


@pytest.mark.parametrize(
    "backend", ["flash_attention_2", "flash_attention_3", "flex_attention", "kernels-community/flash-attn",
                "paged|eager", "nonsense", 7, ["eager"], {"text_config": "nonsense"}],
)  # fmt: skip
def test_a_backend_that_is_not_here_is_refused(folders, backend, tmp_path, monkeypatch):
    from video_opd.policy import attention

    monkeypatch.setattr(attention, "_is_available", lambda _: False)
    key = "_attn_implementation" if isinstance(backend, dict) else "attn_implementation"
    with pytest.raises(ConfigurationError, match="attention backend"):
        load_policy(asking_for(folders["qwen3_vl"], backend, key))


def test_flash_attention_is_for_the_vision_tower_only(monkeypatch):
    from video_opd.policy import attention

    monkeypatch.setattr(attention, "_is_available", lambda _: True)
    part = SimpleNamespace(_attn_implementation="flash_attention_2")
    backends = attention.choose_attention_backends("m", SimpleNamespace(text_config=part, vision_config=part))
    assert backends == {"": "sdpa", "text_config": "sdpa", "vision_config": "flash_attention_2"}


# The verbs.


def test_frames_are_cut_in_squares_of_28_pixels(policies, prompts_of):
    prompts = prompts_of(policies("qwen2_5_vl"), "qwen2_5_vl")
    assert {prompt.grid_thw[1:] for prompt in prompts} == {(4, 4)}
    assert all(prompt.num_video_tokens == prompt.grid_thw[0] * 4 for prompt in prompts)


def test_the_clock_is_that_of_our_frames(policies, prompts_of):
    """Two frames a second, two frames a group: one second per group."""
    for prompt in prompts_of(policies("qwen2_5_vl"), "qwen2_5_vl"):
        assert torch.as_tensor(prompt.model_inputs["second_per_grid_ts"]).tolist() == [pytest.approx(1.0)]


RATES = ("24", "25", "30000/1001", "24000/1001", "60", "12")


@pytest.mark.parametrize(
    ("ending", "codec"), [("mkv", "libx264"), ("webm", "libvpx"), ("flv", "libx264"), ("wmv", "wmv2")]
)
def test_a_container_of_whole_milliseconds_has_the_clock_of_an_mp4(policies, tmp_path, ending, codec):
    """Ten seconds that such a file says are 9.999: 20 frames, one second a group, and no group half a second early."""
    policy, budget = policies("qwen2_5_vl"), VideoBudget(max_frame_tokens=4, pixels_per_token_side=28)
    renderer = PromptRenderer(policy.processor, TEMPLATES["timelens"], budget)
    shorter = 0
    for rate in map(Fraction, RATES):
        positions = []
        for name, with_codec in (("a.mp4", "libx264"), (f"a.{ending}", codec)):
            write_clip(tmp_path / name, int(10 * rate), rate, with_codec)
            frames = read_frames(tmp_path / name, budget)
            shorter += frames.duration_s < len(frames.times_s) / budget.fps
            example = Example(id="a", video=name, query="x", spans=(Span(0, 1),), duration=10.0)
            prompt = renderer(example, frames)
            batch = collate([prompt], pad_token_id=0, device="cpu")
            video = rope_positions(policy.model, batch)[0, 0, prompt.mm_token_type_ids == 2]
            positions.append((video - video[0])[:: prompt.grid_thw[1] * prompt.grid_thw[2] // 4].tolist())
        assert positions[1] == positions[0]
        if rate.denominator == 1:
            assert positions[0] == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert shorter  # some of these files do lose a millisecond


def write_clip(path, num_frames: int, rate: Fraction, codec: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = np.zeros((64, 64, 3), dtype=np.uint8)
        for _ in range(num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def plain_logprobs(policy, prompt, ids: torch.Tensor, *, grad: bool = False) -> torch.Tensor:
    """One full pass over prompt and answer, without a cache, by the same positions."""
    whole = replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, ids]),
        mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)]),
    )
    batch = collate([whole], pad_token_id=0, device="cpu")
    batch["position_ids"] = rope_positions(policy.model, batch)
    with torch.set_grad_enabled(grad):
        logits = policy.model(**batch, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return policy.support.log_softmax(logits).gather(1, ids[:, None])[:, 0]


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_verbs_equal_the_plain_path(policies, prompts_of, kind, backend, count):
    """For every family and backend, for several answers to a prompt, with prompts of different lengths padded."""
    policy, plain = policies(kind, backend), policies(kind)
    assert policy.model.config.get_text_config()._attn_implementation == backend
    prompts = prompts_of(plain, kind)
    groups = policy.answer(policy.read(prompts), count=count, sampling=Sampling(max_new_tokens=6, seed=count))
    scores = policy.score(policy.read(prompts), groups)
    for row, answer in enumerate(scores.answers):
        expected = plain_logprobs(plain, prompts[row // count], torch.tensor(answer.token_ids))
        assert scores.logprobs[row, : len(answer)].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
        assert list(answer.sampler_logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_best_answers_score_as_each_does_alone(policies, prompts_of, kind, backend):
    policy, plain = policies(kind, backend), policies(kind)
    prompts = prompts_of(plain, kind)
    for prompt, group in zip(
        prompts, policy.find_best_answers(policy.read(prompts), count=4, max_new_tokens=6), strict=True
    ):
        for answer in group:
            expected = plain_logprobs(plain, prompt, torch.tensor(answer.token_ids))
            assert list(answer.sampler_logprobs) == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_through_several_answers_is_that_of_each_alone(policies, prompts_of, kind, backend):
    policy = policies(kind, backend)
    prompts = prompts_of(policies(kind), kind)[:2]
    groups = policy.answer(policy.read(prompts), count=3, sampling=Sampling(max_new_tokens=4, seed=1))

    def gradients(*pieces) -> dict[str, torch.Tensor]:
        policy.model.zero_grad()
        for some, theirs in pieces:
            policy.score(policy.read(some, grad=True), theirs, grad=True).logprobs.sum().backward()
        return {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}

    together = gradients((prompts, groups))
    alone = gradients(
        *(([prompt], [replace(group, answers=(answer,))]) for prompt, group in zip(prompts, groups, strict=True)
          for answer in group)
    )  # fmt: skip
    assert together["model.visual.patch_embed.proj.weight"].abs().max() > 0
    # The gradient of a recurrent layer's decay is a small sum of large terms, which float32 rounds.
    largest = max(float(gradient.abs().max()) for gradient in alone.values())
    floor = max(1e-6, 3e-6 * largest) if kind in RECURRENT else 1e-6
    for name, gradient in alone.items():
        assert torch.allclose(together[name], gradient, atol=1e-4 * float(gradient.abs().max()) + floor), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_reads_the_same_alone_and_padded(policies, prompts_of, kind):
    policy = policies(kind)
    short, long = sorted(prompts_of(policy, kind), key=len)[:: len(prompts_of(policy, kind)) - 1]
    assert len(short) < len(long)
    together = policy.read([long, short])
    for row, prompt in enumerate((long, short)):
        alone = policy.read([prompt])
        for padded, whole in zip(together.select_rows([row]).layers, alone.layers, strict=True):
            for mine, theirs in zip(padded, whole, strict=True):
                if isinstance(padded, KeysValues):
                    mine = mine[:, :, -(len(prompt) - 1) :]
                torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_no_verb_changes_a_reading(policies, prompts_of, kind):
    """One token at a time changes the state of a convolution in place: that of the cache, never that of the reading."""
    policy = policies(kind)
    prompts = prompts_of(policy, kind)
    reading = policy.read(prompts)
    before = [[tensor.clone() for tensor in state] for state in reading.layers]
    sampling = Sampling(max_new_tokens=1, seed=1)
    for count in (1, 2):
        policy.score(reading, policy.answer(reading, count=count, sampling=sampling))
        policy.find_best_answers(reading, count=count, max_new_tokens=3)
    for state, kept in zip(reading.layers, before, strict=True):
        assert all(map(torch.equal, state, kept))


@pytest.mark.parametrize("kind", RECURRENT)
def test_an_answer_of_one_token_sends_its_gradient(policies, prompts_of, kind):
    """transformers takes another way through a recurrent layer for a pass over one token."""
    policy = policies(kind)
    prompts = prompts_of(policy, kind)[:2]
    groups = policy.answer(policy.read(prompts), count=2, sampling=Sampling(max_new_tokens=1, seed=3))
    policy.model.zero_grad()
    policy.score(policy.read(prompts, grad=True), groups, grad=True).logprobs.sum().backward()
    shared = {name: p.grad.clone() for name, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad()
    for prompt, group in zip(prompts, groups, strict=True):
        for answer in group:
            plain_logprobs(policy, prompt, torch.tensor(answer.token_ids), grad=True).sum().backward()
    plain = {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}
    difference = sum(float((shared[name] - plain[name]).square().sum()) for name in plain) ** 0.5
    assert difference <= 1e-5 * sum(float(gradient.square().sum()) for gradient in plain.values()) ** 0.5
    policy.model.zero_grad()


def test_a_template_that_thinks_is_asked_not_to(processor, world):
    template = processor.chat_template + "{% if enable_thinking is false %}NO THINKING{% endif %}"
    thinking = AutoProcessor.from_pretrained(resolve_model("tiny-student"), chat_template=template)
    renderer = PromptRenderer(thinking, TEMPLATES["tiny"], VideoBudget(max_frame_tokens=1))
    (prompt,) = PromptSource(world / "videos", renderer, num_examples=1).prompts(
        read_manifest(world / "train.jsonl")[:1]
    )
    assert "NO THINKING" in thinking.tokenizer.decode(prompt.input_ids)
