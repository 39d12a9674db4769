"""What every peer trains on: student, teacher, a clip and a question, as files that transformers loads.

ms-swift knows the tokens of Qwen3-VL by their numbers, so the tiny tokenizer gets these numbers and as many entries.
"""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
from transformers import AutoProcessor

from shared_reading import build_policy, copy_tower
from video_opd.policy.location import resolve_model
from video_opd.seeds import generator

VOCABULARY = 151936
SPECIAL = {
    "<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|vision_start|>": 151652,
    "<|vision_end|>": 151653, "<|vision_pad|>": 151654, "<|image_pad|>": 151655, "<|video_pad|>": 151656,
}  # fmt: skip
QUESTION = "When does a thing happen?"
Sizes = tuple[dict[str, int], dict[str, int]]


def write_world(folder: Path, seconds: int, sizes: Sizes) -> None:
    """Write `student/`, `teacher/` and `clip.mp4` below a folder.

    Args:
        folder: made, if it is not there.
        seconds: of the clip; 32 video tokens each.
        sizes: arguments of `build_policy` for student and teacher.
    """
    processor = AutoProcessor.from_pretrained(resolve_model("tiny-student"))
    processor.save_pretrained(folder / "processor")
    number_tokens(folder / "processor" / "tokenizer.json")
    allow_whole_frames(folder / "processor" / "processor_config.json")
    processor = AutoProcessor.from_pretrained(folder / "processor")
    student, teacher = (build_policy(vocabulary=VOCABULARY, processor=processor, **size) for size in sizes)
    copy_tower(student, teacher)
    for name, policy in (("student", student), ("teacher", teacher)):
        policy.model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    write_clip(folder / "clip.mp4", seconds)


def number_tokens(path: Path) -> None:
    """Give the special tokens of a tokenizer file the numbers they have in Qwen3-VL, and fill the room before them."""
    file = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = file["model"]["vocab"]
    taken = set(SPECIAL.values())
    for number in range(len(vocabulary), max(taken) + 1):
        if number not in taken:
            vocabulary[f"unused-{number}"] = number
    for token in file["added_tokens"]:
        token["id"] = SPECIAL[token["content"]]
    path.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")


def allow_whole_frames(path: Path) -> None:
    """Let the processor leave the frames of the clip as large as they are."""
    file = json.loads(path.read_text(encoding="utf-8"))
    file["video_processor"]["size"]["longest_edge"] = 2**25
    path.write_text(json.dumps(file), encoding="utf-8")


def write_clip(path: Path, seconds: int) -> None:
    """Noise at 2 frames a second, in the size that the processor leaves as it is."""
    draw = generator(0, "frames")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2)
        stream.width, stream.height, stream.pix_fmt = 256, 128, "yuv420p"
        for _ in range(2 * seconds):
            image = np.kron(draw.integers(0, 255, (8, 16, 3), dtype=np.uint8), np.ones((16, 16, 1), dtype=np.uint8))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
