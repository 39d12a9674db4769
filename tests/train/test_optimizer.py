"""The optimiser: two steps by hand, what weight decay draws on, and that a checkpoint knows nothing of groups."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from video_opd.config import TrainingSettings
from video_opd.methods.opd import ReverseKLDistillation
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import StudentWrites
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.optimizer import list_decaying, make_optimizer
from video_opd.train.optimizer_state import ONE_FILE, load_optimizer, save_optimizer

SEED = 11


def stepped(student, teacher, prompts, *, steps=1, learner=None, first=0, **changes):
    """A student after some steps, and its learner."""
    if learner is None:
        student = replace(student, model=copy.deepcopy(student.model))
        learner = Learner(student, TrainingSettings(batch_size=4, micro_batch_size=4, **changes), total_steps=9)
    method = ReverseKLDistillation(write=StudentWrites(max_new_tokens=6), teacher=OneTeacher(teacher))
    for step in range(first, first + steps):
        take_step(learner, prompts[:4], method, step=step, seed=SEED + step)
    return learner.student, learner


def weights(policy) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in policy.model.named_parameters()}


GRADIENTS = (1.0, 2.0)
"""Of every weight, at the first and the second step."""


@pytest.mark.parametrize(
    ("betas", "decay", "after"),
    [
        # First step: both means are 1 once they are divided by 1 - beta, so the weight goes down by the learning rate.
        # Second, mean 0.5 * 0.5 + 0.5 * 2 = 1.25, over 0.75: 1.666667. Squares 0.75 * 0.25 + 0.25 * 4 = 1.1875, over
        # 0.4375: 2.714286, the root 1.647509. Down by 0.1 * 1.011628.
        ((0.5, 0.75), 0.0, (2.9, 2.7988372)),
        # The other way round: 0.6875 / 0.4375 = 1.571429 over the root of 2.25 / 0.75 = 3. Down by 0.1 * 0.907265.
        ((0.75, 0.5), 0.0, (2.9, 2.8092735)),
        # Before each step the weight shrinks by 0.1 * 0.5 of itself: 3 -> 2.85 - 0.1, 2.75 -> 2.6125 - 0.1011628.
        ((0.5, 0.75), 0.5, (2.75, 2.5113372)),
    ],
)
def test_two_steps_of_adamw_by_hand(betas, decay, after):
    model = nn.Linear(1, 1, bias=True)
    nn.init.constant_(model.weight, 3.0)
    nn.init.constant_(model.bias, 3.0)
    settings = TrainingSettings(learning_rate=0.1, betas=betas, weight_decay=decay)
    optimizer = Learner(SimpleNamespace(model=model), settings, total_steps=2).optimizer
    for gradient, expected in zip(GRADIENTS, after, strict=True):
        model.weight.grad, model.bias.grad = torch.full((1, 1), gradient), torch.full((1,), gradient)
        optimizer.step()
        assert model.weight.item() == pytest.approx(expected, abs=1e-6)
    without = {(0.5, 0.75): 2.7988372, (0.75, 0.5): 2.8092735}[betas]
    assert model.bias.item() == pytest.approx(without, abs=1e-6)  # a bias does not decay


class Everything(nn.Module):
    """A kind of each parameter that models have."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(7, 4)
        self.pos_embed = nn.Parameter(torch.ones(1, 5, 4))
        self.places = nn.Embedding(5, 4)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(1, 4, 2)})
        self.norm = nn.LayerNorm(4)
        self.rms = nn.RMSNorm(4)
        self.attention = nn.Linear(4, 4)
        self.experts = nn.ParameterDict({"gate_up": torch.ones(2, 4, 4), "gate_up_bias": torch.ones(2, 4)})
        self.scale = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(4, 7, bias=False)
        self.tied = nn.Linear(4, 7, bias=False)
        self.tied.weight = self.tokens.weight


def test_only_matrices_and_kernels_decay():
    assert list_decaying(Everything()) == {
        "patch_embed.proj.weight",
        "attention.weight",
        "experts.gate_up",
        "head.weight",
    }
    model = Everything()
    model.norm.requires_grad_(False)
    model.attention.requires_grad_(False)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    groups = make_optimizer(model, parameters, TrainingSettings(weight_decay=0.3)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.3, 3), (0.0, 7)]
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(map(id, parameters.values()))  # each once


def test_a_group_may_be_empty_and_a_model_may_not():
    model = nn.LayerNorm(4)
    (group,) = make_optimizer(model, dict(model.named_parameters()), TrainingSettings(weight_decay=0.3)).param_groups
    assert group["weight_decay"] == 0.0
    with pytest.raises(ValueError, match="empty parameter list"):
        make_optimizer(model, {}, TrainingSettings())


class ByHand:
    """AdamW in float64, as its authors wrote it down."""

    def __init__(self, weight: torch.Tensor, *, rate: float, betas: tuple[float, float], decay: float) -> None:
        self.weight, self.rate, self.betas, self.decay = weight.detach().double(), rate, betas, decay
        self.mean, self.square, self.count = torch.zeros_like(self.weight), torch.zeros_like(self.weight), 0

    def step(self, gradient: torch.Tensor) -> None:
        self.count += 1
        (first, second), gradient = self.betas, gradient.double()
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        mean, square = self.mean / (1 - first**self.count), self.square / (1 - second**self.count)
        self.weight = self.weight * (1 - self.rate * self.decay) - self.rate * mean / (square.sqrt() + 1e-8)


