"""Write the answers of one or two models to a benchmark's questions into one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video_opd.eval.answer_file import AnswerFile
    from video_opd.eval.benchmarks import Question
    from video_opd.eval.multiple_choice import Reply


@dataclass(frozen=True, kw_only=True)
class BenchmarkAnswers:
    """One model's answers."""

    replies: Mapping[str, Reply]
    set_aside: Mapping[str, str]
    damaged_videos: Mapping[str, int] = field(default_factory=dict)
    """As `PromptSource.damaged_videos`."""


@dataclass(frozen=True)
class Notes:
    """The answers of one model, which are written into the file of answers.

    Until all models were asked, the file has the final rows of the first model, and rows `{"id", "before"}` of the
    other. A pipe cannot be overwritten: it gets each row once the row is complete.
    """

    file: AnswerFile
    when: str
    asked: Mapping[str, BenchmarkAnswers]
    """The models that were asked before."""

    def read_replies(self) -> dict[str, Reply]:
        """The answers of an earlier run that the file has."""
        from video_opd.eval.multiple_choice import Reply

        parts = {row["id"]: row if self.when == "after" else row.get("before", {}) for row in self.file.rows}
        return {id: reply for id, part in parts.items() if (reply := Reply.from_row(part))}

    def add(self, questions: Mapping[str, Question], new: Mapping[str, Reply], *, is_last: bool) -> None:
        """Write down new replies."""
        if self.file.is_stream and not is_last:
            return
        if self.when == "before" and not self.file.is_stream:
            self.file.append([{"id": id, "before": reply.to_row()} for id, reply in new.items()])
        else:
            asked = {**self.asked, self.when: BenchmarkAnswers(replies=new, set_aside={})}
            self.file.append([row_of(questions[id], asked) for id in new])


def row_of(question: Question, asked: Mapping[str, BenchmarkAnswers]) -> dict[str, Any]:
    """One row of the file of answers."""
    row = {
        "id": question.id,
        "video": question.video,
        "categories": dict(question.categories),
        "right": question.right_label,
        **asked["after"].replies[question.id].to_row(),
    }
    return row | ({"before": asked["before"].replies[question.id].to_row()} if "before" in asked else {})
