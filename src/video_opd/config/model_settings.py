"""The tables [student] and [teacher] of a recipe."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from video_opd.data.teacher_views import ShownSpans
from video_opd.policy.location import check_device_name
from video_opd.policy.lora_settings import LoraSettings
from video_opd.settings import Flag, MoreThanZero, NotNegative, Positive, Settings

ITSELF = "student"
"""As `teacher.model`: a frozen copy of the recipe's student."""


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


class ViewSettings(Settings):
    """What the teacher sees when it judges an answer. Not set: the student's own prompt."""

    kind: Literal["clip", "dense", "hint"]
    """`clip`: only the part of the video around the annotated spans, with its true times. Everything else of the prompt
    is the student's. `dense`: the video with more frames or pixels than the student sees, decoded once more. `hint`, an
    experiment: the student's prompt with a sentence that tells the annotated spans."""
    margin_s: NotNegative | None = None
    """Seconds that are shown before and after each span, at least: whole temporal groups are shown. Not set: 1 for
    `clip`, and for `dense` the whole video is shown."""
    spans: ShownSpans = "annotated"
    """What is shown, or told by a hint. The other values are controls, from which a student should learn less.
    `random`: a stretch of the same length somewhere in the video. `shuffled`: the spans of another query about the
    video, or else of another example."""
    fps: MoreThanZero | None = None
    """`dense`: frames per second that the teacher sees. Not set, as the following keys: video.fps."""
    max_frames: Annotated[Positive, Field(multiple_of=2)] | None = None
    """`dense`: largest number of frames that the teacher sees, an even number."""
    max_tokens: Positive | None = None
    """`dense`: largest number of video tokens that the teacher sees."""
    max_frame_tokens: Positive | None = None
    """`dense`: largest number of tokens of one temporal group that the teacher sees."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_margin(cls, table: Any) -> Any:
        """Set the default margin of a clip, so that it stands in the recipe of a run."""
        return {"margin_s": 1.0, **table} if isinstance(table, dict) and table.get("kind") == "clip" else table

    @model_validator(mode="after")
    def _check_kind(self) -> ViewSettings:
        if self.kind != "dense" and self.budget:
            raise ValueError(
                f"view.{next(iter(self.budget))} is for kind = dense: with {self.kind} the frames are those of the "
                "student's prompt"
            )
        if self.kind == "hint" and self.margin_s is not None:
            raise ValueError("view.margin_s is for the kinds clip and dense: a hint shows the whole video")
        if self.kind == "dense" and not self.budget:
            raise ValueError(
                "view.kind = dense without fps, max_frames, max_tokens or max_frame_tokens changes nothing"
            )
        if self.kind == "clip" and self.margin_s is None:
            raise ValueError("view.kind = clip without view.margin_s does not say which part is shown; set it to 1")
        if self.kind == "dense" and self.margin_s is None and self.spans != "annotated":
            raise ValueError(f"view.spans = {self.spans} says which part is shown; give view.margin_s too")
        return self

    @property
    def budget(self) -> dict[str, Any]:
        """The keys of [video] that the teacher has for itself."""
        own = {key: getattr(self, key) for key in ("fps", "max_frames", "max_tokens", "max_frame_tokens")}
        return {key: value for key, value in own.items() if value is not None}


class TeacherSettings(Settings):
    """The frozen model that judges."""

    model: str
    """A folder, a hub name, or `tiny-teacher`. Same tokenizer and frame size as the student's. `student`: a frozen copy
    of the student as it is before training; with student.lora its base, which takes no further memory."""
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
    refresh_every: Positive | None = None
    """Experimental, with model = student and a view: after every so many steps the copy takes over the weights that the
    student has then. Not set: it stays as it is."""
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Experimental, with model = student and a view: after every step the copy is this share of itself and, for the
    rest, the student, which is an exponential moving average. Students collapsed with it."""
    view: ViewSettings | None = None
    """What the teacher sees when it judges an answer: a table [teacher.view]."""

    @model_validator(mode="after")
    def _check_changes(self) -> TeacherSettings:
        """Refuse a change of what is no copy of the student, and a copy that nothing tells from the student."""
        key = "refresh_every" if self.refresh_every is not None else "average"
        if self.refresh_every is not None and self.average is not None:
            raise ValueError("the teacher has both refresh_every and average; leave one of them out")
        if self.is_changing and self.model != ITSELF:
            raise ValueError(f"teacher.{key} is for a copy of the student, and teacher.model is {self.model!r}")
        if self.is_changing and self.view is None:
            raise ValueError(
                f"teacher.{key} has no table [teacher.view]: a copy that follows the student and sees the same prompt "
                "teaches nothing"
            )
        return self

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

    @property
    def has_place(self) -> bool:
        """Whether it does not lie beside the student."""
        return bool(self.device or self.devices or self.offload)

    @property
    def is_changing(self) -> bool:
        """Whether its weights follow the student's."""
        return self.refresh_every is not None or self.average is not None


def is_base(teacher: TeacherSettings, student: StudentSettings) -> bool:
    """Whether a teacher is the student without its adapter, so that it takes no memory and can be moved nowhere."""
    return student.lora is not None and teacher.model in (ITSELF, student.model)


def refuse_idle_copies(student: StudentSettings, teachers: Collection[TeacherSettings], *, learns_anyway: bool) -> None:
    """Refuse a copy of the student as teacher that teaches nothing, or that is given a place which it has no use for.

    Args:
        student: of the recipe.
        teachers: of the recipe.
        learns_anyway: whether the method learns something from another source than the teacher.
    """
    copies = [teacher for teacher in teachers if teacher.model == ITSELF]
    if copies and len(copies) == len(teachers) and not learns_anyway and not any(each.view for each in copies):
        raise ValueError(
            f"teacher.model = {ITSELF} has no table [teacher.view]: teacher and student are the same model with the "
            "same prompt, so the reverse KL is 0 at the first step and nothing is learnt"
        )
    if student.lora is not None and any(each.has_place for each in copies):
        raise ValueError(
            f"teacher.model = {ITSELF} is the base of student.lora, whose weights are on the student's device; leave "
            "out device, devices and offload of the teacher"
        )


def refuse_unfit_changes(
    student: StudentSettings, teachers: Collection[TeacherSettings], *, judges_early: bool
) -> None:
    """Refuse a teacher that changes where its weights are not its own, or where something relies on a frozen one.

    Args:
        student: of the recipe.
        teachers: of the recipe.
        judges_early: whether a curriculum selects by what the teacher says.
    """
    if not any(teacher.is_changing for teacher in teachers):
        return
    if len(teachers) > 1:
        raise ValueError("refresh_every and average are for one teacher, and the recipe has several; leave them out")
    if student.lora is not None:
        raise ValueError(
            "teacher.refresh_every or teacher.average with student.lora: there the copy is the base under the adapter, "
            "without weights of its own that could change; leave one of the two out"
        )
    if judges_early:
        raise ValueError(
            "teacher.refresh_every or teacher.average, and the curriculum selects by the teacher's scores, which are "
            "kept as those of one model; take a curriculum without a teacher, or a frozen teacher"
        )


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
