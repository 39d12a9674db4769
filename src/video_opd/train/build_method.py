"""The method of a recipe: the one `match`."""

from __future__ import annotations

from dataclasses import replace

from video_opd.config import (
    AnnotationSettings,
    GRPOSettings,
    MixtureSettings,
    OffPolicyForwardSettings,
    OffPolicyReverseSettings,
    OnPolicyDistillationSettings,
    Recipe,
    RewardSettings,
    SupervisedSettings,
)
from video_opd.data.prompt_templates import PromptTemplate
from video_opd.errors import ConfigurationError
from video_opd.eval.how_asked import template_of
from video_opd.methods import Method
from video_opd.methods.ablation import SpoiledTeacher
from video_opd.methods.distillation import ReverseKLDistillation
from video_opd.methods.forward_distillation import ForwardKLDistillation
from video_opd.methods.grpo import GRPO
from video_opd.methods.mixture import Mixture
from video_opd.methods.outcome_check import OutcomeChecked
from video_opd.methods.prefix_cut import PrefixCut
from video_opd.methods.rewards import TaskReward
from video_opd.methods.supervised import SupervisedFineTuning
from video_opd.methods.teachers import Teacher
from video_opd.methods.writers import AnnotationWrites, StudentWrites
from video_opd.policy.load import Policy
from video_opd.types import Span


def make_method(recipe: Recipe, teacher: Teacher | None, reference: Policy | None = None) -> Method:
    """The method a recipe names: who writes, who judges, what a token costs.

    Args:
        teacher: given where the method asks one.
        reference: the student as it was before training, where the method keeps near it.
    """
    annotations = AnnotationWrites(template=answer_template_of(recipe))
    match recipe.method:
        case OnPolicyDistillationSettings() as settings:
            assert teacher is not None
            return _on_policy_distillation(recipe, settings, teacher)
        case OffPolicyReverseSettings() as settings:
            assert teacher is not None
            return ReverseKLDistillation(
                write=annotations,
                teacher=teacher,
                estimator=settings.estimator,
                advantage_clamp=settings.advantage_clamp,
                ratio_cap=settings.ratio_cap,
            )
        case OffPolicyForwardSettings():
            assert teacher is not None
            return ForwardKLDistillation(write=annotations, teacher=teacher)
        case SupervisedSettings():
            return SupervisedFineTuning(write=annotations)
        case GRPOSettings() as settings:
            return GRPO(
                write=student_writes(recipe, settings.num_answers),
                reward=reward_of(recipe, settings),
                divide_by_std=settings.divide_by_std,
                clip=settings.clip,
                clip_higher=settings.clip_higher,
                mask_truncated=settings.mask_truncated,
                reference=reference,
                reference_weight=settings.reference_weight,
            )
        case MixtureSettings() as settings:
            assert teacher is not None
            return Mixture(
                distillation=ReverseKLDistillation(
                    write=student_writes(recipe, settings.num_answers),
                    teacher=teacher,
                    advantage_clamp=settings.advantage_clamp,
                    ratio_cap=settings.ratio_cap,
                ),
                reward=reward_of(recipe, settings),
                weight=settings.weight,
                least_size=settings.least_size,
            )


def _on_policy_distillation(recipe: Recipe, settings: OnPolicyDistillationSettings, teacher: Teacher) -> Method:
    """Distillation, and around it what is asked of its teacher besides."""
    method: Method = ReverseKLDistillation(
        write=student_writes(recipe, settings.num_answers),
        teacher=teacher,
        estimator=settings.estimator,
        advantage_clamp=settings.advantage_clamp,
        ratio_cap=settings.ratio_cap,
        in_full=settings.prefix_cut,
    )
    if settings.ablation is not None:
        method = SpoiledTeacher(
            method=method, teacher=teacher, kind=settings.ablation, strength=settings.ablation_strength
        )
    if settings.prefix_cut:
        method = PrefixCut(method=method)
    if settings.outcome_check is not None:  # last: it looks at what is still supervised
        method = OutcomeChecked(
            method=method, reward=TaskReward(), remedy=settings.outcome_check, ratio_cap=settings.ratio_cap
        )
    return method


def student_writes(recipe: Recipe, num_answers: int) -> StudentWrites:
    """The student as writer."""
    return StudentWrites(num_answers=num_answers, max_new_tokens=recipe.answers.max_new_tokens)


def answer_template_of(recipe: Recipe) -> PromptTemplate:
    """The prompt's template, with the wording of annotated answers that the method asks for."""
    template, method = template_of(recipe.prompt), recipe.method
    if isinstance(method, AnnotationSettings) and method.answer is not None:
        return replace(template, answer=method.answer)
    return template


def refuse_timeless_answers(template: PromptTemplate) -> None:
    """An annotated answer must say when.

    Raises:
        ConfigurationError: its form cannot be filled in, or two spans give the same text.
    """
    one, other, third = (template.answer_text(Span(*ends), (0.0, 2.0)) for ends in ((1, 3), (1, 5), (2, 5)))
    if one == other or other == third:
        raise ConfigurationError(
            f"annotated answer {template.answer!r}",
            reason="it does not name both the start and the end",
            remedy="write it with {start} and {end}, such as '{start:.1f} - {end:.1f} seconds'",
        )


def reward_of(recipe: Recipe, settings: RewardSettings) -> TaskReward:
    """The task's reward.

    Raises:
        ConfigurationError: a reward for the form of the answer is asked for, and the template asks for none.
    """
    form = template_of(recipe.prompt).form
    if settings.form_weight and form is None:
        raise ConfigurationError(
            f"method.form_weight = {settings.form_weight} with the prompt template {recipe.prompt.template!r}",
            reason="that template does not say what a well-formed answer looks like",
            remedy="set it to 0, or take a template of thinking answers, such as timelens-think",
        )
    return TaskReward(
        name=settings.reward, form=form if settings.form_weight else None, form_weight=settings.form_weight
    )
