"""The distance to the teacher along an answer, on anybody's prefixes."""

from __future__ import annotations

import pytest

from video_opd.data.prompt_templates import TEMPLATES
from video_opd.eval.exposure import reverse_kl_by_position
from video_opd.methods.teachers import OneTeacher
from video_opd.methods.writers import AnnotationWrites, StudentWrites
from video_opd.objectives import reverse_kl


def test_it_is_the_exact_reverse_kl_of_every_position(make_policy, prompts):
    student, teacher = make_policy(0), make_policy(1)
    groups = StudentWrites(max_new_tokens=5)(student, student.read(prompts[:5]), 0)
    found = reverse_kl_by_position(student, OneTeacher(teacher), prompts[:5], groups, batch_size=2)
    mine = student.score(student.read(prompts[:5]), groups, distribution=True)
    theirs = teacher.score(teacher.read(prompts[:5]), groups, distribution=True)
    by_hand = reverse_kl(mine.distribution, theirs.distribution)
    assert len(found) == mine.answer_mask.shape[1]
    for position, (value, count) in enumerate(found):
        here = mine.answer_mask[:, position]
        assert count == int(here.sum())
        assert value == pytest.approx(by_hand[:, position][here].mean().item(), rel=1e-4)


def test_a_teacher_of_itself_is_nowhere_apart_and_short_answers_count_as_far_as_they_go(make_policy, prompts):
    student = make_policy(0)
    groups = AnnotationWrites(template=TEMPLATES["tiny-long"])(student, student.read(prompts), 0)
    lengths = [len(group.answers[0]) for group in groups]
    assert len(set(lengths)) > 1
    found = reverse_kl_by_position(student, OneTeacher(student), prompts, groups)
    assert [count for _, count in found] == [sum(length > place for length in lengths) for place in range(max(lengths))]
    assert max(value for value, _ in found) == pytest.approx(0.0, abs=1e-5)
