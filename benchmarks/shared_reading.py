"""The models that the benchmarks measure, and the ways to take a training step that they compare.

- `Ours`: the learner's own step on a model that `load_policy` loaded, so that it has all that the package does.
- `Plain`: transformers' `generate`, then one full pass over prompt and answer with logits at the answer's positions
  only, as TRL and ms-swift do it. The model is as transformers makes it, and the optimiser is AdamW as PyTorch makes
  it. For GRPO it reads the prompt once for each answer, in sampling and in training.
- `Released`: the passes of the code that the paper's authors released, as docs/OFFICIAL.md lists them ("passes over the
  prompt in a step"): generation; the log-probs of sampling; a student pass with graph whose result is not used; the
  teacher's pass; the pass of the loss. All of them compute logits at the answer's positions only, which favours them.

All take a step on the same answers, with the same loss and the same gradient; the teacher's pass is in all of them. The
student is a Qwen3-VL with random weights (25 M parameters of text, 10 M of vision), the teacher has three times its
size. A clip has 32 tokens a second, an answer has 16 tokens.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from video_opd.config import TrainingSettings
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.methods import Method
from video_opd.methods.grpo import GRPO
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.objectives import clipped_policy_gradient, group_advantage, policy_gradient, sampled_advantage
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.location import resolve_model
from video_opd.policy.read import Reading, collate
from video_opd.policy.token_support import TokenSupport
from video_opd.seeds import generator
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.types import AnswerGroup, Example, Prompt, Sampling, Span

NUM_ANSWER_TOKENS = 16
NUM_GRPO_ANSWERS = 8
SETTINGS = TrainingSettings(batch_size=1, learning_rate=1e-6)
"""The learning rate is the paper's: all paths still have the same weights, but for rounding, after some steps."""


def build_policy(
    *,
    vocabulary: int = 32768,
    hidden: int = 384,
    layers: int = 8,
    intermediate: int = 1024,
    vision: int = 384,
    processor: Any = None,
) -> Policy:
    """A mid-sized model with random weights; heads of 64, two of them for keys and values.

    Special tokens and the end of turn are never written, so that all answers have one length.

    Args:
        vocabulary: entries of the embedding.
        hidden: width of the language model, and with it the number of its heads.
        layers: of the language model.
        intermediate: width inside its layers.
        vision: width of the vision tower.
        processor: another than the tiny models' own.
    """
    processor = processor or AutoProcessor.from_pretrained(resolve_model("tiny-student"))
    tokenizer = processor.tokenizer
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in
           ("image_pad", "video_pad", "vision_start", "vision_end", "im_end")}  # fmt: skip
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": vocabulary, "hidden_size": hidden, "num_hidden_layers": layers, "head_dim": 64,
            "intermediate_size": intermediate, "num_attention_heads": hidden // 64, "num_key_value_heads": 2,
            "tie_word_embeddings": True,
            "eos_token_id": ids["im_end"],
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [16, 8, 8],
                                "mrope_interleaved": True},
        },
        vision_config={"depth": 4, "hidden_size": vision, "intermediate_size": 4 * vision, "num_heads": vision // 64,
                       "out_hidden_size": hidden, "num_position_embeddings": 256, "deepstack_visual_indexes": [1, 2]},
        image_token_id=ids["image_pad"], video_token_id=ids["video_pad"], vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"], tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Qwen3VLForConditionalGeneration(config).eval()
    support = TokenSupport.build(tokenizer, config)
    # Every row of the output layer counts, as with a real tokenizer, and none of the answers ends early.
    banned = torch.zeros(vocabulary, dtype=torch.bool)
    banned[: support.num_tokens] = support.banned
    banned[support.end_token_id] = True
    support = replace(support, num_tokens=vocabulary, banned=banned)
    return Policy(name="bench", model=model, processor=processor, support=support)


def load_as_package(policy: Policy) -> Policy:
    """The same weights, loaded by the package: what it changes in a model when it loads one is in its step."""
    with tempfile.TemporaryDirectory() as folder:
        policy.model.save_pretrained(folder)
        policy.processor.save_pretrained(folder)
        loaded = replace(load_policy(folder), name=policy.name, support=policy.support)
    for mine, given in zip(loaded.model.parameters(), policy.model.parameters(), strict=True):
        mine.requires_grad_(given.requires_grad)
    return loaded


