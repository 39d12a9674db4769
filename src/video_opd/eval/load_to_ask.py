"""A frozen model, loaded to be asked: what the commands that ask a model and `video_opd.load` load."""

from __future__ import annotations

from collections.abc import Callable

import torch

from video_opd.config import GroundingDefaults
from video_opd.data.prompts import PromptRenderer
from video_opd.eval.how_asked import explain_prompt_mismatch, resolve_budget, resolve_template
from video_opd.policy.load import Policy, load_policy


def load_to_ask(
    name: str, how: GroundingDefaults, *, device: str, precision: str, warn: Callable[[str], None]
) -> tuple[Policy, PromptRenderer]:
    """Load a model, and what puts the questions to it.

    Args:
        name: of the model.
        how: how it is asked.
        device: where it runs; not `auto`.
        precision: type of the weights.
        warn: told, before the weights are loaded, that the model was trained with another prompt.

    Raises:
        ConfigurationError: the model or the template does not exist.
    """
    template, budget = resolve_template(how.prompt), resolve_budget(how.video)
    if warning := explain_prompt_mismatch(how.prompt, name):
        warn(warning)
    policy = load_frozen(name, device=device, precision=precision)
    return policy, PromptRenderer(policy.processor, template, budget)


def load_frozen(name: str, *, device: str, precision: str) -> Policy:
    """Load a model that is not trained.

    Raises:
        ConfigurationError: it does not exist.
    """
    return load_policy(name, device=device, weights=getattr(torch, precision)).freeze()
