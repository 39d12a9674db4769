"""`metrics`, `report`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_opd.commands.asking import Overrides
from video_opd.errors import ConfigurationError, writing

if TYPE_CHECKING:
    from video_opd.eval.scorers import Answers, GroundTruth, OfficialScores
    from video_opd.grounding import Scores

_NUM_IDS_SHOWN = 5


def metrics(arguments: argparse.Namespace, _: Overrides) -> int:
    """Score a predictions file by our rule or another's, or two of them and their difference."""
    files = [*([arguments.predictions] if arguments.predictions else []), *arguments.compare]
    if not files or len(files) > 2:
        raise ConfigurationError(
            f"`video-opd metrics` with {len(files)} files of predictions",
            reason="it scores one, or compares two",
            remedy="write `video-opd metrics A --ground-truth MANIFEST`, and `--compare B` for a comparison",
        )
    _refuse_rates(arguments)
    truth, answers = _read(files, arguments)
    scored = [_score(file, arguments, truth, given) for file, given in zip(files, answers, strict=True)]
    comparison = _comparison(*scored) if len(scored) == 2 else None
    if arguments.json:
        print(json.dumps(scored[0].report | ({"comparison": comparison} if comparison else {}), indent=2))
    else:
        from video_opd.terminal import show_differences, show_official_scores, show_scores

        for one in scored:
            if arguments.scorer == "ours":
                show_scores(one.result, str(one.file))  # type: ignore[arg-type]
            else:
                show_official_scores(one.result, f"{one.file} as {arguments.scorer}")  # type: ignore[arg-type]
        if comparison:
            show_differences(comparison)
            for note in comparison["notes"]:
                print(note, file=sys.stderr)
    for one in scored:
        one.tell(f"{one.file}: " if comparison else "", notes=not arguments.json)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A file of predictions and what it is worth."""

    file: Path
    answers: Answers
    missing: tuple[str, ...]
    result: Scores | OfficialScores
    flat: Mapping[str, float]
    """Every score by its name."""
    report: dict[str, Any]
    """For `--json`."""
    warning: str
    """That the times are very likely in another unit; empty where nothing shows it."""

    def tell(self, where: str, *, notes: bool) -> None:
        """On stderr: what was unusual, and what did not match."""
        if self.warning:
            print(f"video-opd: warning: {where}{self.warning}", file=sys.stderr)
        for note in self.report["notes"] if notes else ():
            print(f"{where}{note}", file=sys.stderr)
        for what, ids in (("without a prediction", self.missing), ("predicted but not asked", self.answers.unknown)):
            if ids:
                print(f"{where}{len(ids)} {what}, such as {', '.join(ids[:3])}", file=sys.stderr)


def _refuse_rates(arguments: argparse.Namespace) -> None:
    if (arguments.unit == "frames") != (arguments.fps is not None):
        raise ConfigurationError(
            "--unit frames without --fps" if arguments.fps is None else "--fps without `--unit frames`",
            reason="frames become seconds by their rate, and nothing else does",
            remedy="give both, such as `--unit frames --fps 2`",
        )
    if arguments.fps is not None and not 0 < arguments.fps < float("inf"):
        raise ConfigurationError(
            f"--fps {arguments.fps:g}", reason="it is no rate", remedy="give the frames in a second, such as 2"
        )


def _read(files: list[Path], arguments: argparse.Namespace) -> tuple[GroundTruth, list[Answers]]:
    """The annotations, and the answers of every file: those of the first file where none are given."""
    from video_opd.eval.scorers import read_ground_truth, read_matched, read_with_truth

    how = {"unit": arguments.unit, "fps": arguments.fps}
    if arguments.ground_truth is not None:
        truth = read_ground_truth(arguments.ground_truth)
        return truth, [read_matched(file, truth, arguments.format, **how) for file in files]
    truth, answers = read_with_truth(files[0], arguments.format, **how)
    return truth, [answers, *(read_matched(file, truth, arguments.format, **how) for file in files[1:])]


def _score(file: Path, arguments: argparse.Namespace, truth: GroundTruth, answers: Answers) -> _Scored:
    from video_opd.eval.scorers import require_matched, score_as, unit_evidence
    from video_opd.eval.scorers._single_span import zero_length_notes
    from video_opd.grounding import score

    require_matched(answers)
    missing = truth.missing(answers)
    result: Scores | OfficialScores
    heeds_units = True
    if arguments.scorer == "ours":
        result = score({id_: answer.parsed() for id_, answer in answers.by_id.items()}, truth.examples)
        flat, report, notes = (
            result.to_dict(),
            result.to_report(),
            (*answers.notes, *zero_length_notes(truth)),
        )
    else:
        result = score_as(arguments.scorer, truth, answers)
        flat = result.flat()
        report = {"convention": result.convention.to_dict(), "scores": result.scores}
        notes = answers.notes + result.notes
        heeds_units = result.convention.heeds_units
    for what, ids in (("missing", missing), ("unknown", answers.unknown)):
        report[what] = {"count": len(ids), "ids": list(ids[:_NUM_IDS_SHOWN])}
    report["notes"] = list(notes)
    warning = ""
    if arguments.unit is None and (evidence := unit_evidence(truth, answers, heeds_units=heeds_units)):
        warning = f"{evidence.sentence}. If they are, give `{evidence.options}`."
        report |= {"warnings": [warning], "likely_unit": evidence.to_dict()}
    return _Scored(
        file=file, answers=answers, missing=missing, result=result, flat=flat, report=report, warning=warning
    )


def _comparison(first: _Scored, second: _Scored) -> dict[str, Any]:
    """The paired differences of two files' scores."""
    from video_opd.eval.scorers import compare, too_few

    differences = compare(first.result.per_query, second.result.per_query)
    rules = first.report["convention"], second.report["convention"]
    unlike = [part for part in rules[0] if rules[0][part] != rules[1][part]]
    notes = [
        f"The two files were not scored alike: {part} of a: {rules[0][part]}; of b: {rules[1][part]}."
        for part in unlike
    ]
    return {
        "a": str(first.file),
        "b": str(second.file),
        "difference": "a - b, over the queries that both have",
        "intervals": too_few(differences)
        or "95 % percentile bootstrap, queries drawn in pairs, 1000 resamples, seed 0",
        "scores": differences,
        "not_compared": [name for name in first.flat if name not in differences],
        "notes": notes,
        "report_of_b": second.report,
    }


def report(arguments: argparse.Namespace, _: Overrides) -> int:
    """Write report.html."""
    from video_opd.report import write_comparison_report, write_report

    is_comparison = (arguments.run / "comparison.json").exists()
    with writing(arguments.run / "report.html"):
        print(write_comparison_report(arguments.run) if is_comparison else write_report(arguments.run))
    return 0
