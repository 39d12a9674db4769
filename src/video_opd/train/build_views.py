"""What the teachers of a recipe see in place of the student's prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence

from video_opd.config import Recipe, ViewSettings
from video_opd.data.teacher_views import ClipView, OtherSpans, find_openers
from video_opd.errors import ConfigurationError
from video_opd.methods.teachers import View
from video_opd.policy.families import Clock, Family, list_family_names
from video_opd.policy.load import Policy
from video_opd.train.run_inputs import Inputs
from video_opd.types import Example


def make_views(recipe: Recipe, inputs: Inputs, student: Policy) -> tuple[View | None, ...]:
    """The view of each teacher, in the recipe's order; empty where none has one.

    Args:
        recipe: names the teachers.
        inputs: gives the training examples, whose spans a control may show.
        student: with its processor the prompts are made.
    """
    settings = [teacher.view for teacher in recipe.name_teachers().values()]
    if not any(settings):
        return ()
    return tuple(make_view(recipe, view, inputs, student) if view else None for view in settings)


def make_view(recipe: Recipe, view: ViewSettings, inputs: Inputs, student: Policy) -> View:
    """The view of one teacher.

    Args:
        recipe: its seed draws what a control shows.
        view: what the teacher sees.
        inputs: gives the training examples, whose spans a control may show.
        student: with its processor the prompts are made.
    """
    train = inputs.read_manifest(recipe, recipe.data.train) if view.spans == "shuffled" else None
    return ClipView(
        margin_s=view.margin_s,
        frames_per_group=student.family.frames_per_group,
        video_kind=student.family.inputs.video_kind,
        openers=find_openers(student.tokenizer),
        spans=view.spans,
        seed=recipe.seed,
        others=None if train is None else OtherSpans.of(train),
    )


def describe_views(recipe: Recipe) -> str:
    """What the teachers see, as far as their judgement depends on it; empty where they see the student's prompt."""
    views = [teacher.view for teacher in recipe.name_teachers().values()]
    if not any(views):
        return ""
    drawn = any(view and view.spans != "annotated" for view in views)
    settings = [view and view.model_dump(mode="json", exclude_none=True) for view in views]
    return json.dumps([*settings, *([recipe.seed] if drawn else [])], sort_keys=True)


def estimate_share(recipe: Recipe, view: ViewSettings | None, examples: Sequence[Example]) -> float:
    """About how much of a video a teacher sees, 1 where that is not known.

    Args:
        recipe: its frames a second say how long a temporal group is, where the video is short.
        view: of the teacher.
        examples: of the training manifest.
    """
    known = [(example.duration, example.spans) for example in examples if example.duration]
    if view is None or not known:
        return 1.0
    aligned_s = 2 / recipe.video.fps  # whole groups are shown
    shown = [
        sum(end - start + 2 * view.margin_s + aligned_s for start, end in spans) / length for length, spans in known
    ]
    return sum(min(1.0, share) for share in shown) / len(shown)


def refuse_unfit_views(recipe: Recipe, examples: Sequence[Example]) -> None:
    """Refuse a control that has nothing to show, before the models are loaded.

    Args:
        recipe: names the teachers.
        examples: of the training manifest.

    Raises:
        ConfigurationError: there are not two examples whose spans can be exchanged.
    """
    views = {name: teacher.view for name, teacher in recipe.name_teachers().items()}
    shuffled = [name for name, view in views.items() if view and view.spans == "shuffled"]
    if shuffled and len(OtherSpans.of(examples).examples) < 2:
        raise ConfigurationError(
            f"view.spans = shuffled of the {shuffled[0]}",
            reason=f"it shows the spans of another example, and {recipe.data.train} has less than two rows with a "
            "duration",
            remedy="take view.spans = random, or write the durations into the manifest",
        )


def refuse_other_clock(recipe: Recipe, family: Family) -> None:
    """Refuse views that a family of models cannot have with a true clock.

    Args:
        recipe: names the student and the teachers, which are of one family.
        family: theirs.

    Raises:
        ConfigurationError: its clock counts from the first frame that is shown.
    """
    for name, teacher in recipe.name_teachers().items():
        if teacher.view and family.clock is not Clock.MARKERS:
            raise ConfigurationError(
                f"view.kind = clip of the {name}, and {recipe.student.model} is a {family.name} model",
                reason="the clock of this family counts from the first frame that is shown, so a part of a video would "
                "lose its place in the whole",
                remedy="remove the table [teacher.view], or take models of "
                f"{list_family_names(Clock.POSITIONS, Clock.NONE)}",
            )
