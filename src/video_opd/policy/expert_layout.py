"""Weights of experts, (experts, rows, columns), whose two sides stand one way round or the other in a checkpoint.

transformers tells the two ways apart by the shape of the whole weight. A process that loads a shard reads some experts
only, so every shard looks as if it stood the other way round, and would be turned. (Seen in transformers 5.24, for a
Qwen3-VL-MoE that was saved by transformers 5 itself.) Here only the two sides are compared.
"""

from __future__ import annotations

from typing import Any

from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.core_model_loading import Transpose


class TransposeOfShard(Transpose):
    """Turns the two sides of a weight, or of a part of it, unless they stand as the model wants them."""

    def convert(
        self, input_dict: dict[str, Any], source_patterns: list[str], target_patterns: list[str], **kwargs: Any
    ) -> dict[str, Any]:
        """Turn the one tensor that is given, where it must be turned. transformers calls it.

        Args:
            input_dict: the tensor, or a list of it, by its name in the checkpoint.
            source_patterns: names in the checkpoint.
            target_patterns: names in the model.
            kwargs: the model and the name of the weight there, among others.
        """
        given = next(iter(input_dict.values()))
        tensor = given[0] if isinstance(given, list) else given
        wanted = kwargs["model"].get_parameter(kwargs["full_layer_name"]).shape
        if all(tensor.shape[side] == wanted[side] for side in (self.dim0, self.dim1)):
            return {self.get_target_pattern(input_dict, source_patterns, target_patterns): tensor}
        always = Transpose(self.dim0, self.dim1)
        turned: dict[str, Any] = always.convert(input_dict, source_patterns, target_patterns, **kwargs)
        return turned

    @property
    def reverse_op(self) -> TransposeOfShard:
        """What undoes it when the model is saved."""
        return TransposeOfShard(self.dim1, self.dim0, check_dims=True)


def compare_sides_only(model_type: str) -> None:
    """Let transformers load shards of a model of this type from checkpoints of either way round.

    Args:
        model_type: as config.json has it; nothing changes for a type whose weights are never turned.
    """
    conversions = get_checkpoint_conversion_mapping(model_type) or []
    found = False
    for conversion in conversions:
        for place, operation in enumerate(getattr(conversion, "operations", ())):
            if type(operation) is Transpose and operation.check_dims:
                conversion.operations[place] = TransposeOfShard(operation.dim0, operation.dim1, check_dims=True)
                found = True
    if found:
        register_checkpoint_conversion_mapping(model_type, conversions, overwrite=True)
