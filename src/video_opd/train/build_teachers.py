"""Who judges in a run: one teacher, or several and the rule by which they share the work."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from video_opd.config import Recipe, TeacherSettings
from video_opd.methods.teachers import (
    AveragedTeachers,
    OneTeacher,
    Route,
    RoutedTeachers,
    Teacher,
    View,
    route_by_reliability,
    route_by_source,
)
from video_opd.policy.base_policy import make_twin
from video_opd.policy.load import Policy
from video_opd.policy.ranked_policy import derive_on_all
from video_opd.train.build_models import find_twin, load_beside, place_teacher
from video_opd.train.build_views import make_views
from video_opd.train.changing_teacher import ChangingTeacher
from video_opd.train.run_inputs import Inputs
from video_opd.train.run_parts import Models
from video_opd.types import Example

_log = logging.getLogger(__name__)


def load_teacher(recipe: Recipe, inputs: Inputs | None = None, student: Policy | None = None) -> Teacher | None:
    """The teacher, or the teachers as one, if the recipe has any; its `policies` are in the recipe's order.

    Args:
        recipe: names them.
        inputs: keeps what was read of the recipe's files.
        student: of the run; with an adapter it may be its own teacher, without a second copy of the weights.

    Raises:
        DataError: a score file that cannot be read.
    """
    inputs = inputs or Inputs()
    taus = read_taus(recipe, inputs)
    loaded: list[tuple[TeacherSettings, Policy]] = []
    for each in recipe.name_teachers().values():
        twin = None if each.has_place else find_twin(recipe, each.model, loaded)
        policy = (
            derive_on_all(make_twin, twin)
            if twin
            else load_beside(recipe, each.model, student, place_teacher(recipe, each))
        )
        loaded.append((each, policy))
    if not loaded:
        return None
    policies = [policy for _, policy in loaded]
    views = make_views(recipe, inputs, student or policies[0])
    return make_teacher(recipe, policies, taus, views)


def make_teacher(
    recipe: Recipe,
    policies: Sequence[Policy],
    taus: Sequence[Mapping[str, float]] = (),
    views: Sequence[View | None] = (),
) -> Teacher:
    """The recipe's teachers as one judge.

    Args:
        recipe: says how several teachers share the work.
        policies: frozen, in the recipe's order.
        taus: for each teacher the mean temporal IoU of its answers by id of the example, where that is the rule.
        views: what each teacher sees, where any of them has a view of its own.
    """
    if len(policies) == 1:
        return OneTeacher(policies[0], view=views[0] if views else None)
    route = choose_route(recipe, taus)
    if route is None:
        return AveragedTeachers(tuple(policies), views=tuple(views))
    return RoutedTeachers(tuple(policies), route, views=tuple(views))


def make_changing_teacher(recipe: Recipe, models: Models) -> ChangingTeacher | None:
    """What lets the teacher follow the student, where the recipe says so.

    Args:
        recipe: says how.
        models: of the run, before anything is taken up from a checkpoint but the student.
    """
    if recipe.teacher is None or not recipe.teacher.is_changing:
        return None
    assert models.teacher is not None
    return ChangingTeacher.of(recipe.teacher, models.student, models.teacher.policies[0])


def warn_of_experiments(recipe: Recipe) -> None:
    """Say what was found about kinds of teachers that are there to be studied."""
    if any(teacher.view and teacher.view.kind == "hint" for teacher in recipe.name_teachers().values()):
        _log.warning(
            "view.kind = hint is an experiment: a model can take a hint as a sign to answer well, whatever it says, so "
            "that nothing about the video is learnt, or copy it with the noise of the labels; ask `video-opd doctor` "
            "about the view, and compare the runs with view.spans = annotated and random"
        )
    if recipe.teacher and recipe.teacher.is_changing:
        key = "average" if recipe.teacher.average is not None else "refresh_every"
        _log.warning(
            "teacher.%s is an experiment: on the tiny world a frozen copy brought a student to mIoU 0.81; refreshed "
            "every 20 of 60 steps to 0.33, averaged with 0.98 to 0.61 and with 0.9 to 0.00, while the reverse KL was "
            "small; look at teacher_view_miou and the validation mIoU, and not at the reverse KL",
            key,
        )


def choose_route(recipe: Recipe, taus: Sequence[Mapping[str, float]]) -> Route | None:
    """Which of the recipe's teachers judges an example; None where all of them do, or there is but one.

    Args:
        taus: as `read_taus` gives them.
    """
    if not recipe.teachers or recipe.teachers_by == "average":
        return None
    if recipe.teachers_by == "reliability":
        return route_by_reliability(taus)
    return route_by_source([teacher.sources for teacher in recipe.teachers])


def refuse_unrouted(recipe: Recipe, examples: Sequence[Example], inputs: Inputs | None = None) -> None:
    """Look before the models are loaded whether every example has a teacher.

    Raises:
        DataError: a score file that cannot be read.
        DataError: an example that no teacher would judge.
    """
    route = choose_route(recipe, read_taus(recipe, inputs or Inputs()))
    for example in examples if route else ():
        assert route is not None
        route(example)


def read_taus(recipe: Recipe, inputs: Inputs) -> list[dict[str, float]]:
    """For each teacher that has a score file, how good its answers were, by id of the example."""
    files = [inputs.read_scores(teacher.scores) for teacher in recipe.teachers if teacher.scores is not None]
    # An example without a usable video has no teacher, and is set aside when its turn comes.
    return [dict.fromkeys(file.list_unscored(), 0.0) | file.mean_iou() for file in files]
