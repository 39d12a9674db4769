"""A teacher that is partly right: groups that the outcome contradicts, and answers that outrun the teacher."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from video_opd.config import TrainingSettings
from video_opd.config.recipe_file import parse_recipe
from video_opd.errors import ConfigurationError
from video_opd.methods.ablation import SpoiledTeacher
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.outcome_check import OutcomeChecked
from video_opd.methods.prefix_cut import PrefixCut
from video_opd.methods.rewards import TaskReward
from video_opd.methods.teachers import OneTeacher, replace_distribution
from video_opd.methods.writers import StudentWrites
from video_opd.objectives import mean_advantage, sampled_advantage, supervised_prefix, teacher_margin
from video_opd.train.build import make_method
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.step_metrics import make_metrics_row
from video_opd.types import flatten

SEED = 5
NUM_PROMPTS, NUM_ANSWERS = 4, 3
WRITE = StudentWrites(num_answers=NUM_ANSWERS, max_new_tokens=6)
LONG = StudentWrites(num_answers=NUM_ANSWERS, max_new_tokens=20)


@pytest.fixture(scope="module")
def teacher(make_policy):
    return OneTeacher(make_policy(1).freeze())


@pytest.fixture
def student(make_policy):
    return make_policy(0)


class AsTheTeacherSays(TaskReward):
    """Rewards in the order of the teacher's scores, but for some prompts, where it is the other way round."""

    teacher: OneTeacher
    contradicted: tuple[str, ...]
    nearly: tuple[str, ...]
    """Prompts whose two worst answers change places: most pairs still agree."""

    def __call__(self, prompts, groups):
        theirs = self.teacher(prompts, groups)
        rows = []
        for place, group in enumerate(groups):
            own = slice(place * len(group.answers), (place + 1) * len(group.answers))
            mine = torch.zeros_like(theirs.logprobs[own])
            for row, answer in enumerate(group):
                mine[row, : len(answer)] = torch.tensor(answer.sampler_logprobs)
            scores = mean_advantage(theirs.logprobs[own] - mine, theirs.answer_mask[own])[:, 0]
            sign = -1 if group.prompt_id in self.contradicted else 1
            ranks = (sign * scores).argsort().argsort()
            swapped = torch.tensor([1, 0, 2])[ranks] if group.prompt_id in self.nearly else ranks
            rows.append(swapped / len(scores))
        return torch.stack(rows)


def reward_contradicting(teacher, prompts, nearly=()) -> AsTheTeacherSays:
    reward = AsTheTeacherSays()
    object.__setattr__(reward, "teacher", teacher)
    object.__setattr__(reward, "contradicted", tuple(prompt.id for prompt in prompts))
    object.__setattr__(reward, "nearly", tuple(prompt.id for prompt in nearly))
    return reward


def distillation(teacher, estimator="sampled", write=WRITE, **changes):
    return ReverseKLDistillation(write=write, teacher=teacher, estimator=estimator, **changes)


def step(student, method, prompts, micro_batch_size=8):
    """The gradient of one step, before the optimiser, and the step's outcome."""
    student = replace(student, model=copy.deepcopy(student.model))
    settings = TrainingSettings(batch_size=8, micro_batch_size=micro_batch_size, clip_norm=1e9, learning_rate=1e-3)
    learner = Learner(student, settings, total_steps=1)
    seen: dict[str, torch.Tensor] = {}
    learner.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in learner.parameters.items()})
    return seen, take_step(learner, prompts, method, step=0, seed=SEED)


def assert_proportional(one, other, factor=1.0):
    assert max(g.norm() for g in one.values()) > 1e-4
    for name in one:
        assert (factor * one[name] - other[name]).norm() <= 1e-4 * other[name].norm() + 1e-6, name


def num_tokens(outcome) -> int:
    return outcome.num_answer_tokens


