"""What a training step costs at the real size: a Qwen3-VL-2B learns from a Qwen3-VL-8B, both with random weights.

The learner, the policies and the methods are the package's own, as `video-opd train recipes/qwen3-vl-2b-from-8b.toml`
puts them together: float32 weights under AdamW, bfloat16 arithmetic, vision frozen, a bfloat16 teacher. Beside them the
plain path: `generate`, then a full pass over prompt and answer for every answer.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from models import build_policy, build_prompt, copies, processor_of, train_language_model_only
from record import Record, gib, release_memory, synchronize, timed
from torch import Tensor

from shared_reading import full_logprobs, generate, given_rewards
from video_opd.config import TrainingSettings
from video_opd.methods import Method
from video_opd.methods.grpo import GRPO
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.writers import StudentWrites
from video_opd.objectives import (
    clipped_policy_gradient,
    group_advantage,
    policy_gradient,
    reverse_kl,
    sampled_advantage,
)
from video_opd.policy.load import Policy
from video_opd.train import learner as learner_module
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.stopwatch import Stopwatch
from video_opd.types import AnswerGroup, Prompt, TokenScores

ANSWER_TOKENS = 20
REHEARSED_TOKENS = 3
NUM_GRPO_ANSWERS = 8

SHORT, MIDDLE, LONGEST = 0, 1, 2
"""Places in the list of lengths."""

PLAN = (
    ("shared", "opd", MIDDLE, 1),
    ("shared", "opd", LONGEST, 1),
    ("plain", "opd", SHORT, 1),
    ("plain", "opd", MIDDLE, 1),
    ("plain", "opd", LONGEST, 1),
    ("shared", "opd-exact", MIDDLE, 1),
    ("shared", "grpo", MIDDLE, 1),
    ("plain", "grpo", MIDDLE, 1),
    ("shared", "opd", SHORT, 4),
    ("shared", "opd", MIDDLE, 4),
    ("plain", "opd", SHORT, 4),
    ("shared", "grpo", SHORT, 1),
    ("plain", "grpo", SHORT, 1),
    ("shared", "grpo", LONGEST, 1),
    ("plain", "opd-exact", MIDDLE, 1),
)
"""Path, method, length of the prompt, prompts read together; what matters most comes first."""

peaks: dict[str, int] = {}
"""Most bytes allocated at once, by phase of the newest step."""


class WatchingMemory(Stopwatch):
    """The learner's stopwatch, which also notes each phase's peak of memory."""

    @contextmanager
    def time_phase(self, name: str) -> Iterator[None]:
        """Seconds as before, and `peaks[name]`."""
        with super().time_phase(name), peak(name):
            yield


@contextmanager
def peak(name: str) -> Iterator[None]:
    """Note the most memory in use at once inside."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.reset_peak_memory_stats()
    try:
        yield
    finally:
        peaks[name] = max(peaks.get(name, 0), torch.cuda.max_memory_allocated())


@dataclass(eq=False)
class TimedTeacher:
    """One teacher, whose reading and scoring are timed apart."""

    policy: Policy
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The one."""
        return (self.policy,)

    def __call__(
        self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup], *, distribution: bool = False
    ) -> TokenScores:
        """As `OneTeacher` does it."""
        with timed(self.seconds, "teacher_read"):
            reading = self.policy.read(prompts)
        with timed(self.seconds, "teacher_score"):
            scores = self.policy.score(reading, groups, distribution=distribution)
        self.policy.rest()
        return scores


@dataclass(eq=False)
class VisionClock:
    """Seconds in a model's vision part, by hooks on it."""

    seconds: dict[str, float]
    name: str

    def watch(self, policy: Policy) -> list[Any]:
        """Hook it; returns the handles."""
        visual = policy.model.model.visual
        return [visual.register_forward_pre_hook(self._enter), visual.register_forward_hook(self._leave)]

    def _enter(self, *_: Any) -> None:
        self._inside = timed(self.seconds, self.name)
        self._inside.__enter__()

    def _leave(self, *_: Any) -> None:
        self._inside.__exit__(None, None, None)


