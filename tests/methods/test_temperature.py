"""A temperature of training: by hand on three tokens, by enumeration, and through a step of the learner."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import replace

import pytest
import torch
from lottery import Lottery

from video_opd.config import TrainingSettings
from video_opd.config.recipe_file import parse_recipe
from video_opd.errors import ConfigurationError
from video_opd.methods.grpo import GRPO
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import AveragedTeachers, OneTeacher, RoutedTeachers, at_temperature
from video_opd.methods.writers import StudentWrites
from video_opd.objectives import policy_gradient, reverse_kl, sampled_advantage
from video_opd.policy.answer import truncate
from video_opd.policy.token_support import TokenSupport
from video_opd.train import build
from video_opd.train.build_method import make_method
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.step_metrics import make_metrics_row
from video_opd.types import Sampling

SEED = 5
FOUR = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log()
"""Four tokens, the most probable ones in places 1, 3, 0, 2."""


def make_support(temperature: float = 1.0, size: int = 3, banned: int | None = None) -> TokenSupport:
    mask = torch.zeros(size, dtype=torch.bool)
    if banned is not None:
        mask[banned] = True
    return TokenSupport(num_tokens=size, banned=mask, end_token_id=0).at(temperature)


def test_log_probs_at_temperature_two_by_hand():
    """Logits 0, 2 ln 2, 4 ln 2 at temperature 2 are 0, ln 2, ln 4: probabilities 1/7, 2/7, 4/7."""
    support, logits = make_support(2.0), torch.tensor([[0.0, 2 * math.log(2), 4 * math.log(2)]])
    assert support.log_softmax(logits).exp().tolist()[0] == pytest.approx([1 / 7, 2 / 7, 4 / 7])
    for token, probability in enumerate((1 / 7, 2 / 7, 4 / 7)):
        assert support.log_softmax_at(logits, torch.tensor([token])).exp().item() == pytest.approx(probability)
    without_the_first = make_support(2.0, banned=0)
    assert without_the_first.log_softmax(logits).exp().tolist()[0] == pytest.approx([0, 1 / 3, 2 / 3])


@pytest.mark.parametrize("name", ["log_softmax", "log_softmax_at"])
def test_the_gradient_at_temperature_two_by_hand(name):
    """d log p_2 / d logits = ((0, 0, 1) - p) / T = (-1/14, -2/14, 3/14)."""
    logits = torch.tensor([[0.0, 2 * math.log(2), 4 * math.log(2)]], requires_grad=True)
    support = make_support(2.0)
    value = support.log_softmax(logits)[0, 2] if name == "log_softmax" else support.log_softmax_at(
        logits, torch.tensor([2])
    )[0]  # fmt: skip
    value.backward()
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([-1 / 14, -2 / 14, 3 / 14])


def test_at_temperature_one_nothing_is_divided():
    support = make_support()
    assert support.at(1.0) is support


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [0, 1, 3]),
        ({"top_k": 9}, [0, 1, 2, 3]),
        ({"top_p": 0.4}, [1]),  # 0.5 alone is enough
        ({"top_p": 0.6}, [1, 3]),  # 0.5 is not, 0.5 + 0.3 is
        ({"top_p": 0.9}, [0, 1, 3]),
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_k": 2, "top_p": 0.6}, [1]),  # among two the first has 0.5 / 0.8 = 0.625
        ({"top_k": 3, "top_p": 0.6}, [1, 3]),  # among three it has 0.5 / 0.95 = 0.526
    ],
)
def test_the_tokens_that_a_truncation_leaves(options, kept):
    left = truncate(FOUR, Sampling(max_new_tokens=1, **options))
    assert torch.isfinite(left)[0].nonzero()[:, 0].tolist() == kept
    assert torch.equal(left[0, kept], FOUR[0, kept])


def test_tokens_as_probable_as_the_last_of_the_top_k_stay():
    equal = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).log()
    assert torch.isfinite(truncate(equal, Sampling(max_new_tokens=1, top_k=2))).all()


@pytest.mark.parametrize("temperature", [0.5, 0.9, 2.0])
def test_the_expected_update_is_the_descent_of_the_reverse_kl_of_the_tempered_distributions(temperature):
    """Over three tokens: -E[advantage * grad log p] = grad KL(p_T || q_T), by hand p (log p/q - KL) / T."""
    student = torch.tensor([[0.3, -1.1, 0.7]], requires_grad=True)
    teacher, support = torch.tensor([[-0.4, 0.9, 0.2]]), make_support(temperature)
    mine, theirs = support.log_softmax(student), support.log_softmax(teacher)
    p, gap = mine.detach().exp(), (mine - theirs).detach()
    by_hand = p * (gap - (p * gap).sum()) / temperature
    (exact,) = torch.autograd.grad(reverse_kl(mine[None], theirs[None]).sum(), student, retain_graph=True)
    losses = policy_gradient(mine, mine, sampled_advantage(mine.detach(), theirs))
    (sampled,) = torch.autograd.grad((p * losses).sum(), student)
    assert torch.allclose(exact, by_hand, atol=1e-6)
    assert torch.allclose(sampled, by_hand, atol=1e-6)
    assert by_hand.abs().max() > 0.05


def test_sampling_follows_the_policy_at_the_temperature_and_within_the_top_tokens(student, prompts):
    """4,000 first tokens of the five most probable ones at temperature 2, against their renormalised probabilities."""
    reading = student.read(prompts[:1])
    sampling = Sampling(max_new_tokens=1, seed=1, temperature=2.0, top_k=5)
    groups = student.answer(reading, count=4000, sampling=sampling)
    one = (replace(groups[0], answers=groups[0].answers[:1]),)
    truth = student.score(reading, one, distribution=True, temperature=2.0).distribution[0, 0].exp()
    top = truth.topk(5)
    assert {answer.token_ids[0] for answer in groups[0]} == set(top.indices.tolist())
    counts = torch.bincount(torch.tensor([a.token_ids[0] for a in groups[0]]), minlength=len(truth))[top.indices] / 4000
    wanted = top.values / top.values.sum()
    assert ((counts - wanted).abs() < 5 * (wanted * (1 - wanted) / 4000).sqrt()).all()
    for answer in groups[0].answers[:20]:  # log-probs are those of all tokens at this temperature
        assert answer.sampler_logprobs == pytest.approx([truth[answer.token_ids[0]].log().item()], abs=1e-5)


def test_greedy_answers_do_not_depend_on_the_temperature(student, prompts):
    reading = student.read(prompts[:2])
    plain, hot = (
        student.answer(reading, sampling=Sampling(max_new_tokens=6, greedy=True, temperature=t)) for t in (1.0, 3.0)
    )
    assert [g.answers[0].token_ids for g in plain] == [g.answers[0].token_ids for g in hot]


def take(student, method, prompts, temperature):
    student = replace(student, model=copy.deepcopy(student.model))
    settings = TrainingSettings(batch_size=4, micro_batch_size=4, learning_rate=1e-3)
    learner = Learner(student, settings, total_steps=1, temperature=temperature)
    return take_step(learner, prompts[:4], method, step=0, seed=SEED)


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_step_at_a_temperature(student, teacher, prompts, estimator):
    """Sampler, learner and teacher agree on it: the gap is rounding, the advantage that of tempered log-probs."""
    write = StudentWrites(max_new_tokens=6, temperature=0.5)
    judge = at_temperature(OneTeacher(teacher), 0.5)
    method = ReverseKLDistillation(write=write, teacher=judge, estimator=estimator)
    outcome = take(student, method, prompts, 0.5)
    (batch,) = outcome.batches
    assert make_metrics_row(outcome, student)["sampler_learner_gap"] < 1e-5
    plain, tempered = (
        [model.score(model.read(batch.prompts), batch.groups, temperature=t) for model in (student, teacher)]
        for t in (1.0, 0.5)
    )
    mask = batch.answer_mask
    wanted = (tempered[1].logprobs - tempered[0].logprobs)[mask]
    assert torch.allclose(batch.losses.advantage[mask], wanted, atol=1e-4)
    assert (wanted - (plain[1].logprobs - plain[0].logprobs)[mask]).abs().max() > 0.1
    without = take(student, method, prompts, 1.0)
    assert make_metrics_row(without, student)["sampler_learner_gap"] > 0.05


def test_grpo_at_a_temperature_begins_with_ratios_of_one_and_no_penalty(student, prompts):
    reference = replace(student, model=copy.deepcopy(student.model)).freeze()
    method = GRPO(
        write=StudentWrites(num_answers=3, max_new_tokens=6, temperature=0.7),
        reward=Lottery(),
        reference=reference,
        reference_weight=1.0,
        temperature=0.7,
    )
    (batch,) = take(student, method, prompts, 0.7).batches
    penalty = (batch.losses.loss + batch.losses.advantage)[batch.answer_mask]
    assert penalty.abs().max() < 1e-4  # the loss is -ratio * advantage + penalty
    assert batch.losses.advantage.abs().max() > 0.1
    other = take(student, replace(method, temperature=1.0), prompts, 0.7).batches[0]
    assert (other.losses.loss + other.losses.advantage)[other.answer_mask].abs().max() > 1e-2


def test_every_kind_of_teacher_scores_at_its_temperature(student, teacher, prompts):
    groups = student.answer(student.read(prompts[:2]), sampling=Sampling(max_new_tokens=4, seed=1))
    wanted = teacher.score(teacher.read(prompts[:2]), groups, temperature=0.5).logprobs
    routed = RoutedTeachers((teacher, student), lambda _: 0)
    for judge in (OneTeacher(teacher), routed, AveragedTeachers((teacher, teacher))):
        scores = at_temperature(judge, 0.5)(prompts[:2], groups)
        assert torch.allclose(scores.logprobs, wanted, atol=1e-4)
        assert at_temperature(judge, 1.0) is judge


LEAST = {
    "name": "mine",
    "student": {"model": "tiny-student"},
    "teacher": {"model": "tiny-teacher"},
    "data": {"videos": "v", "train": "t", "validation": "v"},
    "prompt": {"template": "tiny"},
}


def recipe_with(method: str = "opd", **answers):
    return parse_recipe({**LEAST, "method": {"name": method}, "answers": answers})


@pytest.mark.parametrize(
    ("method", "used"), [("opd", 0.9), ("mixture", 0.9), ("grpo", 0.9), ("op-rkd", 0.9), ("op-fkd", 0.9), ("sft", 1.0)]
)
def test_a_recipe_declares_the_temperature_once(method, used, teacher):
    recipe = recipe_with(method, temperature=0.9, top_p=0.8, top_k=20)
    made = make_method(recipe, OneTeacher(teacher))
    assert recipe.training_temperature == used
    if hasattr(made, "teacher"):
        assert made.teacher.temperature == 0.9
    if isinstance(made.write, StudentWrites):
        assert (made.write.temperature, made.write.top_p, made.write.top_k) == (0.9, 0.8, 20)


def test_every_process_of_a_job_learns_at_the_temperature(student, teacher, tmp_path):
    kept = {"s": student, "t": teacher}
    keys = {"student": ["s"], "teacher": ["t"]}
    build.build_part(kept, (recipe_with(temperature=0.9), keys, 1, tmp_path / "note", (None,)))
    assert kept["learner"].learner.temperature == 0.9
    assert kept["learner"].method.teacher.temperature == 0.9


def test_what_is_not_set_is_written_nowhere():
    recipe = recipe_with()
    written = recipe.to_toml() + recipe.grounding_defaults().model_dump_json()
    assert recipe.training_temperature == 1
    assert not any(key in written for key in ("temperature", "top_p", "top_k"))
    assert "temperature" not in recipe_with(temperature=0.9).grounding_defaults().model_dump_json()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"temperature": 0}, "temperature 0 is greedy: it samples nothing"),
        ({"temperature": -1}, "greater than or equal to 0"),
        ({"top_p": 0}, "greater than 0"),
        ({"top_p": 1.5}, "less than or equal to 1"),
        ({"top_k": 0}, "greater than or equal to 1"),
    ],
)
def test_values_that_make_no_sampling_are_refused(answers, reason):
    with pytest.raises(ConfigurationError) as raised:
        recipe_with(**answers)
    assert reason in str(raised.value)


@pytest.mark.parametrize("answers", [{"temperature": 0.9}, {"top_p": 0.9}, {"top_k": 5}])
def test_answers_of_training_at_another_temperature_are_no_scores(answers):
    tables = {
        **LEAST,
        "curriculum": {"name": "tvdf", "count": 4, "num_rounds": 2, "reuse_answers": True},
        "schedule": {"answers_kept": 32},
    }
    parse_recipe({**tables, "answers": {"temperature": 1.0, "top_p": 1.0}})
    with pytest.raises(ConfigurationError, match="reuse_answers"):
        parse_recipe({**tables, "answers": answers})


def test_a_truncation_is_warned_of_where_answers_are_sampled(caplog):
    for recipe, count in (
        (recipe_with(top_k=20), 1),
        (recipe_with(top_p=0.8), 1),
        (recipe_with(top_p=1.0, temperature=0.9), 0),
        (recipe_with("op-rkd", top_k=20), 0),
        (recipe_with(), 0),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            build._warn_of_truncation(recipe)
        assert caplog.text.count("the sampled distribution differs from the one that log-probs are of") == count
