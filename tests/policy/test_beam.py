"""The most probable answers: what enumeration finds, whatever the batch, and nothing that cannot be written."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch

from video_opd.policy import beam_search as beam
from video_opd.policy.beam_search import sequence_logprob
from video_opd.policy.token_support import TokenSupport
from video_opd.types import Answer, AnswerGroup, Sampling, flatten


@pytest.fixture(scope="module")
def policy(make_policy):
    """One whose next token depends on more than the last: with seeds 0 and 2 the beams' tails hardly matter."""
    return make_policy(1)


def speaking(policy, letters: str):
    """The same policy with an alphabet so small that all its texts can be counted."""
    allowed = [*policy.tokenizer.convert_tokens_to_ids(list(letters)), policy.support.end_token_id]
    banned = torch.ones_like(policy.support.banned)
    banned[allowed] = False
    return replace(policy, support=replace(policy.support, banned=banned)), allowed[:-1]


def enumerated(policy, prompt, letters: list[int], length: int) -> list[tuple[tuple[int, ...], list[float]]]:
    """Every answer of at most `length` tokens with its scores, best first."""
    end = policy.support.end_token_id
    bodies = [body for size in range(length) for body in product(letters, repeat=size)]
    answers = tuple(
        Answer(prompt_id=prompt.id, token_ids=(*body, end), sampler_logprobs=None, text="", truncated=False)
        for body in bodies
    )
    scores = policy.score(policy.read([prompt]), [AnswerGroup(prompt_id=prompt.id, answers=answers)]).logprobs
    scored = [(answer.token_ids, row[: len(answer)].tolist()) for answer, row in zip(answers, scores, strict=True)]
    return sorted(scored, key=lambda pair: -sum(pair[1]))


@pytest.mark.parametrize(("letters", "length"), [("0123456789.-abc", 2), ("015.-s", 3)])
def test_equals_enumeration(policy, prompts, letters, length):
    """As wide as there are texts, so that nothing is lost: the same answers in the same order."""
    small, ids = speaking(policy, letters)
    width = (len(ids) + 1) ** length if length == 2 else len(ids) ** 2 * (len(ids) + 1)
    groups = small.find_best_answers(small.read(prompts[:3]), count=10, width=width, max_new_tokens=length)
    for prompt, group in zip(prompts, groups, strict=False):
        expected = enumerated(small, prompt, ids, length)[:10]
        assert [answer.token_ids for answer in group] == [tokens for tokens, _ in expected]
        for answer, (_, logprobs) in zip(group, expected, strict=True):
            assert answer.sampler_logprobs == pytest.approx(logprobs, abs=1e-4)
            assert not answer.truncated


def test_a_narrow_search_finds_nothing_better_than_enumeration(policy, prompts):
    """And what it finds comes best first, is finished and scored as it should be."""
    small, ids = speaking(policy, "01")
    groups = small.find_best_answers(small.read(prompts), count=3, width=3, max_new_tokens=6)
    for prompt, group in zip(prompts, groups, strict=True):
        truth = enumerated(small, prompt, ids, 6)
        totals = [sequence_logprob(answer) for answer in group]
        assert totals == sorted(totals, reverse=True)
        assert totals == pytest.approx([sum(dict(truth)[answer.token_ids]) for answer in group], abs=1e-4)
        assert all(total <= sum(best) + 1e-4 for total, (_, best) in zip(totals, truth, strict=False))


@pytest.mark.parametrize("letters", ["01", None])
def test_logprobs_are_the_scored_ones(policy, prompts, letters):
    """Long answers whose beams changed parents on the way: a tail dealt out wrongly would show here."""
    policy = speaking(policy, letters)[0] if letters else policy
    groups = policy.find_best_answers(policy.read(prompts), count=8, width=8, max_new_tokens=12)
    for prompt, group in zip(prompts, groups, strict=True):
        scores = policy.score(policy.read([prompt]), [group]).logprobs
        for answer, row in zip(group, scores, strict=True):
            assert row[: len(answer)].tolist() == pytest.approx(answer.sampler_logprobs, abs=1e-4)


def test_beams_do_change_parents(policy, prompts, monkeypatch):
    """What makes the test above a test: without dealing out the tail anew the log-probs are others."""
    small, _ = speaking(policy, "01")
    reading = small.read(prompts)
    dealt = small.find_best_answers(reading, count=8, width=8, max_new_tokens=12)
    monkeypatch.setattr(beam, "_deal_tail", lambda *args, **settings: None)
    undealt = small.find_best_answers(reading, count=8, width=8, max_new_tokens=12)
    for groups in zip(dealt, undealt, strict=True):
        one, other = ([sequence_logprob(answer) for answer in group] for group in groups)
        assert one != pytest.approx(other, abs=1e-2)


