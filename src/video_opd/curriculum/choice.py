"""From scores to a selection and its facts: how reliable it is, and how it changes the mix of examples."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from video_opd.curriculum.coupling import CandidateRule, select_candidates
from video_opd.curriculum.random_streams import has_same_draws
from video_opd.curriculum.score_file import ScoreFile, require_same_manifest
from video_opd.curriculum.selection import Selection, Verdict, select
from video_opd.curriculum.selection_rule import SelectionRule
from video_opd.curriculum.signals import (
    MOSTLY_NOISE,
    ScoredExample,
    measure_error_variance,
    profile,
    reliability_of_gap,
    split_half_reliability,
)
from video_opd.errors import ConfigurationError, DataError
from video_opd.grounding import PARSER_VERSION
from video_opd.sample_size import MIN_AGREEING, count_of


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A selection and the facts about it."""

    selection: Selection
    facts: Mapping[str, Any]
    """Counts, reliabilities, profiles of the pool and of what was kept."""
    warnings: tuple[str, ...]


def choose(teacher: ScoreFile | None, student: ScoreFile | None, rule: SelectionRule, seed: int) -> Choice:
    """Select by a rule from scores of the same manifest.

    Args:
        teacher: the teacher's scores; None if the rule needs no teacher.
        student: the student's scores; None if the rule needs no student.
        rule: how to choose.
        seed: seed for ties and random draws.

    Raises:
        ConfigurationError, DataError: as `curriculum.select`; scores of different manifests; a signal they do not hold.
    """
    require_same_manifest(teacher, student)
    teacher = _drop_unscored(teacher, student)
    disagreement = None
    if rule.is_ranked_by_reverse_kl:
        disagreement = _reverse_kl(teacher, student, per_token=rule.disagreement == "reverse-kl-per-token")
    tau = teacher.mean_iou() if teacher else None
    sigma = _keep_known(tau, student.mean_iou()) if student else None
    selection = select(
        tau,
        sigma,
        rule,
        seed,
        disagreement=disagreement if disagreement is None else _keep_known(tau, disagreement),
        reliability=_agreement(teacher) if rule.reliability == "agreement" and rule.threshold else None,
    )
    return _make_choice(selection, teacher, student, _describe_luck(selection, teacher, student, rule))


def choose_candidates(teacher: ScoreFile, student: ScoreFile, rule: CandidateRule, seed: int) -> Choice:
    """Choose the anchors and frontier examples of student-curriculum coupling.

    Args:
        teacher: the teacher's scores of the whole manifest.
        student: the untrained student's, at least where the teacher is right.
        rule: which examples are candidates, and how many are drawn.
        seed: seed of the random draws.

    Raises:
        ConfigurationError, DataError: as `curriculum.candidates`; scores of different manifests.
    """
    require_same_manifest(teacher, student)
    teacher = _drop_unscored(teacher, student) or teacher
    tau = teacher.mean_iou()
    selection = select_candidates(tau, _keep_known(tau, student.mean_iou()), rule, seed)
    luck = {"reliability_of_ranking": student.split_half_reliability(), "ranked_by": "the student's IoU"}
    return _make_choice(selection, teacher, student, luck)


def _drop_unscored(teacher: ScoreFile | None, student: ScoreFile | None) -> ScoreFile | None:
    """The teacher's scores without the examples on which the student could not be scored, with the reason."""
    if teacher is None or student is None:
        return teacher
    lost = {id: why for id, why in student.list_unscored().items() if id in teacher.scored}
    if not lost:
        return teacher
    return replace(
        teacher, rows=teacher.packed.drop_answers({id: f"by the student: {why}" for id, why in lost.items()})
    )


def _keep_known(pool: Mapping[str, float] | None, values: Mapping[str, float]) -> dict[str, float]:
    """Less the examples that the teacher's file says why it did not score."""
    return {id: value for id, value in values.items() if pool is None or id in pool}


