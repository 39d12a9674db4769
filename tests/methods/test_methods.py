"""What a method makes of its judges: advantage that sums to zero, gradients that agree, one method as another's
case."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from lottery import Lottery

from video_opd.config import TrainingSettings
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.errors import ConfigurationError, DataError
from video_opd.methods.ablation import SpoiledTeacher
from video_opd.methods.divergence import DivergenceDistillation
from video_opd.methods.grpo import GRPO
from video_opd.methods.mixture import Mixture
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.rewards import TaskReward
from video_opd.methods.supervised import SupervisedFineTuning
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.wording import IMPROBABLE_NATS, measure_surprise_at_wording
from video_opd.methods.writers import AnnotationWrites, StudentWrites
from video_opd.objectives import (
    clipped_policy_gradient,
    find_groups_without_spread,
    forward_kl,
    group_advantage,
    masked_sum,
    mixed_advantage,
    reference_penalty,
)
from video_opd.policy.load import load_policy
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.step_metrics import make_answer_rows, make_metrics_row
from video_opd.types import AnswerGroup, Judgement, TokenScores

SEED = 5
WRITE = StudentWrites(num_answers=4, max_new_tokens=6)
ANNOTATED = AnnotationWrites(template=TEMPLATES["tiny"])


def gradient(student, method, prompts, *, updates=1, micro_batch_size=8):
    """The gradient of one step, before the optimiser, and the step's outcome."""
    student = replace(student, model=copy.deepcopy(student.model))
    settings = TrainingSettings(
        batch_size=8, micro_batch_size=micro_batch_size, clip_norm=1e9, learning_rate=1e-3, updates_per_batch=updates
    )
    learner = Learner(student, settings, total_steps=1)
    seen: dict[str, torch.Tensor] = {}
    learner.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in learner.parameters.items()})
    outcome = take_step(learner, prompts, method, step=0, seed=SEED)
    return seen, outcome


def assert_equal_gradients(one, other, *, tolerance=1e-4):
    assert one.keys() == other.keys()
    assert max(g.norm() for g in one.values()) > 1e-4
    for name in one:
        assert (one[name] - other[name]).norm() <= tolerance * one[name].norm() + 1e-7, name


@pytest.mark.parametrize("divide_by_std", [True, False])
def test_the_advantage_of_a_group_sums_to_zero(divide_by_std):
    rewards = torch.rand(20, 8, generator=torch.Generator().manual_seed(0))
    advantage = group_advantage(rewards, divide_by_std=divide_by_std)
    assert advantage.sum(dim=1).abs().max() < 1e-5
    assert (advantage.argsort(dim=1) == rewards.argsort(dim=1)).all()
    scaled = group_advantage(10 * rewards, divide_by_std=divide_by_std)
    ratio = scaled.norm() / advantage.norm()
    assert ratio == pytest.approx(1.0 if divide_by_std else 10.0, rel=1e-2)


def test_a_group_without_spread_gets_no_advantage_and_is_counted(student, prompts):
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.5, 1.0]])
    advantage = group_advantage(rewards, divide_by_std=True)
    assert torch.equal(advantage[0], torch.zeros(3))
    assert advantage[1].abs().max() > 0.9
    assert find_groups_without_spread(rewards).flatten().tolist() == [True, False]
    # Random models name no span: every reward is 0, nothing is learnt, and the log says so.
    grpo = GRPO(write=WRITE, reward=TaskReward())
    seen, outcome = gradient(student, grpo, prompts[:3])
    assert all(g.abs().max() == 0 for g in seen.values())
    assert make_metrics_row(outcome, student)["groups_without_spread"] == 3