@pytest.mark.parametrize(("letters", "limit"), [("01", 1), ("01", 12), (None, 3), (None, 12)])
def test_one_beam_is_the_greedy_answer(policy, prompts, letters, limit):
    """Answers that end and answers that do not."""
    policy = speaking(policy, letters)[0] if letters else policy
    reading = policy.read(prompts)
    greedy = policy.answer(reading, sampling=Sampling(max_new_tokens=limit, greedy=True))
    narrow = policy.find_best_answers(reading, count=1, width=1, max_new_tokens=limit)
    for one, other in zip(flatten(greedy), flatten(narrow), strict=True):
        assert replace(one, sampler_logprobs=None) == replace(other, sampler_logprobs=None)
        assert one.sampler_logprobs == pytest.approx(other.sampler_logprobs, abs=1e-4)


def test_a_batch_finds_what_each_prompt_alone_finds(policy, prompts):
    """Prompts of different lengths whose searches are over at different steps."""
    small, _ = speaking(policy, "01")
    together = small.find_best_answers(small.read(prompts), count=8, width=8, max_new_tokens=12)
    assert len({len(prompt) for prompt in prompts}) > 1
    assert len({max(map(len, group)) for group in together}) > 1
    for prompt, group in zip(prompts, together, strict=True):
        (alone,) = small.find_best_answers(small.read([prompt]), count=8, width=8, max_new_tokens=12)
        assert [answer.token_ids for answer in alone] == [answer.token_ids for answer in group]
        for one, other in zip(alone, group, strict=True):
            assert one.sampler_logprobs == pytest.approx(other.sampler_logprobs, abs=1e-4)


def test_one_answer_for_each_key(policy, prompts):
    """The best one of each, as enumeration has it: a key is no reason to stop early or to keep the first that came."""
    small, ids = speaking(policy, "015.-s")
    width = len(ids) ** 2 * (len(ids) + 1)

    def number_of_letters(text: str) -> int:
        return len(text) - text.count("-")

    groups = small.find_best_answers(
        small.read(prompts[:4]), count=3, width=width, max_new_tokens=3, key=number_of_letters
    )
    for prompt, group in zip(prompts, groups, strict=False):
        best: dict[int, tuple[int, ...]] = {}
        for tokens, _ in enumerated(small, prompt, ids, 3):
            best.setdefault(number_of_letters(small.tokenizer.decode(tokens, skip_special_tokens=True)), tokens)
        assert len(best) == 3
        assert [answer.token_ids for answer in group] == list(best.values())


def test_fewer_keys_than_asked_for_make_a_smaller_group(make_policy, prompts):
    """One key for all texts: the best of them, which is not the one that ended first."""
    small, ids = speaking(make_policy(0), "01")
    reading = small.read(prompts)
    groups = small.find_best_answers(reading, count=4, width=40, max_new_tokens=5, key=lambda text: None)
    for prompt, group in zip(prompts, groups, strict=True):
        assert [answer.token_ids for answer in group] == [enumerated(small, prompt, ids, 5)[0][0]]
    assert any(len(answer) > 2 for answer in flatten(groups))
    few = small.find_best_answers(reading, count=4, width=40, max_new_tokens=1)
    assert [[answer.text for answer in group] for group in few] == [[""]] * len(prompts)


def test_two_spellings_of_one_text_count_once(policy, prompts):
    """`in` is one token or two: the group holds the more probable spelling."""
    spellings = policy.tokenizer.convert_tokens_to_ids(["i", "n", "in"])
    banned = torch.ones_like(policy.support.banned)
    banned[[*spellings, policy.support.end_token_id]] = False
    small = replace(policy, support=replace(policy.support, banned=banned))
    (group,) = small.find_best_answers(small.read(prompts[:1]), count=13, width=40, max_new_tokens=3)
    truth = enumerated(small, prompts[0], spellings, 3)
    assert len(truth) == 13
    assert len({answer.text for answer in group}) == len(group.answers) == 12
    by_text = {answer.text: answer.token_ids for answer in group}
    assert by_text["in"] == next(t for t, _ in truth if small.tokenizer.decode(t, skip_special_tokens=True) == "in")


def test_nothing_special_is_written_nor_read(policy, prompts, monkeypatch):
    """Not even by the padding of searches that are over, in a support smaller than the width."""
    small, ids = speaking(policy, "01")
    fed: list[int] = []
    forward = policy.model.forward

    def recorded(*args, **inputs):
        if inputs.get("pixel_values_videos") is None:
            fed.extend(inputs["input_ids"].flatten().tolist())
        return forward(*args, **inputs)

    monkeypatch.setattr(policy.model, "forward", recorded)
    reading = small.read(prompts)
    groups = small.find_best_answers(reading, count=5, width=50, max_new_tokens=4)
    end = policy.support.end_token_id
    for answer in flatten(groups):
        assert set(answer.token_ids[:-1]) <= set(ids)
        assert answer.token_ids[-1] == end
        assert sequence_logprob(answer) > -1e3
    assert set(fed) <= {*ids, end, *reading.head_ids.tolist()}


