"""Several updates a batch: the importance ratio, its bounds and its record; and answers that are cut off."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from lottery import Lottery

from video_opd.config import TrainingSettings
from video_opd.config.recipe_file import parse_recipe
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.methods.divergence import DivergenceDistillation
from video_opd.methods.grpo import GRPO
from video_opd.methods.mixture import Mixture
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.outcome_check import OutcomeChecked
from video_opd.methods.rewards import TaskReward
from video_opd.methods.supervised import SupervisedFineTuning
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import AnnotationWrites, StudentWrites
from video_opd.objectives import forward_kl, masked_sum, reference_penalty
from video_opd.train.build_method import make_method
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.step_metrics import make_answer_rows, make_metrics_row
from video_opd.types import Answer, Judgement, TokenScores, flatten

SEED = 5


class Contrary(TaskReward):
    """A reward that ranks the answers to a prompt the other way round than this teacher does."""

    def __call__(self, prompts, groups):
        theirs, answers = self.teacher(prompts, groups).logprobs.tolist(), flatten(groups)
        rows = zip(theirs, answers, strict=True)
        scores = [(sum(row[: len(a)]) - sum(a.sampler_logprobs)) / len(a) for row, a in rows]
        return (-torch.tensor(scores)).reshape(len(groups), -1).argsort(dim=1).argsort(dim=1).float()


def contrary_to(teacher) -> Contrary:
    reward = Contrary()
    object.__setattr__(reward, "teacher", teacher)
    return reward


class Cut(StudentWrites):
    """Answers of 2 to 6 tokens, of which those that the limit of 6 did not reach count as ended."""

    def __call__(self, student, reading, seed):
        return tuple(
            replace(group, answers=tuple(self.shortened(answer) for answer in group))
            for group in super().__call__(student, reading, seed)
        )

    def shortened(self, answer):
        length = 2 + sum(answer.token_ids) % 5
        return replace(
            answer,
            token_ids=answer.token_ids[:length],
            sampler_logprobs=answer.sampler_logprobs[:length],
            truncated=length == 6,
        )


class AllCut(StudentWrites):
    """Nothing but answers that were cut off."""

    def __call__(self, student, reading, seed):
        groups = super().__call__(student, reading, seed)
        return tuple(
            replace(group, answers=tuple(replace(answer, truncated=True) for answer in group)) for group in groups
        )


WRITE = Cut(num_answers=4, max_new_tokens=6)
ANNOTATED = AnnotationWrites(template=TEMPLATES["tiny"])


def learner_of(student, *, updates=1, size=8, learning_rate=1e-3, **changes) -> Learner:
    settings = TrainingSettings(
        batch_size=8,
        micro_batch_size=size,
        clip_norm=1e9,
        learning_rate=learning_rate,
        updates_per_batch=updates,
        **changes,
    )
    return Learner(replace(student, model=copy.deepcopy(student.model)), settings, total_steps=1)


def stepped(student, method, prompts, **changes):
    """The gradient that the optimiser is given at every update, and the outcome."""
    learner, seen = learner_of(student, **changes), []
    step = learner.optimizer.step

    def watched():
        seen.append({n: p.grad.clone() for n, p in learner.parameters.items()})
        step()

    learner.optimizer.step = watched
    return seen, take_step(learner, prompts, method, step=0, seed=SEED)


def same(one, other, tolerance=1e-4) -> bool:
    assert max(g.norm() for g in one.values()) > 1e-4
    return all((one[n] - other[n]).norm() <= tolerance * one[n].norm() + 1e-7 for n in one)


class TestTheRatio:
    """What weighs a token at a second update."""

    def methods(self, teacher, cap=None):
        opd = ReverseKLDistillation(write=WRITE, teacher=OneTeacher(teacher), ratio_cap=cap)
        return {
            "opd": opd,
            "baseline": replace(opd, estimator="baseline"),
            "op-rkd": replace(opd, write=ANNOTATED),
            "mixture": Mixture(distillation=opd, reward=Lottery(), weight=1.0),
            "shift": OutcomeChecked(method=opd, reward=contrary_to(OneTeacher(teacher)), remedy="shift", ratio_cap=cap),
        }

    @pytest.mark.parametrize("name", ["opd", "baseline", "op-rkd", "mixture", "shift"])
    def test_a_cap_holds_at_later_updates_and_every_token_keeps_a_gradient(self, student, teacher, prompts, name):
        """Against the gradient by hand: that of the sum of -advantage * min(ratio, cap) * log pi over the tokens."""
        cap, changes = 1.05, {"updates": 2, "learning_rate": 3e-3}
        free, _ = stepped(student, self.methods(teacher)[name], prompts[:3], **changes)
        capped, outcome = stepped(student, self.methods(teacher, cap)[name], prompts[:3], **changes)
        assert same(free[0], capped[0], 1e-6)  # at the first update every ratio is 1
        assert not same(free[1], capped[1])
        (batch,) = outcome.batches
        learner = learner_of(student, **changes)
        learner.optimizer.step()  # makes no difference without gradients
        for name_, parameter in learner.parameters.items():
            parameter.grad = capped[0][name_].clone()
        learner.optimizer.step()
        policy, method = learner.student, self.methods(teacher, cap)[name]
        scores = policy.score(policy.read(prompts[:3], grad=True), batch.groups, distribution=True, grad=True)
        judgement = method.judge(prompts[:3], batch.groups)
        advantage = method.losses(scores, batch.behaviour_logprobs, judgement).advantage.detach()
        ratio = (scores.logprobs.detach() - batch.behaviour_logprobs).exp()
        assert (ratio > cap)[batch.answer_mask].any()
        learner.optimizer.zero_grad()
        loss = masked_sum(-advantage * ratio.clamp(max=cap) * scores.logprobs, batch.answer_mask)
        (loss / batch.answer_mask.sum()).backward()
        assert same(capped[1], {n: p.grad for n, p in learner.parameters.items()}, 1e-3)
        assert name != "shift" or batch.losses.contradicted.all()
        # The record: the second of two updates, and the largest ratio before the bound.
        row, held = make_metrics_row(outcome, student), (ratio > cap)[batch.answer_mask].float().mean().item()
        assert row["max_ratio"] == pytest.approx(ratio[batch.answer_mask].max().item(), rel=1e-4)
        assert row["ratio_bounded_share"] == pytest.approx(held / 2, rel=1e-4)
        assert row["clamped_share"] == pytest.approx(row["ratio_bounded_share"])
        # What stands behind an answer is no token of it.
        losses = batch.losses
        spoiled = replace(
            losses,
            ratio=losses.ratio.masked_fill(~batch.answer_mask, 99.0),
            ratio_bounded=losses.ratio_bounded.masked_fill(~batch.answer_mask, 1.0),
        )
        assert name == "op-rkd" or not batch.answer_mask.all()
        assert make_metrics_row(replace(outcome, batches=(replace(batch, losses=spoiled),)), student) == row

    @pytest.mark.parametrize("name", ["opd", "mixture"])
    @pytest.mark.parametrize("size", [1, 2])
    def test_micro_batches_change_nothing(self, student, teacher, prompts, name, size):
        """Of answers of different lengths, so that the size of a mixture's group would show its padding."""
        method = self.methods(teacher, 1.05)[name]
        whole, one = stepped(student, method, prompts[:4], updates=2)
        split, other = stepped(student, method, prompts[:4], updates=2, size=size)
        assert len({len(answer) for group in one.batches[0].groups for answer in group}) > 2
        assert all(same(*pair, 1e-3) for pair in zip(whole, split, strict=True))
        rows = [make_metrics_row(outcome, student) for outcome in (one, other)]
        for key in ("max_ratio", "ratio_bounded_share", "clamped_share"):
            assert rows[0][key] == pytest.approx(rows[1][key], rel=1e-3), key

    def test_the_log_tells_the_two_bounds_apart(self, student, teacher, prompts):
        """Tokens held at either bound, and those held at the bound on the ratio."""
        opd = ReverseKLDistillation(write=WRITE, teacher=OneTeacher(teacher), advantage_clamp=1.0)
        _, outcome = stepped(student, opd, prompts[:3], updates=2)
        row = make_metrics_row(outcome, student)
        assert 0 < row["clamped_share"] < 1
        assert "ratio_bounded_share" not in row
        both = replace(opd, ratio_cap=1.01)
        _, outcome = stepped(student, both, prompts[:3], updates=2)
        row_of_both = make_metrics_row(outcome, student)
        assert 0 < row_of_both["ratio_bounded_share"] <= 0.5
        assert row["clamped_share"] <= row_of_both["clamped_share"]
        assert row_of_both["clamped_share"] <= row["clamped_share"] + row_of_both["ratio_bounded_share"]

    def test_it_is_logged_where_there_is_one_and_more_than_one_update(self, student, teacher, prompts):
        judge = OneTeacher(teacher)
        with_ratio = [*self.methods(teacher).values(), GRPO(write=WRITE, reward=Lottery())]
        without = [
            ReverseKLDistillation(write=WRITE, teacher=judge, estimator="exact"),
            DivergenceDistillation(write=ANNOTATED, teacher=judge, divergence=forward_kl),
            SupervisedFineTuning(write=ANNOTATED),
        ]
        for method in with_ratio:
            rows = [
                make_metrics_row(stepped(student, method, prompts[:2], updates=updates)[1], student)
                for updates in (1, 3)
            ]
            assert "max_ratio" not in rows[0]
            assert rows[1]["max_ratio"] > 1
        for method in without:
            row = make_metrics_row(stepped(student, method, prompts[:2], updates=3)[1], student)
            assert row.keys().isdisjoint({"max_ratio", "ratio_bounded_share"})

    def test_a_policy_that_ran_away_is_seen_and_survived(self, student, teacher, prompts):
        """At an absurd learning rate a later update used to meet a ratio that is no number and to end the run."""
        opd = ReverseKLDistillation(write=WRITE, teacher=OneTeacher(teacher), ratio_cap=2.0)
        grpo = GRPO(write=WRITE, reward=Lottery(), reference=teacher, reference_weight=0.1)
        for method in (opd, replace(opd, ratio_cap=None), grpo):
            _, outcome = stepped(student, method, prompts[:3], updates=4, learning_rate=3.0)
            row = make_metrics_row(outcome, student)
            assert row["max_ratio"] > 10
            assert row["max_ratio"] < 4.9e8
            assert outcome.grad_norm < float("inf")


