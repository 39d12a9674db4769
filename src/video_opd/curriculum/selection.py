"""Which examples to train on next, in which order, and why: TVDF's filter, and then a strategy.

Video-OPD, section 3.2 and appendix B (arXiv 2602.02994). The teacher's mean IoU with the annotation, `tau`, says where
it can be trusted (TRPV); the gap to the student's, `delta = tau - sigma`, says where there is most to learn (DBTP).

Everything is a function of the signals, the ids and a seed: not of the order of the mappings, of the machine, or of
what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from video_opd.curriculum.selection_rule import SelectionRule, Strategy, needs_gap, needs_student
from video_opd.curriculum.strategies import CHOOSE, Pool
from video_opd.errors import ConfigurationError, DataError
from video_opd.seeds import uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision about one example."""

    id: str
    tau: float | None
    """The teacher's mean IoU with the annotation."""
    sigma: float | None
    """The student's."""
    delta: float | None
    """The value for ranking: `tau - sigma`, or the given disagreement."""
    order: int | None
    """Place in training order, from 1; None: left out."""
    why: str
    kind: str = ""
    """Its kind, if the curriculum has kinds: `anchor`, `frontier`."""

    @property
    def kept(self) -> bool:
        """Whether it is trained on."""
        return self.order is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Every example of a pool with its decision: the kept ones first, in training order."""

    verdicts: tuple[Verdict, ...]
    passing: tuple[str, ...] = ()
    """The examples that passed the teacher's filter, in pool order; what was chosen from."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The kept ones, in training order."""
        return tuple(verdict.id for verdict in self.verdicts if verdict.kept)

    @property
    def why(self) -> dict[str, str]:
        """Id -> why it was kept or left out."""
        return {verdict.id: verdict.why for verdict in self.verdicts}


def select(
    teacher: Mapping[str, float] | None,
    student: Mapping[str, float] | None,
    rule: SelectionRule,
    seed: int,
    *,
    disagreement: Mapping[str, float] | None = None,
    reliability: Mapping[str, float] | None = None,
) -> Selection:
    """Choose exactly `rule.count` examples of a pool on which the teacher is reliable.

    Args:
        teacher: example id -> the teacher's mean IoU, in 0..1, of the whole pool. None: only for strategies that ask
            no teacher, without a threshold.
        student: the same of the student, at least of the examples that pass the threshold. None: for `random`, or with
            a `disagreement`.
        rule: how many, by which strategy, and from which reliability on: `top-k`, `dsus` (evenly spaced ranks, eq. 14),
            `bbds` (from five buckets, eq. 19), `gwds` (Gaussian weights over delta), `difficulty` (Gaussian weights
            over the student's IoU), `half-and-half` (half top-k, half random), `random`.
        seed: seed for ties and random draws.
        disagreement: the value for ranking in place of `tau - sigma`, such as the reverse KL along the student's own
            answers.
        reliability: the value to compare with the threshold in place of `tau`, such as the teacher's agreement with
            itself.

    Raises:
        ConfigurationError: too few examples pass the filter.
        DataError: a signal is missing, not a number or out of range, or the scores are of different pools.
    """
    pool = _ids_of_the_pool(teacher, student, disagreement)
    gate = reliability if reliability is not None else teacher
    passing = _select_passing(pool, gate, rule.threshold) if rule.threshold else pool
    if len(passing) < rule.count:
        raise ConfigurationError(
            f"count = {rule.count}, and {len(passing)} of {len(pool)} examples are left"
            + (f" at threshold {rule.threshold:g}" if rule.threshold else ""),
            reason=f"{rule.strategy} must choose exactly this number",
            remedy=f"ask for at most {len(passing)}" if passing else "lower the threshold, or check the teacher's IoUs",
        )
    signals = _signals(teacher, student, disagreement, passing, rule.strategy)
    shuffled = sorted(passing, key=lambda id: uniform(seed, "tie", id))
    chosen = CHOOSE[rule.strategy](Pool(ids=shuffled, rule=rule, seed=seed, **signals))
    why = _reasons(rule, passing, chosen, gate)
    kept = set(chosen)
    left_out = [id for id in pool if id not in kept]
    return Selection(
        verdicts=tuple(
            Verdict(
                id=id,
                tau=None if teacher is None else teacher.get(id),
                sigma=None if student is None else student.get(id),
                delta=signals["delta"].get(id),
                order=place if place <= len(chosen) else None,
                why=why(id),
            )
            for place, id in enumerate([*chosen, *left_out], start=1)
        ),
        passing=tuple(passing),
    )


