"""What a step leaves behind: one row for metrics.jsonl, and some answers, token by token, for answers.jsonl."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.nn.functional import pad

from video_opd.grounding import REGIONS, best_iou, find_regions, parse_answer
from video_opd.objectives import (
    find_groups_without_spread,
    masked_mean,
    sampled_entropy,
    sampled_reverse_kl,
    sampler_learner_gap,
)
from video_opd.policy.load import Policy
from video_opd.train.trained_batch import StepOutcome, TrainedBatch
from video_opd.types import Answer, Prompt, flatten


def make_metrics_row(outcome: StepOutcome, student: Policy, *, answer_starts: str = "") -> dict[str, Any]:
    """One line of metrics.jsonl. Log-prob quantities are nats per answer token; shares are between 0 and 1.

    `loss` is the one whose gradient was taken: the sum over the answers' tokens, divided by what `training.normalise`
    says, so per answer token unless that is set.

    `miou` is that of the sampled answers against the training annotations, which may be noisy: a trend, not a score.
    What a method does not have is left out: `reverse_kl` without a teacher, `reward` without a reward. Where the
    annotations wrote the answers, nothing is said about the student's own: the same numbers are then called
    `gap_on_annotations` (log pi - log pi_teacher) and `annotation_nll` (-log pi). A batch with answers of both kinds
    has both, each of its own answers, and `num_annotated_answers`.

    `clamped_share` counts the tokens held at a bound on the advantage or on the importance ratio. With several updates
    a batch `max_ratio` is the largest importance ratio of a token, before any bound, and `ratio_bounded_share` counts
    the tokens held at the bound on it, where there is one.
    """
    if not outcome.batches:  # every example was suspended: nothing was judged and nothing trained on
        return {"loss": 0.0, **_measure_answers(_list_suspended(outcome)), "num_prompts": 0, "num_answers": 0}
    longest = max(batch.answer_mask.shape[1] for batch in outcome.batches)

    def join(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.cat([pad(tensor, (0, longest - tensor.shape[1])) for tensor in tensors])

    mask = join(batch.answer_mask for batch in outcome.batches)
    behaviour = join(batch.behaviour_logprobs for batch in outcome.batches)
    clamped = join(batch.losses.clamped for batch in outcome.batches)
    pairs = [pair for batch in outcome.batches for pair in _list_answers(batch)]
    own = [row for row, (_, answer) in enumerate(pairs) if answer.sampler_logprobs is not None]
    annotated = [row for row, (_, answer) in enumerate(pairs) if answer.sampler_logprobs is None]
    row: dict[str, Any] = {"loss": outcome.loss}
    if all(batch.judgement.teacher is not None for batch in outcome.batches):
        teacher = join(batch.judgement.teacher.logprobs for batch in outcome.batches if batch.judgement.teacher)
        for gap, rows in (("reverse_kl", own), ("gap_on_annotations", annotated)):
            if rows:
                row[gap] = sampled_reverse_kl(behaviour[rows], teacher[rows], mask[rows])
                gaps, chosen = (behaviour - teacher)[rows], [pairs[place] for place in rows]
                row[f"{gap}_by_region"] = _measure_by_region(gaps, chosen, student, answer_starts)
    row |= _measure_rewards(outcome) | _measure_trust(outcome)
    if annotated:
        row["annotation_nll"] = sampled_entropy(behaviour[annotated], mask[annotated])
    if own:
        answers = [pairs[place] for place in own]
        row["entropy"] = sampled_entropy(behaviour[own], mask[own])
        row |= _measure_answers(answers + _list_suspended(outcome))
        sampler = _pad_sampler_logprobs([answer for _, answer in answers], behaviour[own])
        row["sampler_learner_gap"] = sampler_learner_gap(sampler, behaviour[own], mask[own])
    if own and annotated:
        row["num_annotated_answers"] = len(annotated)
        row["mean_own_answer_tokens"] = int(mask[own].sum()) / len(own)
    return row | {
        "clamped_share": float(masked_mean(clamped, mask)),
        **_measure_ratios(outcome),
        "grad_norm": outcome.grad_norm,
        "learning_rate": outcome.learning_rate,
        "num_prompts": sum(len(batch.prompts) for batch in outcome.batches),
        "num_answers": len(pairs),
        "num_answer_tokens": outcome.num_answer_tokens,
        "mean_answer_tokens": int(mask.sum()) / len(pairs),
        "mean_prompt_tokens": sum(len(prompt) for prompt, _ in pairs) / len(pairs),
    }


def _pad_sampler_logprobs(answers: list[Answer], like: torch.Tensor) -> torch.Tensor:
    """(B, T): the log-probs of answers at the time when they were sampled."""
    sampler = torch.zeros_like(like)
    for row, answer in enumerate(answers):
        sampler[row, : len(answer)] = torch.tensor(answer.sampler_logprobs)
    return sampler


def _measure_answers(pairs: list[tuple[Prompt, Answer]]) -> dict[str, float]:
    """How good the student's own answers were, suspended ones included, against annotations that may be noisy."""
    parsed = [parse_answer(answer.text) for _, answer in pairs]
    ious = [
        best_iou(found.spans[0], prompt.example.spans) if found.spans else 0.0
        for (prompt, _), found in zip(pairs, parsed, strict=True)
    ]
    return {
        **_measure_distinct(pairs),
        "truncated_share": sum(answer.truncated for _, answer in pairs) / len(pairs),
        "output_format_rate": sum(bool(found.spans) for found in parsed) / len(pairs),
        "miou": sum(ious) / len(ious),
    }


