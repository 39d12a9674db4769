"""What `train` refuses once it knows the models of a recipe, refused before the cards are there."""

from __future__ import annotations

from video_opd.config import Recipe
from video_opd.plan.cards import GpuCard
from video_opd.policy.common_tokens import require_common_tokens, require_like_configs
from video_opd.policy.description import Description, describe_parts
from video_opd.policy.families import find_family
from video_opd.policy.location import has_processor
from video_opd.policy.placement import refuse_quantised_offload
from video_opd.policy.published_shapes import find_parts_here, read_config
from video_opd.policy.quantised import refuse_as_student, refuse_old_card
from video_opd.policy.sharding import refuse_quantised
from video_opd.train.build_views import refuse_other_clock


def refuse_unusable_models(recipe: Recipe, num_processes: int, card: GpuCard) -> None:
    """Refuse models that cannot be used in this way, or not together.

    Args:
        recipe: names them.
        num_processes: of the job.
        card: on which they are to run.

    Raises:
        ConfigurationError: quantised weights that cannot be trained, sharded, moved or used on such a card; or a
            teacher whose tokenizer or video differs from the student's.
    """
    student = recipe.student.model
    config, method, _ = read_config(student)
    refuse_other_clock(recipe, find_family(config, student))
    refuse_as_student(student, method)
    for teacher in recipe.name_teachers().values():
        its_config, method, _ = read_config(teacher.model)
        find_family(its_config, teacher.model)
        refuse_old_card(teacher.model, method, card=card.name, capability=card.capability)
        if num_processes > 1:
            refuse_quantised(teacher.model, method)
        if teacher.offload:
            refuse_quantised_offload(teacher.model, method)
        require_like_configs(student, config, teacher.model, its_config)
        if teacher.model != student:
            described = [_describe_here(name) for name in (student, teacher.model)]
            if described[0] and described[1]:
                require_common_tokens(described[0], described[1])


def _describe_here(name: str) -> Description | None:
    """A model whose tokenizer and processor are on this machine; None where they are not."""
    parts = find_parts_here(name)
    return describe_parts(name, parts) if parts and has_processor(parts.processor) else None
