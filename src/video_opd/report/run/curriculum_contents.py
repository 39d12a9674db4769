"""What a curriculum left in a run's `rounds/`, read with the assumption that any part of it may be missing or wrong."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from video_opd.errors import DataError
from video_opd.files.run_records import EvaluationReport, ScoreHead, ScoreRow, SelectionFacts, SelectionRow
from video_opd.files.strict_json import load_json
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

    def add(self, value: float | None) -> int | None:
        """Count one more, if it is an IoU; returns its bin."""
        if value is None or not 0 <= value <= 1:
            return None
        place = min(int(value * BINS + 1e-9), BINS - 1)
        self.total, self.count = self.total + value, self.count + 1
        self.bins[place] += 1
        return place

    @property
    def mean(self) -> float | None:
        """None where there is no value."""
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Tally:
    """The examples of a pool, or those that were kept, by what the two models scored."""

    count: int = 0
    tau: Ious = field(default_factory=Ious)
    """The teacher's."""
    sigma: Ious = field(default_factory=Ious)
    """The student's."""
    pairs: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Examples by the bins of both, the teacher's first."""

    def add(self, row: SelectionRow) -> None:
        """Count one more example."""
        self.count += 1
        bins = [ious.add(value) for ious, value in ((self.tau, row.tau), (self.sigma, row.sigma))]
        if bins[0] is not None and bins[1] is not None:
            self.pairs[bins[0], bins[1]] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round: what was chosen from, what was kept, and what it gave."""

    number: int
    facts: SelectionFacts
    counts: dict[str, int]
    """`pool`, `unscored`, `passing`, `kept`: as far as the facts say or the rows can be counted."""
    reasons: dict[str, int]
    """Why examples were not scored, and how many each, the commonest first."""
    left_out: dict[str, int]
    """Why examples were not kept, without the example's own numbers."""
    pool: Tally | None
    kept: Tally | None
    miou: float | None
    """Validation mIoU at its end."""

    @property
    def cost_s(self) -> float:
        """Seconds that scoring for it took."""
        return sum(max(each.seconds, 0.0) for each in self.facts.cost.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedScores:
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
    scoring: list[UnfinishedScores] = field(default_factory=list)

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
        files = [(file, _name_model(file)) for file in sorted(rounds.glob("*-scores.jsonl"))]
    for folder in sorted(folders, key=lambda path: int(path.name)):
        if (round := _read_round(folder, notices)) is not None:
            found.append(round)
        elif not _is_selected(folder):
            scored = sorted(folder.glob("*-scores.jsonl"))
            files += [(file, f"{_name_model(file)} for round {int(folder.name)}") for file in scored]
    scoring = (_read_scoring(file, whose, notices) for file, whose in files)
    return CurriculumContents(rounds=found, scoring=[each for each in scoring if each is not None])


def _name_model(file: Path) -> str:
    """`teacher`, `teacher-1`, `student`."""
    return file.name.removesuffix("-scores.jsonl")


def _is_selected(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("selection-facts.json", "selection.jsonl"))


def _read_round(folder: Path, notices: list[str]) -> Round | None:
    """None where nothing of it can be read."""
    facts = SelectionFacts.from_json(_read_json(folder / "selection-facts.json", notices))
    pool, kept, reasons, left_out = _count_selection(folder / "selection.jsonl", notices)
    if not facts.model_fields_set and pool is None:
        return None
    counts = {"pool": facts.num_pool, "unscored": facts.num_unscored, "passing": facts.num_passing,
              "kept": facts.num_kept}  # fmt: skip
    if pool is not None and kept is not None:
        counted = {"pool": pool.count, "unscored": sum(reasons.values()), "kept": kept.count}
        counts |= {key: value for key, value in counted.items() if counts[key] is None}
    return Round(
        number=int(folder.name),
        facts=facts,
        counts={key: count for key, count in counts.items() if count is not None},
        reasons=dict(reasons.most_common()),
        left_out=dict(left_out.most_common()),
        pool=pool,
        kept=kept,
        miou=EvaluationReport.from_json(_read_json(folder / "evaluation.json", notices)).scores.get("miou"),
    )


def _read_json(path: Path, notices: list[str]) -> object:
    """What stands in a file; None where there is none."""
    try:
        return load_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        notices.append(f"rounds/{path.parent.name}/{path.name} is left out: {error}.")
        return None


_Counted = tuple[Tally | None, Tally | None, Counter[str], Counter[str]]


def _count_selection(path: Path, notices: list[str]) -> _Counted:
    """The pool, the kept ones, why examples were not scored, and why they were not kept. A selection may be large: it
    is counted, not held."""
    pool, kept, reasons, left_out = Tally(), Tally(), Counter[str](), Counter[str]()
    try:
        for row in SelectionRow.from_rows(iterate_journal(path)):
            if row.why.startswith(_NOT_SCORED):
                _count_reason(reasons, row.why.removeprefix(_NOT_SCORED))
            if not row.kept:
                reason = _drop_own_numbers(row.why)
                left_out[reason if reason in left_out or len(left_out) < _MAX_REASONS else "another reason"] += 1
            for tally in (pool, kept) if row.kept else (pool,):
                tally.add(row)
    except DataError as error:
        notices.append(f"A selection is left out: {error}")
        return None, None, Counter(), Counter()
    return (pool, kept, reasons, left_out) if pool.count else (None, None, reasons, left_out)


def _drop_own_numbers(why: str) -> str:
    """A reason as it is for many examples: without the IoU of the one, which has three decimals."""
    if why.startswith(_NOT_SCORED):
        return "not scored"
    return re.sub(r" -?[0-9]+\.[0-9]{3}(?![0-9])", "", why) or "no reason was recorded"


def _count_reason(reasons: Counter[str], why: str) -> None:
    """A reason begins with the file it is about, as in "a.mp4: no such file"; without it, equal ones are equal."""
    reason = why.partition(": ")[2] or why
    if not reason.strip():
        reason = "no reason was recorded"
    reasons[reason if reason in reasons or len(reasons) < _MAX_REASONS else "another reason"] += 1


def _read_scoring(path: Path, whose: str, notices: list[str]) -> UnfinishedScores | None:
    num_rows, num_examples, ious = 0, None, Ious()
    try:
        for row in iterate_journal(path):
            if "scores" in row:
                num_examples = ScoreHead.from_json(row["scores"]).num_examples
            elif "id" in row:
                num_rows += 1
                ious.add(ScoreRow.from_json(row).mean_iou)
    except DataError as error:
        notices.append(f"Scores are left out: {error}")
        return None
    return UnfinishedScores(whose=whose, num_rows=num_rows, num_examples=num_examples, mean_iou=ious.mean)