def _select_passing(pool: Sequence[str], gate: Mapping[str, float] | None, threshold: float) -> list[str]:
    """The examples on which the teacher is reliable (TRPV)."""
    if gate is None:
        raise ConfigurationError(
            f"threshold = {threshold} without scores of a teacher",
            reason="the threshold needs scores of a teacher",
            remedy="give the teacher's scores, or no threshold",
        )
    trusted = check_values(gate, pool, "the teacher's scores")
    return [id for id in pool if trusted[id] >= threshold]


def _ids_of_the_pool(*mappings: Mapping[str, float] | None) -> list[str]:
    """Of the teacher's scores, else of the student's, else of the disagreement; scores of an example that the first
    of them does not know are scores of another pool."""
    given = [mapping for mapping in mappings if mapping is not None]
    if not given or not given[0]:
        raise DataError("no scores", reason="there is nothing to choose from", remedy="score the manifest first")
    pool = given[0]
    for mapping in given[1:]:
        strangers = [id for id in mapping if id not in pool]
        if strangers:
            raise DataError(
                f"{len(strangers)} examples that only one of the two was scored on, such as {strangers[0]!r}",
                reason="these are scores of different manifests",
                remedy="score teacher and student on the same one",
            )
    return list(pool)


def check_values(mapping: Mapping[str, float] | None, ids: Sequence[str], whose: str) -> dict[str, float]:
    """The values of some ids, checked: none is missing, and all are numbers in 0..1."""
    missing = [id for id in ids if mapping is None or id not in mapping]
    if mapping is None or missing:
        raise DataError(
            f"{whose} lack {len(missing)} of {len(ids)} examples, such as {missing[0]!r}",
            reason="examples without a score would be left out without notice",
            remedy="finish scoring, and give the file of the whole manifest (all shards of it)",
        )
    values = {id: mapping[id] for id in ids}
    for id, value in values.items():
        if not (isinstance(value, int | float) and 0 <= value <= 1):  # false for NaN too
            raise DataError(
                f"{whose}: {value} for {id!r}",
                reason="a mean IoU is a number from 0 to 1",
                remedy="score again; a score that is not a number comes from a model that is broken",
            )
    return values


def _signals(
    teacher: Mapping[str, float] | None,
    student: Mapping[str, float] | None,
    disagreement: Mapping[str, float] | None,
    ids: Sequence[str],
    strategy: Strategy,
) -> dict[str, Mapping[str, float]]:
    """What the strategy ranks by, checked: the gap and the student's IoU, as far as it needs them."""
    sigma: Mapping[str, float] = {}
    if needs_student(strategy, has_disagreement=disagreement is not None):
        sigma = check_values(student, ids, "the student's scores")
    delta: dict[str, float] = {}
    if needs_gap(strategy):
        if disagreement is None:
            tau = check_values(teacher, ids, "the teacher's scores")
            delta = {id: tau[id] - sigma[id] for id in ids}
        else:
            delta = {id: disagreement[id] for id in ids if id in disagreement}
            bad = [id for id in ids if not math.isfinite(delta.get(id, math.nan))]
            if bad:
                raise DataError(
                    f"{len(bad)} of {len(ids)} examples have no disagreement that is a number, such as {bad[0]!r}",
                    reason="they cannot be ranked",
                    remedy="score the student on all of them with `video-opd score … --teacher MODEL`",
                )
    return {"delta": delta, "sigma": sigma}


def _reasons(
    rule: SelectionRule, passing: Sequence[str], chosen: Sequence[str], gate: Mapping[str, float] | None
) -> Callable[[str], str]:
    """Why an example was kept or left out, by its id."""
    order = {id: place for place, id in enumerate(chosen, start=1)}
    trusted = set(passing)
    not_chosen = f"not among the {len(chosen)} chosen by {rule.strategy} of {len(passing)}"

    @cache
    def describe_reliability(value: str) -> str:
        return f"the teacher's reliability {value} is below {rule.threshold:g}"

    def explain(id: str) -> str:
        if id in order:
            return f"{order[id]} of {len(chosen)} chosen by {rule.strategy} of {len(passing)}"
        if id in trusted:
            return not_chosen
        assert gate is not None
        return describe_reliability(f"{gate[id]:.3f}")

    return explain
