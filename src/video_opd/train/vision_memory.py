"""The memory of a step where its gradient arrives at a trained vision tower, with checkpointing."""

from __future__ import annotations

from video_opd.policy.checkpointing import PATCHES_AT_ONCE
from video_opd.policy.model_shape import Arithmetic, ModelShape


def count_vision_backward(shape: ModelShape, how: Arithmetic, num_patches: int, *, trains_tower: bool) -> int:
    """Bytes of activations: the inputs of blocks and mergers, and what is computed again at once.

    Args:
        shape: of the student.
        how: in which types it computes.
        num_patches: of a micro-batch.
        trains_tower: the blocks of the tower, and not only its mergers.
    """
    width = num_patches * shape.vision_width * how.compute
    inputs = width * (1 + (int(shape.vision.depth) if trains_tower else 0))
    of_blocks = min(num_patches, PATCHES_AT_ONCE) * shape.count_kept_by_block(how) if trains_tower else 0
    # And the gradient of what a block or the mergers gave.
    return inputs + max(of_blocks, num_patches * shape.count_kept_by_mergers(how)) + width
