"""Which parts of a student are trained, and how many weights they have."""

from __future__ import annotations

from video_opd.config import Recipe
from video_opd.policy.model_shape import ModelShape


def count_trained(recipe: Recipe, student: ModelShape) -> dict[str, int]:
    """Numbers of trained weights of a student itself, by part; none where an adapter is trained.

    Args:
        recipe: what it trains.
        student: its sizes.
    """
    settings = recipe.student
    if settings.lora is not None:
        return {}
    frozen = {"tower": settings.freeze_vision, "merger": settings.freeze_merger}
    return {part: count for part, count in student.num_weights.items() if not frozen.get(part)}
