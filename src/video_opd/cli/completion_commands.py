"""`completion`."""

from __future__ import annotations

import sys
from typing import Literal

from video_opd.errors import ConfigurationError, writing


def completion(shell: Literal["bash", "zsh", "fish", "powershell"] | None = None, /, *, install: bool = False) -> int:
    """Print a script that makes a shell complete commands, flags and names, or install it.

    Args:
        shell: which shell (default: the one that runs this)
        install: write the script where the shell looks for it, and name it in the shell's start-up file

    Example:
        video-opd completion bash --install
    """
    from cyclopts.completion import ShellDetectionError, detect_shell

    from video_opd.cli.application import build_app

    try:
        shell = shell or detect_shell()
    except ShellDetectionError as error:
        raise ConfigurationError(
            "`video-opd completion`", reason=str(error), remedy="name the shell, such as `video-opd completion bash`"
        ) from error
    app = build_app()
    if not install:
        print(app.generate_completion(shell=shell))
        return 0
    from cyclopts.completion.install import get_default_completion_path

    with writing(get_default_completion_path(shell, app.name[0])):
        print(f"{app.install_completion(shell=shell)}: open a new shell to use it", file=sys.stderr)
    return 0
