"""The tables of a recipe, except [method], which is declared with each method, and [curriculum]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, Field, model_validator

from video_opd.config.compute_settings import ComputeSettings
from video_opd.config.curriculum_settings import CURRICULA, CurriculumSettings, WholePoolSettings
from video_opd.data.label_noise import LabelNoise
from video_opd.data.world_sizes import WorldSizes
from video_opd.methods import METHODS, MethodSettings
from video_opd.methods.opd import OnPolicyDistillationSettings
from video_opd.policy.location import check_device_name
from video_opd.policy.lora_settings import LoraSettings
from video_opd.settings import (
    Count,
    Flag,
    Integer,
    Momentum,
    MoreThanZero,
    NotNegative,
    Positive,
    Settings,
    Share,
)


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


class RenderSettings(Settings):
    """Whether and how the tiny world is rendered."""

    render: Flag = True
    """Render the tiny world if it is missing, into a folder that is new or has nothing else. Set to false automatically
    if you give other data paths than those beside this table, because they mean your own data."""
    seed: Integer = 0
    """Seed of the clips, the questions and the noise."""


class TinyWorldSettings(WorldSizes, LabelNoise, RenderSettings):
    """The rendered data set, and what is wrong with its training annotations."""


class DataSettings(Settings):
    """The manifests and the videos."""

    videos: Path
    """Folder that the video paths of the manifests start from."""
    train: Path
    """Manifest to train on."""
    validation: Path
    """Manifest to evaluate during training (see schedule.eval_every)."""
    test: Path | None = None
    """Manifest to evaluate before and after training; it is never used to choose anything."""
    max_bad_share: Share = 0.05
    """Training stops if more than this share of the examples has an unusable video."""
    workers: Count = 1
    """Processes that decode the next batch during a step; 0: a step waits for the process that decodes its batch."""
    tiny_world: TinyWorldSettings | None = None
    """The tiny world, in the parent folder of `videos`."""


class PromptSettings(Settings):
    """The form of the question."""

    template: str = "timelens"
    """Name of a built-in template."""
    user: str | None = None
    """The user's turn in your own words, with {video} and {query} once each. The form of the answer remains that of the
    template, so choose a thinking template for answers with thinking."""


class VideoSettings(Settings):
    """How much of a video a prompt holds."""

    fps: MoreThanZero = 2.0
    """Frames per second that the model sees, up to max_frames."""
    max_frames: Annotated[Positive, Field(multiple_of=2)] = 768
    """Largest number of frames in a prompt, an even number; a longer video is sampled at a lower rate."""
    max_tokens: Positive = 8192
    """Largest number of video tokens in a prompt; checked against the output of the processor."""
    max_frame_tokens: Positive = 768
    """Largest number of tokens of one temporal group (two frames)."""


class SideQuestionSettings(PromptSettings):
    """Questions of another kind, with one-word answers, asked before and after: they show what training forgets."""

    file: Path | None = None
    """JSON lines of id, video, question, answer, duration; videos as in `data.videos`. None: those of the tiny
    world."""
    template: str = "tiny-before"
    """Name of a built-in template; the question takes the place of {query}."""


class AnswerSettings(Settings):
    """Limits of an answer."""

    max_new_tokens: Positive = 64
    """Largest number of tokens in an answer; a longer answer is cut off and counts as truncated."""


class TrainingSettings(Settings):
    """The optimiser and its batches."""

    steps: Positive | None = None
    """Optimiser steps; not set: one pass over the training examples."""
    batch_size: Positive = 32
    """Prompts per step."""
    micro_batch_size: Positive = 1
    """Prompts that are read together; this changes memory and speed, never the gradient."""
    micro_batch_tokens: Positive | None = None
    """Prompt tokens that are read together at most, padding included, instead of a number of prompts; prompts of like
    length go together. A longer prompt is read alone."""
    gradient_checkpointing: Flag | Literal["auto"] | None = None
    """Compute a layer's activations again in the backward pass instead of keeping them: half of the memory, a tenth
    more time, the same gradient but for rounding. `auto`: only where a step does not fit the device otherwise; it is
    decided when a run begins, and is in the recipe of its folder. Not set: no."""
    answer_together: Positive | Literal["auto"] | None = None
    """Prompts of a process that are answered in one token loop, whatever the micro-batches are; this changes memory and
    speed, never the gradient. With gradient_checkpointing their readings are kept; without it every prompt is read a
    second time, for the gradient. `auto`: on a GPU as many as fit, where that saves time; it is decided when a run
    begins, and is in the recipe of its folder. Not set: `auto` on a GPU; on a CPU every micro-batch is answered by
    itself."""
    updates_per_batch: Positive = 1
    """Optimiser updates per batch. More than one uses the importance ratio; its largest value is logged as max_ratio.
    Its bounds are method.ratio_cap, or method.clip of grpo."""
    learning_rate: MoreThanZero = 1e-6
    """Learning rate of AdamW after the warm-up."""
    warmup_steps: Count = 0
    """Steps over which the learning rate rises linearly to its full size."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate decays to 0 between the warm-up and the last step."""
    weight_decay: NotNegative = 0.0
    """Weight decay of AdamW, for matrices and convolution kernels; norms, biases and embeddings have none."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Decay rates of AdamW, for the mean of the gradients and of their squares."""
    clip_norm: MoreThanZero = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""

    @property
    def most_together(self) -> int:
        """Prompts of a process that are answered together at most, once `auto` is settled; 0: no two micro-batches."""
        return self.answer_together if isinstance(self.answer_together, int) and self.answer_together > 1 else 0


