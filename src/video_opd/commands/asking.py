"""What the commands that put questions to a model have in common."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_opd.errors import writing
from video_opd.outputs import place_of

if TYPE_CHECKING:
    from video_opd.data.prompts import PromptRenderer
    from video_opd.policy.load import Policy
    from video_opd.recipe import GroundingDefaults

Overrides = dict[str, str]
"""Recipe keys given on the command line."""


def how_to_ask(arguments: argparse.Namespace) -> GroundingDefaults:
    """How a model is asked: what travels with it, changed by what the command line says. Imports no torch."""
    from video_opd.policy.location import resolve_model
    from video_opd.recipe.file import load_grounding_defaults

    def said(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    defaults = load_grounding_defaults(resolve_model(arguments.model))
    prompt = {"template": arguments.template, "user": None} if arguments.template else {}
    video = said(fps=arguments.fps, max_tokens=arguments.max_tokens)
    answers = said(max_new_tokens=arguments.max_new_tokens)
    return defaults.model_copy(
        update={
            "prompt": defaults.prompt.model_copy(update=prompt),
            "video": defaults.video.model_copy(update=video),
            "answers": defaults.answers.model_copy(update=answers),
        }
    )


def load(arguments: argparse.Namespace, defaults: GroundingDefaults) -> tuple[Policy, PromptRenderer]:
    """A frozen model, and what puts the questions to it."""
    from video_opd.assemble import budget_of, prompt_mismatch, template_of
    from video_opd.data.prompts import PromptRenderer

    template, budget = template_of(defaults.prompt), budget_of(defaults.video)
    warning = prompt_mismatch(defaults.prompt, arguments.model)
    if warning is not None:
        print(f"video-opd: warning: {warning}", file=sys.stderr)
    policy = load_model(arguments, arguments.model)
    return policy, PromptRenderer(policy.processor, template, budget)


def load_model(arguments: argparse.Namespace, name: str) -> Policy:
    """A frozen model, where and in what type the command line says."""
    import torch

    from video_opd.assemble import device_of
    from video_opd.policy.load import load_policy

    device = device_of(arguments.device)
    precision = arguments.precision or ("bfloat16" if device.startswith("cuda") else "float32")
    return load_policy(name, device=device, weights=getattr(torch, precision)).freeze()


def require_writable(file: Path) -> None:
    """Know before the work is done that its result can be kept; what is there already stays as it is."""
    with writing(file):
        place = place_of(file)
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place.parent):
                pass
        elif not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