def load_as_transformers(policy: Policy) -> Policy:
    """The same weights, loaded by transformers alone, as a user of it has them: in memory that maps the file."""
    with tempfile.TemporaryDirectory() as folder:
        policy.model.save_pretrained(folder)
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    for mine, given in zip(model.parameters(), policy.model.parameters(), strict=True):
        mine.requires_grad_(given.requires_grad)
    return replace(policy, model=model)


def freeze_vision(policy: Policy) -> None:
    """Train the language model only, as the paper does: the tower and its merger are frozen."""
    for name, parameter in policy.model.named_parameters():
        parameter.requires_grad_(policy.family.vision_part(name) is None)


def copy_tower(student: Policy, teacher: Policy) -> None:
    """Give the teacher the student's vision tower, as after training with a frozen one. Its merger is its own."""
    tower = {
        name: value for name, value in student.model.state_dict().items() if student.family.vision_part(name) == "tower"
    }
    teacher.model.load_state_dict(tower, strict=False)


def build_prompt(policy: Policy, seconds: int, number: int) -> Prompt:
    """Noise for frames at 2 a second, 32 tokens per pair of frames."""
    render = PromptRenderer(policy.processor, TEMPLATES["tiny"], VideoBudget(max_tokens=8192))
    count = 2 * seconds
    images = generator(0, "frames", number).integers(0, 255, (count, 128, 256, 3), dtype=np.uint8)
    times = tuple(i / 2 for i in range(count))
    frames = Frames(images=images, times_s=times, duration_s=float(seconds), indices=tuple(range(count)))
    span = (Span(1, 2),)
    return render(
        Example(id=f"p{number}", video="", query="a thing happens", spans=span, duration=float(seconds)), frames
    )


