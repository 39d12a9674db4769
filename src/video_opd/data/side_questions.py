"""A second kind of question with a one-word answer, to see what grounding training makes a model forget.

One JSON object a line: `{"id": str, "video": "relative/path.mp4", "question": str, "answer": str, "duration": float}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from video_opd.errors import DataError
from video_opd.files.outputs import replacing
from video_opd.types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class SideQuestion:
    """A question about a video, and the word that answers it."""

    id: str
    video: str
    question: str
    answer: str
    duration: float
    """Seconds."""

    def as_example(self) -> Example:
        """For rendering: an example without spans, whose query is the question."""
        return Example(id=self.id, video=self.video, query=self.question, spans=(), duration=self.duration)


def read_side_questions(path: Path) -> list[SideQuestion]:
    """Read a file of side questions, in order.

    Raises:
        DataError: at the first line that is not one, or an id that comes twice.
    """
    questions: dict[str, SideQuestion] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}", reason=f"it cannot be read: {error}", remedy="Give a file of side questions"
        ) from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            question = SideQuestion(**row)
            usable = all(isinstance(row[key], str) and row[key] for key in ("id", "video", "question", "answer"))
        except (ValueError, TypeError) as error:
            raise _bad_line(path, number, str(error)) from None
        if not usable or not isinstance(question.duration, (int, float)) or question.id in questions:
            raise _bad_line(path, number, "a value of the wrong kind, or an id that was there before")
        questions[question.id] = question
    return list(questions.values())


def write_side_questions(path: Path, questions: Sequence[SideQuestion]) -> None:
    """Write them, one line each."""
    with replacing(path) as unfinished:
        unfinished.write_text("".join(json.dumps(asdict(question)) + "\n" for question in questions), encoding="utf-8")


def _bad_line(path: Path, number: int, reason: str) -> DataError:
    return DataError(
        f"{path}, line {number}",
        reason=reason,
        remedy='Write {"id": …, "video": …, "question": …, "answer": …, "duration": …} with an id of its own',
    )
