"""Student-curriculum coupling: an example is useful only while the teacher is right and the student is still wrong.

SCC (arXiv 2609.40055). Candidates are fixed before training, from the first scores: the teacher is right about them,
and the student is either right (anchors) or far off (frontier). From then on the student's own answer decides, at every
step, whether an example is scored by the teacher and trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from video_opd.curriculum.selection import Selection, Verdict, check_values
from video_opd.errors import ConfigurationError
from video_opd.seeds import uniform
from video_opd.settings import Count, NotNegative, Settings, Share

ANCHOR, FRONTIER = "anchor", "frontier"


class CandidateRule(Settings):
    """Which examples are candidates, in IoU. The defaults are the paper's; comparators: teacher and anchor >=, frontier
    <."""

    num_anchors: Count = 100
    """Number of candidates that the untrained student gets right."""
    num_frontier: Count = 900
    """Number of candidates that the untrained student gets wrong."""
    teacher_threshold: Share = 0.7
    """Smallest IoU of the teacher on a candidate."""
    anchor_threshold: Share = 0.7
    """Smallest IoU of the student on an anchor."""
    frontier_threshold: Share = 0.3
    """The student's IoU on a frontier example is lower."""

    @model_validator(mode="after")
    def _require_one(self) -> CandidateRule:
        if self.frontier_threshold > self.anchor_threshold:
            raise ValueError(
                f"curriculum.frontier_threshold = {self.frontier_threshold:g} is above anchor_threshold = "
                f"{self.anchor_threshold:g}, so an example could be both"
            )
        return self


class SuspensionRule(Settings):
    """Which of a step's examples are trained on: a key of every curriculum."""

    suspend_at: NotNegative | None = None
    """An example whose sampled answers have at least this mean IoU is suspended at that step: the teacher does not
    score it, and it gives no gradient (the gate of student-curriculum coupling). Above 1, or not set: no example is."""


def select_candidates(
    teacher: Mapping[str, float], student: Mapping[str, float], rule: CandidateRule, seed: int
) -> Selection:
    """Choose anchors and frontier examples, in random order; if there are more than needed, draw at random.

    Args:
        teacher: example id -> the teacher's mean IoU, of the whole pool.
        student: the same of the untrained student, at least where the teacher is right.

    Raises:
        ConfigurationError: there are fewer of either kind than needed.
        DataError: a score is missing or is not an IoU.
    """
    tau = check_values(teacher, list(teacher), "the teacher's scores")
    trusted = [id for id in tau if tau[id] >= rule.teacher_threshold]
    sigma = check_values(student, trusted, "the student's scores")
    groups = {
        ANCHOR: ([id for id in trusted if sigma[id] >= rule.anchor_threshold], rule.num_anchors),
        FRONTIER: ([id for id in trusted if sigma[id] < rule.frontier_threshold], rule.num_frontier),
    }
    kind: dict[str, str] = {}
    for name, (ids, count) in groups.items():
        if len(ids) < count:
            raise ConfigurationError(
                f"{count} {name} examples are asked for, and there are {len(ids)} among {len(tau)}",
                reason=f"of {len(trusted)} that the teacher is right about, {_count_groups(groups)}",
                remedy=f"ask for at most {len(ids)}, or move the thresholds",
            )
        drawn = sorted(ids, key=lambda id: uniform(seed, "candidate", id))[:count]
        kind |= dict.fromkeys(drawn, name)
    order = {id: place for place, id in enumerate(sorted(kind, key=lambda id: uniform(seed, "order", id)), start=1)}

    def explain(id: str) -> str:
        if id in kind:
            return f"{kind[id]}: teacher {tau[id]:.3f}, student {sigma[id]:.3f}"
        if id not in sigma:
            return f"the teacher's IoU {tau[id]:.3f} is below {rule.teacher_threshold:g}"
        if rule.frontier_threshold <= sigma[id] < rule.anchor_threshold:
            return f"the student's IoU {sigma[id]:.3f} is neither an anchor's nor a frontier example's"
        return "more candidates of its kind than asked for"

    return Selection(
        verdicts=tuple(
            Verdict(
                id=id,
                tau=tau[id],
                sigma=student.get(id),
                delta=tau[id] - student[id] if id in student else None,
                order=order.get(id),
                why=explain(id),
                kind=kind.get(id, ""),
            )
            for id in (*order, *(id for id in tau if id not in order))
        ),
        passing=tuple(trusted),
    )


def _count_groups(groups: Mapping[str, tuple[list[str], int]]) -> str:
    return ", ".join(f"{len(ids)} are {name}" for name, (ids, _) in groups.items())


class Coupling:
    """The gate between answering and judging: which of a step's examples are trained on.

    Args:
        update_below: an example whose answer has a lower IoU is trained on; another is suspended until it comes up
            again. Above 1: all are trained on; 0: none.
    """

    def __init__(self, *, update_below: float) -> None:
        self.update_below = update_below
        self.kinds: Mapping[str, str] = {}
        self.suspended: set[str] = set()
        self._counts: Counter[str] = Counter()

    def begin(self, kinds: Mapping[str, str]) -> None:
        """Start with candidates: example id -> anchor or frontier, for the counts. Anchors begin suspended."""
        self.kinds = kinds
        self.suspended |= {id for id, kind in kinds.items() if kind == ANCHOR}

    def is_admitted(self, id: str, iou: float) -> bool:
        """Whether an example is trained on at this step, given the mean IoU of the answers just sampled."""
        active = iou < self.update_below
        told = ["active", "reactivated"] if active and id in self.suspended else ["active" if active else "suspended"]
        for name in told:
            self._counts[name] += 1
            if kind := self.kinds.get(id):
                self._counts[f"{name}_{kind}"] += 1
        (self.suspended.discard if active else self.suspended.add)(id)
        return active

    def copy(self) -> Coupling:
        """Another one that knows the same, for a step that may have to be done again."""
        other = Coupling(update_below=self.update_below)
        other.kinds, other.suspended, other._counts = self.kinds, set(self.suspended), self._counts.copy()
        return other

    def metrics(self) -> dict[str, int]:
        """Counts since the last call: active, suspended, reactivated, and of anchors and frontier apart."""
        counts, self._counts = self._counts, Counter()
        kinds = ["", *(f"_{kind}" for kind in sorted(set(self.kinds.values())) if kind)]
        return {f"{name}{kind}": counts[f"{name}{kind}"] for kind in kinds for name in _COUNTED}

    def state_dict(self) -> dict[str, Any]:
        """The state that a run needs to resume."""
        return {"suspended": sorted(self.suspended)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of `state_dict`.

        Raises:
            ValueError: this version does not know a field.
        """
        if strangers := state.keys() - {"suspended"}:
            raise ValueError(f"the state of a coupling has no {sorted(strangers)}")
        self.suspended = set(state["suspended"])


_COUNTED = ("active", "suspended", "reactivated")
