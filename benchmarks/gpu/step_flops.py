"""How many FLOPs a step executes, by phase: matrix products and attention; a multiplication and an addition are two."""

from __future__ import annotations

from video_opd.policy.model_shape import ModelShape
from video_opd.types import Prompt

FULL, ADAPTER = 2.0, 1.0
"""A backward pass over the language model, in forward passes: gradients of inputs and weights, or of inputs alone."""


def count_reading(shape: ModelShape, tokens: int) -> float:
    """The language model's pass over a prompt. Causal attention computes half of all pairs; no logits are needed."""
    text = shape.text
    layers = int(text.num_hidden_layers)
    weights = shape.num_weights["text"] - shape.embedding * (1 if shape.is_tied else 2)
    return 2.0 * weights * tokens + 2.0 * tokens**2 * shape.query_size * layers


def count_vision(shape: ModelShape, prompt: Prompt) -> float:
    """The vision tower's pass over a clip: every patch sees those of its own temporal group."""
    patches = len(prompt.pixel_values)
    groups = int(prompt.grid_thw[0])
    weights = 2.0 * (shape.num_weights["tower"] * patches + shape.num_weights["merger"] * patches / 4)
    return weights + 4.0 * patches * (patches / groups) * shape.vision_width * int(shape.vision.depth)


def count_answer(shape: ModelShape, prompt: Prompt, answer_tokens: int) -> float:
    """A pass over an answer behind its prompt, the head included."""
    text = shape.text
    weights = shape.num_weights["text"] - (0 if shape.is_tied else shape.embedding)
    pairs = answer_tokens * len(prompt)
    return 2.0 * weights * answer_tokens + 4.0 * pairs * shape.query_size * int(text.num_hidden_layers)


def count_step(
    student: ModelShape, teacher: ModelShape, prompt: Prompt, answer_tokens: int, *, trains: float, again: bool
) -> dict[str, float]:
    """By phase, for one prompt with one answer under a frozen vision tower.

    Args:
        student: that learns.
        teacher: that judges.
        prompt: what both read.
        answer_tokens: of the answer.
        trains: `FULL` or `ADAPTER`.
        again: whether the backward pass computes the layers again.
    """
    reading = count_reading(student, len(prompt))
    answer = count_answer(student, prompt, answer_tokens)
    return {
        "read": reading + count_vision(student, prompt),
        "answer": answer,
        "teacher": count_reading(teacher, len(prompt))
        + count_vision(teacher, prompt)
        + count_answer(teacher, prompt, answer_tokens),
        "score": answer,
        "backward": trains * (reading + answer) + (reading if again else 0.0),
    }
