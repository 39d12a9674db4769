"""Steps of TRL's DistillationTrainer: runs in the environment of the peer, and prints one line of JSON.

TRL shows the clip to the student while it answers. It then trains on the tokens alone: the forward passes of student
and teacher get no pixels, and TRL says nothing about it. Its step therefore does less than the others. Images reach
these passes, so that it is measured with them too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import torch
from datasets import Dataset
from step_clock import StepClock
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import DistillationConfig, DistillationTrainer


def main() -> None:
    """Train; the arguments are the folder of world.py, the number of steps, of answer tokens, whether vision is frozen,
    and the question. With `images` in the fourth one, the clip is given as one image a second."""
    folder, steps, tokens, frozen = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), "frozen" in sys.argv[4]
    torch.set_num_threads(1)
    student, teacher = (
        AutoModelForImageTextToText.from_pretrained(folder / name, dtype=torch.float32)
        for name in ("student", "teacher")
    )
    for name, parameter in student.named_parameters():
        parameter.requires_grad_(not (frozen and "visual" in name))
    text = {"type": "text", "text": sys.argv[5]}
    if "images" in sys.argv[4]:
        with av.open(str(folder / "clip.mp4")) as clip:
            images = [frame.to_image() for frame in clip.decode(video=0)][::2]  # an image a second: as many tokens
        content = [*({"type": "image"} for _ in images), text]
        row = {"prompt": [{"role": "user", "content": content}], "images": images}
    else:
        content = [{"type": "video", "video": str(folder / "clip.mp4")}, text]
        row = {"prompt": [{"role": "user", "content": content}]}
    clock = StepClock()
    trainer = DistillationTrainer(
        model=student,
        teacher_model=teacher,
        args=DistillationConfig(
            output_dir=str(folder / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False, max_steps=steps,
            per_device_train_batch_size=1, gradient_accumulation_steps=1, learning_rate=1e-6, beta=1.0, temperature=1.0,
            top_p=1.0, top_k=0, max_completion_length=tokens, report_to=[], save_strategy="no", logging_steps=1,
        ),
        train_dataset=Dataset.from_list([row] * steps),
        processing_class=AutoProcessor.from_pretrained(folder / "student"),
        callbacks=[clock],
    )  # fmt: skip
    trainer.train()
    print(clock.describe("trl", "torch", "transformers"))


if __name__ == "__main__":
    main()
