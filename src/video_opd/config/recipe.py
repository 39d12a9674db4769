"""The tables of a recipe but [method], each kind of which stands with its method, and [curriculum]."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, Field, model_validator

from video_opd.config.curriculum_settings import CURRICULA, CurriculumSettings, WholePoolSettings
from video_opd.data.label_noise import LabelNoise
from video_opd.data.world_sizes import WorldSizes
from video_opd.methods import METHODS, MethodSettings
from video_opd.methods.opd import OnPolicyDistillationSettings
from video_opd.policy.location import device_name
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
    """Leave the vision tower as it is, without its merger. TimeLens freezes the tower alone, Video-OPD both."""
    freeze_merger: Flag = False
    """Leave the merger (with Qwen3-VL's deepstack mergers) as it is: the layers between tower and language model."""


class TeacherSettings(Settings):
    """The frozen model that judges."""

    model: str
    """A folder, a hub name, or `tiny-teacher`. Same tokenizer and frame size as the student's."""
    sources: tuple[str, ...] = ()
    """Of several teachers with teachers_by = source: the sources of examples that this one judges."""
    scores: Path | None = None
    """Of several teachers with teachers_by = reliability: this one's score file on the training manifest, as
    `video-opd score` writes it."""


class RenderSettings(Settings):
    """Whether a world is rendered, and which."""

    render: Flag = True
    """Render it where it is missing, into a folder that is new or holds nothing else. false where other data paths are
    given than those that stand beside this table: they mean data of your own."""
    seed: Integer = 0
    """Draws clips, questions and noise."""


class TinyWorldSettings(WorldSizes, LabelNoise, RenderSettings):
    """The rendered data set, and what is wrong with its training annotations."""


class DataSettings(Settings):
    """Where the examples are."""

    videos: Path
    """Folder the manifests' video paths are relative to."""
    train: Path
    """Manifest trained on."""
    validation: Path
    """Manifest evaluated on schedule while training."""
    test: Path | None = None
    """Manifest evaluated before and after, and never used to choose anything."""
    max_bad_share: Share = 0.05
    """Training stops when more than this share of its examples has an unusable video."""
    workers: Count = 1
    """Threads that decode the next batch while this one is trained on; 0: none."""
    tiny_world: TinyWorldSettings | None = None
    """The tiny world, in the folder that holds `videos`."""


class PromptSettings(Settings):
    """How the question is put."""

    template: str = "timelens"
    """Name of a built-in template."""
    user: str | None = None
    """The user's turn in your own words, with {video} and {query} once each; the form of the answer stays that of the
    template, so take a thinking one for answers that think."""


class VideoSettings(Settings):
    """How much of a video a prompt holds."""

    fps: MoreThanZero = 2.0
    """Frames per second looked at, as long as max_frames allows."""
    max_frames: Annotated[Positive, Field(multiple_of=2)] = 768
    """Most frames of a prompt, an even number; a longer video is looked at more sparsely."""
    max_tokens: Positive = 8192
    """Most video tokens of a prompt; checked against what the processor really made."""
    max_frame_tokens: Positive = 768
    """Most tokens of one temporal group (two frames)."""


class SideQuestionSettings(PromptSettings):
    """A second kind of question, with a one-word answer, asked before and after: what does training forget?"""

    file: Path | None = None
    """JSON lines of id, video, question, answer, duration; videos as in `data.videos`. None: the tiny world's own."""
    template: str = "tiny-before"
    """Name of a built-in template; the question takes the place of {query}."""


class AnswerSettings(Settings):
    """What an answer may be."""

    max_new_tokens: Positive = 64
    """Most tokens of an answer; one that is longer is cut off and counted as truncated."""


class TrainingSettings(Settings):
    """The optimiser and its batches."""

    steps: Positive | None = None
    """Optimiser steps; where not set, one pass over the training examples."""
    batch_size: Positive = 32
    """Prompts a step."""
    micro_batch_size: Positive = 1
    """Prompts read together; changes memory and speed, never the gradient."""
    updates_per_batch: Positive = 1
    """More than one brings in the importance ratio; its largest value is logged as max_ratio. Bounds: method.ratio_cap,
    or method.clip of grpo."""
    learning_rate: MoreThanZero = 1e-6
    """Of AdamW, after the warm-up."""
    warmup_steps: Count = 0
    """Steps over which the learning rate rises linearly to its full size."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate falls to 0 from the warm-up to the last step."""
    weight_decay: NotNegative = 0.0
    """AdamW's, of matrices and kernels of convolutions; norms, biases and embeddings are left alone."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """AdamW's, of the mean of the gradients and of their squares."""
    clip_norm: MoreThanZero = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""


class ScheduleSettings(Settings):
    """What is measured, saved and recorded when."""

    evaluate_every: Count = 0
    """Steps between evaluations on the validation manifest; 0: only at the end."""
    checkpoint_every: Positive = 20
    """Steps between checkpoints; an interrupted run goes on from the newest."""
    keep_checkpoints: Positive = 2
    """Newest checkpoints that are kept."""
    probe_every: Count = 10
    """Steps between measurements of the reverse KL before and after an update, on the same states; 0, or without a
    teacher: never."""
    probe_size: Positive = 4
    """Prompts in that measurement."""
    answers_every: Positive = 1
    """Steps between records of answers in answers.jsonl."""
    answers_kept: Count = 4
    """Answers recorded each time."""


class ComputeSettings(Settings):
    """What it runs on."""

    device: Annotated[str, AfterValidator(device_name)] = "auto"
    """`auto`: a CUDA device if there is one, else the CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: float32 weights for the student, bfloat16 arithmetic, a bfloat16 teacher."""
    threads: Positive | None = None
    """CPU threads; two on a busy machine can be ten times slower than one."""
    evaluation_batch_size: Positive = 1
    """Prompts answered together when evaluating."""


class GroundingDefaults(Settings):
    """How a model wants to be asked. Travels beside its weights as `grounding.json`, so that a student is evaluated
    with the prompt and the frames it was trained on, unless the user gives others."""

    prompt: PromptSettings = PromptSettings()
    video: VideoSettings = VideoSettings()
    answers: AnswerSettings = AnswerSettings()


GROUNDING_FILE = "grounding.json"


class Recipe(Settings):
    """A run. Same recipe, same data, same seed: same weights."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]
    """Of the run; its folder is runs/NAME unless --out says otherwise."""
    seed: Integer = 0
    """Draws the order of the examples and every sampled answer."""
    student: StudentSettings
    teacher: TeacherSettings | None = None
    """Only methods that ask a teacher need one; for the others it is a yardstick, if there is one."""
    teachers: tuple[TeacherSettings, ...] = ()
    """Several teachers in place of one, each a table [[teachers]]."""
    teachers_by: Literal["source", "reliability", "average"] = "source"
    """Who of several teachers judges an example. `source`: the one that names the example's source. `reliability`: the
    one whose own answers to this very example were best. `average`: all of them, by the mean of their log-probs."""
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
    def _usual_unless_said(cls, tables: Any) -> Any:
        """A [method] table without a name is that of Video-OPD, a [curriculum] without one the whole pool."""
        if not isinstance(tables, dict):
            return tables
        usual = {"method": next(iter(METHODS)), "curriculum": next(iter(CURRICULA))}
        named = {key: {"name": name, **tables[key]} for key, name in usual.items() if isinstance(tables.get(key), dict)}
        return tables | named

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        """Refuse what could not work, in one sentence."""
        if not self.named_teachers() and self.method.needs_teacher:
            raise ValueError(f"method.name = {self.method.name} asks a teacher, and the recipe has no table [teacher]")
        if self.teachers:
            _require_a_rule(self.teacher, self.teachers, self.teachers_by)
        elif self.teachers_by != "source" or (self.teacher and (self.teacher.sources or self.teacher.scores)):
            raise ValueError(
                "teachers_by, sources and scores share the work among several teachers, and the recipe has no tables "
                "[[teachers]]"
            )
        if self.curriculum.needs_teacher and not self.named_teachers():
            raise ValueError(
                f"curriculum.name = {self.curriculum.name} selects by a teacher's answers, and the recipe has no table "
                "[teacher]"
            )
        for key in ("teacher_scores", "race", "race_enough"):
            if self.teachers and getattr(self.curriculum, key, None):
                raise ValueError(f"curriculum.{key} speaks of one teacher, and the recipe has several")
        answers = self.training.batch_size * getattr(self.method, "num_answers", 1)
        recorded = self.schedule.answers_every == 1 and self.schedule.answers_kept >= answers
        if getattr(self.curriculum, "reuse_answers", False) and not recorded:
            raise ValueError(
                "curriculum.reuse_answers takes scores from answers.jsonl, and not all answers are recorded there; set "
                f"schedule.answers_every = 1 and schedule.answers_kept = {answers}"
            )
        if self.curriculum.suspend_at is not None and self.method.writes_annotations:
            raise ValueError(
                f"curriculum.suspend_at looks at the student's own answers, and method.name = {self.method.name} "
                "trains on annotated ones; leave it out, or take opd"
            )
        rounds = getattr(self.curriculum, "num_rounds", 1)
        if self.training.steps is not None and self.training.steps < rounds:
            raise ValueError(f"training.steps = {self.training.steps} for curriculum.num_rounds = {rounds}")
        return self

    def named_teachers(self) -> dict[str, TeacherSettings]:
        """The teachers by the name of their evaluation: `teacher`, or of several `teacher-1`, `teacher-2` …"""
        if self.teacher is not None:
            return {"teacher": self.teacher}
        return {f"teacher-{number}": teacher for number, teacher in enumerate(self.teachers, start=1)}

    def grounding_defaults(self) -> GroundingDefaults:
        """What a student of this run should be asked with."""
        return GroundingDefaults(prompt=self.prompt, video=self.video, answers=self.answers)

    def to_toml(self) -> str:
        """The resolved recipe, defaults included; keys that are None are left out, as TOML has no null."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


METHODS.used_by(Recipe)


def _require_a_rule(one: TeacherSettings | None, several: tuple[TeacherSettings, ...], by: str) -> None:
    """Several teachers must say what their rule needs, and nothing that it would pass over."""
    if one is not None:
        raise ValueError("the recipe has both [teacher] and [[teachers]]; write every teacher as [[teachers]]")
    if len(several) < 2:
        raise ValueError("the recipe has a single table [[teachers]]; write one teacher as [teacher]")
    for key, rule in (("sources", "source"), ("scores", "reliability")):
        given = [bool(getattr(teacher, key)) for teacher in several]
        if by == rule and not all(given):
            raise ValueError(f"teachers_by = {by} goes by `{key}`, and {several[given.index(False)].model!r} has none")
        if by != rule and any(given):
            raise ValueError(
                f"teachers_by = {by} does not look at `{key}`, and {several[given.index(True)].model!r} has some; "
                f"leave them out or choose teachers_by = {rule}"
            )
    named = [source for teacher in several for source in teacher.sources]
    twice = sorted({source for source in named if named.count(source) > 1})
    if twice:
        raise ValueError(f"source {twice[0]!r} is named by two teachers, and only one of them can judge its examples")
