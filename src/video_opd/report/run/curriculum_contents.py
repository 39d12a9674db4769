"""What a curriculum left in a run's `rounds/`, read with the assumption that any part of it may be missing or wrong."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from video_opd.errors import DataError
from video_opd.report.values import listed, mapping, number
from video_opd.runs import iterate_journal

BINS = 20
"""As many as an IoU is told apart into, from 0 to 1."""
_NOT_SCORED = "not scored: "
_MAX_REASONS = 1000
_FOLDER = re.compile(r"[0-9]{1,9}")


@dataclass(slots=True)
class Ious:
    """Mean IoUs of one model, of the examples that it was asked about; they come one by one."""

    total: float = 0.0
    count: int = 0
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, value: float | None) -> None:
        """One more, if there is one."""
        if value is not None:
            self.total, self.count = self.total + value, self.count + 1
            self.bins[min(int(value * BINS + 1e-9), BINS - 1)] += 1

    @property
    def mean(self) -> float | None:
        """None of nothing."""
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Tally:
    """The examples of a pool, or those that were kept, by what the two models scored."""

    count: int = 0
    tau: Ious = field(default_factory=Ious)
    """The teacher's."""
    sigma: Ious = field(default_factory=Ious)
    """The student's."""

    def add(self, tau: float | None, sigma: float | None) -> None:
        """One more example."""
        self.count += 1
        self.tau.add(tau)
        self.sigma.add(sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a set of examples is like; means."""

    start_s: float | None
    start_share: float | None
    length_s: float | None
    duration_s: float | None
    sources: dict[str, float]
    """Share of the examples from each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: what was chosen from, what was kept, and what it gave."""

    number: int
    first_step: int | None
    """Steps taken when it began."""
    counts: dict[str, int]
    """`pool`, `unscored`, `passing`, `kept`."""
    kinds: dict[str, int]
    """How many of the kept ones are `anchor`, `frontier`, where the curriculum tells them apart."""
    reasons: dict[str, int]
    """Why examples were not scored, and how many each, the commonest first."""
    pool: Tally | None
    kept: Tally | None
    pool_profile: Profile | None
    kept_profile: Profile | None
    reliability: dict[str, float]
    """Of `gap`, `teacher`, `student`; 0 to 1."""
    warnings: list[str]
    cost_s: float
    """Seconds that scoring for it took."""
    miou: float | None
    """Validation mIoU at its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """A file of scores that no selection has been made from yet."""

    whose: str
    num_rows: int
    num_examples: int | None
    """So many there will be."""
    mean_iou: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumContents:
    """Everything that is known of how the examples were chosen."""

    rounds: list[Round] = field(default_factory=list)
    scoring: list[Scoring] = field(default_factory=list)

    @property
    def cost_s(self) -> float:
        """Seconds that scoring for all selections took."""
        return sum(round.cost_s for round in self.rounds)


def read_curriculum(rounds: Path, notices: list[str]) -> CurriculumContents:
    """Read the folder `rounds/` of a run; what cannot be read is left out, and named in the notices."""
    try:
        folders = [path for path in rounds.iterdir() if _FOLDER.fullmatch(path.name) and path.is_dir()]
    except OSError:
        return CurriculumContents()
    found: list[Round] = []
    files: list[tuple[Path, str]] = []
    if not any(map(_is_selected, folders)):
        files = [(file, _model(file)) for file in sorted(rounds.glob("*-scores.jsonl"))]
    for folder in sorted(folders, key=lambda path: int(path.name)):
        if (round := _round(folder, notices)) is not None:
            found.append(round)
        elif not _is_selected(folder):
            scored = sorted(folder.glob("*-scores.jsonl"))
            files += [(file, f"{_model(file)} for round {int(folder.name)}") for file in scored]
    scoring = (_scoring(file, whose, notices) for file, whose in files)
    return CurriculumContents(rounds=found, scoring=[each for each in scoring if each is not None])


def _model(file: Path) -> str:
    """`teacher`, `teacher-1`, `student`."""
    return file.name.removesuffix("-scores.jsonl")


def _is_selected(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("selection-facts.json", "selection.jsonl"))


def _round(folder: Path, notices: list[str]) -> Round | None:
    """None where nothing of it can be read."""
    facts = _json(folder / "selection-facts.json", notices)
    pool, kept, reasons = _tallies(folder / "selection.jsonl", notices)
    if not facts and pool is None:
        return None
    counts = {key: number(facts.get(f"num_{key}")) for key in ("pool", "unscored", "passing", "kept")}
    if pool is not None and kept is not None:
        counted = {"pool": pool.count, "unscored": sum(reasons.values()), "kept": kept.count}
        counts |= {key: value for key, value in counted.items() if counts[key] is None}
    reliability = {key: number(facts.get(f"reliability_of_{key}")) for key in ("ranking", "teacher", "student")}
    kinds = {str(kind): number(count) for kind, count in mapping(facts.get("kinds")).items()}
    first_step = number(facts.get("first_step"))
    cost = [number(mapping(each).get("seconds")) for each in mapping(facts.get("cost")).values()]
    return Round(
        number=int(folder.name),
        first_step=None if first_step is None else int(first_step),
        counts={key: int(count) for key, count in counts.items() if count is not None},
        kinds={kind: int(count) for kind, count in kinds.items() if count is not None},
        reasons=dict(reasons.most_common()),
        pool=pool,
        kept=kept,
        pool_profile=_profile(facts.get("pool")),
        kept_profile=_profile(facts.get("kept")),
        reliability={key: value for key, value in reliability.items() if value is not None},
        warnings=[said for said in listed(facts.get("warnings")) if isinstance(said, str)],
        cost_s=sum(max(seconds, 0.0) for seconds in cost if seconds is not None),
        miou=number(mapping(_json(folder / "evaluation.json", notices).get("scores")).get("miou")),
    )


def _json(path: Path, notices: list[str]) -> Mapping[str, Any]:
    """The table in a file; empty where there is none."""
    try:
        return mapping(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        notices.append(f"rounds/{path.parent.name}/{path.name} is left out: {error}.")
        return {}


def _tallies(path: Path, notices: list[str]) -> tuple[Tally | None, Tally | None, Counter[str]]:
    """The pool, the kept ones, and why examples were not scored. A selection may be large: it is counted, not held."""
    pool, kept, reasons = Tally(), Tally(), Counter[str]()
    try:
        for row in iterate_journal(path):
            why = row.get("why")
            if isinstance(why, str) and why.startswith(_NOT_SCORED):
                _count_reason(reasons, why.removeprefix(_NOT_SCORED))
            tau, sigma = _share(row.get("tau")), _share(row.get("sigma"))
            for tally in (pool, kept) if row.get("kept") is True else (pool,):
                tally.add(tau, sigma)
    except DataError as error:
        notices.append(f"A selection is left out: {error}")
        return None, None, Counter()
    return (pool, kept, reasons) if pool.count else (None, None, reasons)


def _count_reason(reasons: Counter[str], why: str) -> None:
    """A reason begins with the file it is about, as in "a.mp4: no such file"; without it, equal ones are equal."""
    reason = why.partition(": ")[2] or why
    if not reason.strip():
        reason = "no reason was recorded"
    reasons[reason if reason in reasons or len(reasons) < _MAX_REASONS else "another reason"] += 1


def _share(value: object) -> float | None:
    found = number(value)
    return found if found is not None and 0 <= found <= 1 else None


def _profile(found: object) -> Profile | None:
    table = mapping(found)
    sources = {str(name): number(share) for name, share in mapping(table.get("sources")).items()}
    means = {key: number(table.get(key)) for key in ("start_s", "start_share", "length_s", "duration_s")}
    if all(mean is None for mean in means.values()) and not sources:
        return None
    return Profile(**means, sources={name: share for name, share in sources.items() if share is not None})


def _scoring(path: Path, whose: str, notices: list[str]) -> Scoring | None:
    num_rows, num_examples, ious = 0, None, Ious()
    try:
        for row in iterate_journal(path):
            if "scores" in row:
                num_examples = number(mapping(row["scores"]).get("num_examples"))
            elif "id" in row:
                num_rows += 1
                ious.add(_share(row.get("mean_iou")))
    except DataError as error:
        notices.append(f"Scores are left out: {error}")
        return None
    return Scoring(
        whose=whose,
        num_rows=num_rows,
        num_examples=None if num_examples is None else int(num_examples),
        mean_iou=ious.mean,
    )
