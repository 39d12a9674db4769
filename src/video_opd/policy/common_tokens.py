"""Whether two models belong together, as student and teacher have to."""

from __future__ import annotations

from video_opd.errors import ConfigurationError
from video_opd.policy.description import Description
from video_opd.policy.load import Policy


def require_common_tokens(student: Policy | Description, teacher: Policy | Description) -> None:
    """Require that student and teacher have the same token ids and prepare video in the same way.

    Raises:
        ConfigurationError: they do not.
    """
    if student.fingerprint() != teacher.fingerprint() or student.support.end_token_id != teacher.support.end_token_id:
        raise ConfigurationError(
            f"student {student.name} ({student.support.num_tokens} tokens) and teacher {teacher.name} "
            f"({teacher.support.num_tokens} tokens) have different tokenizers",
            reason="the teacher scores the student's token ids, and each id would mean another token to it",
            remedy="use two models of one family, such as Qwen3-VL-8B and Qwen3-VL-32B",
        )
    names = student.family.video_settings
    theirs = [
        {name: getattr(policy.processor.video_processor, name, None) for name in names} for policy in (student, teacher)
    ]
    different = [
        f"{name}: {theirs[0][name]} / {theirs[1][name]}" for name in names if theirs[0][name] != theirs[1][name]
    ]
    if different:
        raise ConfigurationError(
            f"student {student.name} and teacher {teacher.name} prepare video differently ({', '.join(different)})",
            reason="both get the same prepared frames, so one of them would get wrong input",
            remedy="use two models of one family",
        )
