"""Coupling, step by step: who is suspended costs nothing, and the others learn as if nobody else were there."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from video_opd.config import TrainingSettings
from video_opd.curriculum import ANCHOR, FRONTIER, Coupling
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.train.answer_gate import AnswerGate
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.step_metrics import make_answer_rows, make_metrics_row
from video_opd.types import Answer, AnswerGroup, Example, Span

SEED = 5


class Only:
    """Admits some examples."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def is_admitted(self, prompt, group) -> bool:
        assert group.prompt_id == prompt.id
        return prompt.id in self.ids


def stepped(student, teacher, prompts, gate, *, estimator="sampled", steps=1, **changes):
    """A student after some steps, and the outcome of the last."""
    student = replace(student, model=copy.deepcopy(student.model), work=copy.copy(student.work))
    settings = {"batch_size": 6, "micro_batch_size": 3, "learning_rate": 1e-3, "weight_decay": 0.1} | changes
    learner = Learner(student, TrainingSettings(**settings), total_steps=steps, gate=gate)
    method = ReverseKLDistillation(
        write=StudentWrites(max_new_tokens=8), teacher=OneTeacher(teacher), estimator=estimator
    )
    for step in range(steps):
        outcome = take_step(learner, prompts, method, step=step, seed=SEED + step)
    return student, outcome


def weights(student) -> dict[str, torch.Tensor]:
    return dict(student.model.named_parameters())


def same(one, other) -> bool:
    return all(torch.equal(weight, weights(other)[name]) for name, weight in weights(one).items())


def coupling(limit: float) -> AnswerGate:
    return AnswerGate(Coupling(update_below=limit))


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
@pytest.mark.parametrize("updates", [1, 2])
def test_a_limit_above_one_is_plain_distillation(student, teacher, prompts, estimator, updates):
    changes = {"estimator": estimator, "steps": 3, "updates_per_batch": updates}
    plain, _ = stepped(student, teacher, prompts[:6], None, **changes)
    gated, outcome = stepped(student, teacher, prompts[:6], coupling(1.1), **changes)
    assert same(plain, gated)
    assert not same(plain, student)
    assert outcome.suspended == ()


def test_a_limit_of_zero_trains_on_nothing_and_changes_nothing(student, teacher, prompts):
    read = teacher.work.prompt_passes
    gate = coupling(0.0)
    after, outcome = stepped(student, teacher, prompts[:6], gate, steps=2)
    assert same(after, student)  # no weight decay either
    assert teacher.work.prompt_passes == read
    assert outcome.batches == ()
    assert (outcome.loss, outcome.grad_norm, outcome.num_answer_tokens) == (0.0, 0.0, 0)
    assert gate.coupling.metrics()["suspended"] == 12
    row = make_metrics_row(outcome, after)
    assert row["num_answers"] == 0
    assert set(row) >= {"miou", "output_format_rate", "truncated_share"}  # what was written is known all the same
    assert [answer["suspended"] for answer in make_answer_rows(outcome, after, 9)] == [True] * 6


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
@pytest.mark.parametrize("size", [1, 2, 6])
def test_the_suspended_cost_nothing_and_the_loss_is_divided_by_all(student, teacher, prompts, estimator, size):
    """The gradient is that of the active ones alone, times their share of the scheduled answer tokens."""
    active = [prompt for place, prompt in enumerate(prompts[:6]) if place in (0, 3, 4)]
    seen: dict[str, dict[str, torch.Tensor]] = {}
    read = teacher.work.prompt_passes

    def gradients(name, chosen, gate):
        mine = replace(student, model=copy.deepcopy(student.model))
        settings = TrainingSettings(batch_size=6, micro_batch_size=size, clip_norm=1e9)
        learner = Learner(mine, settings, total_steps=1, gate=gate)
        learner.optimizer.step = lambda: seen.update({name: {n: p.grad.clone() for n, p in learner.parameters.items()}})
        method = ReverseKLDistillation(
            write=StudentWrites(max_new_tokens=8), teacher=OneTeacher(teacher), estimator=estimator
        )
        return take_step(learner, chosen, method, step=0, seed=SEED)

    gated = gradients("gated", prompts[:6], Only(*(prompt.id for prompt in active)))
    assert teacher.work.prompt_passes - read == len(active)
    alone = gradients("alone", active, None)
    assert gated.num_answer_tokens == alone.num_answer_tokens
    assert [prompt.id for prompt, _ in gated.suspended] == [p.id for p in prompts[:6] if p not in active]
    share = alone.num_answer_tokens / gated.num_scheduled_tokens
    assert 0 < share < 1
    assert gated.loss == pytest.approx(share * alone.loss, rel=1e-4)
    for name, gradient in seen["alone"].items():
        assert (seen["gated"][name] - share * gradient).norm() <= 1e-4 * gradient.norm() + 1e-8, name


