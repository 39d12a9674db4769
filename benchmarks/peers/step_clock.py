"""The CPU time of every step of a transformers Trainer, and the tokens that its model read."""

from __future__ import annotations

import json
import time
from importlib.metadata import version
from typing import Any

from transformers import TrainerCallback


class StepClock(TrainerCallback):
    """Counts from the begin of a step to its end: generation, teacher, student, backward pass and optimiser."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.prompt_tokens = 0
        self.has_pixels: list[bool] = []
        """Whether the student gets pixels, for each of its passes over the prompt."""
        self._began = 0.0

    def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
        """Look at what the student reads."""
        model.model.register_forward_pre_hook(self._look, with_kwargs=True)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._began = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds.append(time.process_time() - self._began)

    def describe(self, *packages: str) -> str:
        """What was measured, as one line of JSON, with the versions of some packages."""
        measured = {
            "seconds": self.seconds,
            "prompt_tokens": self.prompt_tokens,
            "passes_of_student": len(self.has_pixels) / len(self.seconds),
            "passes_with_pixels": sum(self.has_pixels) / len(self.seconds),
        }
        return json.dumps({**measured, "versions": {name: version(name) for name in packages}})

    def _look(self, _: Any, __: Any, inputs: dict[str, Any]) -> None:
        ids = inputs.get("input_ids")
        if ids is not None and ids.shape[1] > 1:
            self.prompt_tokens = self.prompt_tokens or ids.shape[1]
            # `generate` may give what the vision tower made of the pixels.
            names = ("pixel_values_videos", "pixel_values", "mm_encoder_outputs")
            self.has_pixels.append(any(inputs.get(name) is not None for name in names))