def test_grpo_from_one_reading_has_the_gradient_of_naive_grpo(student, prompts):
    """Naive: the prompt is read again for every answer, as the peers do."""
    grpo = GRPO(write=WRITE, reward=Lottery())
    shared, outcome = gradient(student, grpo, prompts[:3])
    naive = replace(student, model=copy.deepcopy(student.model))
    groups = [group for batch in outcome.batches for group in batch.groups]
    advantage = group_advantage(Lottery()(prompts[:3], groups), divide_by_std=True)
    num_tokens = sum(len(answer) for group in groups for answer in group)
    for prompt, group, row in zip(prompts[:3], groups, advantage, strict=True):
        for answer, worth in zip(group, row, strict=True):
            alone = AnswerGroup(prompt_id=prompt.id, answers=(answer,))
            scores = naive.score(naive.read([prompt], grad=True), [alone], grad=True)
            (-worth * masked_sum(scores.logprobs, scores.answer_mask) / num_tokens).backward()
    assert_equal_gradients(shared, {n: p.grad for n, p in naive.model.named_parameters()})


@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_groups_and_mixtures_do_not_depend_on_micro_batches(student, teacher, prompts, micro_batch_size):
    distillation = ReverseKLDistillation(write=WRITE, teacher=OneTeacher(teacher))
    for method in (
        GRPO(write=WRITE, reward=Lottery(), reference=teacher, reference_weight=0.1),
        Mixture(distillation=distillation, reward=Lottery(), weight=2.0),
    ):
        whole, _ = gradient(student, method, prompts[:4])
        split, _ = gradient(student, method, prompts[:4], micro_batch_size=micro_batch_size)
        assert_equal_gradients(whole, split)


@pytest.mark.parametrize("estimator", ["sampled", "baseline", "exact"])
def test_op_rkd_on_an_answer_that_the_student_sampled_is_opd(student, teacher, prompts, estimator):
    opd = ReverseKLDistillation(write=StudentWrites(max_new_tokens=6), teacher=OneTeacher(teacher), estimator=estimator)
    written = opd.write(student, student.read(prompts[:4]), SEED)

    def as_annotated(student, reading, seed):
        """Somebody wrote down the very same tokens."""
        return tuple(
            replace(group, answers=tuple(replace(answer, sampler_logprobs=None) for answer in group))
            for group in written
        )

    on, _ = gradient(student, opd, prompts[:4])
    off, outcome = gradient(student, replace(opd, write=as_annotated), prompts[:4])
    assert_equal_gradients(on, off, tolerance=1e-6)
    assert "sampler_learner_gap" not in make_metrics_row(outcome, student)


def test_op_fkd_leaves_a_student_alone_that_is_its_own_teacher(student, prompts):
    itself = replace(student, model=copy.deepcopy(student.model)).freeze()
    method = DivergenceDistillation(write=ANNOTATED, teacher=OneTeacher(itself), divergence=forward_kl)
    seen, outcome = gradient(student, method, prompts[:4])
    assert outcome.loss == pytest.approx(0.0, abs=1e-6)
    assert max(g.abs().max() for g in seen.values()) < 1e-5


def test_op_fkd_by_hand():
    """One state, three words: 0.5 log(0.5 / 0.25) + 0.25 log(0.25 / 0.5) + 0.25 log(0.25 / 0.25)."""
    student, teacher = torch.tensor([0.25, 0.5, 0.25]), torch.tensor([0.5, 0.25, 0.25])
    logits = student.log().requires_grad_()
    scores = one_token_scores(torch.log_softmax(logits, dim=-1))
    method = DivergenceDistillation(write=ANNOTATED, teacher=None, divergence=forward_kl)
    losses = method.losses(scores, scores.logprobs.detach(), Judgement(teacher=one_token_scores(teacher.log())))
    assert losses.loss.item() == pytest.approx(0.25 * math.log(2), rel=1e-6)
    losses.loss.sum().backward()
    assert torch.allclose(logits.grad, student - teacher, atol=1e-6)


def one_token_scores(distribution) -> TokenScores:
    from video_opd.types import Answer

    answer = Answer(prompt_id="a", token_ids=(1,), sampler_logprobs=(0.0,), text="", truncated=True)
    return TokenScores(
        answers=(answer,),
        logprobs=distribution[1].reshape(1, 1),
        answer_mask=torch.ones(1, 1, dtype=torch.bool),
        distribution=distribution.reshape(1, 1, -1),
    )