class TestOutcomeChecked:
    """What contradicts the outcome is not learnt from, or is put in order; the rest is as without."""

    @pytest.mark.parametrize("estimator", ["sampled", "baseline", "exact"])
    def test_a_masked_group_gives_no_gradient_and_the_others_theirs(self, student, teacher, prompts, estimator):
        """The gradient is that of the other prompts alone, divided by the tokens of all."""
        prompts, inner = prompts[:NUM_PROMPTS], distillation(teacher, estimator)
        reward = reward_contradicting(teacher, prompts[1:3])
        checked, outcome = step(student, OutcomeChecked(method=inner, reward=reward, remedy="mask"), prompts)
        rest, of_rest = step(student, inner, [prompts[0], prompts[3]])
        assert_proportional(rest, checked, num_tokens(of_rest) / num_tokens(outcome))
        (batch,) = outcome.batches
        masked = batch.losses.advantage.reshape(NUM_PROMPTS, -1).abs().amax(dim=1)
        assert (masked[[1, 2]] == 0).all()
        assert (masked[[0, 3]] > 0).all()
        assert batch.losses.contradicted.flatten().tolist() == [False, True, True, False]
        row = make_metrics_row(outcome, student)
        assert row["groups_contradicted"] == 2
        assert row["reward"] == pytest.approx(1 / 3)
        assert "groups_contradicted" not in make_metrics_row(of_rest, student)

    @pytest.mark.parametrize("remedy", ["mask", "shift"])
    def test_where_the_outcome_agrees_on_the_whole_nothing_changes(self, student, teacher, prompts, remedy):
        inner = distillation(teacher)
        reward = reward_contradicting(teacher, [], nearly=prompts[:2])
        method = OutcomeChecked(method=inner, reward=reward, remedy=remedy)
        checked, outcome = step(student, method, prompts[:NUM_PROMPTS])
        plain, of_plain = step(student, inner, prompts[:NUM_PROMPTS])
        assert_proportional(plain, checked)
        assert torch.equal(outcome.batches[0].losses.advantage, of_plain.batches[0].losses.advantage)
        assert make_metrics_row(outcome, student)["groups_contradicted"] == 0

    @pytest.mark.parametrize("estimator", ["sampled", "baseline"])
    def test_a_shift_sorts_what_is_contradicted_and_keeps_the_sum(self, student, teacher, prompts, estimator):
        prompts, inner = prompts[:NUM_PROMPTS], distillation(teacher, estimator)
        reward = reward_contradicting(teacher, prompts[1:3])
        shifted, outcome = step(student, OutcomeChecked(method=inner, reward=reward, remedy="shift"), prompts)
        plain, of_plain = step(student, inner, prompts)
        (batch,), (before,) = outcome.batches, of_plain.batches
        mask = batch.answer_mask
        added = (batch.losses.advantage - before.losses.advantage) * mask
        by_group = added.reshape(NUM_PROMPTS, -1)
        assert (by_group[[0, 3]] == 0).all()
        assert (by_group[[1, 2]].abs().amax(dim=1) > 0.01).all()
        assert torch.allclose(by_group.sum(dim=1), torch.zeros(NUM_PROMPTS), atol=1e-3)
        for row, own in zip(added, mask, strict=True):
            assert torch.allclose(row[own], row[0].expand(int(own.sum())), atol=1e-5), "one constant an answer"
        advantage = sampled_advantage(batch.behaviour_logprobs, batch.judgement.teacher.logprobs) + added
        scores = mean_advantage(advantage, mask).reshape(NUM_PROMPTS, NUM_ANSWERS)
        order = batch.judgement.rewards.argsort(dim=1)
        assert (scores.gather(1, order).diff(dim=1) > -1e-4).all()
        assert any((plain[n] - shifted[n]).norm() > 1e-2 * plain[n].norm() for n in plain)
        # The gradient is that of the advantage that was recorded.
        mine = replace(student, model=copy.deepcopy(student.model))
        logprobs = mine.score(mine.read(prompts, grad=True), batch.groups, grad=True).logprobs
        (-(batch.losses.advantage * logprobs * mask).sum() / num_tokens(outcome)).backward()
        assert_proportional({n: p.grad for n, p in mine.model.named_parameters()}, shifted)

    @pytest.mark.parametrize("remedy", ["mask", "shift"])
    def test_micro_batches_change_nothing(self, student, teacher, prompts, remedy):
        reward = reward_contradicting(teacher, prompts[1:3])
        method = OutcomeChecked(method=distillation(teacher), reward=reward, remedy=remedy)
        whole, _ = step(student, method, prompts[:NUM_PROMPTS])
        split, outcome = step(student, method, prompts[:NUM_PROMPTS], micro_batch_size=1)
        assert_proportional(whole, split)
        assert make_metrics_row(outcome, student)["groups_contradicted"] == 2


