"""What processes will have to agree on is asked in one place each, and the learner does what is answered there."""

from __future__ import annotations

import ast
import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import video_opd
from video_opd.config import TrainingSettings
from video_opd.errors import EngineError
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.train import learner as learner_module
from video_opd.train import loop
from video_opd.train.agreement import BatchCount, are_all_finite, count_batch, should_step
from video_opd.train.learner import Learner

SOURCE = Path(video_opd.__file__).parent


def test_tokens_are_counted_over_the_whole_batch():
    assert count_batch([3, 4], [5]) == BatchCount(trained=7, scheduled=12, answers=3)
    assert count_batch([], iter([2, 2])) == BatchCount(trained=0, scheduled=4, answers=2)


def test_a_step_needs_something_to_train_on():
    assert should_step(BatchCount(trained=1, scheduled=9, answers=3))
    assert not should_step(BatchCount(trained=0, scheduled=9, answers=3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_enough(bad):
    assert are_all_finite([1.0, -2.0, 0.0])
    assert not are_all_finite([1.0, bad])


@pytest.fixture
def learner(student) -> Learner:
    settings = TrainingSettings(batch_size=4, micro_batch_size=2, learning_rate=1e-3, clip_norm=1e9)
    return Learner(replace(student, model=copy.deepcopy(student.model)), settings, total_steps=1)


@pytest.fixture
def method(teacher) -> ReverseKLDistillation:
    return ReverseKLDistillation(write=StudentWrites(max_new_tokens=8), teacher=OneTeacher(teacher))


def weights(learner: Learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in learner.parameters.values()]


def test_no_step_is_taken_where_the_answer_is_no(learner, method, prompts, monkeypatch):
    before = weights(learner)
    monkeypatch.setattr(loop, "should_step", lambda tokens: False)
    outcome = loop.take_step(learner, prompts[:4], method, step=0, seed=0)
    assert outcome.grad_norm == 0
    assert all(map(torch.equal, before, weights(learner)))
    assert all(p.grad is None for p in learner.parameters.values())


def test_the_gradient_is_divided_by_the_tokens_of_all(learner, method, prompts, monkeypatch):
    """As if another process had as many answer tokens as this one."""

    def doubled(trained, suspended) -> BatchCount:
        return BatchCount(*(2 * count for count in count_batch(trained, suspended)))

    student = replace(learner.student, model=copy.deepcopy(learner.student.model))
    other = Learner(student, learner.settings, total_steps=1)
    plain = loop.take_step(learner, prompts[:4], method, step=0, seed=1)
    monkeypatch.setattr(loop, "count_batch", doubled)
    shared = loop.take_step(other, prompts[:4], method, step=0, seed=1)
    assert plain.grad_norm > 0
    assert shared.grad_norm == pytest.approx(plain.grad_norm / 2, rel=1e-4)
    assert shared.loss == pytest.approx(plain.loss / 2, rel=1e-4)


@pytest.mark.parametrize(("question", "what"), [(0, "loss"), (1, "gradient")])
def test_no_weight_moves_where_another_process_has_a_number_that_is_not_finite(
    question, what, learner, method, prompts, monkeypatch
):
    before, asked = weights(learner), []

    def answer(values) -> bool:
        asked.append(list(values))
        return len(asked) - 1 != question

    monkeypatch.setattr(learner_module, "are_all_finite", answer)
    with pytest.raises(EngineError, match=f"the {what} is not finite on examples of another process"):
        loop.take_step(learner, prompts[:4], method, step=0, seed=0)
    assert [len(values) for values in asked] == [2, 1][: question + 1]  # the losses of both micro-batches, the norm
    assert all(map(torch.equal, before, weights(learner)))


def test_the_error_names_the_examples_of_the_loss_that_is_not_finite(learner, method, prompts):
    class BrokenOnOne(ReverseKLDistillation):
        def losses(self, learner, behaviour_logprobs, judgement):
            good = super().losses(learner, behaviour_logprobs, judgement)
            is_bad = learner.answers[0].prompt_id == prompts[2].id
            return replace(good, loss=good.loss * float("inf")) if is_bad else good

    broken = BrokenOnOne(write=method.write, teacher=method.teacher)
    with pytest.raises(EngineError, match=rf"loss is (nan|-?inf) on examples {prompts[2].id}, {prompts[3].id}:"):
        loop.take_step(learner, prompts[:4], broken, step=0, seed=0)


def moves_of_a_module(path: Path) -> list[int]:
    """Lines in which a whole model goes to a device: `x.model.to(…)`, `module.cuda()`, `policy.to(…)`."""
    holders = {"model", "module", "policy", "student", "teacher", "reference"}
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"to", "cuda", "cpu", "to_empty"}
        and ast.unparse(node.func.value).rpartition(".")[2] in holders
    ]


def test_only_the_loader_moves_a_whole_model():
    """What shards a model finds one place to do it."""
    moving = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if moves_of_a_module(path)}
    assert moving == {"policy/load.py"}