def _measure_distinct(pairs: list[tuple[Prompt, Answer]]) -> dict[str, float]:
    """The share of distinct texts among the first answers to different examples: 1 if all differ, 0 if all are the
    same; nothing where there is only one example."""
    texts: dict[str, str] = {}
    for prompt, answer in pairs:
        texts.setdefault(prompt.id, answer.text)
    return {"distinct_answers": (len({*texts.values()}) - 1) / (len(texts) - 1)} if len(texts) > 1 else {}


def _measure_rewards(outcome: StepOutcome) -> dict[str, float]:
    """The mean reward, and how many groups had no spread and so gave no gradient."""
    rewards = [batch.judgement.rewards for batch in outcome.batches if batch.judgement.rewards is not None]
    if not rewards:
        return {}
    joined = torch.cat(rewards)
    return {"reward": float(joined.mean()), "groups_without_spread": int(find_groups_without_spread(joined).sum())}


def _measure_ratios(outcome: StepOutcome) -> dict[str, float]:
    """How far the policy went from the one that wrote, where the loss weighs by that and there were several updates;
    and how many answers a method left out of the loss."""
    found: dict[str, float] = {}
    kept = [(batch.losses, batch.answer_mask) for batch in outcome.batches]
    ratios = [losses.ratio[mask] for losses, mask in kept if losses.ratio is not None]
    if ratios:
        found["max_ratio"] = float(torch.cat(ratios).max())
        bounded = [losses.ratio_bounded[mask] for losses, mask in kept if losses.ratio_bounded is not None]
        if bounded:
            found["ratio_bounded_share"] = float(torch.cat(bounded).mean())
    masked = [losses.masked for losses, _ in kept if losses.masked is not None]
    if masked:
        found["num_answers_masked"] = int(torch.cat(masked).sum())
    return found


def _measure_trust(outcome: StepOutcome) -> dict[str, float]:
    """Where the teacher was not listened to: groups of answers whose outcome contradicts it, and the share of answer
    tokens behind the change point of its margin."""
    found: dict[str, float] = {}
    contradicted = [batch.losses.contradicted for batch in outcome.batches if batch.losses.contradicted is not None]
    if contradicted:
        found["groups_contradicted"] = int(torch.cat(contradicted).sum())
    supervised = [batch.losses.supervised for batch in outcome.batches if batch.losses.supervised is not None]
    if supervised:
        found["cut_share"] = 1 - sum(int(kept.sum()) for kept in supervised) / outcome.num_answer_tokens
    return found


def _measure_by_region(
    gap: torch.Tensor, pairs: list[tuple[Prompt, Answer]], student: Policy, answer_starts: str
) -> dict[str, dict[str, float]]:
    """How far student and teacher are apart on reasoning, digits, words and the end: mean nats, and over how many."""
    total: dict[str, list[float]] = {}
    for values, (_, answer) in zip(gap.tolist(), pairs, strict=True):
        pieces = [student.tokenizer.decode([token]) for token in answer.token_ids]
        regions = find_regions(pieces, truncated=answer.truncated, answer_starts=answer_starts)
        for value, region in zip(values, regions, strict=False):  # the row is padded, the answer is not
            total.setdefault(region, []).append(value)
    return {
        region: {"mean": sum(total[region]) / len(total[region]), "num_tokens": len(total[region])}
        for region in REGIONS
        if region in total
    }


def make_answer_rows(outcome: StepOutcome, student: Policy, count: int) -> list[dict[str, Any]]:
    """Up to `count` answers of the step with span, log-probs and advantage of every token; those of suspended examples,
    which have neither teacher nor advantage, come last."""
    rows: list[dict[str, Any]] = []
    for batch in outcome.batches:
        teacher = batch.judgement.teacher
        for index, (prompt, answer) in enumerate(_list_answers(batch)):
            row, length = _make_answer_row(prompt, answer, student), len(answer)
            row["advantage"] = batch.losses.advantage[index, :length].tolist()
            rows.append(row | ({"teacher_logprobs": teacher.logprobs[index, :length].tolist()} if teacher else {}))
            if len(rows) >= count:
                return rows[:count]
    rows += [
        _make_answer_row(prompt, answer, student) | {"suspended": True} for prompt, answer in _list_suspended(outcome)
    ]
    return rows[:count]


def _make_answer_row(prompt: Prompt, answer: Answer, student: Policy) -> dict[str, Any]:
    found = parse_answer(answer.text)
    return {
        "id": prompt.id,
        "query": prompt.example.query,
        "video": prompt.example.video,
        "duration": prompt.example.duration or 0.0,
        "annotated": [list(span) for span in prompt.example.spans],
        "answer": answer.text,
        "spans": [list(span) for span in found.spans],
        "reason": found.reason,
        "iou": best_iou(found.spans[0], prompt.example.spans) if found.spans else 0.0,
        "truncated": answer.truncated,
        "tokens": [student.tokenizer.decode([token]) for token in answer.token_ids],
        **({"sampler_logprobs": list(answer.sampler_logprobs)} if answer.sampler_logprobs else {}),
    }


def _list_suspended(outcome: StepOutcome) -> list[tuple[Prompt, Answer]]:
    return [(prompt, answer) for prompt, group in outcome.suspended for answer in group]


def _list_answers(batch: TrainedBatch) -> list[tuple[Prompt, Answer]]:
    prompts = {prompt.id: prompt for prompt in batch.prompts}
    return [(prompts[answer.prompt_id], answer) for answer in flatten(batch.groups)]
