"""What a batch is divided by: by hand, for every split, with suspended and masked answers, and several to a prompt."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup
from transformers.training_args import TrainingArguments

from video_opd.config import TrainingSettings
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import shipped_recipes
from video_opd.methods.writers import StudentWrites
from video_opd.train.agreement import BatchCount, count_batch
from video_opd.train.learner import Learner
from video_opd.train.loop import take_step
from video_opd.train.normalisation import Normalisation
from video_opd.types import Judgement, TokenLosses

LENGTHS = (2, 3, 5)
"""Tokens of the answers to the first three prompts."""


class OfLength(StudentWrites):
    """Writes answers of known lengths, by the number of the prompt."""

    ids: tuple[str, ...] = ()

    def __call__(self, student, reading, seed):
        return tuple(
            replace(group, answers=tuple(self._cut(answer, number) for number, answer in enumerate(group.answers)))
            for group in super().__call__(student, reading, seed)
        )

    def _cut(self, answer, number: int):
        length = LENGTHS[self.ids.index(answer.prompt_id)] + number
        return replace(
            answer,
            token_ids=answer.token_ids[:length],
            sampler_logprobs=answer.sampler_logprobs[:length],
            truncated=True,
        )


class Known:
    """A method whose loss of every token is known: 1, 10 and 100, by prompt; its gradient is that of -log pi, too."""

    needs_distribution = False

    def __init__(self, ids: tuple[str, ...], *, num_answers: int = 1, masked: tuple[str, ...] = ()) -> None:
        self.write = OfLength(num_answers=num_answers, max_new_tokens=8)
        object.__setattr__(self.write, "ids", ids)
        self.ids, self.masked = ids, masked

    def judge(self, prompts, groups) -> Judgement:
        return Judgement()

    def losses(self, learner, behaviour_logprobs, judgement) -> TokenLosses:
        cost = torch.tensor([[10.0 ** self.ids.index(answer.prompt_id)] for answer in learner.answers])
        masked = torch.tensor([[answer.prompt_id in self.masked] for answer in learner.answers])
        loss = cost + learner.logprobs.detach() - learner.logprobs  # the gradient of -log pi, and a value by hand
        zero = torch.zeros_like(behaviour_logprobs)
        losses = TokenLosses(loss=loss, advantage=zero, clamped=zero, masked=masked if self.masked else None)
        return losses.drop_tokens(masked)


class Only:
    """Admits some examples."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def is_admitted(self, prompt, group) -> bool:
        return prompt.id in self.ids


def step(student, prompts, *, size=3, num_answers=1, masked=(), gate=None, at=0, total_steps=9, last=None, **changes):
    """The outcome of a step over three prompts, and the gradient the optimiser is given."""
    student = replace(student, model=copy.deepcopy(student.model))
    settings = TrainingSettings(batch_size=4, micro_batch_size=size, clip_norm=1e9, **changes)
    normalisation = Normalisation.of_training(settings, num_answers=num_answers, last_batch_size=last)
    learner = Learner(student, settings, total_steps=total_steps, gate=gate, normalisation=normalisation)
    seen: dict[str, torch.Tensor] = {}
    learner.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in learner.parameters.items()})
    ids = tuple(prompt.id for prompt in prompts)
    method = Known(ids, num_answers=num_answers, masked=tuple(ids[place] for place in masked))
    return take_step(learner, prompts, method, step=at, seed=3), seen


def assert_same(one, other, factor=1.0) -> None:
    assert one.keys() == other.keys()
    for name, gradient in other.items():
        assert (one[name] - factor * gradient).norm() <= 1e-4 * factor * gradient.norm() + 1e-8, name


SUM = 2 * 1 + 3 * 10 + 5 * 100
"""Of the losses of all tokens: 532."""


@pytest.mark.parametrize(
    ("changes", "divisor"),
    [
        ({}, 10),
        ({"normalise": "tokens"}, 10),
        ({"normalise": "examples"}, 3),
        ({"normalise": "constant"}, 4),  # a full batch
        ({"normalise": "constant", "normalise_by": 2.5}, 2.5),
    ],
)
def test_the_loss_and_its_gradient_by_hand(student, prompts, changes, divisor):
    outcome, gradient = step(student, prompts[:3], **changes)
    assert outcome.divisor == divisor
    assert outcome.loss == pytest.approx(SUM / divisor)
    _, per_token = step(student, prompts[:3])
    assert_same(gradient, per_token, 10 / divisor)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("normalise", ["examples", "constant"])
def test_any_split_gives_the_same(student, prompts, normalise, size):
    whole, gradient = step(student, prompts[:3], normalise=normalise)
    split, other = step(student, prompts[:3], size=size, normalise=normalise)
    assert split.loss == pytest.approx(whole.loss)
    assert_same(other, gradient)


def test_examples_is_the_mean_over_examples_of_summed_losses(student, prompts):
    """The gradient is the mean of those of the three examples alone, each undivided."""
    _, gradient = step(student, prompts[:3], normalise="examples")
    alone = [step(student, prompts[:3], gate=Only(prompts[place].id), normalise="examples")[1] for place in range(3)]
    assert_same({name: sum(each[name] for each in alone) for name in gradient}, gradient)


