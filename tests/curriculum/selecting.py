"""Select by a rule whose fields are given one by one."""

from __future__ import annotations

from video_opd.curriculum import Selection, SelectionRule, select
from video_opd.settings import make_checked


def select_by(teacher, student, *, seed: int, disagreement=None, reliability=None, **rule) -> Selection:
    made = make_checked(SelectionRule, **rule)
    return select(teacher, student, made, seed, disagreement=disagreement, reliability=reliability)


def changed(rule: SelectionRule, **changes) -> SelectionRule:
    return make_checked(SelectionRule, **(rule.model_dump() | changes))
