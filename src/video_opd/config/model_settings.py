"""The tables [student] and [teacher] of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, model_validator

from video_opd.policy.location import check_device_name
from video_opd.policy.lora_settings import LoraSettings
from video_opd.settings import Flag, Settings


class StudentSettings(Settings):
    """The model that learns."""

    model: str
    """A folder, a hub name, or `tiny-student`."""
    freeze_vision: Flag = False
    """Do not train the vision tower; the merger is separate. TimeLens freezes only the tower, Video-OPD freezes
    both."""
    freeze_merger: Flag = False
    """Do not train the merger (with Qwen3-VL's deepstack mergers), the layers between vision tower and language
    model."""
    lora: LoraSettings | None = None
    """Train an adapter instead of the weights: a table [student.lora], which may be empty."""


class TeacherSettings(Settings):
    """The frozen model that judges."""

    model: str
    """A folder, a hub name, or `tiny-teacher`. Same tokenizer and frame size as the student's."""
    sources: tuple[str, ...] = ()
    """With teachers_by = source: the sources of the examples that this teacher judges."""
    scores: Path | None = None
    """With teachers_by = reliability: the score file of this teacher on the training manifest, as `video-opd score`
    writes it."""
    device: Annotated[str, AfterValidator(check_device_name)] | None = None
    """A device of its own, such as cuda:1; not set: the student's."""
    devices: tuple[Annotated[str, AfterValidator(check_device_name)], ...] | None = None
    """Several GPUs of its own, over which its layers are spread, such as ["cuda:1", "cuda:2"]."""
    offload: Flag | None = None
    """The teacher waits on the CPU while the student answers and learns."""

    @model_validator(mode="after")
    def _check_places(self) -> TeacherSettings:
        """Refuse places that contradict each other."""
        devices = self.devices or ()
        if self.device and self.devices is not None:
            raise ValueError("the teacher has both device and devices; leave one of them out")
        if self.devices is not None and len(set(devices)) < max(2, len(devices)):
            raise ValueError(f"devices = {list(devices)} does not name several different GPUs; for one, set device")
        if self.offload and devices:
            raise ValueError("offload moves the teacher as a whole, and devices spreads it; leave one of them out")
        return self


def require_a_rule(one: TeacherSettings | None, several: tuple[TeacherSettings, ...], by: str) -> None:
    """Refuse several teachers that lack a key of their rule, or have a key that the rule ignores."""
    if one is not None:
        raise ValueError("the recipe has both [teacher] and [[teachers]]; write every teacher as [[teachers]]")
    if len(several) < 2:
        raise ValueError("the recipe has a single table [[teachers]]; write one teacher as [teacher]")
    for key, rule in (("sources", "source"), ("scores", "reliability")):
        given = [bool(getattr(teacher, key)) for teacher in several]
        if by == rule and not all(given):
            raise ValueError(
                f"teachers_by = {by} needs the key `{key}`, and {several[given.index(False)].model!r} has none"
            )
        if by != rule and any(given):
            raise ValueError(
                f"teachers_by = {by} does not use `{key}`, and {several[given.index(True)].model!r} has some; "
                f"leave them out or choose teachers_by = {rule}"
            )
    named = [source for teacher in several for source in teacher.sources]
    twice = sorted({source for source in named if named.count(source) > 1})
    if twice:
        raise ValueError(f"source {twice[0]!r} is named by two teachers, and only one of them can judge its examples")