def test_a_mixture_of_weight_zero_is_pure_distillation(student, teacher, prompts):
    opd = ReverseKLDistillation(write=WRITE, teacher=OneTeacher(teacher))
    pure, _ = gradient(student, opd, prompts[:4])
    zero, _ = gradient(student, Mixture(distillation=opd, reward=Lottery(), weight=0.0), prompts[:4])
    half, _ = gradient(student, Mixture(distillation=opd, reward=Lottery(), weight=0.5), prompts[:4])
    assert_equal_gradients(pure, zero, tolerance=1e-6)
    assert any((pure[n] - half[n]).norm() > 1e-2 * pure[n].norm() for n in pure)


def test_neither_part_of_a_mixture_drowns_the_other(student, teacher, prompts):
    """A reward a thousand times as large changes nothing."""

    class Rich(Lottery):
        def __call__(self, prompts, groups):
            return 1000 * super().__call__(prompts, groups)

    opd = ReverseKLDistillation(write=WRITE, teacher=OneTeacher(teacher))
    _, poor = gradient(student, Mixture(distillation=opd, reward=Lottery(), weight=1.0), prompts[:4])
    _, rich = gradient(student, Mixture(distillation=opd, reward=Rich(), weight=1.0), prompts[:4])
    one, other = poor.batches[0], rich.batches[0]
    assert torch.allclose(one.losses.advantage, other.losses.advantage, atol=2e-3)
    # Nor does a teacher that is far away, or one that the student has all but become.
    mask, task = torch.ones(4, 3, dtype=torch.bool), group_advantage(torch.tensor([[0.0, 1, 2, 3]]), divide_by_std=True)
    near = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for factor, size in ((10.0, 10 * near.square().mean().sqrt().item()), (1e-6, 0.1)):
        mixed = mixed_advantage(factor * near, task, mask, weight=1.0, least_size=0.1)
        assert torch.allclose(mixed - factor * near, size * task.reshape(4, 1).expand(4, 3), rtol=1e-4, atol=1e-5)
    alone = gradient(student, opd, prompts[:4])[1].batches[0].losses.advantage
    added = (one.losses.advantage - alone)[one.answer_mask]
    size = alone[one.answer_mask].square().mean().sqrt().item()
    assert added.square().mean().sqrt().item() == pytest.approx(size, rel=0.3)


def test_the_baseline_leaves_the_expected_gradient_and_shrinks_its_variance(student, teacher, prompts):
    """Over many draws of one batch."""
    draws = {"sampled": [], "baseline": []}
    for name, gradients in draws.items():
        write = StudentWrites(num_answers=64, max_new_tokens=2)
        method = ReverseKLDistillation(write=write, teacher=OneTeacher(teacher), estimator=name)
        for seed in range(6):
            mine = replace(student, model=copy.deepcopy(student.model))
            reading = mine.read(prompts[:1], grad=True)
            groups = method.write(mine, reading, seed)
            scores = mine.score(reading, groups, distribution=True, grad=True)
            judgement = method.judge(prompts[:1], groups)
            losses = method.losses(scores, scores.logprobs.detach(), judgement)
            masked_sum(losses.loss, scores.answer_mask).backward()
            gradients.append(torch.cat([p.grad.flatten() for p in mine.model.parameters()]) / 64)
    stacked = {name: torch.stack(gradients) for name, gradients in draws.items()}
    spread = {name: g.var(dim=0).sum() for name, g in stacked.items()}
    assert spread["baseline"] < 0.7 * spread["sampled"]
    means = [g.mean(dim=0) for g in stacked.values()]
    noise = (spread["sampled"] / 6).sqrt()
    assert (means[0] - means[1]).norm() < 3 * noise


