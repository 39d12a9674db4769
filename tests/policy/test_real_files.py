"""The real Qwen3-VL tokenizer and processor files on real clips: ids, grids, clocks, and one update."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace

import pytest
import torch
from transformers import AutoProcessor, AutoTokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from video_opd.config import TrainingSettings
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget, read_frames
from video_opd.eval.benchmarks import BENCHMARKS
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.policy.load import Policy
from video_opd.policy.token_support import TokenSupport
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.types import Example, Prompt, Sampling, Span


@pytest.fixture(scope="module")
def real_processor(shared_data):
    folder = shared_data / "tokenizers" / "qwen3_vl"
    processor = AutoProcessor.from_pretrained(folder)
    processor.chat_template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    return processor


@pytest.fixture(scope="module")
def golden(shared_data):
    cases = json.loads((shared_data / "golden" / "qwen3vl_processor.json").read_text())["cases"]
    return {(case["video"], case["config"]): case for case in cases}


def render(processor, folder, name: str, query: str, budget: VideoBudget) -> Prompt:
    frames = read_frames(folder / "video" / name, budget)
    example = Example(id=name, video=name, query=query, spans=(Span(1.0, 2.0),), duration=frames.duration_s)
    return PromptRenderer(processor, TEMPLATES["timelens"], budget)(example, frames)


# TimeLens's evaluation settings, 64 to 14,336 tokens: neither bound binds on these clips, so the prompts must be equal
# to the last token. (The other golden settings let a minimum per frame override the total; ours never does.)
@pytest.mark.parametrize("video", ["OHOFG.mp4", "v_TpB_zMG3XBA.mp4", "nasa_13013.mp4"])
def test_prompts_equal_the_golden_ones_token_by_token(real_processor, golden, shared_data, video):
    case = golden[video, "timelens_eval"]
    prompt = render(real_processor, shared_data, video, case["query"], VideoBudget(max_tokens=14336))
    assert list(prompt.grid_thw) == case["grid_thw"][0]
    assert prompt.num_video_tokens == case["n_video_tokens"]
    text = real_processor.tokenizer.decode(prompt.input_ids)
    assert re.findall(r"<([\d.]+) seconds>", text) == case["timestamps"]
    assert len(prompt) == case["n_input_ids"]
    assert prompt.input_ids[: len(case["input_ids_head"])].tolist() == case["input_ids_head"]
    assert prompt.input_ids[-len(case["input_ids_tail"]) :].tolist() == case["input_ids_tail"]
    digests = {hashlib.sha256(form).hexdigest() for form in written_forms(prompt.input_ids.tolist())}
    assert case["input_ids_sha256"] in digests


def written_forms(ids: list[int]) -> list[bytes]:
    """The ways a list of ids is commonly written before it is hashed; the golden file does not say which it used."""
    tensor = torch.tensor(ids)
    return [
        json.dumps(ids).encode(),
        json.dumps(ids, separators=(",", ":")).encode(),
        ",".join(map(str, ids)).encode(),
        " ".join(map(str, ids)).encode(),
        tensor.numpy().tobytes(),
        tensor.int().numpy().tobytes(),
    ]


def test_a_total_of_8192_tokens_is_kept(real_processor, golden, shared_data):
    """Deliberately not Qwen's: there the minimum per frame wins, and the same request comes out at 23,472 tokens."""
    video = "v_TpB_zMG3XBA.mp4"
    prompt = render(real_processor, shared_data, video, "The lady then jet skis", VideoBudget(max_tokens=8192))
    assert golden[video, "total8192_max768"]["n_video_tokens"] == 23472
    assert 6000 < prompt.num_video_tokens <= 8192


def test_token_ids_equal_the_real_tokenizers(shared_data):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "tokenizers" / "qwen3_vl")
    cases = json.loads((shared_data / "golden" / "qwen3vl_tokenizer_cases.json").read_text())
    for case in cases:
        assert tokenizer(case["text"])["input_ids"] == case["ids"], case["text"]


@pytest.fixture(scope="module")
def small_qwen(real_processor):
    """A randomly initialised small Qwen3-VL with the real vocabulary, padded rows and all."""

    def make(seed: int) -> Policy:
        config = Qwen3VLConfig(
            text_config={
                "vocab_size": 151936, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48,
                "head_dim": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "initializer_range": 0.1,
                "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [4, 2, 2],
                                    "mrope_interleaved": True},
            },
            vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2,
                           "out_hidden_size": 32, "deepstack_visual_indexes": [0], "initializer_range": 0.1},
            image_token_id=151655, video_token_id=151656, vision_start_token_id=151652, vision_end_token_id=151653,
        )  # fmt: skip
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config).eval()
        return Policy(
            name=f"small-{seed}", model=model, processor=real_processor,
            support=TokenSupport.build(real_processor.tokenizer, config),
        )  # fmt: skip

    return make


