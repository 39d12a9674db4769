"""How a batch is split into micro-batches: what is read together. It changes memory and speed, never the gradient."""

from __future__ import annotations

from collections.abc import Sequence

from video_opd.config import TrainingSettings
from video_opd.types import Prompt


def split_batch(
    prompts: Sequence[Prompt], settings: TrainingSettings, *, num_processes: int = 1
) -> list[tuple[Prompt, ...]]:
    """Split by number of prompts, in their order; or by tokens, prompts of like length together.

    Args:
        prompts: a whole batch.
        settings: say how much one process reads at once.
        num_processes: share every micro-batch, one prompt after the other.
    """
    budget, size = settings.micro_batch_tokens, settings.micro_batch_size * num_processes
    if budget is None:
        return [tuple(prompts[start : start + size]) for start in range(0, len(prompts), size)]
    places: list[list[int]] = []
    for place in sorted(range(len(prompts)), key=lambda place: -len(prompts[place])):
        # All are padded to the longest, which comes first.
        share = len(places[-1]) // num_processes + 1 if places else 0
        if places and share * len(prompts[places[-1][0]]) <= max(budget, len(prompts[places[-1][0]])):
            places[-1].append(place)
        else:
            places.append([place])
    return [tuple(prompts[place] for place in sorted(piece)) for piece in sorted(map(sorted, places))]