def test_with_one_prompt_a_micro_batch_nothing_is_read_twice(student, teacher, prompts):
    """And in larger ones only what shares its micro-batch with somebody suspended."""
    gate = Only(prompts[0].id, prompts[1].id)
    before = student.work.prompt_passes
    one, _ = stepped(student, teacher, prompts[:4], gate, micro_batch_size=1)
    assert one.work.prompt_passes - before == 4
    whole, _ = stepped(student, teacher, prompts[:4], gate, micro_batch_size=2)
    assert whole.work.prompt_passes - before == 4
    mixed, _ = stepped(student, teacher, prompts[:4], gate, micro_batch_size=4)
    assert mixed.work.prompt_passes - before == 6


def test_the_gate_looks_at_the_mean_of_a_group(prompts, make_policy, shorter):
    policy, prompt = make_policy(0), prompts[0]
    span = prompt.example.spans[0]
    right, wrong = f"{span.start_s} - {span.end_s} seconds", "no idea"
    (group,) = policy.answer(policy.read([prompt]), count=2, sampling=sampling())
    texts = iter((right, wrong))
    group = replace(group, answers=tuple(replace(answer, text=next(texts)) for answer in group))
    assert coupling(0.51).is_admitted(prompt, group)
    assert not coupling(0.5).is_admitted(prompt, group)


@pytest.mark.parametrize(("text", "iou"), [("0 - 4 seconds, 6 - 9 seconds", 0.5), ("6 - 9 s, 0 - 4 s", 0.0)])
def test_the_gate_looks_at_the_first_span_of_an_answer(text, iou):
    example = Example(id="a", video="v", query="q", spans=(Span(0, 2), Span(20, 30)), duration=30.0)
    answer = Answer(prompt_id="a", token_ids=(0,), sampler_logprobs=(0.0,), text=text, truncated=False)
    prompt, group = SimpleNamespace(id="a", example=example), AnswerGroup(prompt_id="a", answers=(answer,))
    assert coupling(iou + 0.01).is_admitted(prompt, group)
    assert not coupling(iou).is_admitted(prompt, group)


def test_a_gate_begins_with_the_anchors_suspended_or_where_it_was_interrupted():
    kinds = {"a": ANCHOR, "b": ANCHOR, "f": FRONTIER}
    fresh, resumed = coupling(0.5), coupling(0.5)
    fresh.begin(kinds, {})
    assert fresh.coupling.suspended == {"a", "b"}
    fresh.coupling.is_admitted("a", 0.1)
    fresh.coupling.is_admitted("f", 0.9)
    resumed.begin(kinds, fresh.coupling.state_dict())
    assert resumed.coupling.suspended == {"b", "f"}


def sampling():
    from video_opd.types import Sampling

    return Sampling(max_new_tokens=4, seed=0)


def test_counts_tell_anchors_from_the_frontier_and_who_came_back():
    gate = Coupling(update_below=0.7)
    gate.begin({"a": ANCHOR, "b": ANCHOR, "f": FRONTIER})
    assert gate.state_dict() == {"suspended": ["a", "b"]}
    assert [gate.is_admitted(id, iou) for id, iou in (("a", 0.9), ("b", 0.2), ("f", 0.1))] == [False, True, True]
    counts = gate.metrics()
    assert (counts["active"], counts["suspended"], counts["reactivated"]) == (2, 1, 1)
    assert (counts["reactivated_anchor"], counts["active_frontier"], counts["suspended_anchor"]) == (1, 1, 1)
    assert counts["reactivated_frontier"] == 0
    assert not gate.is_admitted("f", 0.7)  # at the limit it is good enough
    assert gate.is_admitted("f", 0.69)
    assert gate.metrics()["reactivated_frontier"] == 1
    assert gate.metrics()["active"] == 0  # told once
    other = Coupling(update_below=0.7)
    other.load_state_dict(gate.state_dict())
    assert other.state_dict() == gate.state_dict() == {"suspended": ["a"]}
    with pytest.raises(ValueError, match="has no"):
        other.load_state_dict({"suspended": [], "mood": 1})
