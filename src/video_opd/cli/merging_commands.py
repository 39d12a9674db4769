"""`merge`."""

from __future__ import annotations

import sys

from video_opd.cli.argument_types import Offline
from video_opd.cli.path_roles import ReadsModelOrNames, Writes
from video_opd.terminal import show


def merge(model: ReadsModelOrNames, /, *, out: Writes, offline: Offline = False) -> int:
    """Add a trained adapter to the weights of its base model, and write the whole model.

    Args:
        model: run folder, checkpoint or folder of an adapter
        out: new folder

    Example:
        video-opd merge runs/lora --out models/grounder
    """
    from video_opd.policy.adapter_export import write_merged
    from video_opd.policy.offline import go_offline

    if offline:
        go_offline()

    adapters = write_merged(model, out)
    show(f"{out}: {' and '.join(adapters)} merged", file=sys.stderr)
    return 0
