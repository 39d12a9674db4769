"""What a step leaves behind: one row for metrics.jsonl, and some answers, token by token, for answers.jsonl."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import pad

from video_opd.grounding import best_iou, parse_answer
from video_opd.objectives import masked_mean, sampled_entropy, sampled_reverse_kl, sampler_learner_gap
from video_opd.policy.load import Policy
from video_opd.training.learner import StepOutcome, TrainedBatch
from video_opd.vocabulary import Answer, Prompt, flatten


def metrics_row(outcome: StepOutcome) -> dict[str, Any]:
    """One line of metrics.jsonl. Log-prob quantities are nats per answer token; shares are between 0 and 1.

    `miou` is that of the sampled answers against the training annotations, which may be noisy: a trend, not a score.
    """
    longest = max(batch.judgement.answer_mask.shape[1] for batch in outcome.batches)

    def joined(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([pad(tensor, (0, longest - tensor.shape[1])) for tensor in tensors])

    mask = joined([batch.judgement.answer_mask for batch in outcome.batches])
    behaviour = joined([batch.behaviour_logprobs for batch in outcome.batches])
    teacher = joined([batch.judgement.logprobs for batch in outcome.batches])
    clamped = joined([batch.losses.clamped for batch in outcome.batches])
    pairs = [pair for batch in outcome.batches for pair in _answers(batch)]
    sampler = torch.zeros_like(behaviour)
    for row, (_, answer) in enumerate(pairs):
        sampler[row, : len(answer)] = torch.tensor(answer.sampler_logprobs)
    parsed = [parse_answer(answer.text) for _, answer in pairs]
    ious = [
        best_iou(found.spans[0], prompt.example.spans) if found.spans else 0.0
        for (prompt, _), found in zip(pairs, parsed, strict=True)
    ]
    return {
        "loss": outcome.loss,
        "reverse_kl": sampled_reverse_kl(behaviour, teacher, mask),
        "sampler_learner_gap": sampler_learner_gap(sampler, behaviour, mask),
        "entropy": sampled_entropy(behaviour, mask),
        "clamped_share": float(masked_mean(clamped, mask)),
        "truncated_share": sum(answer.truncated for _, answer in pairs) / len(pairs),
        "format_rate": sum(bool(found.spans) for found in parsed) / len(pairs),
        "miou": sum(ious) / len(ious),
        "grad_norm": outcome.grad_norm,
        "learning_rate": outcome.learning_rate,
        "num_answers": len(pairs),
        "num_answer_tokens": outcome.num_answer_tokens,
        "mean_answer_tokens": outcome.num_answer_tokens / len(pairs),
        "mean_prompt_tokens": sum(len(prompt) for prompt, _ in pairs) / len(pairs),
    }


def answer_rows(outcome: StepOutcome, student: Policy, count: int) -> list[dict[str, Any]]:
    """Up to `count` answers of the step with span, log-probs and credit of every token."""
    rows: list[dict[str, Any]] = []
    for batch in outcome.batches:
        for index, (prompt, answer) in enumerate(_answers(batch)):
            if len(rows) == count:
                return rows
            rows.append(_answer_row(prompt, answer, batch, index, student))
    return rows


def _answer_row(prompt: Prompt, answer: Answer, batch: TrainedBatch, index: int, student: Policy) -> dict[str, Any]:
    found, length = parse_answer(answer.text), len(answer)
    return {
        "id": prompt.id,
        "query": prompt.example.query,
        "video": prompt.example.video,
        "duration": prompt.example.duration,
        "annotated": [list(span) for span in prompt.example.spans],
        "answer": answer.text,
        "spans": [list(span) for span in found.spans],
        "reason": found.reason,
        "iou": best_iou(found.spans[0], prompt.example.spans) if found.spans else 0.0,
        "truncated": answer.truncated,
        "tokens": [student.tokenizer.decode([token]) for token in answer.token_ids],
        "credit": batch.losses.credit[index, :length].tolist(),
        "sampler_logprobs": list(answer.sampler_logprobs),
        "teacher_logprobs": batch.judgement.logprobs[index, :length].tolist(),
    }


def _answers(batch: TrainedBatch) -> list[tuple[Prompt, Answer]]:
    prompts = {prompt.id: prompt for prompt in batch.prompts}
    return [(prompts[answer.prompt_id], answer) for answer in flatten(batch.groups)]
