"""The curriculum of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from video_opd.config import CouplingSettings, Recipe, RoundsSettings, SelectionFileSettings, WholePoolSettings
from video_opd.curriculum import Coupling, RoundPlan
from video_opd.curriculum.score_file import require_scores_of
from video_opd.errors import ConfigurationError
from video_opd.eval.how_asked import describe_asking
from video_opd.policy.location import find_local_folder, model_sha256, resolve_model
from video_opd.runs.checkpoint import checkpoint_folder
from video_opd.runs.directory import RunDirectory
from video_opd.train.answer_gate import AnswerGate
from video_opd.train.build_inputs import PromptMemories, make_source
from video_opd.train.build_teachers import choose_route, read_taus
from video_opd.train.lessons import Curriculum, Given
from video_opd.train.run_inputs import Inputs
from video_opd.train.run_parts import Models
from video_opd.train.score_cache import PoolScoring
from video_opd.train.scored_lessons import Candidates, GivenScores, Rounds, ScoredModels
from video_opd.types import Example


def make_curriculum(
    recipe: Recipe,
    run: RunDirectory,
    inputs: Inputs,
    models: Models,
    *,
    total_steps: int,
    memories: PromptMemories | None,
) -> Curriculum:
    """Make the curriculum that a recipe names.

    Args:
        recipe: whose table [curriculum] says which.
        run: its folder holds the student's checkpoints.
        inputs: the files that the recipe names.
        models: those that may be scored.
        total_steps: optimiser steps of the run.
        memories: prompts of earlier runs.

    Raises:
        DataError: a file of a selection that does not fit the manifest.
    """
    settings, train = recipe.curriculum, inputs.read_manifest(recipe, recipe.data.train)
    plan = RoundPlan(num_rounds=getattr(settings, "num_rounds", 1), total_steps=total_steps)
    if isinstance(settings, WholePoolSettings):
        return Given(plan=plan, examples=train)
    if isinstance(settings, SelectionFileSettings):
        by_id = {example.id: example for example in train}
        chosen = inputs.read_selection(recipe, settings.file).ids
        return Given(plan=plan, examples=[by_id[id] for id in chosen], in_order=settings.order == "selected")

    common: dict[str, Any] = {
        "plan": plan,
        "scoring": PoolScoring(
            examples=train,
            manifest_sha256=inputs.hash_files(recipe.data.train),
            make_source=lambda policy: make_source(recipe, policy, train, memories=memories),
            asked=describe_asking(recipe.grounding_defaults(), recipe.compute.precision),
            batch_size=recipe.compute.evaluation_batch_size,
            cache=settings.cache,
        ),
        "models": _make_scored_models(recipe, run, inputs, models, settings.teacher_scores),
        "seed": recipe.seed,
        "max_new_tokens": recipe.answers.max_new_tokens,
        "num_answers": settings.num_answers,
        "top_k": settings.top_k,
    }
    match settings:
        case RoundsSettings():
            return Rounds(settings=settings, **common)
        case CouplingSettings():
            return Candidates(settings=settings, **common)


def _make_scored_models(
    recipe: Recipe, run: RunDirectory, inputs: Inputs, models: Models, teacher_scores: Path | None
) -> ScoredModels:
    """Student and teachers, with what their scores are of and the scores that the recipe gives."""

    @cache
    def hash_student(step: int) -> str:
        if step == 0:
            return _hash_model(recipe.student.model)
        return model_sha256(checkpoint_folder(run.checkpoints, step) / "model")

    return ScoredModels(
        student=models.student,
        student_sha256=hash_student,
        teacher=models.teacher,
        teacher_sha256=tuple(_hash_model(each.model) for each in recipe.name_teachers().values()),
        teacher_scores=tuple(
            GivenScores(scores=inputs.read_scores(path), sha256=inputs.hash_files(path)) if path else None
            for path in (each.scores or teacher_scores for each in recipe.name_teachers().values())
        ),
        route=choose_route(recipe, read_taus(recipe, inputs)),
    )


def make_gate(recipe: Recipe) -> AnswerGate | None:
    """Make what stands between answering and judging; None where the recipe suspends no example."""
    limit = recipe.curriculum.suspend_at
    return None if limit is None else AnswerGate(Coupling(update_below=limit))


def refuse_early_curriculum(recipe: Recipe, inputs: Inputs) -> None:
    """Look at the files a curriculum names, and at its numbers, before the models are loaded.

    Raises:
        ConfigurationError: more examples are asked for than there are.
        DataError: a file that is not there, or that holds other examples or another model's scores.
    """
    settings, train = recipe.curriculum, inputs.read_manifest(recipe, recipe.data.train)
    match settings:
        case SelectionFileSettings():
            inputs.read_selection(recipe, settings.file)
        case RoundsSettings():
            _refuse_too_many("count", settings.count, train)
        case CouplingSettings():
            _refuse_too_many("num_anchors and num_frontier", settings.num_candidates, train)
        case _:
            pass
    _refuse_scores_of_others(recipe, inputs, fetch=False)


def refuse_scores_of_other_models(recipe: Recipe, inputs: Inputs) -> None:
    """Look at the score files of teachers on the hub too, whose weights are fetched for it.

    Raises:
        DataError: a file that is not there, or that holds other examples or another model's scores.
    """
    _refuse_scores_of_others(recipe, inputs, fetch=True)


def _refuse_scores_of_others(recipe: Recipe, inputs: Inputs, *, fetch: bool) -> None:
    for teacher in recipe.name_teachers().values():
        given = teacher.scores or getattr(recipe.curriculum, "teacher_scores", None)
        if given is not None:
            known = fetch or find_local_folder(teacher.model) is not None
            sha256 = _hash_model(teacher.model) if known else None
            require_scores_of(inputs.read_scores(given), inputs.hash_files(recipe.data.train), sha256)


def _hash_model(name: str) -> str:
    return model_sha256(resolve_model(name))


def _refuse_too_many(name: str, count: int, train: Sequence[Example]) -> None:
    if count > len(train):
        raise ConfigurationError(
            f"curriculum.{name} = {count}, and the training manifest has {len(train)} examples",
            reason="a selection cannot have more examples than the manifest",
            remedy=f"ask for at most {len(train)}, or fewer if the teacher filters them",
        )