def full_logprobs(
    policy: Policy, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
) -> Tensor:
    """(answers, T) by one forward pass over prompt and answer, as a trainer without shared readings makes it.

    The answers must all have one length, T. With `distribution`: (answers, T, V), of the whole vocabulary.
    """
    (length,) = {len(answer) for group in groups for answer in group}
    rows = []
    for prompt, group in zip(prompts, groups, strict=True):
        for answer in group:
            ids = torch.tensor(answer.token_ids)
            kinds = torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)])
            rows.append(replace(prompt, input_ids=torch.cat([prompt.input_ids, ids]), mm_token_type_ids=kinds))
    batch = collate(rows, pad_token_id=policy.pad_token_id, device=policy.model.device)
    logits = policy.model(**batch, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
    logprobs = policy.support.log_softmax(logits)
    return logprobs if distribution else logprobs.gather(2, batch["input_ids"][:, -length:, None])[:, :, 0]


def generate(policy: Policy, prompts: Sequence[Prompt], count: int, length: int = NUM_ANSWER_TOKENS) -> None:
    """transformers' `generate`, every answer with a prompt of its own."""
    copies = [prompt for prompt in prompts for _ in range(count)]
    policy.model.generate(
        **collate(copies, pad_token_id=policy.pad_token_id, device=policy.model.device), max_new_tokens=length,
        min_new_tokens=length, do_sample=True, top_k=0, pad_token_id=policy.pad_token_id,
    )  # fmt: skip


class Path:
    """One way to take a step, with a student and an optimiser of its own.

    Args:
        student: trained by it; no other path trains it.
        method: with the teacher that belongs to this path.
    """

    def __init__(self, student: Policy, method: Method) -> None:
        self.student, self.method = student, method
        self.is_checked = True
        """Keep the gradient of every step, outside the measured time."""
        self.gradient = torch.empty(0)
        self.loss = self.grad_norm = self.uncounted = 0.0
        self.phases: dict[str, float] = {}
        """CPU-seconds of the last step."""

    def take(self, prompt: Prompt, answers: AnswerGroup) -> float:
        """Take a step on `answers`, which the method's writer gives; returns its CPU-seconds."""
        self.uncounted = 0.0
        began = time.process_time()
        self.step(prompt, answers)
        return time.process_time() - began - self.uncounted

    def step(self, prompt: Prompt, answers: AnswerGroup) -> None:
        """Take it, and keep its loss, the norm of its gradient, and its phases."""
        raise NotImplementedError

    def keep_gradient(self, parameters: Sequence[Tensor]) -> None:
        """Keep a copy for the comparison with another path."""
        began = time.process_time()
        if self.is_checked:
            self.gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        self.uncounted += time.process_time() - began


class Ours(Path):
    """The learner's own step: read once, answer from that reading, score on it."""

    def __init__(self, student: Policy, method: Method) -> None:
        super().__init__(student, method)
        self.learner = Learner(student, SETTINGS, total_steps=1)
        self.learner.optimizer.register_step_pre_hook(
            lambda *_: self.keep_gradient(list(self.learner.parameters.values()))
        )

    def step(self, prompt: Prompt, answers: AnswerGroup) -> None:
        """The learner's."""
        outcome = take_step(self.learner, [prompt], self.method, step=0, seed=0)
        (batch,) = outcome.batches
        for one, other in zip(batch.groups[0].answers, answers.answers, strict=True):
            assert one.token_ids == other.token_ids, "the paths trained on different answers"
        self.loss, self.grad_norm = batch.sums[-1], outcome.grad_norm
        self.phases = dict(outcome.cpu_seconds_by_phase)


class Plain(Path):
    """transformers' `generate`, and full passes over prompt and answer."""

    def __init__(self, student: Policy, method: Method) -> None:
        super().__init__(student, method)
        self.parameters = [p for p in student.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=SETTINGS.learning_rate, betas=SETTINGS.betas, weight_decay=SETTINGS.weight_decay
        )

    def step(self, prompt: Prompt, answers: AnswerGroup) -> None:
        """A pass over the prompt for every answer, in sampling and in training."""
        self.phases, self.loss, count = {}, 0.0, len(answers.answers)
        with self._time("answer"):
            generate(self.student, [prompt], count)
        before = self._make_other_passes(prompt, answers)
        with self._time("teacher"):
            advantage = self._advantage(prompt, answers)
        for row, answer in enumerate(answers):  # one by one, so that memory is that of one
            with self._time("score"):
                alone = AnswerGroup(prompt_id=prompt.id, answers=(answer,))
                logprobs = full_logprobs(self.student, [prompt], [alone])
                old = logprobs.detach() if before is None else before
                loss = self._loss(logprobs, old, advantage, row).sum()
            with self._time("backward"):
                (loss / (count * NUM_ANSWER_TOKENS)).backward()
            self.loss += float(loss.detach())
        with self._time("step"):
            self.grad_norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, SETTINGS.clip_norm))
            self.keep_gradient(self.parameters)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def _time(self, phase: str) -> Iterator[None]:
        began, uncounted = time.process_time(), self.uncounted
        yield
        spent = time.process_time() - began - (self.uncounted - uncounted)
        self.phases[phase] = self.phases.get(phase, 0.0) + spent

    def _make_other_passes(self, prompt: Prompt, answers: AnswerGroup) -> Tensor | None:  # noqa: ARG002
        """The log-probs of sampling, where a pass computes them."""
        return None

    def _advantage(self, prompt: Prompt, answers: AnswerGroup) -> Tensor:
        if isinstance(self.method, GRPO):
            return group_advantage(given_rewards([prompt], [answers]), divide_by_std=True)[0]
        assert isinstance(self.method, ReverseKLDistillation)
        (teacher,) = self.method.teacher.policies
        with torch.no_grad():
            return full_logprobs(teacher, [prompt], [answers])

    def _loss(self, logprobs: Tensor, old: Tensor, advantage: Tensor, row: int) -> Tensor:
        if isinstance(self.method, GRPO):
            return clipped_policy_gradient(logprobs, old, advantage[row].expand_as(old), 0.2)[0]
        return policy_gradient(logprobs, old, sampled_advantage(old, advantage))


class Released(Plain):
    """The passes of the authors' released code for distillation."""

    def _make_other_passes(self, prompt: Prompt, answers: AnswerGroup) -> Tensor | None:
        with self._time("sampling log-probs"), torch.no_grad():
            old = full_logprobs(self.student, [prompt], [answers])
        with self._time("unused pass"):
            full_logprobs(self.student, [prompt], [answers])
        return old


def writes(count: int, length: int = NUM_ANSWER_TOKENS) -> Callable[..., tuple[AnswerGroup, ...]]:
    """A student's own answers, all of one length."""

    def write(student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        return student.answer(reading, count=count, sampling=Sampling(max_new_tokens=length, seed=seed))

    return write


def write_answers(method: Method, student: Policy, prompt: Prompt) -> AnswerGroup:
    """The answers of the next step, all of one length.

    They are read from a copy of the clip, so that the step itself finds no features of it.
    """
    copy = replace(prompt, pixel_values=prompt.pixel_values.clone())
    (answers,) = method.write(student, student.read([copy]), 0)
    assert len({len(answer) for answer in answers}) == 1
    return answers


def given_rewards(_: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Tensor:
    """Rewards that tell a group's answers apart; what random models write names no span."""
    return torch.linspace(0, 1, len(groups[0].answers)).expand(len(groups), -1)
