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

from video_opd.cli.argument_types import MODEL_NAMES, DecodeHere, Device, Offline, Positive, Rate
from video_opd.cli.earlier_outputs import Kind
from video_opd.cli.path_roles import Role
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.files.outputs import find_place, refuse_foreign
from video_opd.ranks import join_job, num_started
from video_opd.redaction import redact
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.config import GroundingDefaults
    from video_opd.data.prompts import PromptRenderer
    from video_opd.policy.description import Description
    from video_opd.policy.load import Policy
    from video_opd.types import Example

Model = Annotated[
    str,
    Parameter(help="a folder, a run folder (its newest checkpoint), a hub name, tiny-student or tiny-teacher"),
    MODEL_NAMES,
    Role.READS_MODEL_OR_NAMES,
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelChoices:
    """Where a model runs and how it is asked."""

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
    offline: Offline = False
    decode_here: DecodeHere = False


AS_THE_MODEL_IS = ModelChoices()


def refuse_early(how: ModelChoices, *models: str) -> list[Description]:
    """Look at what the command line says of models, device and template before any weights are fetched.

    Returns:
        For several models: what is known without their weights. For one model: nothing, because it is loaded at once.

    Raises:
        ConfigurationError: a model or the device cannot be used, or the template is unknown.
    """
    from video_opd.policy.location import find_local_folder, resolve_model

    for model in models:
        find_local_folder(model)

    from video_opd.config import PromptSettings
    from video_opd.eval.how_asked import resolve_template

    refuse_absent_device(how)
    if how.template:
        resolve_template(PromptSettings(template=how.template))
    if len(models) == 1:
        resolve_model(models[0], weights=False)  # a name that the hub does not have is told before torch is imported

    from video_opd.policy.description import describe, require_device
    from video_opd.policy.device import find_device

    require_device(find_device(how.device))
    if len(models) < 2:
        return []
    here_first = sorted(models, key=lambda model: find_local_folder(model) is None)
    described = {model: describe(model, device=find_device(how.device)) for model in here_first}
    return [described[model] for model in models]


def refuse_absent_device(how: ModelChoices) -> None:
    """Before anything that takes long. Where the command line names none there is nothing to be found."""
    if how.device.partition(":")[0] not in ("auto", "cpu"):
        from video_opd.policy.description import require_device

        require_device(how.device)


def join_job_to_ask(how: ModelChoices, shards: int) -> None:
    """Join the processes that `torchrun` started. From here on only the first one carries out the command.

    Args:
        how: says on which device.
        shards: processes that hold one copy of the weights together.

    Raises:
        ConfigurationError: the processes cannot share the weights or the device as is asked.
    """
    size = num_started()
    if size % shards:
        raise ConfigurationError(
            f"--shards {shards} with {size} process{'es' * (size > 1)}",
            reason="every copy of the weights needs as many processes, and none may be left over",
            remedy=f"give a divisor of {size}" if size > 1 else "start them with `torchrun --nproc-per-node N`",
        )
    if size == 1:
        return
    if how.device not in ("auto", "cpu", "cuda"):
        raise ConfigurationError(
            f"--device {how.device} with {size} processes",
            reason="every process has a device of its own",
            remedy="give auto, cpu or cuda; on a GPU every process takes the one of its number",
        )
    from video_opd.policy.description import require_device
    from video_opd.policy.device import find_device

    device = find_device(how.device)
    require_device(device)
    join_job(device)


def warn_of_tiny(models: Sequence[str], videos: Path, examples: Sequence[Example]) -> None:
    """Warn on stderr if a tiny model is asked about a real video."""
    from video_opd.eval.how_asked import explain_tiny_on_real

    warning = explain_tiny_on_real(models, videos, examples)
    if warning is not None:
        warn(warning)


def warn(sentence: str) -> None:
    """Print a warning on stderr."""
    show(f"video-opd: warning: {redact(sentence)}", file=sys.stderr)


def resolve_defaults(model: str, how: ModelChoices) -> GroundingDefaults:
    """How a model is asked: what travels with it, changed by what the command line says. Imports no torch.

    For a model on the hub, only small files are downloaded.
    """
    from video_opd.config.recipe_file import load_grounding_defaults
    from video_opd.policy.location import resolve_model

    def drop_unset(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    defaults = load_grounding_defaults(resolve_model(model, weights=False))
    prompt = {"template": how.template, "user": None} if how.template else {}
    video = drop_unset(fps=how.fps, max_tokens=how.max_tokens)
    answers = drop_unset(max_new_tokens=how.max_new_tokens)
    return defaults.model_copy(
        update={
            "prompt": defaults.prompt.model_copy(update=prompt),
            "video": defaults.video.model_copy(update=video),
            "answers": defaults.answers.model_copy(update=answers),
        }
    )


def load(
    model: str, how: ModelChoices, defaults: GroundingDefaults, *, shards: int = 1
) -> tuple[Policy, PromptRenderer]:
    """A frozen model, and what puts the questions to it.

    Args:
        model: its name.
        how: where it runs and in what type.
        defaults: how it is asked.
        shards: processes that hold one copy of the weights together.
    """
    from video_opd.eval.load_to_ask import load_to_ask
    from video_opd.policy.device import find_device

    device, precision = find_device(how.device), precision_of(how)
    return load_to_ask(model, defaults, device=device, precision=precision, warn=warn, shards=shards)


def load_model(name: str, how: ModelChoices, *, shards: int = 1) -> Policy:
    """A frozen model, where and in what type the command line says."""
    from video_opd.eval.load_to_ask import load_frozen
    from video_opd.policy.device import find_device

    return load_frozen(name, device=find_device(how.device), precision=precision_of(how), shards=shards)


def hash_models(named: Mapping[str, str], how: ModelChoices) -> dict[str, tuple[str, str]]:
    """Models by the part they play, each with the SHA-256 of its folder; of one on the hub the weights are fetched,
    once its small files were found in order."""
    from video_opd.policy.description import describe
    from video_opd.policy.device import find_device
    from video_opd.policy.location import find_local_folder, model_sha256, resolve_model

    for name in named.values():
        if find_local_folder(name) is None:
            describe(name, device=find_device(how.device))
    return {part: (name, model_sha256(resolve_model(name))) for part, name in named.items()}


def precision_of(how: ModelChoices) -> str:
    """The type in which a model is held: as the command line says, else what goes with the device."""
    from video_opd.policy.device import choose_precision, find_device

    return how.precision or choose_precision(find_device(how.device))


def require_writable(file: Path, kind: Kind | None) -> None:
    """Check before the work begins that its result can be written. An existing file is not changed.

    Args:
        kind: the kind of file that may be replaced. None: the command itself checks the file, to continue it.

    Raises:
        ConfigurationError: the file cannot be written, or a file of another kind has this name.
    """
    with explain_write_errors(file):
        if kind is not None:
            refuse_foreign(file, kind.is_in, kind.value)
        place = find_place(file)
        if place is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place.parent):
                pass
        elif not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
