"""Several micro-batches are answered in one token loop: the same answers and the same gradient, fewer passes."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import replace

import pytest
import torch
from test_smaller_pieces import is_close, make_run

from video_opd.config import TrainingSettings
from video_opd.files.run_records import MemoryNote
from video_opd.methods.grpo import GRPO
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.rewards import TaskReward
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.policy.checkpointing import checkpoint_layers
from video_opd.policy.load import Policy
from video_opd.policy.ranked_policy import DealtPrompts
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.memory_shortage import Shortage, apply_note, plan_again
from video_opd.train.micro_batches import group_pieces
from video_opd.types import flatten

SEED = 13


class Only:
    """A gate that admits some examples."""

    def __init__(self, *prompts) -> None:
        self.ids = [prompt.id for prompt in prompts]

    def is_admitted(self, prompt, group) -> bool:
        assert group.prompt_id == prompt.id
        return prompt.id in self.ids


def method_of(name: str, teacher):
    write = StudentWrites(num_answers={"exact": 2, "grpo": 3}.get(name, 1), max_new_tokens=8)
    if name == "grpo":
        return GRPO(write=write, reward=TaskReward(), reference=teacher, reference_weight=0.1)
    return ReverseKLDistillation(write=write, teacher=OneTeacher(teacher), estimator=name)


def step_of(student, method, prompts, *, gate=None, **changes):
    """The outcome of a step, the gradients that the optimiser was given, and what the student has done."""
    student = replace(student, model=copy.deepcopy(student.model), work=type(student.work)())
    changes = {"batch_size": len(prompts), "micro_batch_size": 2, "clip_norm": 1e9, "learning_rate": 1e-3} | changes
    if changes.get("gradient_checkpointing"):
        checkpoint_layers(student.model)
    learner = Learner(student, TrainingSettings(**changes), total_steps=1, gate=gate)
    seen, step = [], learner.optimizer.step
    learner.optimizer.step = lambda: (
        seen.append({n: p.grad.clone() for n, p in learner.parameters.items() if p.grad is not None}),
        step(),
    )
    return take_step(learner, prompts, method, step=0, seed=SEED), seen, student.work


def tokens_of(outcome) -> dict[str, list[tuple[int, ...]]]:
    groups = [group for batch in outcome.batches for group in batch.groups] + [group for _, group in outcome.suspended]
    return {group.prompt_id: [answer.token_ids for answer in group] for group in groups}


@pytest.fixture
def loops(monkeypatch) -> list[int]:
    """Prompts of every token loop of the student."""
    found, real = [], Policy.answer

    def answer(policy, reading, **options):
        found.append(len(reading.prompts))
        return real(policy, reading, **options)

    monkeypatch.setattr(Policy, "answer", answer)
    return found


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("name", ["sampled", "exact", "grpo"])
def test_answers_and_gradient_are_those_of_micro_batches_one_by_one(student, teacher, prompts, loops, name, keeps):
    batch, method = prompts[:7], method_of(name, teacher)
    assert len({len(prompt) for prompt in batch}) > 1
    options = {"gradient_checkpointing": keeps, "updates_per_batch": 2}
    expected, gradients, before = step_of(student, method, batch, **options)
    assert loops == [2, 2, 2, 1]
    loops.clear()
    outcome, seen, work = step_of(student, method, batch, answer_together=5, **options)
    assert loops == [4, 3]
    assert tokens_of(outcome) == tokens_of(expected)
    for one, other in zip(outcome.batches, expected.batches, strict=True):
        for mine, theirs in zip(flatten(one.groups), flatten(other.groups), strict=True):
            assert mine.sampler_logprobs == pytest.approx(theirs.sampler_logprobs, abs=1e-5)
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-5, abs=1e-6)
    assert len(seen) == len(gradients) == 2
    for mine, theirs in zip(seen, gradients, strict=True):
        for key, gradient in theirs.items():
            assert (mine[key] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-6, key
    assert (before.prompt_passes, work.prompt_passes) == (14, 14 if keeps else 21)
    assert work.tokens_written == before.tokens_written


@pytest.mark.parametrize("keeps", [True, False])
def test_the_same_answers_give_the_same_bits(student, teacher, prompts, keeps):
    """A micro-batch is scored on its own reading, so only the last bits of the sampler differ."""
    method = method_of("sampled", teacher)
    expected, (gradient,), _ = step_of(student, method, prompts[:4])
    outcome, (mine,), _ = step_of(student, method, prompts[:4], answer_together=4, gradient_checkpointing=keeps)
    assert tokens_of(outcome) == tokens_of(expected)
    if not keeps:
        assert all(torch.equal(mine[key], gradient[key]) for key in gradient)
    assert outcome.loss == expected.loss


@pytest.mark.parametrize("keeps", [True, False])
def test_in_bfloat16_the_gradient_reaches_the_weights(student, teacher, prompts, keeps):
    """Copies that a reading without gradient makes of the weights must not serve a reading with gradient."""
    rough, method = replace(student, autocast=torch.bfloat16), method_of("exact", teacher)
    options = {"gradient_checkpointing": keeps, "updates_per_batch": 2}
    expected, gradients, _ = step_of(rough, method, prompts[:6], **options)
    outcome, seen, _ = step_of(rough, method, prompts[:6], answer_together=6, **options)
    assert tokens_of(outcome) == tokens_of(expected)
    for mine, theirs in zip(seen, gradients, strict=True):
        assert mine.keys() == theirs.keys()
        apart = sum((mine[key] - theirs[key]).square().sum() for key in theirs)
        assert apart < 1e-3 * sum(gradient.square().sum() for gradient in theirs.values())


@pytest.mark.parametrize("keeps", [True, False])
def test_what_the_gate_leaves_out_is_not_read_for_the_gradient(student, teacher, prompts, monkeypatch, keeps):
    """Of the micro-batches (0, 1), (2, 3), (4, 5) one is admitted, one in part, one not at all."""
    gate, method = Only(prompts[0], prompts[1], prompts[3]), method_of("sampled", teacher)
    expected, (gradient,), _ = step_of(student, method, prompts[:6], gate=gate)
    read, real = [], Policy.read

    def watched(policy, asked, *, grad=False):
        if grad:
            read.append([prompt.id for prompt in asked])
        return real(policy, asked, grad=grad)

    monkeypatch.setattr(Policy, "read", watched)
    options = {"gradient_checkpointing": keeps, "answer_together": 6}
    outcome, (mine,), _ = step_of(student, method, prompts[:6], gate=gate, **options)
    first = [[prompt.id for prompt in prompts[at : at + 2]] for at in (0, 2, 4)]
    assert read == ([*first, [prompts[3].id]] if keeps else [first[0], [prompts[3].id]])
    assert [prompt.id for prompt, _ in outcome.suspended] == [prompts[place].id for place in (2, 4, 5)]
    assert tokens_of(outcome) == tokens_of(expected)
    assert is_close(mine, gradient)
    nothing, none, _ = step_of(student, method, prompts[:6], gate=Only(), **options)
    assert (nothing.batches, none, len(nothing.suspended)) == ((), [], 6)


def test_groups_are_what_fits_a_process(prompts):
    pieces = [tuple(prompts[at : at + 2]) for at in range(0, 8, 2)]
    assert group_pieces(pieces, 1) == [(piece,) for piece in pieces]
    assert list(map(len, group_pieces(pieces, 5))) == [2, 2]
    assert list(map(len, group_pieces(pieces, 6))) == [3, 1]
    dealt = [DealtPrompts.in_blocks([prompts[:1], prompts[1:3]]), DealtPrompts.in_blocks([prompts[3:5]])]
    assert list(map(len, group_pieces(dealt, 4))) == [2]
    assert list(map(len, group_pieces(dealt, 3))) == [1, 1]


def test_where_memory_is_short_fewer_are_answered_together_and_then_pieces_are_smaller(
    student, teacher, prompts, tmp_path, monkeypatch, caplog
):
    _, whole, take = make_run(student, teacher, tmp_path / "whole")
    expected = take(prompts[:6], step=0, seed=SEED)
    real = Policy.answer

    def answer(policy, reading, **options):
        if len(reading.prompts) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(policy, reading, **options)

    monkeypatch.setattr(Policy, "answer", answer)
    options = {"micro_batch_size": 2, "answer_together": 6}
    parts, seen, take = make_run(student, teacher, tmp_path / "small", **options)
    with caplog.at_level(logging.WARNING):
        outcome = take(prompts[:6], step=0, seed=SEED)
    assert [record.message.split(";")[0] for record in caplog.records] == [
        "step 1 ran out of memory with training.answer_together = 6",
        "step 1 ran out of memory with training.micro_batch_size = 2",
        "step 1 ran out of memory with training.answer_together = 3",
    ]
    assert outcome.num_retries == 3
    assert tokens_of(outcome) == tokens_of(expected)
    assert is_close(seen[0], whole[0])
    assert json.loads((tmp_path / "small" / "memory.json").read_text()) == {"micro_batch_size": 1, "answer_together": 1}
    again, _, _ = make_run(student, teacher, tmp_path / "small", **options)
    assert again.learner.settings.answer_together == 1, "also of a run that goes on"
    parts, _, _ = make_run(student, teacher, tmp_path / "small")
    assert parts.learner.settings.answer_together is None


def test_a_note_says_how_many_are_answered_together():
    shortage = Shortage(ids=("a", "b"), num_tokens=20, reason="full", num_together=8, is_final=False)
    note = plan_again([shortage, replace(shortage, num_together=6)], TrainingSettings(answer_together=8))
    assert note == MemoryNote(answer_together=3)
    assert apply_note(note, TrainingSettings(answer_together=8)).answer_together == 3
    assert apply_note(note, TrainingSettings(answer_together=2)).answer_together == 2