def test_grpo_holds_the_share_of_its_clip_apart(student, prompts):
    method = GRPO(write=WRITE, reward=Lottery(), clip=0.01)
    _, outcome = stepped(student, method, prompts[:3], updates=3)
    row = make_metrics_row(outcome, student)
    assert 0 < row["ratio_bounded_share"] == pytest.approx(row["clamped_share"])
    _, wider = stepped(student, replace(method, clip_higher=1e6), prompts[:3], updates=3)
    assert 0 < make_metrics_row(wider, student)["ratio_bounded_share"] < row["ratio_bounded_share"]


def scores_of(*answers: tuple[int, bool]) -> TokenScores:
    """Log-probs of -1 for answers of given lengths, some of them cut off."""
    longest = max(length for length, _ in answers)
    mask = torch.arange(longest) < torch.tensor([length for length, _ in answers])[:, None]
    return TokenScores(
        answers=tuple(
            Answer(prompt_id="a", token_ids=(1,) * n, sampler_logprobs=(-1.0,) * n, text="", truncated=cut)
            for n, cut in answers
        ),
        logprobs=torch.full(mask.shape, -1.0).masked_fill(~mask, 0.0),
        answer_mask=mask,
    )


class TestTruncatedAnswers:
    """With mask_truncated they are out of the loss and of its divisor, and in the mean of their group."""

    def test_by_hand(self):
        """Rewards 0, 1, 2, 5, mean 2, without division by the deviation: advantages -2, -1, 0, 3. The last is cut off,
        and leaves -2 on one token, -1 on two and 0 on three: the loss is (2 + 2 + 0) / 6; without masking (4 - 12) /
        10."""
        learner = scores_of((1, False), (2, False), (3, False), (4, True))
        judgement = Judgement(rewards=torch.tensor([[0.0, 1.0, 2.0, 5.0]]))
        kept = GRPO(write=WRITE, reward=Lottery(), divide_by_std=False)
        masked = replace(kept, mask_truncated=True)
        advantages, divided = {}, {}
        for name, method in (("kept", kept), ("masked", masked)):
            losses = method.losses(learner, learner.logprobs, judgement)
            advantages[name] = [losses.advantage[row, 0].item() for row in range(4)]
            left = learner.answer_mask if losses.masked is None else learner.answer_mask & ~losses.masked
            divided[name] = masked_sum(losses.loss, learner.answer_mask).item() / int(left.sum())
        assert advantages == {"kept": [-2.0, -1.0, 0.0, 3.0], "masked": [-2.0, -1.0, 0.0, 0.0]}
        assert divided["kept"] == pytest.approx(-8 / 10)
        assert divided["masked"] == pytest.approx(4 / 6)

    def test_the_gradient_is_that_of_the_other_answers_by_their_tokens(self, student, teacher, prompts):
        """Naive: the answers that ended, one by one, with the advantage they have in the whole group."""
        method = GRPO(write=WRITE, reward=Lottery(), reference=teacher, reference_weight=0.1, mask_truncated=True)
        (gradient,), outcome = stepped(student, method, prompts[:3])
        (batch,) = outcome.batches
        answers = [answer for group in batch.groups for answer in group]
        cut = [answer.truncated for answer in answers]
        assert 0 < sum(cut) < len(cut)
        left = sum(len(answer) for answer in answers if not answer.truncated)
        assert outcome.num_scheduled_tokens == outcome.num_answer_tokens == left
        naive = replace(student, model=copy.deepcopy(student.model))
        plain = replace(method, mask_truncated=False)
        scores = naive.score(naive.read(prompts[:3], grad=True), batch.groups, grad=True)
        judgement = plain.judge(prompts[:3], batch.groups)
        advantage = plain.losses(scores, batch.behaviour_logprobs, judgement).advantage
        loss = -advantage * scores.logprobs + 0.1 * reference_penalty(scores.logprobs, judgement.reference.logprobs)
        kept = scores.answer_mask & ~torch.tensor(cut)[:, None]
        (loss[kept].sum() / left).backward()
        assert same(gradient, {n: p.grad for n, p in naive.model.named_parameters()})
        row = make_metrics_row(outcome, student)
        assert row["num_answers_masked"] == sum(cut)
        assert row["num_answers"] == len(answers)
        assert row["num_answer_tokens"] == left
        assert row["mean_answer_tokens"] == pytest.approx(sum(map(len, answers)) / len(answers))
        assert row["truncated_share"] == pytest.approx(sum(cut) / len(cut))
        recorded = make_answer_rows(outcome, student, 99)
        assert all(not any(each["advantage"]) for each in recorded if each["truncated"])

    @pytest.mark.parametrize("size", [1, 2])
    def test_micro_batches_change_nothing(self, student, prompts, size):
        method = GRPO(write=WRITE, reward=Lottery(), mask_truncated=True)
        whole, one = stepped(student, method, prompts[:4], updates=2)
        split, other = stepped(student, method, prompts[:4], updates=2, size=size)
        assert all(same(*pair, 1e-3) for pair in zip(whole, split, strict=True))
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert (
            make_metrics_row(one, student)["num_answers_masked"]
            == make_metrics_row(other, student)["num_answers_masked"]
            > 0
        )

    def test_where_every_answer_is_cut_off_nothing_changes(self, student, prompts):
        method = GRPO(write=AllCut(num_answers=4, max_new_tokens=4), reward=Lottery(), mask_truncated=True)
        learner = learner_of(student, weight_decay=0.1, updates=2)
        outcome = take_step(learner, prompts[:3], method, step=0, seed=SEED)
        for name, parameter in student.model.named_parameters():
            assert torch.equal(parameter, learner.parameters[name])
            assert learner.parameters[name].grad is None
        assert (outcome.loss, outcome.grad_norm, outcome.num_scheduled_tokens) == (0.0, 0.0, 0)
        row = make_metrics_row(outcome, student)
        assert (row["num_answers_masked"], row["num_answer_tokens"], row["mean_answer_tokens"]) == (12, 0, 4.0)

    def test_where_the_others_are_suspended_nothing_changes_either(self, student, prompts):
        """Only the first prompt is admitted; the tokens of the second one's answers were scheduled."""
        method = GRPO(write=AllCut(num_answers=4, max_new_tokens=4), reward=Lottery(), mask_truncated=True)
        learner = learner_of(student, weight_decay=0.1)
        learner.gate = SimpleNamespace(is_admitted=lambda prompt, group: prompt.id == prompts[0].id)
        outcome = take_step(learner, prompts[:2], method, step=0, seed=SEED)
        assert (outcome.num_scheduled_tokens, outcome.num_answer_tokens) == (16, 0)
        assert all(torch.equal(p, learner.parameters[name]) for name, p in student.model.named_parameters())

    def test_they_are_learnt_from_by_default(self, student, prompts):
        whole, outcome = stepped(student, GRPO(write=WRITE, reward=Lottery()), prompts[:3])
        row = make_metrics_row(outcome, student)
        assert row["truncated_share"] > 0
        assert "num_answers_masked" not in row
        masked, _ = stepped(student, GRPO(write=WRITE, reward=Lottery(), mask_truncated=True), prompts[:3])
        assert not same(whole[0], masked[0])


