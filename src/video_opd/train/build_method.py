"""The method of a recipe."""

from __future__ import annotations

from video_opd.config import Recipe
from video_opd.eval.how_asked import resolve_template
from video_opd.methods import Method, MethodParts
from video_opd.methods.teachers import Teacher, at_temperature
from video_opd.policy.load import Policy


def make_method(recipe: Recipe, teacher: Teacher | None, reference: Policy | None = None) -> Method:
    """Make the method that a recipe names: who writes, who judges, what a token costs.

    Args:
        recipe: whose table [method] builds it.
        teacher: given where the method asks one.
        reference: the student as it was before training, where the method keeps near it.
    """
    return recipe.method.build(_make_parts(recipe, teacher, reference))


def refuse_unfit_method(recipe: Recipe) -> None:
    """Check, before the models are loaded, that the method can work with the recipe's prompts.

    Raises:
        ConfigurationError: an annotated answer that does not say when, or a reward for a form that nothing asks for.
    """
    recipe.method.refuse_unfit(_make_parts(recipe))


def _make_parts(recipe: Recipe, teacher: Teacher | None = None, reference: Policy | None = None) -> MethodParts:
    return MethodParts(
        template=resolve_template(recipe.prompt),
        template_name=recipe.prompt.template,
        max_new_tokens=recipe.answers.max_new_tokens,
        temperature=recipe.training_temperature,
        top_p=recipe.answers.top_p,
        top_k=recipe.answers.top_k,
        given_teacher=teacher and at_temperature(teacher, recipe.training_temperature),
        reference=reference,
    )
