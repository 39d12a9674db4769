"""The [compute] table of a recipe: device, precision and attention."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, model_validator

from video_opd.policy.location import check_device_name
from video_opd.settings import Positive, Settings


class ComputeSettings(Settings):
    """Device, precision and attention."""

    device: Annotated[str, AfterValidator(check_device_name)] = "auto"
    """`auto`: a CUDA device if there is one, else the CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: float32 weights for the student, bfloat16 arithmetic, a bfloat16 teacher."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] | None = None
    """How attention is computed. Not set: sdpa, or what the model's config.json asks for. `flash_attention_2` and
    `flash_attention_3` need their package and bfloat16; they read the prompts, and the answers stay with sdpa."""
    threads: Positive | None = None
    """Number of CPU threads; on a busy machine, two can be ten times slower than one."""
    shards: Positive | None = None
    """Processes that hold one copy of the weights together, in a job of several (`torchrun`); not set: all of them.
    1: every process holds all weights. Their number must divide the job's."""
    evaluation_batch_size: Positive = 1
    """Prompts that are answered together in an evaluation."""

    @model_validator(mode="after")
    def _check_attention(self) -> ComputeSettings:
        """Refuse a backend that does not compute in the type."""
        if (self.attention or "").startswith("flash") and self.precision == "float32":
            raise ValueError(
                f'attention = "{self.attention}" does not compute in float32; set precision = "bfloat16", or '
                'attention = "sdpa"'
            )
        return self
