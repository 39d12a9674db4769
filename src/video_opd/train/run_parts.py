"""What a run is made of. `assemble` makes it from a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from video_opd.config import Recipe
from video_opd.data.prompt_source import PromptSource
from video_opd.data.side_questions import SideQuestion
from video_opd.methods import Method
from video_opd.methods.teachers import Teacher
from video_opd.output_streams import LostProgress
from video_opd.policy.load import Policy
from video_opd.runs.collapse_watch import CollapseWatch
from video_opd.train.answer_gate import AnswerGate
from video_opd.train.changing_teacher import ChangingTeacher
from video_opd.train.learner import Learner
from video_opd.train.lessons import Curriculum
from video_opd.types import Example


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """The models of a run."""

    student: Policy
    teacher: Teacher | None
    """None where the method asks no teacher and the recipe has none to measure by."""
    reference: Policy | None
    """The student before training, where the method keeps near it."""

    def group_by_part(self) -> dict[str, tuple[Policy, ...]]:
        """The models by the part they play: `student` and, where there are some, `teacher` and `reference`."""
        return {
            "student": (self.student,),
            **({"teacher": self.teacher.policies} if self.teacher else {}),
            **({"reference": (self.reference,)} if self.reference else {}),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """The examples of a run, and the prompts made of them."""

    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example]
    side_questions: Sequence[SideQuestion]
    source: PromptSource
    """Prompts of the training examples."""
    validation_source: PromptSource


@dataclass(frozen=True, kw_only=True, eq=False)
class RunParts:
    """A run before its first step: models, data, and what trains the one on the other."""

    recipe: Recipe
    models: Models
    data: Data
    method: Method
    learner: Learner
    gate: AnswerGate | None
    """Of the learner, where a curriculum suspends examples."""
    curriculum: Curriculum
    watch: CollapseWatch
    """Knows the rows of the run so far."""
    changing: ChangingTeacher | None = None
    """The teacher, where it follows the student."""
    lost_progress: LostProgress = field(default_factory=LostProgress)
    """Tells the run's journal that stderr could not be written."""
    inputs_version: int = 1
    """One more for every change of the inputs that was accepted; see `inputs.json`."""

    def mark_row(self) -> dict[str, Any]:
        """What the next row of the run's journal says about the run itself; mostly nothing."""
        changed = {"inputs_version": self.inputs_version} if self.inputs_version > 1 else {}
        return changed | self.lost_progress.tell_once()
