"""Whether two models belong together, as student and teacher have to."""

from __future__ import annotations

from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.policy.description import Description
from video_opd.policy.families import PATCH_SIZES
from video_opd.policy.load import Policy

MOST_PADDING = 512
"""Rows that a vocabulary may have more than another one of the same tokenizer: Qwen2.5-VL has 151,936 and 152,064."""

_TOKENS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


def require_like_configs(student: str, config: Any, teacher: str, its_config: Any) -> None:
    """Require the same of two models of which only config.json is there, as far as that tells.

    Args:
        student: its name.
        config: of the student.
        teacher: its name.
        its_config: of the teacher.

    Raises:
        ConfigurationError: they do not belong together.
    """
    sizes = [int(each.get_text_config().vocab_size) for each in (config, its_config)]
    ids = [[getattr(each, name, None) for name in _TOKENS] for each in (config, its_config)]
    if abs(sizes[0] - sizes[1]) > MOST_PADDING or ids[0] != ids[1]:
        raise _other_tokenizers(student, sizes[0], teacher, sizes[1])
    settings = {
        name: [getattr(each.vision_config, name, None) for each in (config, its_config)] for name in PATCH_SIZES
    }
    _refuse_other_video(student, teacher, settings)


def require_common_tokens(student: Policy | Description, teacher: Policy | Description) -> None:
    """Require that student and teacher have the same token ids and prepare video in the same way.

    Raises:
        ConfigurationError: they do not.
    """
    if student.fingerprint() != teacher.fingerprint() or student.support.end_token_id != teacher.support.end_token_id:
        raise _other_tokenizers(student.name, student.support.num_tokens, teacher.name, teacher.support.num_tokens)
    processors = [policy.processor.video_processor for policy in (student, teacher)]
    names = student.family.video_settings
    _refuse_other_video(
        student.name, teacher.name, {name: [getattr(each, name, None) for each in processors] for name in names}
    )


def _other_tokenizers(student: str, num_tokens: int, teacher: str, its_num_tokens: int) -> ConfigurationError:
    return ConfigurationError(
        f"student {student} ({num_tokens} tokens) and teacher {teacher} ({its_num_tokens} tokens) have different "
        "tokenizers",
        reason="the teacher scores the student's token ids, and each id would mean another token to it",
        remedy="use two models of one family, such as Qwen3-VL-8B and Qwen3-VL-32B",
    )


def _refuse_other_video(student: str, teacher: str, settings: dict[str, list[Any]]) -> None:
    """Refuse settings, by their names, of which the two are not the same."""
    different = [f"{name}: {its[0]} / {its[1]}" for name, its in settings.items() if its[0] != its[1]]
    if different:
        raise ConfigurationError(
            f"student {student} and teacher {teacher} prepare video differently ({', '.join(different)})",
            reason="both get the same prepared frames, so one of them would get wrong input",
            remedy="use two models of one family",
        )
