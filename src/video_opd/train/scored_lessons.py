"""Lessons that are chosen by scores. Selecting is `curriculum/`'s; this brings it the scores that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from video_opd.config import CouplingSettings, RoundsSettings
from video_opd.curriculum import (
    Choice,
    Race,
    RoundPlan,
    ScoredAnswer,
    ScoredExample,
    ScoreFile,
    Selection,
    choose,
    choose_candidates,
    read_selection,
    spread_candidates,
    write_selection,
)
from video_opd.curriculum.score_file import join_sha256, merge_teachers
from video_opd.errors import ConfigurationError, DataError
from video_opd.eval.pool import RolloutOptions, make_scored_example
from video_opd.files.journal import iterate_journal
from video_opd.methods.teachers import Route, Teacher
from video_opd.policy.load import Policy
from video_opd.runs.directory import RunDirectory
from video_opd.runs.round_files import read_facts, write_facts
from video_opd.seeds import derive_seed
from video_opd.train.lessons import Lesson
from video_opd.train.score_cache import PoolScoring, WantedScores
from video_opd.types import Example, Span


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenScores:
    """Scores that the user made with `video-opd score`."""

    scores: ScoreFile
    sha256: str
    """Of the file."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredModels:
    """The models that are scored."""

    student: Policy
    student_sha256: Callable[[int], str]
    """Of the student's files after so many steps."""
    teacher: Teacher | None
    teacher_sha256: tuple[str, ...] = ()
    """Of the files of each model behind the teacher."""
    teacher_scores: tuple[GivenScores | None, ...] = (None,)
    """Of each model, the scores that the user made, if any."""
    route: Route | None = None
    """Which of several teachers is asked about an example; None: all of them, or there is but one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherScored:
    """What the curricula that begin with the teacher's scores have in common."""

    plan: RoundPlan
    scoring: PoolScoring
    models: ScoredModels
    seed: int
    max_new_tokens: int
    num_answers: int
    top_k: Any

    def make_asking(self, seed: int, role: str, **more: Any) -> RolloutOptions:
        """Say how a model is asked. Each has its own role: teacher and student may be one model with one seed."""
        return RolloutOptions(
            num_answers=self.num_answers,
            top_k=self.top_k,
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            role=role,
            **more,
        )

    def score_teacher(
        self,
        run: RunDirectory,
        *,
        skip_below: float | None = None,
        race: Race | None = None,
        passes: Callable[[ScoredExample], bool] = lambda _: True,
        raced_for: str = "",
    ) -> ScoreFile:
        """Score the teacher on the pool. It never changes, so this is done once.

        Of several teachers each answers the examples that it judges, or, where all judge, every one.

        Args:
            run: its folder holds the scores.
            skip_below: see `RolloutOptions`.
            race: which examples are scored in which order, and which not at all; None: all, in their order.
            passes: whether an example passes the filter, for the race.
            raced_for: the rule of the race and what passes, in words: scores of another race are other scores.
        """
        assert self.models.teacher is not None
        policies, route = self.models.teacher.policies, self.models.route
        files = []
        for index, (policy, sha256) in enumerate(zip(policies, self.models.teacher_sha256, strict=True)):
            times = self.models.teacher_sha256[:index].count(sha256) + 1  # a model that is named twice draws twice
            role = "teacher" if times == 1 else f"teacher {times}"
            asking = self.make_asking(0, role, skip_below=skip_below)  # the same draws for runs of every seed
            own = [example for example in self.scoring.examples if route is None or route(example) == index]
            if not own:
                continue
            if (given := self.models.teacher_scores[index]) is not None:
                files.append(self.scoring.take_given(given.scores, sha256, own))
                continue
            number = "" if len(policies) == 1 else f"-{index + 1}"
            more = {"race": raced_for} if race else {}
            wanted = WantedScores(
                policy=policy,
                header=self.scoring.make_header(policy, sha256, asking, own, **more),
                asking=asking,
                path=run.rounds / f"teacher{number}-scores.jsonl",
                title=f"scoring the teacher{number}",
                examples=own,
                race=race,
                passes=passes,
            )
            files.append(self.scoring.score(wanted))
        return merge_teachers(files, self.models.teacher_sha256)

    def score_student(self, step: int, path: Path, examples: Sequence[Example], *, judged: bool = False) -> ScoreFile:
        """Score the student as it is after `step` steps. At first, other runs may have begun with the same.

        Args:
            step: of the run so far.
            path: file of the scores.
            examples: what it is asked about.
            judged: also by how much the teacher disagrees with what it writes.
        """
        student, teacher = self.models.student, self.models.teacher if judged else None
        more = {"teacher_sha256": join_sha256(self.models.teacher_sha256)} if judged else {}
        asking = self.make_asking(self.seed, "student")
        scoring = replace(self.scoring, cache=None) if step else self.scoring
        wanted = WantedScores(
            policy=student,
            header=scoring.make_header(student, self.models.student_sha256(step), asking, examples, **more),
            asking=asking,
            path=path,
            title="scoring the student",
            examples=examples,
            teacher=teacher,
        )
        return scoring.score(wanted)

    def keep_choice(self, folder: Path, round: int, choice: Choice, **scored: ScoreFile | None) -> Selection:
        """Write a choice into a round's folder. The selection is written last: a run that finds it goes on with it.

        Args:
            folder: of the round.
            round: number, from 1.
            choice: what is trained on, and why.
            scored: by whose they are, scores that were made for this round.
        """
        cost = {
            whose: {"seconds": scores.seconds, "cpu_seconds": scores.cpu_seconds, "num_scored": len(scores.scored)}
            for whose, scores in scored.items()
            if scores is not None
        }
        place = {"round": round, "first_step": self.plan.first_step(round), "of": self._list_origins()}
        write_facts(folder, {**place, **choice.facts, "warnings": list(choice.warnings), "cost": cost})
        write_selection(folder / "selection.jsonl", choice.selection)
        return choice.selection

    def make_lesson_of(self, selection: Selection, *, in_order: bool, warnings: tuple[str, ...] = ()) -> Lesson:
        """Make a round's lesson of a selection."""
        by_id = {example.id: example for example in self.scoring.examples}
        return Lesson(
            examples=[by_id[id] for id in selection.ids],
            in_order=in_order,
            kinds={verdict.id: verdict.kind for verdict in selection.verdicts if verdict.kept and verdict.kind},
            warnings=warnings,
        )

    def find_selection(self, folder: Path, run: RunDirectory) -> Selection | None:
        """Find the selection of a round that was made before the run was interrupted.

        Raises:
            ConfigurationError: it was made from another manifest or with another teacher than there are now.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "selection.jsonl"
        if not path.exists():
            return None
        if any(facts["of"] != self._list_origins() for facts in read_facts(run.rounds)):
            raise ConfigurationError(
                f"the training manifest, the teacher or the teacher's scores have changed since {path} was written",
                reason="the run would train on a selection made from other files",
                remedy="restore them, or choose another folder with --out",
            )
        return read_selection(path, {example.id for example in self.scoring.examples})

    def _list_origins(self) -> dict[str, Any]:
        """What a selection is made from, besides the student."""
        given = [scores and scores.sha256 for scores in self.models.teacher_scores]
        return {
            "manifest_sha256": self.scoring.manifest_sha256,
            "teacher_sha256": list(self.models.teacher_sha256),
            "given_scores_sha256": given,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounds(TeacherScored):
    """TVDF and its relatives: score, select, train, and again."""

    settings: RoundsSettings

    def make_lesson(self, round: int, run: RunDirectory) -> Lesson:
        """Score the student as it is where the strategy asks for it, and select."""
        folder, in_order = run.rounds / str(round), self.settings.order == "selected"
        selection = self.find_selection(folder, run)
        if selection is not None:
            return self.make_lesson_of(selection, in_order=in_order)
        rule = self.settings
        teacher = self._score_teacher_by_rule(run) if rule.is_teacher_asked else None
        student = None
        if rule.is_student_asked:
            pool = self._list_trusted(teacher)
            known = self._read_answers_of_training(run, round, pool) if self.settings.reuse_answers else {}
            fresh = [example for example in pool if example.id not in known]
            path, step = folder / "student-scores.jsonl", self.plan.first_step(round)
            student = self.score_student(step, path, fresh, judged=rule.is_ranked_by_reverse_kl)
            student = replace(student, rows={**student.rows, **known})
        choice = choose(teacher, student, rule, derive_seed(self.seed, "select", round))
        selection = self.keep_choice(folder, round, choice, teacher=teacher if round == 1 else None, student=student)
        return self.make_lesson_of(selection, in_order=in_order, warnings=choice.warnings)

    def _is_passing(self, row: ScoredExample) -> bool:
        reliability = row.mean_iou if self.settings.reliability == "annotation" else row.agreement
        return reliability >= self.settings.threshold

    def _score_teacher_by_rule(self, run: RunDirectory) -> ScoreFile:
        settings, race = self.settings, None
        raced_for = ""
        if settings.is_raced:
            sources = {example.id: example.source for example in self.scoring.examples}
            race = Race(sources, settings, 0, enough=settings.num_enough)
            raced_for = f"{race}, {settings.reliability} of at least {settings.threshold}"
        return self.score_teacher(
            run, skip_below=settings.skip_below, race=race, passes=self._is_passing, raced_for=raced_for
        )

    def _list_trusted(self, teacher: ScoreFile | None) -> list[Example]:
        """Whom the student is scored on: no more than what the teacher's filter leaves."""
        if teacher is None:
            return list(self.scoring.examples)
        left = {id for id, row in teacher.scored.items() if not self.settings.threshold or self._is_passing(row)}
        return [example for example in self.scoring.examples if example.id in left]

    def _read_answers_of_training(
        self, run: RunDirectory, round: int, pool: Sequence[Example]
    ) -> dict[str, ScoredExample]:
        """The newest answers of the round before to each of these examples, as its scores."""
        wanted = {example.id: example for example in pool}
        newest: dict[str, tuple[int, list[ScoredAnswer]]] = {}
        if round == 1:
            return {}
        since, until = self.plan.first_step(round - 1), self.plan.end(round - 1)
        for number, row in enumerate(iterate_journal(run.answers), start=1):
            try:
                id, step = row["id"], row["step"]
                if since < step <= until and id in wanted and "sampler_logprobs" in row:
                    if newest.get(id, (0, []))[0] < step:
                        newest[id] = (step, [])
                    newest[id][1].append(_read_scored_answer(row))
            except (LookupError, TypeError, ValueError) as error:
                raise DataError(
                    f"{run.answers}, row {number} is not an answer of this run",
                    reason=f"{type(error).__name__}: {error}",
                    remedy="restore the file from a copy, or begin again in another folder with --out",
                ) from error
        return {id: make_scored_example(wanted[id], answers=tuple(answers)) for id, (_, answers) in newest.items()}


