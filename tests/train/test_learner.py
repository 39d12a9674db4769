"""The learner: micro-batches change nothing, its own teacher leaves a student alone, bad numbers move no weight."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from video_opd.config import TrainingSettings
from video_opd.errors import EngineError
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.objectives import reverse_kl
from video_opd.policy.load import Work
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.micro_batches import split_batch, split_batch_for_job
from video_opd.train.probe import Probe
from video_opd.train.ranked_learner import LearnerPart, RankedLearner
from video_opd.train.step_metrics import make_answer_rows, make_metrics_row
from video_opd.types import Prompt, Sampling, TokenLosses

SEED = 11


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**({"batch_size": 6, "micro_batch_size": 6, "learning_rate": 1e-3} | changes))


def method_of(teacher, estimator="sampled", kind=ReverseKLDistillation, **changes) -> ReverseKLDistillation:
    return kind(write=StudentWrites(max_new_tokens=8), teacher=OneTeacher(teacher), estimator=estimator, **changes)


class Uneven(StudentWrites):
    """Cuts every answer to a length of its own, since random models seldom end a turn."""

    def __call__(self, student, reading, seed):
        return tuple(
            replace(
                group, answers=tuple(shortened(answer, 2 + sum(map(ord, answer.prompt_id)) % 6) for answer in group)
            )
            for group in super().__call__(student, reading, seed)
        )


def shortened(answer, length: int):
    return replace(
        answer, token_ids=answer.token_ids[:length], sampler_logprobs=answer.sampler_logprobs[:length], truncated=True
    )


def gradient_of_step(student, method, prompts, micro_batch_size: int, **changes) -> tuple[dict, float]:
    """The gradient the optimiser is given, before it steps."""
    student = replace(student, model=copy.deepcopy(student.model))
    changes = {"micro_batch_size": micro_batch_size, "clip_norm": 1e9} | changes
    learner = Learner(student, settings(**changes), total_steps=1)
    seen: dict[str, torch.Tensor] = {}
    learner.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in learner.parameters.items()})
    outcome = take_step(learner, prompts, method, step=0, seed=SEED)
    return seen, outcome.loss


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_any_split_into_micro_batches_gives_the_same_gradient(student, teacher, prompts, estimator):
    """Answers have different lengths, so a mean of means would differ."""
    method = replace(method_of(teacher, estimator), write=Uneven(max_new_tokens=8))
    lengths = {len(g.answers[0]) for g in method.write(student, student.read(prompts[:6]), SEED)}
    assert len(lengths) > 2
    whole, loss = gradient_of_step(student, method, prompts[:6], 6)
    for size in (1, 2, 4):
        split, split_loss = gradient_of_step(student, method, prompts[:6], size)
        assert split_loss == pytest.approx(loss, rel=1e-4, abs=1e-6)
        for name, gradient in whole.items():
            assert (split[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-8, (size, name)


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_split_by_tokens_gives_the_same_gradient(student, teacher, prompts, estimator):
    method = replace(method_of(teacher, estimator), write=Uneven(max_new_tokens=8))
    uneven = sorted({len(prompt): prompt for prompt in prompts}.values(), key=len)[:3]
    assert len(uneven) > 1
    batch = [*uneven, *prompts[:3]]
    whole, loss = gradient_of_step(student, method, batch, 6)
    for budget in (1, 2 * max(map(len, batch)), 100_000):
        split, split_loss = gradient_of_step(student, method, batch, 6, micro_batch_tokens=budget)
        assert split_loss == pytest.approx(loss, rel=1e-4, abs=1e-6)
        for name, gradient in whole.items():
            assert (split[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-8, (budget, name)


LENGTHS = [30, 90, 31, 92, 10, 33, 91, 11, 300]


@pytest.fixture
def of_many_lengths(prompts) -> list[Prompt]:
    empty = [torch.zeros(length, dtype=torch.long) for length in LENGTHS]
    return [replace(prompts[0], input_ids=ids, mm_token_type_ids=ids) for ids in empty]


@pytest.mark.parametrize("budget", [1, 40, 100, 1000])
def test_a_split_by_tokens_keeps_the_budget_and_wastes_little(of_many_lengths, budget):
    pieces = split_batch(of_many_lengths, settings(micro_batch_tokens=budget))
    assert sorted(len(prompt) for piece in pieces for prompt in piece) == sorted(LENGTHS)
    for piece in pieces:
        assert len(piece) == 1 or len(piece) * max(map(len, piece)) <= budget
    if budget == 1:
        assert len(pieces) == len(LENGTHS)
    if budget == 100:  # 30, 31 and 33 fit together, 10 and 11 too
        assert {tuple(map(len, piece)) for piece in pieces} == {(300,), (90,), (92,), (91,), (30, 31, 33), (10, 11)}


@pytest.mark.parametrize("processes", [2, 3, 20])
@pytest.mark.parametrize("budget", [1, 40, 100, 1000])
def test_in_a_job_every_process_reads_a_piece_within_the_budget(of_many_lengths, budget, processes):
    pieces = split_batch_for_job(of_many_lengths, settings(micro_batch_tokens=budget), processes)
    assert sorted(len(prompt) for piece in pieces for prompt in piece) == sorted(LENGTHS)
    for piece in pieces:
        assert piece.processes[0] == 0
        for rank in range(processes):
            share = piece.select_for(rank)
            assert len(share) <= 1 or len(share) * max(map(len, share)) <= budget
    alone = split_batch(of_many_lengths, settings(micro_batch_tokens=budget))
    assert len(pieces) == -(-len(alone) // processes)


def test_pieces_of_a_job_are_evened_out(of_many_lengths):
    """One process could read all but the longest at once; then the second one would wait."""
    (piece,) = split_batch_for_job(of_many_lengths, settings(micro_batch_tokens=1000), 3)
    assert [sorted(map(len, piece.select_for(rank))) for rank in range(3)] == [
        [300],
        [90, 91, 92],
        [10, 11, 30, 31, 33],
    ]


def test_a_split_by_number_is_dealt_in_turn(of_many_lengths):
    pieces = split_batch_for_job(of_many_lengths, settings(micro_batch_size=2), 3)
    assert [[[*map(len, piece.select_for(rank))] for rank in range(3)] for piece in pieces] == [
        [[300, 90], [92, 33], [91, 31]],
        [[30], [11], [10]],
    ]


@pytest.mark.parametrize("num_answers", [1, 2])
def test_an_example_that_stands_in_a_batch_three_times_is_answered_alike_in_any_split(
    student, teacher, prompts, num_answers
):
    method = replace(method_of(teacher), write=StudentWrites(max_new_tokens=8, num_answers=num_answers))
    batch = [prompts[place] for place in (0, 1, 0, 2, 0, 1)]

    def answers_and_gradient(size: int):
        learner = Learner(
            replace(student, model=copy.deepcopy(student.model)),
            settings(micro_batch_size=size, clip_norm=1e9),
            total_steps=1,
        )
        seen: dict[str, torch.Tensor] = {}
        learner.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in learner.parameters.items()})
        batches = take_step(learner, batch, method, step=0, seed=SEED).batches
        return [answer.token_ids for piece in batches for group in piece.groups for answer in group], seen

    whole, gradient = answers_and_gradient(6)
    repeats = [whole[place * num_answers + n] for place in (0, 2, 4) for n in range(num_answers)]
    assert len(set(repeats)) == 3 * num_answers  # answers of its own every time
    for size in (1, 2, 4):
        split, other = answers_and_gradient(size)
        assert split == whole
        for name, expected in gradient.items():
            assert (other[name] - expected).norm() <= 1e-4 * expected.norm() + 1e-8, (size, name)


def test_the_probe_tells_repeated_examples_apart_in_any_split(student, teacher, prompts):
    batch = [prompts[0], prompts[1], prompts[0]]
    sizes = {size: Probe.take(student, OneTeacher(teacher), batch, sampling(), size) for size in (1, 3)}
    written = [[group.answers[0].token_ids for _, groups, _ in probe.pieces for group in groups] for probe in
               sizes.values()]  # fmt: skip
    assert written[0] == written[1]
    assert written[0][0] != written[0][2]


@pytest.mark.parametrize("updates", [1, 2])
def test_one_bfloat16_copy_of_a_weight_is_in_the_graph(student, teacher, prompts, updates):
    """Reading, answering and scoring share it; with an autocast each there would be two."""
    student = replace(student, autocast=torch.bfloat16)
    weights = [p for name, p in student.model.named_parameters() if name.endswith("down_proj.weight")]
    copies: list[set[int]] = [set()]
    held = []

    def pack(tensor):
        if tensor.dtype == torch.bfloat16 and tensor.dim() == 2:
            for weight in weights:
                if any(
                    tensor.shape == w.shape and torch.equal(tensor, w) for w in (weight.bfloat16(), weight.bfloat16().T)
                ):
                    copies[-1].add(tensor.untyped_storage().data_ptr())
                    held.append(tensor)  # so that no other tensor comes to lie at its place
        return tensor

    learner = Learner(student, settings(updates_per_batch=updates), total_steps=1)
    took_step = learner.optimizer.step
    learner.optimizer.step = lambda: (copies.append(set()), took_step())
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        take_step(learner, prompts[:6], method_of(teacher), step=0, seed=SEED)
    assert [len(seen) for seen in copies[:updates]] == [len(weights)] * updates


def sampling() -> Sampling:
    return Sampling(max_new_tokens=8, seed=SEED)


def test_the_gradient_is_the_sum_over_tokens_divided_by_their_number(student, teacher, prompts):
    """Computed by hand from the exact reverse KL of the visited states."""
    gradient, loss = gradient_of_step(student, method_of(teacher, "exact"), prompts[:4], 2)
    groups = student.answer(student.read(prompts[:4]), sampling=sampling())
    mine = student.score(student.read(prompts[:4], grad=True), groups, distribution=True, grad=True)
    theirs = teacher.score(teacher.read(prompts[:4]), groups, distribution=True)
    by_hand = reverse_kl(mine.distribution, theirs.distribution)[mine.answer_mask].mean()
    by_hand.backward()
    assert loss == pytest.approx(by_hand.item(), rel=1e-4)
    for name, parameter in student.model.named_parameters():
        assert (gradient[name] - parameter.grad).norm() <= 1e-4 * parameter.grad.norm() + 1e-8, name


@pytest.mark.parametrize("estimator", ["sampled", "exact"])
def test_a_student_that_is_its_own_teacher_stays_where_it_is(student, prompts, estimator):
    itself = replace(student, model=copy.deepcopy(student.model)).freeze()
    gradient, loss = gradient_of_step(student, method_of(itself, estimator), prompts[:4], 4)
    assert loss == pytest.approx(0.0, abs=1e-5)
    assert max(g.abs().max() for g in gradient.values()) < 1e-4


def test_repeated_steps_bring_the_student_to_its_teacher(student, teacher, prompts):
    learner = Learner(student, settings(learning_rate=3e-3), total_steps=30)
    method, probe_at = method_of(teacher, "exact"), prompts[:6]
    distances = []
    for step in range(30):
        if step in (0, 29):
            distances.append(Probe.take(student, OneTeacher(teacher), probe_at, sampling(), 4).reverse_kl())
        take_step(learner, probe_at, method, step=step, seed=step)
    assert distances[-1] < 0.6 * distances[0]


def test_the_probe_measures_the_same_states_before_and_after(student, teacher, prompts):
    learner = Learner(student, settings(learning_rate=1e-3), total_steps=1)
    probe = Probe.take(student, OneTeacher(teacher), prompts[:4], sampling(), 3)
    before = probe.reverse_kl()
    assert before == probe.reverse_kl()
    take_step(learner, prompts[:4], method_of(teacher, "exact"), step=0, seed=SEED)
    assert probe.reverse_kl() < before


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (1, 1, 1, 1), (2, 2)])
def test_the_probe_is_the_mean_over_tokens_however_it_is_cut_into_pieces(student, teacher, prompts, sizes):
    """Answers of 2 to 7 tokens: a mean over pieces, or one of the means of pieces, would be another number."""
    groups = Uneven(max_new_tokens=8)(student, student.read(prompts[:4]), SEED)
    values = []  # of every token of every answer, each prompt by itself
    for prompt, group in zip(prompts[:4], groups, strict=True):
        mine, theirs = (p.score(p.read([prompt]), [group], distribution=True) for p in (student, teacher))
        values.append(reverse_kl(mine.distribution, theirs.distribution)[mine.answer_mask])
    lengths = [len(each) for each in values]
    assert len(set(lengths)) > 2
    expected = torch.cat(values).mean().item()
    ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
    cuts = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    pieces = [(tuple(prompts[cut]), groups[cut]) for cut in cuts]
    probe = Probe(student, tuple((*piece, OneTeacher(teacher)(*piece, distribution=True)) for piece in pieces))
    assert probe.reverse_kl() == pytest.approx(expected, rel=1e-4)
    of_pieces = [torch.cat(values[cut]) for cut in cuts]
    assert sum(piece.sum().item() for piece in of_pieces) / len(sizes) != pytest.approx(expected, rel=0.05)
    if len({sum(lengths[cut]) for cut in cuts}) > 1:
        assert sum(piece.mean().item() for piece in of_pieces) / len(sizes) != pytest.approx(expected, rel=1e-3)


def test_second_updates_carry_the_importance_ratio(student, teacher, prompts):
    """The behaviour is that of before the first update; one update has ratio 1 exactly."""
    seen = []

    class Watched(ReverseKLDistillation):
        def losses(self, learner, behaviour_logprobs, judgement) -> TokenLosses:
            seen.append((learner.logprobs.detach() - behaviour_logprobs)[learner.answer_mask].abs().max().item())
            return super().losses(learner, behaviour_logprobs, judgement)

    learner = Learner(student, settings(updates_per_batch=3, learning_rate=1e-4), total_steps=1)
    take_step(learner, prompts[:4], method_of(teacher, kind=Watched), step=0, seed=SEED)
    assert seen[0] == 0.0
    assert 0.0 < seen[1] < seen[2]


def test_a_loss_that_is_not_finite_moves_no_weight(student, teacher, prompts):
    before = {n: p.clone() for n, p in student.model.named_parameters()}

    class Broken(ReverseKLDistillation):
        def losses(self, learner, behaviour_logprobs, judgement) -> TokenLosses:
            good = super().losses(learner, behaviour_logprobs, judgement)
            return replace(good, loss=good.loss * float("nan"))

    learner = Learner(student, settings(), total_steps=1)
    with pytest.raises(EngineError, match=r"loss is nan on examples .*train-3"):
        take_step(learner, prompts[:2], method_of(teacher, kind=Broken), step=0, seed=SEED)
    assert all(torch.equal(before[n], p) and p.grad is None for n, p in student.model.named_parameters())


def test_clamped_advantage_is_counted(student, teacher, prompts):
    learner = Learner(student, settings(), total_steps=1)
    row = make_metrics_row(
        take_step(learner, prompts[:4], method_of(teacher, advantage_clamp=0.5), step=0, seed=SEED), student
    )
    assert 0 < row["clamped_share"] < 1


def test_warm_up_and_decay(student):
    learner = Learner(student, settings(warmup_steps=4, decay="linear", learning_rate=1.0), total_steps=12)
    assert [learner.learning_rate(step) for step in (0, 3, 4, 8)] == [0.25, 1.0, 1.0, 0.5]
    cosine = Learner(student, settings(decay="cosine", learning_rate=1.0), total_steps=10)
    assert cosine.learning_rate(5) == pytest.approx(0.5)
    assert Learner(student, settings(), total_steps=10).learning_rate(9) == 1e-3


def test_clipping_bounds_the_step_and_reports_the_norm_before_it(student, teacher, prompts):
    learner = Learner(student, settings(clip_norm=1e-3), total_steps=1)
    norms = []
    step = learner.optimizer.step
    learner.optimizer.step = lambda: (
        norms.append(torch.stack([p.grad.norm() for p in learner.parameters.values()]).norm()),
        step(),
    )
    outcome = take_step(learner, prompts[:2], method_of(teacher), step=0, seed=SEED)
    assert norms[0].item() == pytest.approx(1e-3, rel=1e-3)
    assert outcome.grad_norm > 1e-2


def test_a_step_reports_its_learning_rate_and_the_norm_of_its_last_update(student, teacher, prompts):
    learner = Learner(student, settings(warmup_steps=4, updates_per_batch=3, clip_norm=1e9), total_steps=8)
    taken, norms, rates = learner.optimizer.step, [], []

    def watched():
        norms.append(torch.stack([p.grad.norm() for p in learner.parameters.values()]).norm().item())
        rates.extend(group["lr"] for group in learner.optimizer.param_groups)
        taken()

    learner.optimizer.step = watched
    outcome = take_step(learner, prompts[:2], method_of(teacher), step=1, seed=SEED)
    assert outcome.grad_norm == pytest.approx(norms[-1], rel=1e-5)
    assert norms[-1] != pytest.approx(norms[0], rel=1e-3)
    assert {outcome.learning_rate, *rates} == {2 / 4 * 1e-3}  # the second of four steps of warm-up


def test_frozen_parameters_stay_and_are_not_in_the_optimiser(student, teacher, prompts):
    for name, parameter in student.model.named_parameters():
        parameter.requires_grad_(".visual." not in f".{name}")
    before = {n: p.clone() for n, p in student.model.named_parameters()}
    learner = Learner(student, settings(learning_rate=1e-2), total_steps=1)
    take_step(learner, prompts[:2], method_of(teacher), step=0, seed=SEED)
    moved = {n for n, p in student.model.named_parameters() if not torch.equal(before[n], p)}
    assert moved
    assert not any(".visual." in name for name in moved)


def test_measurements_of_a_step(student, teacher, prompts):
    learner = Learner(student, settings(micro_batch_size=2), total_steps=1)
    outcome = take_step(learner, prompts[:5], method_of(teacher), step=0, seed=SEED)
    row = make_metrics_row(outcome, student)
    assert row["num_answers"] == 5
    assert row["sampler_learner_gap"] < 1e-4
    assert row["entropy"] > 0
    assert row["num_answer_tokens"] == sum(
        len(b.groups[i].answers[0]) for b in outcome.batches for i in range(len(b.prompts))
    )
    regions = row["reverse_kl_by_region"].values()  # what the regions are apart adds up to what all tokens are
    assert sum(region["num_tokens"] for region in regions) == row["num_answer_tokens"]
    summed = sum(region["mean"] * region["num_tokens"] for region in regions)
    assert summed == pytest.approx(row["reverse_kl"] * row["num_answer_tokens"], rel=1e-4)
    assert abs(summed) > 0.1
    assert set(outcome.seconds_by_phase) == {"read", "answer", "teacher", "score", "backward", "step"}
    rows = make_answer_rows(outcome, student, 3)
    assert [r["id"] for r in rows] == [prompt.id for prompt in prompts[:3]]
    for answer in rows:
        assert len(answer["tokens"]) == len(answer["advantage"]) == len(answer["teacher_logprobs"])
        for advantage, mine, theirs in zip(
            answer["advantage"], answer["sampler_logprobs"], answer["teacher_logprobs"], strict=True
        ):
            assert advantage == pytest.approx(theirs - mine, abs=1e-3)


class TwoInOne:
    """A job of two processes, both in this one: the second learner is a copy of the first."""

    size = 2

    def __init__(self, *parts: LearnerPart) -> None:
        self.kept = [{"learner": part} for part in parts]

    def call(self, command, shares):
        return [command(kept, share) for kept, share in zip(self.kept, shares, strict=True)]

    def call_all(self, command, share=None):
        return self.call(command, [share] * self.size)


def test_the_work_of_a_job_is_that_of_all_processes(student, teacher, prompts, tmp_path):
    done = []
    for size in (1, 2):
        students, teachers = ([replace(model, model=copy.deepcopy(model.model), work=Work()) for _ in range(size)]
                              for model in (student, teacher))  # fmt: skip
        changes = settings(micro_batch_size=6 // size)
        parts = [
            LearnerPart(Learner(mine, changes, total_steps=1), method_of(judge), judges=[judge], note=tmp_path / "note")
            for mine, judge in zip(students, teachers, strict=True)
        ]
        learner = parts[0].learner if size == 1 else RankedLearner(parts[0], gate=None, ranks=TwoInOne(*parts))
        for step in range(2):
            take_step(learner, prompts[:6], parts[0].method, step=step, seed=SEED)
        done.append((students[0].work.prompt_passes, students[0].work.answers_written, teachers[0].work.prompt_passes))
    assert done == [(12, 12, 12)] * 2
