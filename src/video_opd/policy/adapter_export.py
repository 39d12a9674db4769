"""An adapter and its base model become one whole model in a new folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.policy.load import load_policy
from video_opd.policy.location import resolve_parts

_HOW_TO_ASK = ("grounding.json", "generation_config.json")


def write_merged(name: str, out: Path) -> list[str]:
    """Write a model that is an adapter as a whole model with float32 weights, its processor and `grounding.json`.

    Args:
        name: of the adapter: a run folder, a checkpoint, a folder, or a name on the hub.
        out: a folder that does not exist yet, or is empty.

    Returns:
        the folders of the adapters that were merged.

    Raises:
        ConfigurationError: the model is no adapter, it cannot be loaded, or the folder cannot be written.
    """
    parts = resolve_parts(name, weights=False)
    if not parts.adapters:
        raise ConfigurationError(
            f"model {name!r} is no adapter",
            reason=f"{parts.base} holds a whole model already",
            remedy="use that folder as it is; `merge` is for runs with a table [student.lora]",
        )
    with explain_write_errors(out):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigurationError(
                f"{out} exists and is not an empty folder",
                reason="files of two models would be mixed there",
                remedy="give a new folder as --out",
            )
        unfinished = out.with_name(f"{out.name}.tmp-{os.getpid()}")
        unfinished.mkdir(parents=True)
    try:
        policy = load_policy(name)
        with explain_write_errors(out):
            policy.model.save_pretrained(unfinished)
            policy.processor.save_pretrained(unfinished)
            for file in _HOW_TO_ASK:
                for folder in (parts.base, *parts.adapters):
                    if (folder / file).is_file():
                        shutil.copyfile(folder / file, unfinished / file)
            unfinished.replace(out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return [str(folder) for folder in parts.adapters]
