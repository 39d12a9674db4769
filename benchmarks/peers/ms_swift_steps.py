"""Steps of ms-swift's GKD trainer on the student's own answers.

It runs in the environment of the peer, and prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["FORCE_QWENVL_VIDEO_READER"] = "decord"
os.environ["FPS"] = "2"
os.environ["VIDEO_MIN_TOKEN_NUM"] = "4"  # the frames stay as large as they are

import torch
from step_clock import StepClock
from swift.pipelines.train.rlhf import SwiftRLHF


def main() -> None:
    """Train; the arguments are those of trl_steps.py."""
    folder, steps, tokens, frozen = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "frozen" in sys.argv[4]
    torch.set_num_threads(1)
    row = {
        "messages": [{"role": "user", "content": f"<video>{sys.argv[5]}"}, {"role": "assistant", "content": "-"}],
        "videos": [str(folder / "clip.mp4")],
    }
    data = folder / "train.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for _ in range(steps)), encoding="utf-8")
    clock = StepClock()
    words = {
        "rlhf_type": "gkd", "model": folder / "student", "model_type": "qwen3_vl", "teacher_model": folder / "teacher",
        "teacher_model_type": "qwen3_vl", "dataset": data, "tuner_type": "full", "torch_dtype": "float32",
        "freeze_vit": str(frozen).lower(), "freeze_aligner": str(frozen).lower(), "lmbda": "1", "beta": "1",
        "temperature": "1", "top_p": "1", "max_completion_length": tokens, "max_steps": steps,
        "per_device_train_batch_size": "1", "gradient_accumulation_steps": "1", "learning_rate": "1e-6",
        "gradient_checkpointing": "false", "output_dir": folder / "ms-swift", "save_strategy": "no",
        "split_dataset_ratio": "0", "dataset_num_proc": "1", "dataloader_num_workers": "0", "use_hf": "true",
        "report_to": "none", "logging_steps": "1", "add_version": "false", "create_checkpoint_symlink": "false",
    }  # fmt: skip
    pipeline = TimedPipeline([part for key, value in words.items() for part in (f"--{key}", str(value))], clock)
    pipeline.main()
    print(clock.describe("ms-swift", "torch", "transformers"))


class TimedPipeline(SwiftRLHF):
    """Its trainer tells the clock when a step begins and ends."""

    def __init__(self, words: list[str], clock: StepClock) -> None:
        super().__init__(words)
        self.clock = clock

    def train(self, trainer):
        """As ms-swift does it, with one callback more."""
        trainer.add_callback(self.clock)
        return super().train(trainer)


if __name__ == "__main__":
    main()