def updated(model: nn.Module, optimizer: torch.optim.AdamW, first: int, last: int) -> None:
    """Some steps, each with its own gradients."""
    for number in range(first, last):
        random = torch.Generator().manual_seed(number)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=random) * 10.0 ** (number % 3 - 2)
        optimizer.step()


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.9)])
def test_it_is_fused_and_updates_as_by_hand(betas):
    """Tensors of every length up to a few registers, and one that is longer."""
    torch.manual_seed(0)
    sizes = (*range(1, 40), 70_001)
    model = nn.ParameterList(nn.Parameter(0.1 * torch.randn(1, size)) for size in sizes)
    settings = TrainingSettings(learning_rate=0.01, betas=betas, weight_decay=0.2)
    optimizer = make_optimizer(model, dict(model.named_parameters()), settings)
    assert optimizer.defaults["fused"]
    expected = [ByHand(parameter, rate=0.01, betas=betas, decay=0.2) for parameter in model]
    for step in range(6):
        updated(model, optimizer, step, step + 1)
        for parameter, by_hand in zip(model, expected, strict=True):
            by_hand.step(parameter.grad)
    for parameter, by_hand in zip(model, expected, strict=True):
        assert float((parameter.detach() - by_hand.weight).abs().max()) < 1e-6


def test_a_state_that_was_written_before_adamw_was_fused_is_taken_up(tmp_path):
    """As runs of earlier versions wrote it; the weights go on as they would have, up to rounding."""
    torch.manual_seed(0)
    ours = nn.ModuleDict({"one": nn.Linear(5, 7), "two": nn.Linear(7, 3)})
    theirs, settings = copy.deepcopy(ours), TrainingSettings(learning_rate=0.01, weight_decay=0.0)
    unfused = torch.optim.AdamW(theirs.parameters(), lr=0.01, betas=settings.betas, weight_decay=0.0, fused=False)
    updated(theirs, unfused, 0, 3)
    parameters = dict(theirs.named_parameters())
    save_optimizer(unfused, parameters, tmp_path)
    ours.load_state_dict(theirs.state_dict())
    fused = make_optimizer(ours, dict(ours.named_parameters()), settings)
    load_optimizer(fused, dict(ours.named_parameters()), tmp_path)
    assert {float(state["step"]) for state in fused.state.values()} == {3.0}
    updated(theirs, unfused, 3, 5)
    updated(ours, fused, 3, 5)
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight, parameters[name], rtol=0, atol=1e-6)


def test_weights_that_the_fused_kernel_does_not_know_are_updated_as_before():
    model = nn.Linear(2, 2, device="meta")
    parameters = dict(model.named_parameters())
    assert make_optimizer(model, parameters, TrainingSettings()).defaults["fused"] is None


def is_left_alone(name: str) -> bool:
    """By the names of Qwen3-VL."""
    return "norm" in name or name.endswith(("bias", "embed_tokens.weight", "pos_embed.weight"))


def test_weight_decay_reaches_the_matrices_of_a_student_and_nothing_else(student, teacher, prompts):
    """One step: what decay takes is the learning rate times its strength times the weight, beside the same update."""
    before = weights(student)
    plain, decayed = (
        weights(stepped(student, teacher, prompts, learning_rate=1e-3, weight_decay=decay)[0]) for decay in (0.0, 10.0)
    )
    for name, weight in before.items():
        taken = plain[name] - decayed[name]
        if is_left_alone(name):
            assert torch.equal(plain[name], decayed[name]), name
        else:
            assert torch.allclose(taken, 1e-3 * 10.0 * weight, atol=1e-6), name
    names = {name for name in before if not is_left_alone(name)}
    assert names == list_decaying(student.model)
    assert {"lm_head.weight", "model.visual.patch_embed.proj.weight"} <= names
    assert all(before[name].dim() > 1 for name in names)


def test_the_learning_rate_of_a_step_is_that_of_every_group(student, teacher, prompts):
    _, learner = stepped(student, teacher, prompts, steps=2, learning_rate=1e-3, warmup_steps=4, weight_decay=0.1)
    assert len(learner.optimizer.param_groups) == 2
    assert [group["lr"] for group in learner.optimizer.param_groups] == [5e-4, 5e-4]


@pytest.mark.parametrize("decay", [0.0, 5.0])
def test_a_checkpoint_goes_on_as_if_nothing_had_happened(student, teacher, prompts, decay, tmp_path):
    """Its tensors are by parameter and not by group, so that one written before there were groups is read as well."""
    changes = {"learning_rate": 1e-3, "weight_decay": decay, "betas": (0.8, 0.9)}
    _, through = stepped(student, teacher, prompts, steps=3, **changes)
    policy, first = stepped(student, teacher, prompts, steps=2, **changes)
    save_optimizer(first.optimizer, first.parameters, tmp_path)
    assert {name.partition(".")[2] for name in load_file(tmp_path / ONE_FILE)} == set(first.parameters)
    resumed = replace(policy, model=copy.deepcopy(policy.model))
    second = Learner(resumed, first.settings, total_steps=9)
    second.load_optimizer(tmp_path)
    stepped(resumed, teacher, prompts, learner=second, first=2)
    for name, weight in weights(through.student).items():
        assert torch.equal(weight, weights(resumed)[name]), name