@dataclass(eq=False)
class Bench:
    """Student, teacher and learner, and steps by both paths."""

    student: Policy
    teacher: Policy
    learner: Learner
    seconds: dict[str, float] = field(default_factory=dict)
    """Of the newest step, beside the learner's own phases."""
    written: dict[Any, tuple[AnswerGroup, ...]] = field(default_factory=dict)
    """What `write_beforehand` wrote."""

    def method(self, name: str) -> Method:
        """`opd`, `opd-exact` or `grpo`, as a recipe makes them."""
        if name == "grpo":
            return GRPO(write=self._writes(NUM_GRPO_ANSWERS), reward=given_rewards)
        teacher = TimedTeacher(self.teacher, self.seconds)
        estimator = "exact" if name == "opd-exact" else "sampled"
        return ReverseKLDistillation(write=self._writes(1), teacher=teacher, estimator=estimator)

    def _writes(self, count: int) -> StudentWrites:
        return StudentWrites(num_answers=count, max_new_tokens=ANSWER_TOKENS)

    def shared(self, name: str, prompts: Sequence[Prompt], seed: int = 0) -> dict[str, float]:
        """The learner's own step."""
        return take_step(self.learner, prompts, self.method(name), step=0, seed=seed).seconds_by_phase

    def plain(self, name: str, prompts: Sequence[Prompt], seed: int = 0) -> dict[str, float]:
        """`generate`, the teacher's full pass, the student's full pass for every answer, its backward pass, the update.

        Trained on are answers written beforehand, so that both paths train on the same ones. Writing them is no part of
        the step: the first step, which warms up, does it.
        """
        count = NUM_GRPO_ANSWERS if name == "grpo" else 1
        groups = self.write_beforehand(prompts, count, seed)
        watch = WatchingMemory(self.student.model.device)
        with watch.time_phase("answer"), self.student.precision():
            generate(self.student, prompts, count, ANSWER_TOKENS)
        size = self.learner.settings.micro_batch_size
        for start in range(0, len(prompts), size):
            piece = slice(start, start + size)
            self._add_plain_gradient(watch, name, prompts[piece], groups[piece])
        with watch.time_phase("step"):
            num_tokens = count * len(prompts) * ANSWER_TOKENS
            self.learner.begin([])
            self.learner.update([], num_tokens, step=0)
        return dict(watch.seconds)

    def _add_plain_gradient(
        self, watch: WatchingMemory, name: str, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]
    ) -> None:
        """The passes of a micro-batch behind `generate`."""
        with watch.time_phase("teacher"):
            judged = self._judged(name, prompts, groups)
        for row in range(len(groups[0].answers)):  # one answer a prompt at a time, so that memory is that of one
            alone = [AnswerGroup(prompt_id=g.prompt_id, answers=(g.answers[row],)) for g in groups]
            with watch.time_phase("score"), self.student.precision():
                logprobs = full_logprobs(self.student, prompts, alone, distribution=name == "opd-exact")
                loss = _plain_loss(name, logprobs, judged, row)
            with watch.time_phase("backward"):
                loss.backward()
            del logprobs, loss

    def write_beforehand(self, prompts: Sequence[Prompt], count: int = 1, seed: int = 0) -> tuple[AnswerGroup, ...]:
        """The answers that the plain path trains on, written once for each batch."""
        key = (tuple((prompt.id, len(prompt)) for prompt in prompts), count, seed)
        if key not in self.written:
            self.written[key] = self.answers(prompts, count, seed)
        return self.written[key]

    def answers(self, prompts: Sequence[Prompt], count: int, seed: int) -> tuple[AnswerGroup, ...]:
        """Those of the learner's own step with that seed."""
        return self._writes(count)(self.student, self.student.read(prompts), seed)

    @torch.no_grad()
    def _judged(self, name: str, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Tensor:
        if name == "grpo":
            return group_advantage(given_rewards(prompts, groups), divide_by_std=True).to(self.student.model.device)
        self.teacher.wake()
        with self.teacher.precision():
            found = full_logprobs(self.teacher, prompts, groups, distribution=name == "opd-exact")
        self.teacher.rest()
        return found


def _plain_loss(name: str, logprobs: Tensor, judged: Tensor, row: int) -> Tensor:
    mine = logprobs.detach()
    if name == "grpo":
        return clipped_policy_gradient(logprobs, mine, judged[:, row, None].expand_as(mine), 0.2)[0].sum()
    if name == "opd-exact":
        return reverse_kl(logprobs, judged).sum()
    return policy_gradient(logprobs, mine, sampled_advantage(mine, judged)).sum()


def make_bench(record: Record, device: str, tokenizer: Path | None, *, rehearse: bool) -> tuple[Bench, Any]:
    """The models, and what they take before the first step."""
    processor = processor_of(tokenizer)
    sizes = ("small", "small") if rehearse else ("2B", "8B")
    seconds: dict[str, float] = {}
    with timed(seconds, "build_student"):
        student = build_policy(sizes[0], processor, device=device, weights=torch.float32, autocast=torch.bfloat16)
    train_language_model_only(student)
    with timed(seconds, "build_teacher"):
        teacher = build_policy(sizes[1], processor, device=device, weights=torch.bfloat16, autocast=None).freeze()
    settings = TrainingSettings(batch_size=1, micro_batch_size=1, learning_rate=1e-6)
    learner = Learner(student, settings, total_steps=1)
    record["models"] = {
        "student_parameters": sum(p.numel() for p in student.model.parameters()),
        "trained_parameters": sum(p.numel() for p in learner.parameters.values()),
        "teacher_parameters": sum(p.numel() for p in teacher.model.parameters()),
        "student_gib": gib(student.num_bytes), "teacher_gib": gib(teacher.num_bytes),
        **{name: round(value, 2) for name, value in seconds.items()},
        "tokenizer": "Qwen3-VL's" if tokenizer else "the tiny models'",
    }  # fmt: skip
    return Bench(student, teacher, learner), processor


Step = Callable[[], dict[str, float]]
"""Takes a step, and returns its seconds by phase."""


def measured(bench: Bench, step: Step, repeats: int, *, warm_up: Step | None = None) -> dict[str, Any]:
    """Medians over a few steps after one that warms up: seconds by phase, peaks by phase, in all.

    Args:
        bench: whose steps they are.
        step: that is measured.
        repeats: how often.
        warm_up: taken first, in place of the step itself.
    """
    rows, totals = [], []
    for number in range(repeats + 1):
        bench.seconds.clear()
        peaks.clear()
        release_memory() if number == 0 else None
        whole: dict[str, float] = {}
        with timed(whole, "step"):
            phases = (warm_up or step)() if number == 0 else step()
        if number:
            rows.append(phases | bench.seconds)
            totals.append(whole["step"])
    found: dict[str, Any] = {
        "seconds": statistics.median(totals),
        "phases": {name: round(statistics.median(row[name] for row in rows), 4) for name in rows[0]},
    }
    if peaks:
        found["peak_gib"] = {name: gib(value) for name, value in peaks.items()}
        found["reserved_gib"] = gib(torch.cuda.max_memory_reserved())
    return found


def gradients_agree(bench: Bench, prompts: Sequence[Prompt]) -> dict[str, float]:
    """Log-probs of the same answers and their gradient, from a reading and by a full pass, in bfloat16 arithmetic.

    Of the log-probs themselves: two random models hardly differ, so that the gradient of a KL between them is noise.
    """
    student, names = bench.student, list(bench.learner.parameters)
    groups = bench.answers(prompts, 1, 0)
    found = []
    for shared in (True, False):
        with student.precision():
            if shared:
                logprobs = student.score(student.read(prompts, grad=True), groups, grad=True).logprobs
            else:
                logprobs = full_logprobs(student, prompts, groups)
        logprobs.sum().backward()
        gradients = [
            p.grad for p in bench.learner.parameters.values() if p.grad is not None
        ]  # zero_grad lets go of them
        found.append((logprobs.detach().cpu(), gradients))
        bench.learner.optimizer.zero_grad(set_to_none=True)
    (ours, our_gradients), (plain, plain_gradients) = found
    pairs = list(zip(our_gradients, plain_gradients, strict=True))
    difference = sum(float((one - other).square().sum(dtype=torch.float64)) for one, other in pairs)
    size = sum(float(other.square().sum(dtype=torch.float64)) for _, other in pairs)
    sampler = torch.tensor([answer.sampler_logprobs for group in groups for answer in group])
    return {
        "logprob_gap_mean": float((ours - plain).abs().mean()), "logprob_gap_max": float((ours - plain).abs().max()),
        "sampler_learner_gap_mean": float((sampler - ours).abs().mean()),
        "gradient_relative_difference": (difference / size) ** 0.5, "tensors": len(names),
    }  # fmt: skip


def measure(record: Record, device: str, *, rehearse: bool, tokenizer: Path | None) -> None:
    """Steps of growing prompts, then of several prompts read together."""
    if rehearse:
        global ANSWER_TOKENS
        ANSWER_TOKENS = REHEARSED_TOKENS
    learner_module.Stopwatch = WatchingMemory  # type: ignore[misc]
    bench, processor = make_bench(record, device, tokenizer, rehearse=rehearse)
    lengths = (64, 96, 128) if rehearse else (1024, 4096, 8192)
    repeats = 1 if rehearse else 3
    template = "timelens" if tokenizer else "tiny"
    vision = {"student": VisionClock(bench.seconds, "vision_student"),
              "teacher": VisionClock(bench.seconds, "vision_teacher")}  # fmt: skip
    vision["student"].watch(bench.student)
    vision["teacher"].watch(bench.teacher)
    prompts: dict[int, Prompt] = {}

    def prompt_of(length: int) -> Prompt:
        if length not in prompts:
            seconds: dict[str, float] = {}
            with timed(seconds, "render"):
                prompts[length] = build_prompt(processor, length, template=template)
            record[f"prompt of {length}"] = {
                "tokens": len(prompts[length]), "video_tokens": prompts[length].num_video_tokens,
                "pixel_mib": round(prompts[length].pixel_values.numel() * 4 / 2**20, 1),
                "seconds_to_render": round(seconds["render"], 3),
            }  # fmt: skip
        return prompts[length]

    def attempt(path: str, method: str, length: int, together: int = 1) -> Any:
        batch = copies(prompt_of(length), together)
        size = {"batch_size": together, "micro_batch_size": together}
        bench.learner.settings = bench.learner.settings.model_copy(update=size)
        step = bench.shared if path == "shared" else bench.plain
        name = f"{method}, {path}, {length} video tokens, {together} together"
        found = record.attempt(name, lambda: measured(bench, lambda: step(method, batch), repeats))
        if found is None:  # what a failed step left behind
            bench.learner.optimizer.zero_grad(set_to_none=True)
            release_memory()
        return found

    # The update is part of every step, so AdamW's moments are there from the first one on.
    attempt("shared", "opd", lengths[0])
    record["resident_gib"] = gib(torch.cuda.memory_allocated()) if torch.cuda.is_available() else None
    record.attempt("gradients at real size", lambda: gradients_agree(bench, [prompt_of(lengths[0])]))
    for number, (path, method, length, together) in enumerate(PLAN):
        if rehearse and any((p, m, t) == (path, method, together) for p, m, _, t in PLAN[:number]):
            continue
        found = attempt(path, method, lengths[length], together)
        if found is None and (path, method, length, rehearse) == ("shared", "opd", LONGEST, False):
            for shorter in (7168, 6144, 5120):  # the largest that fits
                if attempt(path, method, shorter) is not None:
                    break
    synchronize()