def test_the_support_of_the_real_vocabulary(small_qwen):
    support = small_qwen(0).support
    assert support.num_tokens == 151669
    assert support.end_token_id == 151645
    assert not support.banned[151645]
    assert support.banned[[151643, 151644, 151652, 151653, 151654, 151655, 151656]].all()
    assert not support.banned[[151667, 151668]].any()  # <think> and </think> are words like others


def test_one_step_of_video_opd_on_real_clips(small_qwen, real_processor, shared_data):
    """Real decoding, real tokenizer, real grids: the student moves towards its teacher on the states it visited."""
    budget = VideoBudget(max_tokens=192, max_frames=16)
    prompts = [
        render(real_processor, shared_data, name, query, budget)
        for name, query in (("OHOFG.mp4", "person sitting down in a chair"), ("nasa_13013.mp4", "a rocket stands"))
    ]
    assert all(0 < prompt.num_video_tokens <= 192 for prompt in prompts)
    student, teacher = small_qwen(0), small_qwen(1).freeze()
    groups = student.answer(student.read(prompts), sampling=Sampling(max_new_tokens=6, seed=0))
    before = teacher_distance(student, teacher, prompts, groups)
    settings = TrainingSettings(micro_batch_size=1, learning_rate=1e-3, steps=1, batch_size=2)
    method = ReverseKLDistillation(
        write=StudentWrites(max_new_tokens=6), teacher=OneTeacher(teacher), estimator="exact"
    )
    outcome = take_step(Learner(student, settings, total_steps=1), prompts, method, step=0, seed=0)
    assert outcome.num_answer_tokens == sum(len(group.answers[0]) for group in groups)
    assert outcome.loss == pytest.approx(before, rel=1e-3)
    assert teacher_distance(student, teacher, prompts, groups) < before


def teacher_distance(student: Policy, teacher: Policy, prompts, groups) -> float:
    from video_opd.train.probe import Probe

    scores = teacher.score(teacher.read(prompts), groups, distribution=True)
    return Probe(student, ((tuple(prompts), groups, scores),)).reverse_kl()


def test_positions_after_a_wide_video_are_less_than_indices(small_qwen, real_processor, shared_data):
    """M-RoPE: a group of h x w tokens advances the clock by max(h, w), and the answer goes on from there."""
    policy = small_qwen(0)
    prompt = render(real_processor, shared_data, "OHOFG.mp4", "a chair", VideoBudget(max_tokens=192, max_frames=16))
    assert prompt.grid_thw[1] > 2
    reading = policy.read([prompt])
    batch = {"input_ids": prompt.input_ids[None], "mm_token_type_ids": prompt.mm_token_type_ids[None]}
    grid = torch.tensor([prompt.grid_thw])
    expected, _ = policy.model.model.get_rope_index(**batch, video_grid_thw=grid)
    assert reading.head_positions.item() == expected[0, 0, -1].item() < len(prompt) - 1


def test_the_same_clip_twice_is_the_same_prompt(real_processor, shared_data):
    budget = VideoBudget(max_tokens=192, max_frames=16)
    one, two = (render(real_processor, shared_data, "nasa_13013.mp4", "a rocket", budget) for _ in range(2))
    assert torch.equal(one.pixel_values, two.pixel_values)
    assert torch.equal(one.input_ids, two.input_ids)
    assert replace(one, pixel_values=two.pixel_values).frame_times_s == two.frame_times_s


def test_a_benchmark_s_prompt_in_qwen_s_own_words(real_processor, shared_data):
    """MVBench is the one with a system turn and a beginning of the answer; Qwen3-VL's template adds nothing to them."""
    benchmark = BENCHMARKS["mvbench"]
    budget = VideoBudget(max_tokens=512)
    asked = Example(id="q", video="OHOFG.mp4", query="Question: Which?\nOptions:\n(A) One.", spans=(), duration=0.0)
    frames = read_frames(shared_data / "video" / asked.video, budget, Span(2.0, 6.0))
    prompt = PromptRenderer(real_processor, benchmark.template, budget)(asked, frames)
    text = re.sub(r"(<\|video_pad\|>)+", "[video]", real_processor.tokenizer.decode(prompt.input_ids))
    beginning = f"<|im_start|>system\n{benchmark.template.system}<|im_end|>\n<|im_start|>user\n<"
    assert text.startswith(beginning)
    assert text.endswith(
        "[video]<|vision_end|>Question: Which?\nOptions:\n(A) One.<|im_end|>\n<|im_start|>assistant\nBest option:("
    )