@pytest.fixture(scope="module")
def fading(make_policy):
    """It wants what the student finds most probable, by 6 nats, and from the twelfth token of every answer nothing."""
    return Fading(OneTeacher(make_policy(0).freeze()), TestPrefixCut.PLACE)


class Fading:
    """A teacher that from some token of every answer on prefers nothing: all that is possible is equally likely."""

    def __init__(self, teacher, place):
        self.teacher, self.policies, self.place = teacher, teacher.policies, place

    def __call__(self, prompts, groups, *, distribution=False):
        scores = self.teacher(prompts, groups, distribution=True)
        possible = torch.where(scores.distribution > -1e30, 0.0, scores.distribution)
        liked = torch.nn.functional.one_hot(scores.distribution.argmax(dim=-1), possible.shape[-1])
        before = (torch.arange(possible.shape[1]) < self.place)[None, :, None]
        faded = replace_distribution(scores, torch.log_softmax(possible + 6.0 * liked * before, dim=-1))
        return faded if distribution else replace(faded, distribution=None)


class TestPrefixCut:
    """Nothing is learnt behind the change point, and everything before it as without."""

    PLACE = 11

    def cut(self, teacher, estimator="sampled", **changes):
        return PrefixCut(method=distillation(teacher, estimator, LONG, in_full=True, **changes))

    @pytest.mark.parametrize("estimator", ["sampled", "baseline", "exact"])
    def test_exactly_the_tokens_behind_the_fall_cost_nothing(self, student, fading, prompts, estimator):
        method = self.cut(fading, estimator)
        _, outcome = step(student, method, prompts[:2])
        _, plain = step(student, method.method, prompts[:2])
        (batch,), (before,) = outcome.batches, plain.batches
        long = batch.answer_mask.sum(dim=1) >= self.PLACE + 4
        assert long.any()
        expected = batch.answer_mask.clone()
        expected[long, self.PLACE :] = False
        assert torch.equal(batch.losses.supervised, expected)
        for after, one in ((batch.losses.loss, before.losses.loss), (batch.losses.advantage, before.losses.advantage)):
            assert (after[batch.answer_mask & ~expected] == 0).all()
            assert torch.allclose(after[expected], one[expected], atol=1e-5)
            assert (one[batch.answer_mask & ~expected].abs() > 1e-3).any()
        share = 1 - expected.sum().item() / batch.answer_mask.sum().item()
        assert 0.2 < share < 0.6
        assert make_metrics_row(outcome, student)["cut_share"] == pytest.approx(share)
        assert "cut_share" not in make_metrics_row(plain, student)
        assert outcome.num_answer_tokens == plain.num_answer_tokens, "what is cut still counts as tokens of the batch"

    def test_the_gradient_is_that_of_the_prefix(self, student, fading, prompts):
        cut, outcome = step(student, self.cut(fading), prompts[:2])
        (batch,) = outcome.batches
        mine = replace(student, model=copy.deepcopy(student.model))
        logprobs = mine.score(mine.read(prompts[:2], grad=True), batch.groups, grad=True).logprobs
        loss = -(batch.losses.advantage * logprobs)[batch.losses.supervised].sum() / batch.answer_mask.sum()
        loss.backward()
        assert_proportional({n: p.grad for n, p in mine.model.named_parameters()}, cut)

    def test_what_is_cut_is_what_the_margins_say(self, student, teacher, prompts):
        method = self.cut(teacher)
        reading = student.read(prompts[:2])
        groups = method.write(student, reading, SEED)
        learner = student.score(reading, groups, distribution=True)
        judgement = method.judge(prompts[:2], groups)
        losses = method.losses(learner, learner.logprobs, judgement)
        margin = teacher_margin(learner.distribution, judgement.teacher.distribution)
        assert torch.equal(losses.supervised, supervised_prefix(margin, learner.answer_mask))
        assert method.needs_distribution

    def test_micro_batches_change_nothing(self, student, fading, prompts):
        method = self.cut(fading)
        whole, one = step(student, method, prompts[:4])
        split, other = step(student, method, prompts[:4], micro_batch_size=1)
        assert_proportional(whole, split)
        shares = [make_metrics_row(outcome, student)["cut_share"] for outcome in (one, other)]
        assert shares[0] == pytest.approx(shares[1])

    def test_several_updates_on_one_batch(self, student, fading, prompts):
        settings = TrainingSettings(batch_size=4, micro_batch_size=2, learning_rate=1e-4, updates_per_batch=2)
        mine = replace(student, model=copy.deepcopy(student.model))
        outcome = take_step(Learner(mine, settings, total_steps=1), prompts[:4], self.cut(fading), step=0, seed=SEED)
        assert 0 < make_metrics_row(outcome, mine)["cut_share"] < 1


