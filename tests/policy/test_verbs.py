"""read, answer, score: the shared reading gives what one plain forward pass gives, gradients included."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from video_opd.policy.answer import _inverse_cdf
from video_opd.policy.description import fingerprint_of
from video_opd.policy.read import collate
from video_opd.policy.token_support import TokenSupport
from video_opd.types import Answer, AnswerGroup, Sampling

SAMPLING = Sampling(max_new_tokens=12, seed=5)


def answers_of(*rows: tuple[str, list[int]]) -> tuple[AnswerGroup, ...]:
    return tuple(
        AnswerGroup(
            prompt_id=id,
            answers=(
                Answer(prompt_id=id, token_ids=tuple(ids), sampler_logprobs=(0.0,) * len(ids), text="", truncated=True),
            ),
        )
        for id, ids in rows
    )


def plain_logprobs(policy, prompt, token_ids) -> Tensor:
    """The plain path: the whole sequence in one forward pass, no cache, positions by transformers' own rule."""
    row = replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, torch.tensor(token_ids)]),
        mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros(len(token_ids), dtype=torch.long)]),
    )
    batch = collate([row], pad_token_id=0, device="cpu")
    logits = policy.model(**batch, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return policy.support.log_softmax(logits).gather(1, torch.tensor(token_ids)[:, None])[:, 0]


@pytest.fixture(scope="module")
def policy(make_policy):
    return make_policy(0)


@pytest.fixture
def groups(policy, prompts):
    return policy.answer(policy.read(prompts[:5]), sampling=SAMPLING)


def test_scores_equal_one_plain_forward_pass(policy, prompts, groups):
    scores = policy.score(policy.read(prompts[:5]), groups)
    for row, (prompt, group) in enumerate(zip(prompts[:5], groups, strict=True)):
        ids = list(group.answers[0].token_ids)
        expected = plain_logprobs(policy, prompt, ids).detach()
        assert torch.allclose(scores.logprobs[row, : len(ids)], expected, atol=1e-5)
        assert (scores.logprobs[row, len(ids) :] == 0).all()


def test_gradient_equals_that_of_the_plain_path(policy, prompts, groups):
    weights = torch.linspace(-1, 1, 12)

    def loss_of(logprobs: Tensor) -> Tensor:
        return (logprobs * weights[: len(logprobs)]).sum()

    policy.model.zero_grad()
    scores = policy.score(policy.read(prompts[:5], grad=True), groups, grad=True)
    shared_loss = sum(loss_of(scores.logprobs[i, : len(g.answers[0])]) for i, g in enumerate(groups))
    shared_loss.backward()
    shared = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad()
    plain_loss = sum(
        loss_of(plain_logprobs(policy, prompt, list(group.answers[0].token_ids)))
        for prompt, group in zip(prompts[:5], groups, strict=True)
    )
    plain_loss.backward()
    plain = {n: p.grad for n, p in policy.model.named_parameters() if p.grad is not None}
    policy.model.zero_grad()
    assert shared_loss.item() == pytest.approx(plain_loss.item(), rel=1e-5)
    assert shared.keys() == plain.keys()
    assert any(".visual." in name for name in shared)
    for name, gradient in plain.items():
        assert (shared[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name


def test_a_plain_path_with_another_gradient_would_be_noticed(policy, prompts, groups):
    """Detached keys and values (a tempting shortcut) give another gradient: the test above is not blind."""
    prompt, group = prompts[:1], groups[:1]
    gradients = []
    for grad in (True, False):
        policy.model.zero_grad()
        policy.score(policy.read(prompt, grad=grad), group, grad=True).logprobs.sum().backward()
        gradients.append(policy.model.model.language_model.layers[0].self_attn.k_proj.weight.grad.clone())
    policy.model.zero_grad()
    assert (gradients[0] - gradients[1]).norm() > 0.01 * gradients[0].norm()


def test_sampled_logprobs_are_the_scored_ones(policy, prompts, groups):
    scores = policy.score(policy.read(prompts[:5]), groups)
    for row, group in enumerate(groups):
        answer = group.answers[0]
        assert scores.logprobs[row, : len(answer)].tolist() == pytest.approx(answer.sampler_logprobs, abs=1e-4)


def test_left_padding_changes_nothing(policy, prompts):
    """A prompt scores and answers the same alone and beside longer ones."""
    lengths = [len(prompt) for prompt in prompts]
    shortest, longest = prompts[lengths.index(min(lengths))], prompts[lengths.index(max(lengths))]
    assert len(shortest) < len(longest)
    alone, beside = policy.read([shortest]), policy.read([longest, shortest])
    answer_alone = policy.answer(alone, sampling=SAMPLING)[0]
    answer_beside = policy.answer(beside, sampling=SAMPLING)[1]
    assert answer_alone.answers[0].token_ids == answer_beside.answers[0].token_ids
    other = answers_of((longest.id, [1, 2]))
    score_alone = policy.score(alone, [answer_alone]).logprobs[0]
    score_beside = policy.score(beside, [*other, answer_alone]).logprobs[1]
    assert torch.allclose(score_alone, score_beside[: len(score_alone)], atol=1e-5)


def test_padded_gradient_equals_the_sum_of_single_ones(policy, prompts):
    groups = policy.answer(policy.read(prompts[:4]), sampling=SAMPLING)
    gradients = []
    for pieces in ([slice(0, 4)], [slice(i, i + 1) for i in range(4)]):
        policy.model.zero_grad()
        for piece in pieces:
            policy.score(policy.read(prompts[piece], grad=True), groups[piece], grad=True).logprobs.sum().backward()
        gradients.append({n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None})
    policy.model.zero_grad()
    for name, gradient in gradients[1].items():
        assert (gradients[0][name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name


def test_greedy_answers_equal_transformers_generate(policy, prompts):
    """The same tokens as `generate`, with the special tokens suppressed there too."""
    reading = policy.read(prompts[:3])
    ours = policy.answer(reading, sampling=Sampling(max_new_tokens=12, greedy=True))
    banned = policy.support.banned.nonzero()[:, 0].tolist() + list(range(policy.support.num_tokens, 384))
    for prompt, group in zip(prompts[:3], ours, strict=True):
        batch = collate([prompt], pad_token_id=policy.pad_token_id, device="cpu")
        written = policy.model.generate(
            **batch, max_new_tokens=12, do_sample=False, suppress_tokens=banned, pad_token_id=policy.pad_token_id,
            eos_token_id=policy.support.end_token_id,
        )  # fmt: skip
        assert written[0, len(prompt) :].tolist() == list(group.answers[0].token_ids)


def test_eight_answers_from_one_reading(policy, prompts):
    """They differ, each is what the plain path says it is, and the reading is not used up."""
    reading = policy.read(prompts[:2])
    groups = policy.answer(reading, count=8, sampling=SAMPLING)
    assert [len(group.answers) for group in groups] == [8, 8]
    assert len({answer.token_ids for answer in groups[0]}) > 4
    scores = policy.score(reading, groups)
    last = groups[1].answers[7]
    expected = plain_logprobs(policy, prompts[1], list(last.token_ids)).detach()
    assert torch.allclose(scores.logprobs[15, : len(last)], expected, atol=1e-5)
    again = policy.answer(reading, count=8, sampling=SAMPLING)
    assert [g.answers for g in again] == [g.answers for g in groups]


def test_answers_to_one_prompt_do_not_see_each_other(policy, prompts):
    """They go through the model in one row; each scores as it does alone, padded prompts and lengths included."""
    lengths = [len(prompt) for prompt in prompts]
    pair = [prompts[lengths.index(min(lengths))], prompts[lengths.index(max(lengths))]]
    reading = policy.read(pair)
    groups = policy.answer(reading, count=3, sampling=SAMPLING)
    cut = [
        AnswerGroup(prompt_id=group.prompt_id, answers=tuple(shortened(a, 2 + 3 * i) for i, a in enumerate(group)))
        for group in groups
    ]
    together = policy.score(reading, cut, distribution=True)
    for number, prompt in enumerate(pair):
        for place, answer in enumerate(cut[number]):
            alone = policy.score(
                policy.read([prompt]), [AnswerGroup(prompt_id=prompt.id, answers=(answer,))], distribution=True
            )
            row = together.distribution[3 * number + place, : len(answer)]
            assert torch.allclose(row, alone.distribution[0], atol=1e-4)


def shortened(answer: Answer, length: int) -> Answer:
    return replace(
        answer, token_ids=answer.token_ids[:length], sampler_logprobs=answer.sampler_logprobs[:length], truncated=True
    )


def test_every_answer_is_headed_by_the_last_token_of_its_own_prompt(policy, prompts):
    """Prompts of one template end alike; these are cut so that they do not."""
    asked = [
        replace(prompt, input_ids=prompt.input_ids[:end], mm_token_type_ids=prompt.mm_token_type_ids[:end])
        for end, prompt in zip((None, -1, -2), prompts, strict=False)
    ]
    assert len({int(prompt.input_ids[-1]) for prompt in asked}) == 3
    together = policy.answer(policy.read(asked), count=2, sampling=SAMPLING)
    scores = policy.score(policy.read(asked), together)
    for place, (prompt, group) in enumerate(zip(asked, together, strict=True)):
        (alone,) = policy.answer(policy.read([prompt]), count=2, sampling=SAMPLING)
        assert [a.token_ids for a in alone] == [a.token_ids for a in group]
        for row, answer in enumerate(group, start=2 * place):
            expected = plain_logprobs(policy, prompt, list(answer.token_ids)).detach()
            assert torch.allclose(scores.logprobs[row, : len(answer)], expected, atol=1e-5)


def test_writing_stops_with_the_longest_answer(policy, prompts):
    """Not only where the answers happen to end together: what is written after an end costs a pass and is lost."""

    class Short(TokenSupport):
        def log_softmax(self, logits):
            return super().log_softmax(logits + 5.0 * (torch.arange(logits.shape[-1]) == self.end_token_id))

    terse = replace(policy, support=Short(**vars(policy.support)))
    reading, passes = terse.read(prompts[:2]), []
    hook = policy.model.register_forward_hook(lambda *_: passes.append(1))
    groups = terse.answer(reading, count=4, sampling=Sampling(max_new_tokens=100, seed=3))
    hook.remove()
    lengths = [len(answer) for group in groups for answer in group]
    assert len(set(lengths)) > 2
    assert len(passes) == max(lengths) < 100


def test_the_inverse_of_the_cumulative_probability():
    """By hand: 0 and a half are no draws of tokens of probability 0, and a token of 2^-27 behind one of a half has its
    place, though in float32 the sums would be the same."""
    plain = torch.tensor([0.0, 0.5, 0.0, 0.5]).log().expand(4, -1)
    uniform = torch.tensor([0.0, 0.25, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert _inverse_cdf(plain, uniform).tolist() == [1, 1, 3, 3]
    small = 2.0**-27
    fine = torch.tensor([0.5, *[small] * 4, 0.5 - 4 * small]).log().expand(3, -1)
    uniform = torch.tensor([0.5 + share * small for share in (0.5, 2.5, 4.5)], dtype=torch.float64)
    assert _inverse_cdf(fine, uniform).tolist() == [1, 3, 5]


def test_several_answers_are_the_ones_that_one_by_one_would_be(policy, prompts):
    """The first of eight is the only one of one; each draws from its own stream."""
    one = policy.answer(policy.read(prompts[:3]), sampling=SAMPLING)
    eight = policy.answer(policy.read(prompts[:3]), count=8, sampling=SAMPLING)
    assert [g.answers[0].token_ids for g in one] == [g.answers[0].token_ids for g in eight]


def test_a_greedy_answer_and_draws_in_one_loop_are_those_of_two(policy, prompts):
    """The draws keep their numbers, also those of a repeated prompt; the tokens are the same, the log-probs up to
    rounding."""
    asked = [prompts[0], prompts[1], replace(prompts[1], repeat=1)]
    reading, passes = policy.read(asked), []
    greedy = policy.answer(reading, sampling=replace(SAMPLING, greedy=True))
    drawn = policy.answer(reading, count=3, sampling=SAMPLING)
    hook = policy.model.register_forward_hook(lambda *_: passes.append(1))
    together = policy.answer(reading, count=4, sampling=replace(SAMPLING, first_is_greedy=True))
    hook.remove()
    assert len(passes) == max(len(answer) for group in together for answer in group)
    assert greedy[0].answers[0].token_ids not in {answer.token_ids for answer in drawn[0]}
    assert drawn[1].answers[0].token_ids != drawn[2].answers[0].token_ids
    for one, others, both in zip(greedy, drawn, together, strict=True):
        for expected, found in zip((*one, *others), both, strict=True):
            assert found.token_ids == expected.token_ids
            assert found.sampler_logprobs == pytest.approx(expected.sampler_logprobs, abs=1e-5)
            assert (found.text, found.truncated) == (expected.text, expected.truncated)
    (alone, *_) = policy.answer(reading, sampling=replace(SAMPLING, first_is_greedy=True))
    assert alone.answers[0].token_ids == greedy[0].answers[0].token_ids


def test_an_answer_is_a_function_of_seed_and_prompt_not_of_its_batch(policy, prompts):
    together = policy.answer(policy.read(prompts[:4]), sampling=SAMPLING)
    reverse = policy.answer(policy.read(prompts[:4][::-1]), sampling=SAMPLING)
    for one, other in zip(together, reversed(reverse), strict=True):
        assert one.answers[0].token_ids == other.answers[0].token_ids
    elsewhere = policy.answer(policy.read(prompts[:4]), sampling=replace(SAMPLING, seed=6))
    assert [g.answers[0].token_ids for g in together] != [g.answers[0].token_ids for g in elsewhere]


def test_sampling_follows_the_untruncated_policy(policy, prompts):
    """4,000 first tokens against their probabilities, for every token the policy gives at least a percent."""
    reading = policy.read(prompts[:1])
    first = answers_of((prompts[0].id, [0]))
    truth = policy.score(reading, first, distribution=True).distribution[0, 0].exp()
    groups = policy.answer(reading, count=4000, sampling=Sampling(max_new_tokens=1, seed=1))
    counts = torch.bincount(torch.tensor([a.token_ids[0] for a in groups[0]]), minlength=len(truth)) / 4000
    likely = truth > 0.01
    assert likely.sum() > 5
    assert ((counts - truth)[likely].abs() < 5 * (truth * (1 - truth) / 4000).sqrt()[likely]).all()
    assert counts[~likely].sum().item() == pytest.approx(truth[~likely].sum().item(), abs=0.03)


def test_answers_end_with_the_end_token_or_are_flagged(policy, prompts):
    end = policy.support.end_token_id
    groups = policy.answer(policy.read(prompts[:2]), count=200, sampling=Sampling(max_new_tokens=6, seed=2))
    answers = [answer for group in groups for answer in group]
    ended = [answer for answer in answers if not answer.truncated]
    assert ended
    assert len(ended) < len(answers)
    for answer in answers:
        assert (answer.token_ids[-1] == end) is not answer.truncated
        assert end not in answer.token_ids[:-1]
        assert answer.truncated == (len(answer) == 6 and answer.token_ids[-1] != end)


def test_special_tokens_and_padded_rows_have_no_probability(policy, prompts, processor):
    reading = policy.read(prompts[:1])
    distribution = policy.score(reading, answers_of((prompts[0].id, [0])), distribution=True).distribution[0, 0]
    assert distribution.shape == (len(processor.tokenizer),)
    specials = [id for id in processor.tokenizer.all_special_ids if id != policy.support.end_token_id]
    assert len(specials) == 7
    assert (distribution[specials].exp() == 0).all()
    assert distribution[policy.support.end_token_id].exp() > 0
    assert distribution.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_what_only_the_config_calls_special_has_no_probability():
    """`video_token_id` is an added token that the tokenizer does not mark as special; 9 is beyond its tokens."""
    added = {3: SimpleNamespace(special=True), 4: SimpleNamespace(special=False), 5: SimpleNamespace(special=False)}

    class Tokenizer:
        added_tokens_decoder, all_special_ids, eos_token_id = added, [3, 6], 6

        def __len__(self):
            return 8

    config = SimpleNamespace(
        get_text_config=lambda: SimpleNamespace(vocab_size=10), video_token_id=4, image_token_id=9, hidden_size=1
    )
    support = TokenSupport.build(Tokenizer(), config)
    assert support.banned.tolist() == [id in (3, 4) for id in range(8)]
    logprobs = support.log_softmax(torch.zeros(10))
    assert logprobs.exp().tolist() == pytest.approx([1 / 6] * 3 + [0, 0] + [1 / 6] * 3)
    assert logprobs[0].item() == pytest.approx(-math.log(6))


def test_a_fingerprint_is_of_tokens_and_ids():
    prints = [
        fingerprint_of(SimpleNamespace(get_vocab=lambda vocabulary=vocabulary: vocabulary))
        for vocabulary in ({"a": 0, "b": 1}, {"b": 1, "a": 0}, {"a": 1, "b": 0}, {"a": 0, "c": 1})
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_the_vocabulary_is_padded_in_the_test_models(policy):
    assert policy.model.config.text_config.vocab_size > policy.support.num_tokens


def test_reading_a_teacher_keeps_no_graph(policy, prompts):
    reading = policy.read(prompts[:1])
    assert not any(keys.requires_grad or values.requires_grad for keys, values in reading.layers)
    assert policy.read(prompts[:1], grad=True).layers[0][0].requires_grad


def test_groups_of_other_prompts_are_refused(policy, prompts, groups):
    with pytest.raises(ValueError, match="cannot score answers"):
        policy.score(policy.read(prompts[:5][::-1]), groups)
