"""A teacher that changes: a copy of the student that takes over its weights now and then, or their moving average.

Only the weights that the student trains can differ, so only these are followed, and saved with a checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter

from video_opd.config import TeacherSettings
from video_opd.policy.load import Policy
from video_opd.train.unfit_checkpoint import unfit

TEACHER_FOLDER = "teacher"
"""In a checkpoint: apart from the optimiser, of which every safetensors file beside it would be a part."""
TEACHER_FILE = f"{TEACHER_FOLDER}/weights.safetensors"
"""The weights of the teacher that follow the student's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChangingTeacher:
    """Follows the student from step to step."""

    settings: TeacherSettings
    policy: Policy
    """The teacher's model. Between its turns its weights are where they can be changed."""
    trained: dict[str, Parameter]
    """What the student trains, by name."""
    weights: dict[str, Tensor]
    """What the teacher has in their place."""
    precise: dict[str, Tensor]
    """The average in the student's type, where the teacher computes in a shorter one: there the small changes of a step
    would be lost. Empty elsewhere."""

    @classmethod
    def of(cls, settings: TeacherSettings, student: Policy, policy: Policy) -> ChangingTeacher:
        """A teacher that has the student's weights as they are before training.

        Args:
            settings: say when it changes, and how.
            student: under training.
            policy: a copy of it, in memory of its own.
        """
        trained = {name: weight for name, weight in student.model.named_parameters() if weight.requires_grad}
        own = dict(policy.model.named_parameters())
        weights = {name: own[name] for name in trained}
        precise = {}
        if settings.average is not None:
            shorter = [name for name, weight in weights.items() if weight.dtype != trained[name].dtype]
            precise = {name: trained[name].detach().clone() for name in shorter}
        return cls(settings=settings, policy=policy, trained=trained, weights=weights, precise=precise)

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Change the teacher, if it is time.

        Args:
            step: steps taken by now.
        """
        share, every = self.settings.average, self.settings.refresh_every
        for name, weight in self.weights.items():
            if share is not None:
                average = self.precise.get(name, weight)
                average.mul_(share).add_(self.trained[name].to(average.device), alpha=1 - share)
                if average is not weight:
                    weight.copy_(average)
            elif every and step % every == 0:
                weight.copy_(self.trained[name])

    def save(self, folder: Path) -> None:
        """Write its weights to the folder of a checkpoint."""
        (folder / TEACHER_FOLDER).mkdir()
        tensors = {name: self.precise.get(name, weight).detach() for name, weight in self.weights.items()}
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / TEACHER_FILE)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Take up its weights from the folder of a checkpoint: all of them or none.

        Raises:
            ConfigurationError: the file is not one of this teacher.
        """
        try:
            found = load_file(folder / TEACHER_FILE)
        except Exception as error:  # a broken file raises what safetensors likes
            raise unfit(folder, f"{TEACHER_FILE} cannot be read ({error})") from error
        expected = {name: tuple(weight.shape) for name, weight in self.weights.items()}
        if {name: tuple(tensor.shape) for name, tensor in found.items()} != expected:
            raise unfit(folder, f"{TEACHER_FILE} has other weights than the student trains")
        if broken := [name for name, tensor in found.items() if not torch.isfinite(tensor).all()]:
            raise unfit(folder, f"{broken[0]} of {TEACHER_FILE} is not finite")
        for name, weight in self.weights.items():
            weight.copy_(found[name])
            if name in self.precise:
                self.precise[name].copy_(found[name])