def test_the_outcome_check_looks_at_what_is_still_supervised(student, fading, prompts):
    inner = PrefixCut(method=distillation(fading, write=LONG, in_full=True))
    method = OutcomeChecked(method=inner, reward=reward_contradicting(fading, prompts[:2]), remedy="shift")
    _, outcome = step(student, method, prompts[:2])
    (batch,) = outcome.batches
    behind = batch.answer_mask & ~batch.losses.supervised
    assert behind.any()
    assert (batch.losses.advantage[behind] == 0).all()
    row = make_metrics_row(outcome, student)
    assert row["cut_share"] > 0
    assert "groups_contradicted" in row
    assert len(flatten(batch.groups)) == 2 * NUM_ANSWERS


LEAST = {
    "name": "least",
    "student": {"model": "a/b"},
    "teacher": {"model": "c/d"},
    "data": {"videos": "videos", "train": "train.jsonl", "validation": "validation.jsonl"},
}


def method_of(teacher, **table):
    return make_method(parse_recipe({**LEAST, "method": {"name": "opd", **table}}), teacher)


def test_the_recipe_asks_for_both(teacher):
    plain = method_of(teacher)
    assert isinstance(plain, ReverseKLDistillation)
    assert not plain.needs_distribution
    cut = method_of(teacher, prefix_cut=True)
    assert isinstance(cut, PrefixCut)
    assert cut.method.needs_distribution
    masked = method_of(teacher, outcome_check="mask", num_answers=4, estimator="exact")
    assert isinstance(masked, OutcomeChecked)
    assert masked.remedy == "mask"
    assert masked.write.num_answers == 4
    both = method_of(teacher, outcome_check="shift", num_answers=4, prefix_cut=True, ablation="shuffled")
    assert isinstance(both.method, PrefixCut)
    assert isinstance(both.method.method, SpoiledTeacher)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"outcome_check": "mask"},
            r"outcome_check = mask compares several answers to one prompt, and each prompt has only one; .* such as",
        ),
        ({"outcome_check": "shift", "num_answers": 4, "estimator": "exact"}, "estimator = exact has none"),
        (
            {"outcome_check": "shift", "num_answers": 4, "advantage_clamp": 5.0},
            "into an order, and advantage_clamp would change it",
        ),
        ({"outcome_check": "drop", "num_answers": 4}, r"method\.outcome_check = 'drop'"),
        ({"prefix_cut": 1}, r"method\.prefix_cut = 1"),
        ({"prefix_cut": True, "ablation": "noise"}, "ablation = noise does not change them"),
        ({"name": "op-rkd", "prefix_cut": True}, r"method\.prefix_cut: this method has no such setting"),
    ],
)
def test_options_that_do_not_go_together_are_refused(teacher, table, message):
    with pytest.raises(ConfigurationError, match=message):
        method_of(teacher, **table)