def test_annotations_are_put_into_words_with_the_end_of_turn(student, prompts):
    groups = ANNOTATED(student, student.read(prompts[:3]), 0)
    for prompt, group in zip(prompts[:3], groups, strict=True):
        (answer,) = group
        start, end = prompt.example.spans[0]
        assert answer.text == f"The event happens in {start:.1f} - {end:.1f} seconds."
        assert answer.token_ids[-1] == student.support.end_token_id
        assert answer.sampler_logprobs is None
        assert student.tokenizer.decode(answer.token_ids[:-1]) == answer.text


def test_the_long_form_writes_down_what_is_seen(student, prompts):
    prompt = prompts[0]
    text = AnnotationWrites(template=TEMPLATES["tiny-long"])(student, student.read([prompt]), 0)[0].answers[0].text
    start, end = prompt.example.spans[0]
    bits = "".join("1" if start <= t < end else "0" for t in prompt.frame_times_s)
    assert text.startswith(f"Seen {bits}. The event happens in ")


@pytest.mark.parametrize(
    "form", ["{begin}", "{0}", "{start:x}", "{start", "{start.nothing}", "{start[0]}", "{start:9999999999999}"]
)
def test_a_form_that_cannot_be_filled_in_is_refused(student, prompts, form):
    writes = AnnotationWrites(template=replace(TEMPLATES["tiny"], answer=form))
    with pytest.raises(ConfigurationError, match="cannot be filled in"):
        writes(student, student.read(prompts[:1]), 0)


def test_a_form_with_a_special_token_is_refused(student, prompts):
    writes = AnnotationWrites(template=replace(TEMPLATES["tiny"], answer="{start}<|video_pad|>{end}"))
    with pytest.raises(ConfigurationError, match=r"special token '<\|video_pad\|>'"):
        writes(student, student.read(prompts[:1]), 0)


def test_methods_that_need_annotations_say_so(student, prompts):
    bare = replace(prompts[0], example=replace(prompts[0].example, spans=()))
    with pytest.raises(DataError, match=r"no annotated span: this method trains on annotated answers"):
        ANNOTATED(student, student.read([bare]), 0)
    grpo = GRPO(write=WRITE, reward=TaskReward())
    with pytest.raises(DataError, match="cannot be rewarded"):
        grpo.judge([bare], grpo.write(student, student.read([bare]), 0))


def test_sft_is_cross_entropy(student, prompts):
    seen, outcome = gradient(student, SupervisedFineTuning(write=ANNOTATED), prompts[:3])
    by_hand = replace(student, model=copy.deepcopy(student.model))
    groups = ANNOTATED(by_hand, by_hand.read(prompts[:3]), 0)
    scores = by_hand.score(by_hand.read(prompts[:3], grad=True), groups, grad=True)
    loss = -scores.logprobs[scores.answer_mask].mean()
    loss.backward()
    assert outcome.loss == pytest.approx(loss.item(), rel=1e-4)
    assert_equal_gradients(seen, {n: p.grad for n, p in by_hand.model.named_parameters()})
    row = make_metrics_row(outcome, student)
    assert row["annotation_nll"] == pytest.approx(loss.item(), rel=1e-4)
    assert row.keys().isdisjoint(
        {"reverse_kl", "gap_on_annotations", "reward", "entropy", "miou", "output_format_rate"}
    )
    assert set(make_answer_rows(outcome, student, 1)[0]) >= {"tokens", "advantage"}
    assert "teacher_logprobs" not in make_answer_rows(outcome, student, 1)[0]


def test_the_clip_by_hand():
    """Ratio 1.5 and 0.5, advantage +2 and -2, clip 0.2: only moves in the direction the advantage asked for are
    held."""
    learner = torch.tensor([[1.5, 0.5, 1.5, 0.5]]).log().requires_grad_()
    advantage = torch.tensor([[2.0, 2.0, -2.0, -2.0]])
    loss, held = clipped_policy_gradient(learner, torch.zeros(1, 4), advantage, 0.2)
    assert loss.tolist()[0] == pytest.approx([-2.4, -1.0, 3.0, 1.6])
    assert held.tolist() == [[1.0, 0.0, 0.0, 1.0]]
    loss.sum().backward()
    assert learner.grad.tolist()[0] == pytest.approx([0.0, -1.0, 3.0, 0.0])


