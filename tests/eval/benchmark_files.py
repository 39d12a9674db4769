"""Small made-up benchmarks in the official layouts, about whatever clips there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from video_opd.eval.benchmarks import Option, Question


def write_json(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1))
    return path


def multi_choice(right: str = "the red circle") -> dict[str, str]:
    question = f"What appears first?\nA. a dog\nB. {right}\nC. the blue square"
    return {"question": question, "answer": f"B. {right}"}


def yes_no(answer: str = "yes") -> dict[str, str]:
    return {"question": "Is the red circle visible before the blue square?", "answer": answer}


def captions() -> dict[str, str]:
    question = "Which description is a more suitable match for the video?\nOption 1: A dog runs.\nOption 2: A cat sits."
    return {"question": question, "answer": "Option 2: A cat sits."}


def write_tempcompass(folder: Path, videos: list[str]) -> Path:
    """Of every video one question of each kind, and a second multiple choice."""
    kinds = {
        "multi-choice": lambda: {"order": [multi_choice(), multi_choice("the green triangle")]},
        "yes_no": lambda: {"order": [yes_no()]},
        "caption_matching": lambda: {"action": [captions()]},
    }
    for kind, make in kinds.items():
        write_json(folder / "questions" / f"{kind}.json", {video: make() for video in videos})
    return folder


def mvbench_row(video: str, **changes: Any) -> dict[str, Any]:
    row = {"video": video, "question": "What did the person do?", "candidates": ["Sat.", "Ran.", "Ate."]}
    return row | {"answer": "Ran."} | changes


def video_mme_row(number: int = 1, **changes: Any) -> dict[str, Any]:
    row = {
        "video_id": "001",
        "duration": "short",
        "domain": "Knowledge",
        "sub_category": "Astronomy",
        "url": "https://example.org/watch",
        "videoID": "abc",
        "question_id": f"001-{number}",
        "task_type": "Counting Problem",
        "question": "How many moons are shown?",
        "options": ["A. One.", "B. Two.", "C. Three.", "D. Four."],
        "answer": "C",
    }
    return row | changes


def question(*contents: str, right: int = 0, **changes: Any) -> Question:
    """One with options A, B, C …, in MVBench's form."""
    letters = "ABCDE"[: len(contents)]
    values: dict[str, Any] = {
        "id": "q",
        "video": "q.mp4",
        "prompt": "Which?",
        "options": tuple(
            Option(label=letter, text=f"{letter}) {content}", content=content)
            for letter, content in zip(letters, contents, strict=True)
        ),
        "right": right,
        "answer": contents[right],
        "categories": (("task", "Action Count"),),
    }
    return Question(**(values | changes))
