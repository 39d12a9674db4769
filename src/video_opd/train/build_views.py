"""What the teachers of a recipe see in place of the student's prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence

from video_opd.config import Recipe, ViewSettings
from video_opd.data.hint_view import HintView
from video_opd.data.teacher_views import ClipView, DenseView, OtherSpans, find_openers
from video_opd.errors import ConfigurationError
from video_opd.methods.teachers import View
from video_opd.policy.families import Clock, Family, list_family_names
from video_opd.policy.load import Policy
from video_opd.policy.model_shape import ModelShape
from video_opd.train.largest_micro_batch import QUESTION_TOKENS, size_prompt
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
    if view.kind == "hint":
        return HintView(
            tokenizer=student.tokenizer,
            end_of_turn=student.tokenizer.convert_tokens_to_ids(student.family.tokens.end_of_turn),
            frames_per_group=student.family.frames_per_group,
            spans=view.spans,
            seed=recipe.seed,
            others=_read_others(recipe, view, inputs),
        )
    clip = _make_clip(recipe, view, inputs, student)
    if view.kind == "clip":
        assert clip is not None, "a clip has a margin"
        return clip
    seen = recipe.video.model_copy(update=view.budget)
    return DenseView(number=recipe.list_dense_videos().index(seen), clip=clip)


def _make_clip(recipe: Recipe, view: ViewSettings, inputs: Inputs, student: Policy) -> ClipView | None:
    if view.margin_s is None:
        return None
    return ClipView(
        margin_s=view.margin_s,
        frames_per_group=student.family.frames_per_group,
        video_kind=student.family.inputs.video_kind,
        openers=find_openers(student.tokenizer),
        spans=view.spans,
        seed=recipe.seed,
        others=_read_others(recipe, view, inputs),
    )


def _read_others(recipe: Recipe, view: ViewSettings, inputs: Inputs) -> OtherSpans | None:
    """The spans that may be shown in place of an example's own, where the view does so."""
    return OtherSpans.of(inputs.read_manifest(recipe, recipe.data.train)) if view.spans == "shuffled" else None


def describe_views(recipe: Recipe) -> str:
    """What the teachers see, as far as their judgement depends on it; empty where they see the student's prompt."""
    views = [teacher.view for teacher in recipe.name_teachers().values()]
    if not any(views):
        return ""
    drawn = any(view and view.spans != "annotated" for view in views)
    settings = [view and view.model_dump(mode="json", exclude_none=True) for view in views]
    return json.dumps([*settings, *([recipe.seed] if drawn else [])], sort_keys=True)


def estimate_share(recipe: Recipe, view: ViewSettings | None, examples: Sequence[Example], shape: ModelShape) -> float:
    """About how many video tokens a teacher sees for one of the student's, on the mean.

    Args:
        recipe: its frames a second say how long a temporal group is, where the video is short.
        view: of the teacher.
        examples: of the training manifest; those without a duration, or none, count as shown in full.
        shape: of the student.
    """
    if view is None:
        return 1.0
    known = [(example.duration, example.spans) for example in examples if example.duration]
    densities = [count_denser(recipe, view, shape, length_s) for length_s, _ in known]
    density = sum(densities) / len(known) if known else count_denser(recipe, view, shape, None)
    if view.margin_s is None or not known:
        return density
    added_s = 2 * view.margin_s + shape.family.frames_per_group / recipe.video.fps  # whole groups are shown
    shown = [min(1.0, sum(end - start + added_s for start, end in spans) / length) for length, spans in known]
    return density * sum(shown) / len(shown)


def count_denser(recipe: Recipe, view: ViewSettings | None, shape: ModelShape, seconds: float | None) -> float:
    """How many video tokens of a whole clip a teacher's budget allows for one of the student's.

    Args:
        recipe: has the student's budget.
        view: of the teacher; only a dense one has another budget.
        shape: of the student.
        seconds: of the clip; None: it fills both budgets.
    """
    if view is None or not view.budget:
        return 1.0
    seen = recipe.model_copy(update={"video": recipe.video.model_copy(update=view.budget)})
    tokens = [size_prompt(each, shape, seconds).tokens - QUESTION_TOKENS for each in (seen, recipe)]
    return tokens[0] / tokens[1]


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
        if teacher.view and family.clock is Clock.NONE and teacher.view.kind == "dense":
            raise ConfigurationError(
                f"view.kind = dense of the {name}, and {recipe.student.model} is a {family.name} model",
                reason="this family is not told when a frame is shown and counts frames, so with more of them the "
                "teacher would count in another unit than the student",
                remedy=f"remove the table [teacher.view], or take models of {list_family_names(Clock.NONE)}",
            )
        if teacher.view and teacher.view.margin_s is not None and family.clock is not Clock.MARKERS:
            raise ConfigurationError(
                f"the {name} sees a part of the video, and {recipe.student.model} is a {family.name} model",
                reason="the clock of this family counts from the first frame that is shown, so a part of a video would "
                "lose its place in the whole",
                remedy="remove the table [teacher.view], or take models of "
                f"{list_family_names(Clock.POSITIONS, Clock.NONE)}",
            )