def _agreement(teacher: ScoreFile | None) -> dict[str, float]:
    several = teacher is not None and all(len(row.answers) > 1 for row in teacher.scored.values())
    if teacher is None or not several:
        raise ConfigurationError(
            "reliability = agreement",
            reason="the agreement of a teacher with itself needs several answers",
            remedy="score the teacher with `video-opd score … --answers 4` or more, none of them skipped",
        )
    return {id: row.agreement for id, row in teacher.scored.items()}


def _reverse_kl(teacher: ScoreFile | None, student: ScoreFile | None, *, per_token: bool) -> dict[str, float]:
    found = {id: row.reverse_kl(per_token=per_token) for id, row in student.scored.items()} if student else {}
    known = {id: value for id, value in found.items() if value is not None}
    if student is None or not known:
        raise DataError(
            "disagreement = reverse-kl",
            reason="the student's scores hold no reverse KL",
            remedy="score the student with `video-opd score … --teacher MODEL --answers 4`",
        )
    judge = student.header.settings.get("teacher_sha256")
    if teacher is not None and judge != teacher.header.model_sha256:
        raise DataError(
            f"{student.name} has the reverse KL to another model than the one of {teacher.name}",
            reason="the filter and the ranking would use two different teachers",
            remedy="score the student with `video-opd score … --teacher MODEL`, the model of the other file",
        )
    return known


def _describe_luck(
    selection: Selection, teacher: ScoreFile | None, student: ScoreFile | None, rule: SelectionRule
) -> dict[str, Any]:
    """The value that decides the choice, and its reliability; nothing if a random draw decides."""
    if rule.is_ranked_by_iou_gap and teacher and student:
        of_tau, of_sigma = (
            measure_error_variance(file.packed.iterate_draws(selection.passing)) for file in (teacher, student)
        )
        known = None
        if (
            of_sigma is not None
            and (of_tau is not None or not _most_draws(_iterate(teacher, selection.passing)))
            and not has_same_draws(teacher, student)
        ):
            taus, sigmas = teacher.mean_iou(), student.mean_iou()
            gaps = array("d", (taus[id] - sigmas[id] for id in selection.passing))
            known = reliability_of_gap(gaps, of_tau, of_sigma) if len(gaps) >= MIN_AGREEING else None
        return {"reliability_of_ranking": known, "ranked_by": "the gap in IoU"}
    if rule.is_ranked_by_reverse_kl and student:
        per_token = rule.disagreement == "reverse-kl-per-token"
        known = split_half_reliability(student.scored.values(), of=lambda a: a.kl(per_token=per_token))
        return {"reliability_of_ranking": known, "ranked_by": "the reverse KL"}
    if rule.strategy == "difficulty" and student:
        known = student.split_half_reliability()
        return {"reliability_of_ranking": known, "ranked_by": "the student's IoU"}
    return {}


def _make_choice(
    selection: Selection, teacher: ScoreFile | None, student: ScoreFile | None, luck: Mapping[str, Any]
) -> Choice:
    """Make the choice, with the unscored examples at the end, and the facts."""
    pool = teacher or student
    assert pool is not None
    unscored = tuple(
        Verdict(id=id, tau=None, sigma=None, delta=None, order=None, why=f"not scored: {why}")
        for id, why in pool.list_unscored().items()
    )
    kept = selection.ids
    gaps = [verdict.delta for verdict in selection.verdicts if verdict.kept and verdict.delta is not None]
    facts: dict[str, Any] = {
        "num_pool": len(pool.rows),
        "num_unscored": len(unscored),
        "num_passing": len(selection.passing),
        "num_kept": len(kept),
        "kinds": dict(Counter(verdict.kind for verdict in selection.verdicts if verdict.kind)),
        "pool": asdict(profile(pool.packed.iterate_annotations(pool.scored))),
        "kept": asdict(profile(pool.packed.iterate_annotations(kept))),
        "reliability_of_teacher": teacher.split_half_reliability() if teacher else None,
        "reliability_of_student": student.split_half_reliability() if student else None,
        "mean_gap_of_kept": math.fsum(gaps) / len(gaps) if gaps else None,
        "reliability_of_ranking": None,
        "ranked_by": None,
        **luck,
    }
    warnings: list[str] = []
    if teacher and student and teacher.header.model_sha256 == student.header.model_sha256:
        warnings.append("teacher and student are the same model: the gap between them is only chance")
    warnings += _warn_of_other_parsers(teacher, student)
    warnings += _warn_of_single_answers(selection, teacher, student)
    known = facts["reliability_of_ranking"]
    if luck and known is None and student is not None:
        warnings += _explain_unknown_luck(facts["ranked_by"], teacher, student)
    elif luck and known is not None and known < MOSTLY_NOISE:
        warnings.append(
            f"what decides here, {facts['ranked_by']}, is mostly noise: other draws would choose otherwise "
            f"(reliability {known:.2f} of 1). Score more answers an example, or take strategy random after the filter"
        )
    selection = replace(selection, verdicts=selection.verdicts + unscored)
    return Choice(selection=selection, facts=facts, warnings=tuple(warnings))