LEAST = {
    "name": "least",
    "student": {"model": "a/b"},
    "teacher": {"model": "c/d"},
    "data": {"videos": "videos", "train": "train.jsonl", "validation": "validation.jsonl"},
}


def method_of(teacher, **table):
    return make_method(parse_recipe({**LEAST, "method": table}), teacher)


def test_the_recipe_hands_every_bound_on(teacher):
    for table in ({"name": "opd"}, {"name": "op-rkd"}):
        assert method_of(teacher, **table).ratio_cap is None
        assert method_of(teacher, **table, ratio_cap=2.5).ratio_cap == 2.5
    assert method_of(teacher, name="mixture").distillation.ratio_cap is None
    assert method_of(teacher, name="mixture", ratio_cap=3).distillation.ratio_cap == 3
    checked = method_of(teacher, name="opd", ratio_cap=2.0, outcome_check="shift", num_answers=4)
    assert checked.ratio_cap == checked.method.ratio_cap == 2.0
    grpo = method_of(teacher, name="grpo")
    assert (grpo.clip, grpo.clip_higher, grpo.mask_truncated) == (0.2, None, False)
    grpo = method_of(teacher, name="grpo", clip=0.2, clip_higher=0.28, mask_truncated=True)
    assert (grpo.clip, grpo.clip_higher, grpo.mask_truncated) == (0.2, 0.28, True)
