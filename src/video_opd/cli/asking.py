"""What the commands that ask a model have in common."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from video_opd.cli.argument_types import Device, Positive, Rate
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.path_roles import Role
from video_opd.errors import writing
from video_opd.files.outputs import place_of, refuse_foreign

if TYPE_CHECKING:
    from video_opd.config import GroundingDefaults
    from video_opd.data.prompts import PromptRenderer
    from video_opd.policy.description import Description
    from video_opd.policy.load import Policy
    from video_opd.types import Example

Model = Annotated[
    str,
    Parameter(help="a folder, a run folder (its newest checkpoint), a hub name, tiny-student or tiny-teacher"),
    Role.READS_MODEL_OR_NAMES,
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class HowAsked:
    """The device of a model, and how it is asked."""

    device: Device = "auto"
    """auto, cpu, cuda …"""
    precision: Literal["float32", "bfloat16"] | None = None
    """default: bfloat16 on CUDA, float32 elsewhere"""
    max_tokens: Positive | None = None
    """largest number of video tokens in a prompt"""
    max_new_tokens: Positive | None = None
    """largest number of tokens in an answer"""
    fps: Rate | None = None
    """frames per second that the model sees"""
    template: str | None = None
    """name of a prompt preset (default: the model's own, else timelens)"""


AS_THE_MODEL_IS = HowAsked()


def refuse_early(how: HowAsked, *models: str) -> list[Description]:
    """Check the models, the device and the template of the command line before any weights are downloaded.

    Returns:
        For several models: what is known without their weights. For one model: nothing, because it is loaded at once.

    Raises:
        ConfigurationError: a model or the device cannot be used, or the template is unknown.
    """
    from video_opd.policy.location import local_folder

    for model in models:
        local_folder(model)

    from video_opd.config import PromptSettings
    from video_opd.eval.how_asked import template_of
    from video_opd.policy.description import describe, require_device
    from video_opd.policy.device import device_of

    require_device(device_of(how.device))
    if how.template:
        template_of(PromptSettings(template=how.template))
    if len(models) < 2:
        return []
    here_first = sorted(models, key=lambda model: local_folder(model) is None)
    described = {model: describe(model, device=device_of(how.device)) for model in here_first}
    return [described[model] for model in models]


def refuse_absent_device(how: HowAsked) -> None:
    """Refuse a device that this machine does not have, before anything that takes long."""
    if how.device.partition(":")[0] not in ("auto", "cpu"):
        from video_opd.policy.description import require_device

        require_device(how.device)


def warn_of_tiny(models: Sequence[str], videos: Path, examples: Sequence[Example]) -> None:
    """Warn on stderr if a tiny model is asked about a real video."""
    from video_opd.eval.how_asked import tiny_on_real

    warning = tiny_on_real(models, videos, examples)
    if warning is not None:
        print(f"video-opd: warning: {warning}", file=sys.stderr)


def how_to_ask(model: str, how: HowAsked) -> GroundingDefaults:
    """How a model is asked: its own defaults, changed by the options of the command line. Imports no torch.

    For a model on the hub, only small files are downloaded.
    """
    from video_opd.config.recipe_file import load_grounding_defaults
    from video_opd.policy.location import resolve_model

    def said(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    defaults = load_grounding_defaults(resolve_model(model, weights=False))
    prompt = {"template": how.template, "user": None} if how.template else {}
    video = said(fps=how.fps, max_tokens=how.max_tokens)
    answers = said(max_new_tokens=how.max_new_tokens)
    return defaults.model_copy(
        update={
            "prompt": defaults.prompt.model_copy(update=prompt),
            "video": defaults.video.model_copy(update=video),
            "answers": defaults.answers.model_copy(update=answers),
        }
    )


def load(model: str, how: HowAsked, defaults: GroundingDefaults) -> tuple[Policy, PromptRenderer]:
    """Load a frozen model, and the renderer of its prompts."""
    from video_opd.data.prompts import PromptRenderer
    from video_opd.eval.how_asked import budget_of, prompt_mismatch, template_of

    template, budget = template_of(defaults.prompt), budget_of(defaults.video)
    warning = prompt_mismatch(defaults.prompt, model)
    if warning is not None:
        print(f"video-opd: warning: {warning}", file=sys.stderr)
    policy = load_model(model, how)
    return policy, PromptRenderer(policy.processor, template, budget)


def load_model(name: str, how: HowAsked) -> Policy:
    """Load a frozen model on the device and in the type that the command line gives."""
    import torch

    from video_opd.policy.device import device_of
    from video_opd.policy.load import load_policy

    weights = getattr(torch, precision_of(how))
    return load_policy(name, device=device_of(how.device), weights=weights).freeze()


def models_of(named: Mapping[str, str], how: HowAsked) -> dict[str, tuple[str, str]]:
    """Describe models by their role, each with the SHA-256 of its folder.

    The weights of a model on the hub are downloaded after its small files were checked."""
    from video_opd.policy.description import describe
    from video_opd.policy.device import device_of
    from video_opd.policy.location import local_folder, model_sha256, resolve_model

    for name in named.values():
        if local_folder(name) is None:
            describe(name, device=device_of(how.device))
    return {part: (name, model_sha256(resolve_model(name))) for part, name in named.items()}


def precision_of(how: HowAsked) -> str:
    """The type of the weights: the one on the command line, else the default of the device."""
    from video_opd.policy.device import device_of

    return how.precision or ("bfloat16" if device_of(how.device).startswith("cuda") else "float32")


def require_writable(file: Path, kind: Kind | None) -> None:
    """Check before the work begins that its result can be written. An existing file is not changed.

    Args:
        kind: the kind of file that may be replaced. None: the command itself checks the file, to continue it.

    Raises:
        ConfigurationError: the file cannot be written, or a file of another kind has this name.
    """
    with writing(file):
        if kind is not None:
            refuse_foreign(file, kind.is_in, kind.value)
        place = place_of(file)
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place.parent):
                pass
        elif not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