def _read_scored_answer(row: Mapping[str, Any]) -> ScoredAnswer:
    """An answer of answers.jsonl."""
    if not 0 <= row["iou"] <= 1:
        raise ValueError(f"its IoU is {row['iou']}")
    return ScoredAnswer(
        text=row["answer"],
        span=Span(*row["spans"][0]) if row["spans"] else None,
        iou=row["iou"],
        logprob=sum(row["sampler_logprobs"]),
        num_tokens=len(row["sampler_logprobs"]),
        sampled=True,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Candidates(TeacherScored):
    """Student-curriculum coupling: anchors and frontier examples from the first scores, fixed for the run."""

    settings: CouplingSettings

    def make_lesson(self, round: int, run: RunDirectory) -> Lesson:  # noqa: ARG002
        """Choose the candidates; the gate decides at every step which of them are trained on."""
        folder = run.rounds / "1"
        selection = self.find_selection(folder, run)
        warnings: tuple[str, ...] = ()
        if selection is None:
            teacher = self.score_teacher(run)
            right = {id for id, tau in teacher.mean_iou().items() if tau >= self.settings.teacher_threshold}
            examples = [example for example in self.scoring.examples if example.id in right]
            student = self.score_student(0, folder / "student-scores.jsonl", examples)
            choice = choose_candidates(teacher, student, self.settings, derive_seed(self.seed, "select", 1))
            selection = self.keep_choice(folder, 1, choice, teacher=teacher, student=student)
            warnings = choice.warnings
        return self._schedule(self.make_lesson_of(selection, in_order=False, warnings=warnings))

    def _schedule(self, lesson: Lesson) -> Lesson:
        """Deal the candidates out to the steps, where the settings ask for a schedule."""
        settings, by_id = self.settings, {example.id: example for example in lesson.examples}
        if not settings.is_front_loaded:
            return lesson
        kinds = {id: lesson.kinds[id] for id in by_id}  # in the random order of the selection
        sizes = settings.size_steps(self.plan.total_steps, len(kinds))
        steps = spread_candidates(kinds, sizes, settings.num_repeats)
        return replace(lesson, steps=[[by_id[id] for id in ids] for ids in steps])
