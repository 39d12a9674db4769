"""What the task's YAML names. lmms-eval loads this in its own environment, so nothing of video_opd is imported."""

from __future__ import annotations

import re
from typing import Any

Question = dict[str, Any]


def videos(question: Question) -> list[str]:
    """The clip, for lmms-eval's older `simple` models."""
    return [question["video"]]


def question(question: Question, _: Any = None) -> str:
    """The tiny world's words."""
    return f"When is {question['query']} visible?"


def messages(doc: Question, _: Any = None) -> list[dict[str, Any]]:
    """Text first, video last, as the tiny models are used to; lmms-eval's own order is the other one."""
    content = [{"type": "text", "text": question(doc)}, {"type": "video", "url": doc["video"]}]
    return [{"role": "user", "content": content}]


def target(question: Question) -> str:
    """The annotated span, in seconds."""
    return f"{question['start_s']} - {question['end_s']}"


def score(question: Question, answers: list[str]) -> dict[str, float]:
    """Temporal IoU of the first `start - end` of the answer; 0 where there is none."""
    found = re.search(r"(\d+(?:\.\d+)?) - (\d+(?:\.\d+)?)", answers[0])
    iou = 0.0
    if found:
        start_s, end_s = float(found[1]), float(found[2])
        overlap_s = min(end_s, question["end_s"]) - max(start_s, question["start_s"])
        hull_s = max(end_s, question["end_s"]) - min(start_s, question["start_s"])
        iou = max(overlap_s, 0.0) / hull_s
    return {"miou": iou, "r1_at_0.5": float(iou >= 0.5)}
