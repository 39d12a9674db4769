"""Questions of another kind with one-word answers, which show what a model forgets in grounding training.

One JSON object a line: `{"id": str, "video": "relative/path.mp4", "question": str, "answer": str, "duration": float}`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from video_opd.files.outputs import replace_file
from video_opd.files.records import json_lines
from video_opd.types import Example

_FORM = 'Write {"id": …, "video": …, "question": …, "answer": …, "duration": …} with an id of its own'


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
        """The question as an example without spans, for rendering; its query is the question."""
        return Example(id=self.id, video=self.video, query=self.question, spans=(), duration=self.duration)


def read_side_questions(path: Path) -> list[SideQuestion]:
    """Read a file of side questions, in order.

    Raises:
        DataError: at the first line that is not one, or an id that comes twice.
    """
    questions: dict[str, SideQuestion] = {}
    for record in json_lines(path):
        try:
            question = SideQuestion(**record.value)
        except TypeError as error:
            record.refuse(str(error), _FORM)
        texts = (question.id, question.video, question.question, question.answer)
        is_usable = all(isinstance(text, str) and text for text in texts)
        if not is_usable or not isinstance(question.duration, (int, float)) or question.id in questions:
            record.refuse("a value of the wrong kind, or an id that was there before", _FORM)
        questions[question.id] = question
    return list(questions.values())


def write_side_questions(path: Path, questions: Sequence[SideQuestion]) -> None:
    """Write side questions, one line each."""
    with replace_file(path) as unfinished:
        unfinished.write_text("".join(json.dumps(asdict(question)) + "\n" for question in questions), encoding="utf-8")
