"""A reward that random models can earn: their answers name no span."""

from __future__ import annotations

import torch

from video_opd.methods.rewards import TaskReward


class Lottery(TaskReward):
    """A function of the answer alone."""

    def __call__(self, prompts, groups):
        return torch.tensor([[float(sum(answer.token_ids) % 7) for answer in group] for group in groups])