def test_a_truncated_answer_only_where_none_has_finished(policy, prompts):
    """Prompts that have ended answers beside prompts that have none; never both for one, not even to fill a group."""
    end = policy.support.end_token_id
    small, _ = speaking(policy, "0123456789.-s")
    mixed = small.find_best_answers(small.read(prompts), count=4, width=4, max_new_tokens=2)
    kinds = [{answer.truncated for answer in group} for group in mixed]
    assert all(len(kind) == 1 for kind in kinds)
    assert {True} in kinds
    assert {False} in kinds
    assert any(kind == {False} and len(group.answers) < 4 for kind, group in zip(kinds, mixed, strict=True))
    for group in mixed:
        for answer in group:
            assert (answer.token_ids[-1] == end) is not answer.truncated
            assert not answer.truncated or len(answer) == 2
        assert (totals := [sequence_logprob(answer) for answer in group]) == sorted(totals, reverse=True)


def test_nothing_grows_or_ends_from_a_dead_beam():
    """Three tokens, the second banned, the third the end of turn; only the first of four beams lives."""
    support = TokenSupport(num_tokens=3, banned=torch.tensor([False, True, False]), end_token_id=2)
    beams = beam._Beams.begin(1, 4, torch.device("cpu"))
    live, parents, ended = beam._extend(beams, support.log_softmax(torch.zeros(1, 4, 3)), support)
    half = pytest.approx(-math.log(2))
    assert ended == [(0, [2], [half])]
    assert live.totals[0].tolist() == [half, *[beam.DEAD] * 3]
    assert (live.tokens[0, 0].item(), parents[0, 0].item()) == (0, 0)


def test_the_search_stops_when_nothing_can_better_what_has_ended(policy, prompts, monkeypatch):
    small, _ = speaking(policy, "01")
    reading = small.read(prompts)
    calls: list[None] = []
    forward = policy.model.forward
    monkeypatch.setattr(policy.model, "forward", lambda *args, **inputs: calls.append(None) or forward(*args, **inputs))
    groups = small.find_best_answers(reading, count=1, width=1, max_new_tokens=64)
    assert len(calls) == max(map(len, flatten(groups))) < 64


@pytest.mark.parametrize("wrong", [{"count": 0}, {"width": 0}, {"max_new_tokens": 0}])
def test_nothing_to_search_for_is_refused(policy, prompts, wrong):
    settings = {"count": 1, "width": 2, "max_new_tokens": 2} | wrong
    with pytest.raises(ValueError, match="must all be positive"):
        policy.find_best_answers(policy.read(prompts[:1]), **settings)


def test_the_reading_is_not_used_up_and_the_work_is_counted(policy, prompts):
    own = replace(policy, work=type(policy.work)())
    reading = own.read(prompts[:2], grad=True)
    before = [(keys.clone(), values.clone()) for keys, values in reading.layers]
    groups = own.find_best_answers(reading, count=2, max_new_tokens=6)
    for (keys, values), (kept_keys, kept_values) in zip(reading.layers, before, strict=True):
        assert torch.equal(keys, kept_keys)
        assert torch.equal(values, kept_values)
    assert own.find_best_answers(reading, count=2, max_new_tokens=6) == groups
    assert own.work.answers_written == 2 * len(flatten(groups))
    assert own.work.tokens_written == 2 * sum(map(len, flatten(groups)))
    assert own.work.prompt_passes == 2


def test_every_row_keeps_its_own_head(policy, prompts):
    """The prompts here all end in one token, so scores would not show a mistake."""
    reading = policy.read(prompts[:4])
    assert replace(reading, head_ids=torch.arange(4)).select_rows([3, 1]).head_ids.tolist() == [3, 1]


def test_rows_are_the_reading_of_these_prompts_only(policy, prompts):
    """Scores and gradients, in another order than they were read in, one of them twice."""
    chosen = [4, 1, 1]
    some = [prompts[index] for index in chosen]
    groups = policy.answer(policy.read(some), sampling=Sampling(max_new_tokens=8, seed=3))
    results = []
    for reading in (policy.read(prompts[:5], grad=True).select_rows(chosen), policy.read(some, grad=True)):
        assert reading.prompts == tuple(some)
        policy.model.zero_grad()
        scores = policy.score(reading, groups, grad=True).logprobs
        scores.sum().backward()
        gradients = {n: p.grad.clone() for n, p in policy.model.named_parameters() if p.grad is not None}
        results.append((scores.detach(), gradients))
    policy.model.zero_grad()
    (of_rows, gradients), (expected, expected_gradients) = results
    assert torch.allclose(of_rows, expected, atol=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    assert any(".visual." in name for name in gradients)
    for name, gradient in expected_gradients.items():
        assert (gradients[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, name