def test_the_penalty_is_the_kl_in_expectation():
    """Over three words, all enumerated."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    each = reference_penalty(policy.log()[None], reference.log()[None])[0]
    assert (each >= 0).all()
    assert (policy * each).sum().item() == pytest.approx((policy * (policy / reference).log()).sum().item())


class Watched:
    """A method, with the share of tokens held at a bound written down at every update."""

    def __init__(self, method, seen):
        self.method, self.seen = method, seen

    def __getattr__(self, name):
        return getattr(self.method, name)

    def losses(self, learner, behaviour_logprobs, judgement):
        losses = self.method.losses(learner, behaviour_logprobs, judgement)
        self.seen.append(float(losses.clamped.mean()))
        return losses


def test_a_clipped_ratio_gives_no_more_gradient(student, prompts):
    """After many updates on one batch, tokens are held at the bound; with a wide bound none is."""
    tight, wide = (GRPO(write=WRITE, reward=Lottery(), clip=clip) for clip in (0.01, 1e6))
    held = {}
    for name, method in (("tight", tight), ("wide", wide)):
        mine = replace(student, model=copy.deepcopy(student.model))
        seen = []
        watched = Watched(method, seen)
        settings = TrainingSettings(batch_size=4, micro_batch_size=4, learning_rate=3e-3, updates_per_batch=4)
        outcome = take_step(Learner(mine, settings, total_steps=1), prompts[:4], watched, step=0, seed=SEED)
        held[name] = seen
        recorded = make_metrics_row(outcome, mine)["clamped_share"]
        assert recorded == pytest.approx(sum(seen) / len(seen), rel=0.05)
    assert held["tight"][0] == held["wide"][0] == 0.0
    assert held["tight"][-1] > 0.2
    assert held["wide"][-1] == 0.0


def test_the_penalty_pulls_towards_the_reference(student, teacher, prompts):
    """Without spread in the rewards the penalty is all there is; at the reference itself it is nothing."""
    at_reference = replace(student, model=copy.deepcopy(student.model)).freeze()
    still, _ = gradient(
        student, GRPO(write=WRITE, reward=TaskReward(), reference=at_reference, reference_weight=0.5), prompts[:3]
    )
    assert max(g.abs().max() for g in still.values()) < 1e-5
    pulled, outcome = gradient(
        student, GRPO(write=WRITE, reward=TaskReward(), reference=teacher, reference_weight=0.5), prompts[:3]
    )
    assert max(g.abs().max() for g in pulled.values()) > 1e-3
    assert outcome.loss > 0


class TestSpoiledTeacher:
    """Each kind spoils what it says and nothing else."""

    @pytest.fixture
    def opd(self, teacher):
        return ReverseKLDistillation(write=StudentWrites(max_new_tokens=6), teacher=OneTeacher(teacher))

    @pytest.fixture
    def written(self, student, opd, prompts):
        return opd.write(student, student.read(prompts[:3]), SEED)

    def test_shuffled_keeps_the_scores_and_moves_them(self, opd, teacher, written, prompts):
        true = opd.judge(prompts[:3], written).teacher
        spoiled = (
            SpoiledTeacher(method=opd, teacher=OneTeacher(teacher), kind="shuffled").judge(prompts[:3], written).teacher
        )
        assert not torch.equal(true.logprobs, spoiled.logprobs)
        assert torch.allclose(true.logprobs.sort(dim=1).values, spoiled.logprobs.sort(dim=1).values)

    def test_shuffled_moves_a_distribution_along_with_its_score(self, opd, teacher, written, prompts):
        opd = replace(opd, estimator="exact")
        true = opd.judge(prompts[:3], written).teacher
        spoiled = (
            SpoiledTeacher(method=opd, teacher=OneTeacher(teacher), kind="shuffled").judge(prompts[:3], written).teacher
        )
        moved = 0
        for row, answer in enumerate(true.answers):
            assert len(set(true.logprobs[row, : len(answer)].tolist())) == len(answer) > 2
            for place in range(len(answer)):
                (came_from,) = (true.logprobs[row] == spoiled.logprobs[row, place]).nonzero()[:, 0].tolist()
                assert torch.equal(spoiled.distribution[row, place], true.distribution[row, came_from])
                moved += came_from != place
        assert moved > 3

    def test_noise_has_the_size_of_the_gap_and_nothing_else_of_it(self, opd, teacher, written, prompts):
        judge = SpoiledTeacher(method=opd, teacher=OneTeacher(teacher), kind="noise").judge
        mine = torch.tensor([group.answers[0].sampler_logprobs for group in written])
        true = opd.judge(prompts[:3], written).teacher.logprobs - mine
        noise = judge(prompts[:3], written).teacher.logprobs - mine
        assert noise.square().mean().sqrt().item() == pytest.approx(true.square().mean().sqrt().item(), rel=0.6)
        assert torch.equal(noise, judge(prompts[:3], written).teacher.logprobs - mine)

    @pytest.mark.parametrize("estimator", ["sampled", "exact"])
    def test_early_prefers_low_digits(self, opd, teacher, written, prompts, estimator):
        opd = replace(opd, estimator=estimator)
        early = SpoiledTeacher(method=opd, teacher=OneTeacher(teacher), kind="early", strength=2.0).judge(
            prompts[:3], written
        )
        assert (early.teacher.distribution is None) == (estimator == "sampled")
        full = replace(opd, estimator="exact")
        true = full.judge(prompts[:3], written).teacher.distribution
        spoiled = SpoiledTeacher(method=full, teacher=OneTeacher(teacher), kind="early", strength=2.0)
        shifted = spoiled.judge(prompts[:3], written).teacher.distribution
        digits = [teacher.tokenizer(str(digit))["input_ids"][-1] for digit in range(10)]
        change = (shifted - true)[..., digits]
        assert torch.allclose(change[..., :-1] - change[..., 1:], torch.full_like(change[..., 1:], 2.0), atol=1e-4)
        assert torch.allclose(shifted.exp().sum(dim=-1), torch.ones(shifted.shape[:2]), atol=1e-5)

    def test_blind_sees_no_video(self, opd, teacher, written, prompts):
        blind = SpoiledTeacher(method=opd, teacher=OneTeacher(teacher), kind="blind")
        other = [replace(p, pixel_values=torch.randn_like(p.pixel_values)) for p in prompts[:3]]
        assert torch.equal(
            blind.judge(prompts[:3], written).teacher.logprobs, blind.judge(other, written).teacher.logprobs
        )


def test_a_wording_the_teacher_does_not_know_is_noticed(world, processor):
    from video_opd.data.manifest import read_manifest
    from video_opd.data.prompt_source import PromptSource
    from video_opd.data.prompts import PromptRenderer
    from video_opd.data.video.video_io import VideoBudget

    budget = VideoBudget(fps=2.0, max_frames=64, max_tokens=64, max_frame_tokens=1)
    source = PromptSource(world / "videos", PromptRenderer(processor, TEMPLATES["tiny"], budget), num_examples=4)
    prompts = source.prompts(read_manifest(world / "train.jsonl")[:4])
    teacher = load_policy("tiny-teacher").freeze()
    costs = {}
    forms = {"own": TEMPLATES["tiny"].answer, "other": "From {start:.1f} to {end:.1f} s it is there."}
    for name, form in forms.items():
        writes = AnnotationWrites(template=replace(TEMPLATES["tiny"], answer=form))
        costs[name], example = measure_surprise_at_wording(writes, teacher, OneTeacher(teacher), prompts)
        assert example.startswith("The event" if name == "own" else "From")
    assert costs["own"] < 0.3 * IMPROBABLE_NATS
    assert costs["other"] > 1.5 * IMPROBABLE_NATS