@pytest.mark.parametrize(("normalise", "divisor"), [("tokens", 10), ("examples", 3), ("constant", 4)])
def test_suspended_examples_stay_in_the_divisor(student, prompts, normalise, divisor):
    """The second example is suspended: 2 * 1 + 5 * 100."""
    gate = Only(prompts[0].id, prompts[2].id)
    outcome, _ = step(student, prompts[:3], gate=gate, normalise=normalise)
    assert outcome.loss == pytest.approx(502 / divisor)
    split, _ = step(student, prompts[:3], size=1, gate=gate, normalise=normalise)
    assert split.loss == pytest.approx(502 / divisor)


@pytest.mark.parametrize(("normalise", "divisor"), [("tokens", 7), ("examples", 2), ("constant", 4)])
def test_masked_answers_do_not(student, prompts, normalise, divisor):
    outcome, _ = step(student, prompts[:3], masked=(1,), normalise=normalise)
    assert outcome.loss == pytest.approx(502 / divisor)


@pytest.mark.parametrize(("normalise", "divisor"), [("tokens", 23), ("examples", 6), ("constant", 8)])
def test_two_answers_to_a_prompt(student, prompts, normalise, divisor):
    """The second answer is a token longer: lengths 2 and 3, 3 and 4, 5 and 6. `examples` is the mean over examples of
    the means over their answers: (5 / 2 + 70 / 2 + 1100 / 2) / 3 = 1175 / 6."""
    outcome, _ = step(student, prompts[:3], num_answers=2, normalise=normalise)
    assert outcome.loss == pytest.approx(1175 / divisor)


def test_the_last_step_has_a_constant_of_its_own(student, prompts):
    losses = {
        at: step(student, prompts[:3], at=at, last=2, normalise="constant", total_steps=9)[0].loss for at in (0, 7, 8)
    }
    assert losses == {0: pytest.approx(SUM / 4), 7: pytest.approx(SUM / 4), 8: pytest.approx(SUM / 2)}


def test_the_recipe_of_scc_divides_by_32_and_at_the_last_step_by_8():
    recipe = load_recipe(shipped_recipes()["paper/scc-8b"])
    normalisation = Normalisation.of_recipe(recipe)
    count = BatchCount(trained=40, scheduled=100, answers=5)
    assert [normalisation.find_divisor(count, is_last=is_last) for is_last in (False, True)] == [32, 8]
    several = recipe.model_copy(update={"method": recipe.method.model_copy(update={"num_answers": 3})})
    assert Normalisation.of_recipe(several).constant == 96
    uniform = recipe.curriculum.model_copy(update={"schedule": "uniform"})
    assert Normalisation.of_recipe(recipe.model_copy(update={"curriculum": uniform})).last_constant == 32


def test_answers_are_counted_over_the_whole_batch():
    assert count_batch([2, 3], [5]) == BatchCount(trained=5, scheduled=10, answers=3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"normalise_by": 3.0}, "is the constant of training.normalise = constant"),
        ({"normalise": "examples", "normalise_by": 3.0}, "is the constant of training.normalise = constant"),
        ({"normalise": "constant", "normalise_by": 0.0}, "greater than 0"),
        ({"warmup_steps": 2, "warmup_share": 0.1}, "both give the length of the warm-up"),
        ({"warmup_share": 1.0}, "less than 1"),
    ],
)
def test_what_does_not_fit_is_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        TrainingSettings(**settings)


@pytest.mark.parametrize(("steps", "share", "count"), [(79, 0.03, 3), (100, 0.03, 3), (10, 0.0, 0), (101, 0.03, 4)])
def test_a_share_of_the_steps_is_rounded_up_as_transformers_does(steps, share, count, tmp_path):
    assert TrainingSettings(warmup_share=share).count_warmup_steps(steps) == count
    theirs = TrainingArguments(output_dir=str(tmp_path), warmup_steps=share, use_cpu=True)
    assert theirs.get_warmup_steps(steps) == count


def test_a_share_of_0_leaves_the_warm_up_to_the_number_of_steps():
    """A recipe cannot take back a key of its base, only set it to 0."""
    assert TrainingSettings(warmup_steps=2, warmup_share=0.0).count_warmup_steps(79) == 2
    assert TrainingSettings(warmup_steps=0, warmup_share=0.03).count_warmup_steps(79) == 3


@pytest.mark.parametrize(
    ("decay", "schedule"), [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)]
)
def test_rates_are_those_of_transformers_but_the_warm_up_begins_a_step_later_there(student, decay, schedule):
    """79 steps with a warm-up of 3: here 1/3, 2/3, 1, 1, and there 0, 1/3, 2/3, 1; from then on the same."""
    settings = TrainingSettings(learning_rate=1.0, warmup_share=0.03, decay=decay)
    learner = Learner(replace(student, model=copy.deepcopy(student.model)), settings, total_steps=79)
    ours = [learner.learning_rate(step) for step in range(79)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, theirs = schedule(optimizer, num_warmup_steps=3, num_training_steps=79), []
    for _ in range(79):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert ours[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert theirs[:4] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert ours[3:] == pytest.approx(theirs[3:])
    assert ours[41] == pytest.approx({"linear": 0.5, "cosine": (1 + math.cos(math.pi / 2)) / 2}[decay])
