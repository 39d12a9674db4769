"""What runs on the same data with the same untrained models need not do again: prompts and evaluations."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from video_opd.config import Recipe
from video_opd.files.durable import write_durably
from video_opd.runs.directory import RunDirectory
from video_opd.runs.inputs_file import read_inputs
from video_opd.train.build_inputs import PromptMemories
from video_opd.train.input_identity import digest_inputs


@dataclass(kw_only=True)
class SharedWork:
    """What runs on the same data with the same untrained models need not do again."""

    memories: dict[str, PromptMemories] = field(default_factory=dict)
    """Prompts that were rendered before, by the videos that there were."""
    evaluated: dict[tuple[str, str, str], Path] = field(default_factory=dict)
    """By name of an evaluation, model that no run changes, and what it was measured on: the folder in which it lies."""

    @staticmethod
    def list_untouched(recipe: Recipe, run: RunDirectory) -> list[tuple[str, str, str]]:
        """Evaluations that depend on a model as it is loaded and on nothing a method does; none where it is not
        recorded which files these were."""
        if (recorded := read_inputs(run.path)) is None:
            return []
        test = ("test", "side-questions")
        student = [("student-before", (*test, "student")), ("validation-000000", ("validation", "student"))]
        models = {name: teacher.model for name, teacher in recipe.name_teachers().items()}
        return [
            *((name, recipe.student.model, digest_inputs(recorded, inputs)) for name, inputs in student),
            *((name, model, digest_inputs(recorded, (*test, name))) for name, model in models.items()),
        ]

    def take_over(self, recipe: Recipe, run: RunDirectory) -> None:
        """Copy what earlier runs found about the same untouched models into a run's folder, where it has none."""
        for key in self.list_untouched(recipe, run):
            name, folder = key[0], self.evaluated.get(key)
            for file in sorted(folder.glob(f"{name}.*")) if folder else ():
                if not (run.evaluation / file.name).exists():
                    write_durably(run.evaluation / file.name, file.read_bytes())

    def note(self, recipe: Recipe, run: RunDirectory) -> None:
        """Remember a finished run, for those that come after it."""
        for key in self.list_untouched(recipe, run):
            if (run.evaluation / f"{key[0]}.json").exists():
                self.evaluated.setdefault(key, run.evaluation)
