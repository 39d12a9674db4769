"""`serve`: a page and an HTTP API for one or two models."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from video_opd.cli.argument_types import number_type
from video_opd.cli.asking import (
    AS_THE_MODEL_IS,
    Model,
    ModelChoices,
    load,
    refuse_absent_device,
    refuse_early,
    resolve_defaults,
)
from video_opd.cli.path_roles import Reads, Writes
from video_opd.cli.record_flags import add_record_flags
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.serve.server_address import ServerAddress, make_token, read_token, require_packages
from video_opd.serve.serving_limits import ServingLimits
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.serve.served_model import ServedModel

WITHOUT_MODEL = ("tiny-teacher", "tiny-student")
"""What answers where no model is named: two, so that models side by side are seen at once."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServingChoices:
    """Where the server listens, and what it keeps."""

    host: str = "127.0.0.1"
    """address to listen on; one that other machines can reach, such as 0.0.0.0, needs a token"""
    port: Annotated[int, number_type(int, ge=0, le=65535)] = 8000
    """port to listen on; 0: a free one"""
    token_file: Annotated[Reads | None, Parameter(metavar="FILE")] = None
    """file with the token that every request must have (default: VIDEO_OPD_SERVE_TOKEN; where a token is needed and
    there is none, one is made and printed)"""
    public_name: Annotated[str | None, Parameter(metavar="NAME")] = None
    """name by which a proxy on this machine makes the server public; needs a token"""
    keep: Annotated[Writes | None, Parameter(metavar="FOLDER")] = None
    """folder for every video and its answers; without it, nothing is kept"""


ON_THIS_MACHINE, USUAL_LIMITS = ServingChoices(), ServingLimits()


@add_record_flags
def serve(
    model: Model | None = None,
    second: Model | None = None,
    /,
    *,
    how: ModelChoices = AS_THE_MODEL_IS,
    where: ServingChoices = ON_THIS_MACHINE,
    limits: ServingLimits = USUAL_LIMITS,
) -> int:
    """Serve a page and an HTTP API that ask one or two models about uploaded videos.

    Without MODEL, the two tiny models answer, and the page has rendered clips to try.

    Args:
        second: another model, whose answers stand beside those of the first

    Example:
        video-opd serve
        video-opd serve Qwen/Qwen3-VL-2B-Instruct runs/mine --port 0
    """
    require_packages()
    names = [name for name in (model, second) if name is not None] or list(WITHOUT_MODEL)
    if len(set(names)) < len(names):
        raise ConfigurationError(
            f"{names[0]} is given twice", reason="its answers would stand beside themselves", remedy="leave one out"
        )
    refuse_absent_device(how)
    address = ServerAddress(host=where.host, port=where.port, public_name=where.public_name)
    token = read_token(where.token_file)
    is_made = token is None and not address.is_private
    if where.keep is not None:
        _make_folder(where.keep)
    with address.listen() as opened:
        _require_decoder(how, limits)
        refuse_early(how, *names)
        models = _load_models(names, how)

        from video_opd.serve.guard import Admission
        from video_opd.serve.web_server import ServerSettings, run_server

        token = make_token() if is_made else token
        admission = Admission(token=token, hosts=address.allowed_hosts)

        def announce() -> None:
            show(f"serving {' and '.join(model.name for model in models)} at {address.describe(opened)}", flush=True)
            if is_made:
                show(f"token: {token}", flush=True)
            show("Ctrl-C ends the server", file=sys.stderr)

        settings = ServerSettings(models=models, limits=limits, admission=admission, keep=where.keep)
        run_server(settings, opened, announce)
    return 0


def _require_decoder(how: ModelChoices, limits: ServingLimits) -> None:
    """Refuse to serve where the videos of others would be decoded without limits in the process of the server."""
    from video_opd.data.video.decoding_workers import DecodingWorker, NotStarted, is_decoding_here
    from video_opd.data.video.idle_decoders import leave_idle

    if how.decode_here or is_decoding_here():
        raise ConfigurationError(
            "--decode-here" if how.decode_here else "VIDEO_OPD_DECODE_HERE=1",
            reason="a video of another user must not be decoded in the process of the server, without limits",
            remedy="leave it out" if how.decode_here else "unset it",
        )
    try:
        leave_idle(DecodingWorker(limits.max_decoder_bytes))  # the first request takes it
    except NotStarted as error:
        raise ConfigurationError(
            "the process that decodes videos does not start",
            reason=str(error),
            remedy="free memory, or serve on another machine; a server does not decode in its own process",
        ) from error


def _load_models(names: list[str], how: ModelChoices) -> list[ServedModel]:
    defaults = {name: resolve_defaults(name, how) for name in names}

    from video_opd.serve.served_model import ServedModel

    labels = [Path(name).name if Path(name).is_absolute() else name for name in names]  # others see the page
    if len(set(labels)) < len(labels):
        labels = [f"{label} ({number})" for number, label in enumerate(labels, start=1)]
    loaded = []
    for name, label in zip(names, labels, strict=True):
        policy, renderer = load(name, how, defaults[name])
        most = defaults[name].answers.max_new_tokens
        loaded.append(ServedModel(name=label, policy=policy, renderer=renderer, max_new_tokens=most))
    return loaded


def _make_folder(folder: Path) -> None:
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
