"""A model on the disk, as transformers loads it: plain safetensors, also where several processes hold its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from video_opd.policy.sharding import drop_gathered, is_sharded
from video_opd.ranks import is_first_process


def save_whole_model(model: Any, folder: Path) -> None:
    """Write a model with its configuration. All processes of a job call it at once; the first one writes.

    transformers (5.24) would also gather sharded weights, but it writes weights that are tied to others a second time.

    Args:
        model: of transformers.
        folder: it is made if it is not there.
    """
    drop_gathered(model)
    if not any(map(is_sharded, model.parameters())):
        model.save_pretrained(folder)
        return
    weights = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if not is_first_process():
        return
    for tied in getattr(model, "all_tied_weights_keys", None) or {}:
        weights.pop(tied, None)
    config, model.config.distributed_config = model.config.distributed_config, None  # or it gathers them again
    try:
        model.save_pretrained(folder, state_dict=weights)
    finally:
        model.config.distributed_config = config
