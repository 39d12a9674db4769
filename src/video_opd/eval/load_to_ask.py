"""A frozen model, loaded to be asked: what the commands that ask a model and `video_opd.load` load."""

from __future__ import annotations

from collections.abc import Callable

import torch

from video_opd.config import GroundingDefaults
from video_opd.data.prompts import PromptRenderer
from video_opd.eval.how_asked import explain_prompt_mismatch, resolve_budget, resolve_template
from video_opd.policy.device import find_device_here
from video_opd.policy.load import Policy, load_policy
from video_opd.policy.ranked_policy import load_on_all
from video_opd.policy.sharding import Sharding
from video_opd.ranks import num_processes


def load_to_ask(
    name: str, how: GroundingDefaults, *, device: str, precision: str, warn: Callable[[str], None], shards: int = 1
) -> tuple[Policy, PromptRenderer]:
    """Load a model, and what puts the questions to it.

    Args:
        name: of the model.
        how: how it is asked.
        device: where it runs; not `auto`.
        precision: type of the weights.
        warn: told, before the weights are loaded, that the model was trained with another prompt.
        shards: processes that hold one copy of the weights together.

    Raises:
        ConfigurationError: the model or the template does not exist.
    """
    template, budget = resolve_template(how.prompt), resolve_budget(how.video)
    if warning := explain_prompt_mismatch(how.prompt, name):
        warn(warning)
    policy = load_frozen(name, device=device, precision=precision, shards=shards)
    return policy, PromptRenderer(policy.processor, template, budget)


def load_frozen(name: str, *, device: str, precision: str, shards: int = 1) -> Policy:
    """Load a model that is not trained; in a job of several processes on all of them.

    Args:
        name: of the model.
        device: where it runs; not `auto`. With `cuda` every process of a job takes its own GPU.
        precision: type of the weights.
        shards: processes that hold one copy of the weights together; 1: every process holds all of them.

    Raises:
        ConfigurationError: it does not exist.
    """
    return load_on_all(_load_here, name, device, precision, shards)


def _load_here(name: str, device: str, precision: str, shards: int) -> Policy:
    sharding = None if shards == 1 else Sharding(shards=shards, replicas=num_processes() // shards)
    weights = getattr(torch, precision)
    return load_policy(name, device=find_device_here(device), weights=weights, layout=sharding).freeze()
