"""`completion`."""

from __future__ import annotations

from typing import Literal

from video_opd.errors import ConfigurationError
from video_opd.terminal import show


def completion(shell: Literal["bash", "zsh", "fish", "powershell"] | None = None, /) -> int:
    """Print a script that makes a shell complete commands, flags and choices.

    Args:
        shell: which shell (default: the one that runs this)

    Example:
        video-opd completion bash
    """
    from cyclopts.completion import ShellDetectionError, detect_shell

    from video_opd.cli.application import build_app

    try:
        shell = shell or detect_shell()
    except ShellDetectionError as error:
        raise ConfigurationError(
            "`video-opd completion`", reason=str(error), remedy="name the shell, such as `video-opd completion bash`"
        ) from error
    # The script is only printed: at the place where a shell looks for it, the user may have a file of their own.
    show(build_app().generate_completion(shell=shell))
    return 0
