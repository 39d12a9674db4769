"""A recipe: its tables, and which settings fit together. Larger tables have modules of their own beside this one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, model_validator

from video_opd.config.compute_settings import ComputeSettings
from video_opd.config.curriculum_settings import CURRICULA, CouplingSettings, CurriculumSettings, WholePoolSettings
from video_opd.config.grounding_defaults import (
    AnswerSettings,
    GroundingDefaults,
    PromptSettings,
    RolloutSettings,
    SideQuestionSettings,
    VideoSettings,
)
from video_opd.config.model_settings import (
    ITSELF,
    StudentSettings,
    TeacherSettings,
    refuse_idle_copies,
    refuse_unfit_changes,
    require_a_rule,
)
from video_opd.config.tracker_settings import TrackerSettings
from video_opd.config.training_settings import TrainingSettings
from video_opd.config.watch_settings import WatchSettings
from video_opd.data.label_noise import LabelNoise
from video_opd.data.world_sizes import WorldSizes
from video_opd.methods import METHODS, MethodSettings
from video_opd.methods.opd import OnPolicyDistillationSettings
from video_opd.settings import Count, Flag, Integer, Positive, Settings, Share


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
    """Manifest to evaluate during training (see schedule.evaluate_every)."""
    test: Path | None = None
    """Manifest to evaluate before and after training; it is never used to choose anything."""
    max_bad_share: Share = 0.05
    """Training stops if more than this share of the examples has an unusable video."""
    workers: Count = 1
    """Processes that decode the next batch during a step; 0: a step waits for the process that decodes its batch."""
    tiny_world: TinyWorldSettings | None = None
    """The tiny world, in the parent folder of `videos`."""


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
    teacher. It is always at temperature 1."""
    probe_size: Positive = 4
    """Number of prompts in that measurement."""
    answers_every: Positive = 1
    """Steps between records of answers in answers.jsonl."""
    answers_kept: Count = 4
    """Number of answers recorded each time."""


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
    answers: RolloutSettings = RolloutSettings()
    curriculum: Annotated[CurriculumSettings, CURRICULA] = WholePoolSettings()
    training: TrainingSettings = TrainingSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    watch: WatchSettings | None = None
    """Stops a run whose student collapses. No table: the defaults."""
    tracker: TrackerSettings | None = None
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
            require_a_rule(self.teacher, self.teachers, self.teachers_by)
        elif self.teachers_by != "source" or (self.teacher and (self.teacher.sources or self.teacher.scores)):
            raise ValueError(
                "teachers_by, sources and scores share the work among several teachers, and the recipe has no tables "
                "[[teachers]]"
            )
        refuse_idle_copies(
            self.student,
            (self.teacher,) if self.teacher else self.teachers,
            learns_anyway=not self.method.needs_teacher or self.method.has_other_signal,
        )
        refuse_unfit_changes(
            self.student,
            (self.teacher,) if self.teacher else self.teachers,
            judges_early=self.curriculum.needs_teacher,
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
        is_plain = self.answers.temperature in (None, 1) and not self.answers.is_truncated
        if getattr(self.curriculum, "reuse_answers", False) and not is_plain:
            raise ValueError(
                "curriculum.reuse_answers takes answers of training for scores, and scores are of untruncated answers "
                "at temperature 1; leave out answers.temperature, answers.top_p and answers.top_k, or reuse_answers"
            )
        if self.curriculum.suspend_at is not None and self.method.has_annotations:
            raise ValueError(
                f"curriculum.suspend_at uses the student's own answers, and method.name = {self.method.name} "
                "trains on annotated ones; leave it out, or take opd without method.own_share"
            )
        rounds = getattr(self.curriculum, "num_rounds", 1)
        if self.training.steps is not None and self.training.steps < rounds:
            raise ValueError(f"training.steps = {self.training.steps} for curriculum.num_rounds = {rounds}")
        if isinstance(self.curriculum, CouplingSettings) and self.curriculum.is_front_loaded:
            _refuse_unfit_schedule(self.curriculum, self.training)
        return self

    def name_teachers(self) -> dict[str, TeacherSettings]:
        """The teachers by the name of their evaluation: `teacher`, or for several teachers `teacher-1`, `teacher-2` …

        A copy of the student has the student's name as its model."""
        if self.teacher is not None:
            return {"teacher": self._name_copy(self.teacher)}
        named = enumerate(map(self._name_copy, self.teachers), start=1)
        return {f"teacher-{number}": teacher for number, teacher in named}

    def list_dense_videos(self) -> list[VideoSettings]:
        """How teachers with a dense view see a video, each budget once."""
        views = [teacher.view for teacher in self.name_teachers().values()]
        dense = (self.video.model_copy(update=view.budget) for view in views if view and view.kind == "dense")
        return list(dict.fromkeys(dense))

    def _name_copy(self, teacher: TeacherSettings) -> TeacherSettings:
        return teacher.model_copy(update={"model": self.student.model}) if teacher.model == ITSELF else teacher

    def grounding_defaults(self) -> GroundingDefaults:
        """The default prompt and frames of a student of this run."""
        answers = AnswerSettings(max_new_tokens=self.answers.max_new_tokens)
        return GroundingDefaults(prompt=self.prompt, video=self.video, answers=answers)

    @property
    def training_temperature(self) -> float:
        """The temperature of all log-probs in training: the student's, the teacher's and the reference's. The loss of a
        method that only imitates annotated answers (sft) is always at 1."""
        imitates = self.method.writes_annotations and not self.method.needs_teacher
        return 1.0 if imitates else self.answers.temperature or 1.0

    def to_toml(self) -> str:
        """The resolved recipe, defaults included; keys that are None are left out, as TOML has no null."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def _refuse_unfit_schedule(curriculum: CouplingSettings, training: TrainingSettings) -> None:
    """Refuse a front-loaded schedule without steps, with an empty step, or with a step above a full batch."""
    if training.steps is None:
        raise ValueError("curriculum.schedule = front-loaded spreads the examples over training.steps; set it")
    sizes = curriculum.size_steps(training.steps, curriculum.num_candidates)
    if max(sizes) > training.batch_size:
        raise ValueError(
            f"curriculum.schedule = front-loaded gives a step {max(sizes)} examples, and training.batch_size = "
            f"{training.batch_size}; take more steps, or a larger batch"
        )
    if curriculum.last_full_batch is not None and not sizes[-1] <= curriculum.last_full_batch <= training.batch_size:
        raise ValueError(
            f"curriculum.last_full_batch = {curriculum.last_full_batch}; give at least {sizes[-1]}, the examples of "
            f"the last step, and at most {training.batch_size}, training.batch_size"
        )


METHODS.add_user(Recipe)
