"""Where a model lies, and whether what lies there can be a model at all. Known before torch is imported."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from video_opd.errors import ConfigurationError

BUNDLED = ("tiny-student", "tiny-teacher")
"""Models that ship with the package."""

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def resolve_model(name: str) -> str:
    """The folder or hub name behind a model's name.

    Raises:
        ConfigurationError: it is neither, or the folder lacks what a model needs.
    """
    if name in BUNDLED:
        return str(files("video_opd") / "models" / name)
    folder = Path(name).expanduser()
    if not folder.exists():
        if not _HUB_NAME.fullmatch(name):
            raise ConfigurationError(
                f"model {name!r} is not a folder",
                reason=f"it is neither a folder here, nor of the form owner/name, nor one of {', '.join(BUNDLED)}",
                remedy="give the folder that holds config.json and *.safetensors",
            )
        return name
    _refuse_incomplete(folder)
    return str(folder)


def _refuse_incomplete(folder: Path) -> None:
    if not folder.is_dir():
        raise ConfigurationError(
            f"model {folder} is a file",
            reason="a model is a folder of weights, config and tokenizer",
            remedy="give the folder that holds config.json and *.safetensors",
        )
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        raise ConfigurationError(
            f"model folder {folder} has no *.safetensors",
            reason="weights are read from safetensors only" + (", for *.bin files can run code" if pickled else ""),
            remedy="save the model with save_pretrained of a current transformers"
            if pickled
            else "give the folder that holds config.json and *.safetensors",
        )
    missing = [file for file in ("config.json", "tokenizer_config.json") if not (folder / file).is_file()]
    if missing:
        raise ConfigurationError(
            f"model folder {folder} has no {' and no '.join(missing)}",
            reason="model, tokenizer and processor are loaded from one folder",
            remedy="save the processor beside the model with processor.save_pretrained(folder)",
        )
