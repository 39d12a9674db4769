"""The configurations of published models that a plan needs before anything is downloaded: sizes, and nothing else.

Where a model's folder or the hub's cache has a config.json, that file is read, and nothing of this table. Sources:

- Qwen3-VL 2B, 8B, 30B-A3B, 235B-A22B: torchtitan's registry (torchtitan/experiments/qwen3_vl/__init__.py).
- Qwen3-VL 4B, Qwen2.5-VL 3B: their own config.json. Qwen3-VL 32B, Qwen2.5-VL 7B, Qwen3.5 4B, 9B and 27B: copies of
  their config.json in public repositories, as tests of other packages quote them.
- The student and the teacher that the authors of Video-OPD released have the shapes of their bases (docs/OFFICIAL.md).
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig

from video_opd.policy.description import guard_loading
from video_opd.policy.location import ModelParts, find_configured, resolve_parts
from video_opd.policy.quantised import find_quantisation

_FILE = Path(__file__).parent / "published_shapes.json"
_ENDINGS = ("-Instruct", "-Thinking", "-Base")


@cache
def _read_table() -> tuple[dict[str, Any], dict[str, str]]:
    """Configurations by the name on the hub, without the ending that says how the model was trained; and the models
    that have the shape of another one."""
    table = json.loads(_FILE.read_text(encoding="utf-8"))
    return table["shapes"], table["same_shape"]


def list_published() -> tuple[str, ...]:
    """The names of the models whose shapes are known, as the hub calls them."""
    shapes, same = _read_table()
    instructed = (name + "-Instruct" * ("-VL-" in name) for name in shapes)
    return (*instructed, *same)


@cache
def find_published_config(name: str) -> Any | None:
    """The configuration of a published model; None where it is not in the table.

    Args:
        name: on the hub, such as Qwen/Qwen3-VL-8B-Instruct.
    """
    shapes, same = _read_table()
    base = same.get(name, name)
    base = base.removesuffix("-FP8")
    for ending in _ENDINGS:
        base = base.removesuffix(ending)
    shape = deepcopy(shapes.get(base))
    return None if shape is None else AutoConfig.for_model(**shape)


def find_parts_here(name: str) -> ModelParts | None:
    """Find the folders of a model whose config.json is on this machine, be it in the hub's cache; None where it is not.

    Raises:
        ConfigurationError: the name leads to no model.
    """
    parts = find_configured(name)
    if parts is None and isinstance(cached := try_to_load_from_cache(name, "config.json"), str):
        parts = ModelParts(Path(cached).parent, ())
    return parts


def read_config(name: str) -> tuple[Any, str | None, Path | None]:
    """Read the configuration of a model, and how its weights are quantised. Nothing but config.json has to be there. A
    published model that is not on this machine is not downloaded.

    Args:
        name: a folder, a hub name, or a bundled model.

    Returns:
        the configuration; the method by which the weights are quantised, or None; the folder, or None where the table
        of published models was used.

    Raises:
        ConfigurationError: the model was not found, or its configuration cannot be read.
    """
    parts = find_parts_here(name)
    if parts is None:
        config = find_published_config(name)
        if config is not None:
            return config, "fp8" if name.endswith("-FP8") else None, None
    folder = parts.base if parts else resolve_parts(name, weights=False).base
    method = find_quantisation(folder)  # first, because it says more of a file that is no JSON object
    with guard_loading(name, "config"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return config, method, folder