def _iterate(file: ScoreFile, ids: Iterable[str]) -> Iterator[ScoredExample]:
    """Rows one at a time, because all at once are large."""
    return (file.rows[id] for id in ids)


def _most_draws(rows: Iterable[ScoredExample]) -> int:
    """Sampled answers of the example that has most of them."""
    return max((sum(answer.sampled for answer in row.answers) for row in rows), default=0)


def _explain_unknown_luck(ranked_by: str, teacher: ScoreFile | None, student: ScoreFile) -> list[str]:
    """A warning if the reliability of a ranking is unknown: there are too few draws, or they are not independent."""
    by_gap, count = ranked_by == "the gap in IoU", len(student.scored)
    if count < MIN_AGREEING:
        return [
            f"{count_of(count, 'example was', 'examples were')} scored, fewer than {MIN_AGREEING}, so it is not known "
            f"how much of {ranked_by} is luck: score more examples"
        ]
    for who, file, enough in (("student", student, (2,)), ("teacher", teacher, (0, 2))):
        if file is None or (who == "teacher" and not by_gap):
            continue
        draws = _most_draws(file.scored.values())
        if min(draws, 2) not in enough:
            return [
                f"the {who} was scored with {draws} draw{'s' * (draws != 1)} an example, so it is not known how much "
                f"of {ranked_by} is luck: score it with `video-opd score … --answers 4 --top-k sampled`"
            ]
    if by_gap and teacher is not None and has_same_draws(teacher, student):
        return [
            f"{teacher.name} and {student.name} were drawn with the same random numbers, so what is luck for one is "
            "luck for the other, and it is not known how much of the gap in IoU is: score one of the two again into a "
            "new file with `video-opd score … --seed 1`"
        ]
    return []


def _warn_of_other_parsers(*files: ScoreFile | None) -> list[str]:
    """A warning for every file whose spans were read by another version of the parser."""
    versions = {file.name: file.header.settings.get("parser_version") for file in files if file is not None}
    return [
        f"the spans in {name} were read by version {version} of the answer parser, and this is version "
        f"{PARSER_VERSION}, which reads some answers otherwise: score again to have all read alike"
        for name, version in versions.items()
        if version not in (None, PARSER_VERSION)
    ]


def _warn_of_single_answers(selection: Selection, teacher: ScoreFile | None, student: ScoreFile | None) -> list[str]:
    """Warnings if `skip_below` left examples in the choice with only a greedy answer.

    Their mean IoU is not a mean over draws. It is too low if the model is unsure, because a low greedy answer is the
    reason why they were skipped."""
    warnings = []
    for who, file in (("teacher", teacher), ("student", student)):
        skip = file.header.settings.get("skip_below") if file else None
        if file is None or skip is None:
            continue
        alone = sum(id in file.scored and not _most_draws([file.rows[id]]) for id in selection.passing)
        if alone:
            warnings.append(
                f"the {who} judges {alone} of {len(selection.passing)} examples by its greedy answer alone, a low one "
                f"(skip_below = {skip:g}), and the others by a mean over draws: "
                + (f"set the threshold to {skip:g} or more" if who == "teacher" else "score it without skip_below")
            )
    return warnings