class ScheduleSettings(Settings):
    """When to measure, save and record."""

    evaluate_every: Count = 0
    """Steps between evaluations on the validation manifest; 0: only at the end."""
    checkpoint_every: Positive = 20
    """Steps between checkpoints; an interrupted run resumes from the newest."""
    keep_checkpoints: Positive = 2
    """Number of newest checkpoints that are kept."""
    probe_every: Count = 10
    """Steps between measurements of the reverse KL before and after an update, on the same states; 0: never. Needs a
    teacher."""
    probe_size: Positive = 4
    """Number of prompts in that measurement."""
    answers_every: Positive = 1
    """Steps between records of answers in answers.jsonl."""
    answers_kept: Count = 4
    """Number of answers recorded each time."""


class GroundingDefaults(Settings):
    """The default prompt and frames of a model. They are saved beside its weights as `grounding.json`, so that a
    student is evaluated with the prompt and the frames of its training, unless the user gives others."""

    prompt: PromptSettings = PromptSettings()
    video: VideoSettings = VideoSettings()
    answers: AnswerSettings = AnswerSettings()


GROUNDING_FILE = "grounding.json"


class Recipe(Settings):
    """All settings of a run. The same recipe, data and seed give the same weights."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]
    """Name of the run; its folder is runs/NAME unless --out gives another."""
    seed: Integer = 0
    """Seed of the order of the examples and of every sampled answer."""
    student: StudentSettings
    teacher: TeacherSettings | None = None
    """Required for methods that ask a teacher. With other methods it is optional, and used only for comparison."""
    teachers: tuple[TeacherSettings, ...] = ()
    """Several teachers in place of one, each a table [[teachers]]."""
    teachers_by: Literal["source", "reliability", "average"] = "source"
    """Which of several teachers judges an example. `source`: the one that names the example's source. `reliability`:
    the one whose own answers to this example were best. `average`: all of them, with the mean of their log-probs."""
    data: DataSettings
    prompt: PromptSettings = PromptSettings()
    video: VideoSettings = VideoSettings()
    method: Annotated[MethodSettings, METHODS] = OnPolicyDistillationSettings()
    answers: AnswerSettings = AnswerSettings()
    curriculum: Annotated[CurriculumSettings, CURRICULA] = WholePoolSettings()
    training: TrainingSettings = TrainingSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    side_questions: SideQuestionSettings | None = None
    compute: ComputeSettings = ComputeSettings()

    @model_validator(mode="before")
    @classmethod
    def _fill_in_defaults(cls, tables: Any) -> Any:
        """Set the default names: a [method] table is Video-OPD's, a [curriculum] table the whole pool's."""
        if not isinstance(tables, dict):
            return tables
        usual = {"method": next(iter(METHODS)), "curriculum": next(iter(CURRICULA))}
        named = {key: {"name": name, **tables[key]} for key, name in usual.items() if isinstance(tables.get(key), dict)}
        return tables | named

    @model_validator(mode="after")
    def _check_parts(self) -> Recipe:
        """Refuse settings that do not fit together."""
        if not self.name_teachers() and self.method.needs_teacher:
            raise ValueError(f"method.name = {self.method.name} asks a teacher, and the recipe has no table [teacher]")
        if self.teachers:
            _require_a_rule(self.teacher, self.teachers, self.teachers_by)
        elif self.teachers_by != "source" or (self.teacher and (self.teacher.sources or self.teacher.scores)):
            raise ValueError(
                "teachers_by, sources and scores share the work among several teachers, and the recipe has no tables "
                "[[teachers]]"
            )
        if self.curriculum.needs_teacher and not self.name_teachers():
            raise ValueError(
                f"curriculum.name = {self.curriculum.name} selects by a teacher's answers, and the recipe has no table "
                "[teacher]"
            )
        for key in ("teacher_scores", "race", "race_enough"):
            if self.teachers and getattr(self.curriculum, key, None):
                raise ValueError(f"curriculum.{key} is for one teacher, and the recipe has several; leave it out")
        answers = self.training.batch_size * getattr(self.method, "num_answers", 1)
        recorded = self.schedule.answers_every == 1 and self.schedule.answers_kept >= answers
        if getattr(self.curriculum, "reuse_answers", False) and not recorded:
            raise ValueError(
                "curriculum.reuse_answers takes scores from answers.jsonl, and not all answers are recorded there; set "
                f"schedule.answers_every = 1 and schedule.answers_kept = {answers}"
            )
        if self.curriculum.suspend_at is not None and self.method.writes_annotations:
            raise ValueError(
                f"curriculum.suspend_at uses the student's own answers, and method.name = {self.method.name} "
                "trains on annotated ones; leave it out, or take opd"
            )
        rounds = getattr(self.curriculum, "num_rounds", 1)
        if self.training.steps is not None and self.training.steps < rounds:
            raise ValueError(f"training.steps = {self.training.steps} for curriculum.num_rounds = {rounds}")
        return self

    def name_teachers(self) -> dict[str, TeacherSettings]:
        """The teachers by the name of their evaluation: `teacher`, or for several teachers `teacher-1`, `teacher-2`
        …"""
        if self.teacher is not None:
            return {"teacher": self.teacher}
        return {f"teacher-{number}": teacher for number, teacher in enumerate(self.teachers, start=1)}

    def grounding_defaults(self) -> GroundingDefaults:
        """The default prompt and frames of a student of this run."""
        return GroundingDefaults(prompt=self.prompt, video=self.video, answers=self.answers)

    def to_toml(self) -> str:
        """The resolved recipe, defaults included; keys that are None are left out, as TOML has no null."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


METHODS.add_user(Recipe)


def _require_a_rule(one: TeacherSettings | None, several: tuple[TeacherSettings, ...], by: str) -> None:
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
