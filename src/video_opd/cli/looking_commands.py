"""`metrics`, `report`, `watch`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from video_opd.cli.argument_types import Json, Number, Plugins, Positive, load_plugins, offer_names
from video_opd.cli.path_roles import GoesOn, Reads, ReadsVideos, Writes
from video_opd.cli.refusals import require_choice
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.eval.scorers import RESULT_FORMATS, SCORERS
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.eval.scorers import Answers, OfficialScores, ScoredFile
    from video_opd.grounding import Scores

_NUM_IDS_SHOWN = 5


Unit = Literal["seconds", "fraction", "percent", "milliseconds", "minutes", "frames"]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class MetricsChoices:
    """By what predictions are scored."""

    ground_truth: Reads | None = None
    """manifest, made with `video-opd data import`; or an original file of QVHighlights, VUE-TR, E.T. Bench, NExT-GQA,
    CG-Bench, DiDeMo or HiREST, if the scorer needs fields that a manifest does not keep (default: the annotations in
    the keys or rows of the predictions)"""
    scorer: Annotated[
        str,
        Parameter(name="--as"),
        offer_names(
            ("ours", *SCORERS),
            "scoring rule: comparator, rounding, parser, spans, denominator; docs/DATA.md compares the rules",
        ),
    ] = "ours"
    format: Annotated[
        str | None, offer_names(RESULT_FORMATS, "format of the predictions (default: by their content)")
    ] = None
    unit: Unit | None = None
    """unit of the predicted times; fraction and percent: of the video's duration (default: seconds; percent for
    vtimellm)"""
    fps: Number | None = None
    """frames per second, for `--unit frames`"""


OUR_RULE = MetricsChoices()


def metrics(
    predictions: Reads | None = None,
    /,
    *,
    by: MetricsChoices = OUR_RULE,
    compare: Annotated[tuple[Reads, ...], Parameter(metavar="FILE")] = (),
    plugin: Plugins = (),
    json: Json = False,
) -> int:
    """Score a predictions file against annotations.

    Args:
        predictions: JSON lines with "id" and "answer", or see --format
        compare: a second file, or both files: the paired bootstrap of the difference, first file minus second file

    Example:
        video-opd metrics predictions.jsonl --ground-truth test.jsonl
        video-opd metrics results.json --ground-truth test.jsonl --as timelens --compare other-results.json
    """
    load_plugins(plugin)
    files = [*([predictions] if predictions else []), *compare]
    if not files or len(files) > 2:
        raise ConfigurationError(
            f"`video-opd metrics` with {len(files)} files of predictions",
            reason="it scores one file, or compares two files",
            remedy="write `video-opd metrics A --ground-truth MANIFEST`, and `--compare B` for a comparison",
        )
    _refuse_unknown_names(by)
    _refuse_rates(by)

    from video_opd.eval.scorers import score_files

    found = score_files(files, by.ground_truth, by.scorer, format=by.format, unit=by.unit, fps=by.fps)
    scored = [_describe(one, by) for one in found]
    comparison = _compare_files(*scored) if len(scored) == 2 else None
    if json:
        show(dumps(scored[0].report | ({"comparison": comparison} if comparison else {}), indent=2))
    else:
        from video_opd.cli.result_tables import show_differences, show_official_scores, show_scores

        for one in scored:
            if by.scorer == "ours":
                show_scores(one.result, str(one.file))  # type: ignore[arg-type]
            else:
                show_official_scores(one.result, f"{one.file} as {by.scorer}")  # type: ignore[arg-type]
        if comparison:
            show_differences(comparison)
            for note in comparison["notes"]:
                show(note, file=sys.stderr)
    for one in scored:
        one.tell(f"{one.file}: " if comparison else "", notes=not json)
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scored:
    """A file of predictions and its scores."""

    file: Path
    answers: Answers
    missing: tuple[str, ...]
    result: Scores | OfficialScores
    flat: Mapping[str, float]
    """Every score by its name."""
    report: dict[str, Any]
    """For `--json`."""
    warning: str
    """A warning that the times are very likely in another unit; empty if nothing indicates this."""

    def tell(self, where: str, *, notes: bool) -> None:
        """Print on stderr what was unusual, and which ids did not match."""
        if self.warning:
            show(f"video-opd: warning: {where}{self.warning}", file=sys.stderr)
        for note in self.report["notes"] if notes else ():
            show(f"{where}{note}", file=sys.stderr)
        for what, ids in (("without a prediction", self.missing), ("predicted but not asked", self.answers.unknown)):
            if ids:
                show(f"{where}{len(ids)} {what}, such as {', '.join(ids[:3])}", file=sys.stderr)


def _refuse_unknown_names(by: MetricsChoices) -> None:
    """What plug-ins registered counts too."""
    require_choice("--as", by.scorer, ("ours", *SCORERS), of="video-opd metrics")
    if by.format is not None:
        require_choice("--format", by.format, RESULT_FORMATS, of="video-opd metrics")


def _refuse_rates(by: MetricsChoices) -> None:
    if (by.unit == "frames") != (by.fps is not None):
        raise ConfigurationError(
            "--unit frames without --fps" if by.fps is None else "--fps without `--unit frames`",
            reason="only frames are converted to seconds by a frame rate",
            remedy="give both, such as `--unit frames --fps 2`",
        )
    if by.fps is not None and not 0 < by.fps < float("inf"):
        raise ConfigurationError(
            f"--fps {by.fps:g}", reason="it is not a frame rate", remedy="give the frames per second, such as 2"
        )


def _describe(scored: ScoredFile, by: MetricsChoices) -> _Scored:
    """The scores of a file with everything that is said beside them."""
    from video_opd.eval.scorers import OfficialScores, find_unit_evidence
    from video_opd.eval.scorers._single_span import zero_length_notes

    truth, answers, result = scored.truth, scored.answers, scored.result
    missing = truth.find_missing(answers)
    report: dict[str, Any]
    heeds_units = True
    if isinstance(result, OfficialScores):
        flat = result.flat()
        report = {"convention": result.convention.to_dict(), "scores": result.scores}
        notes = answers.notes + result.notes
        heeds_units = result.convention.is_unit_aware
    else:
        flat, report = result.to_dict(), result.to_report()
        notes = (*answers.notes, *zero_length_notes(truth))
    for what, ids in (("missing", missing), ("unknown", answers.unknown)):
        report[what] = {"count": len(ids), "ids": list(ids[:_NUM_IDS_SHOWN])}
    report["notes"] = list(notes)
    warning = ""
    if by.unit is None and (evidence := find_unit_evidence(truth, answers, heeds_units=heeds_units)):
        warning = f"{evidence.sentence}. If they are, give `{evidence.options}`."
        report |= {"warnings": [warning], "likely_unit": evidence.to_dict()}
    return _Scored(
        file=scored.file, answers=answers, missing=missing, result=result, flat=flat, report=report, warning=warning
    )


def _compare_files(first: _Scored, second: _Scored) -> dict[str, Any]:
    """The paired differences of two files' scores."""
    from video_opd.eval.scorers import compare, explain_too_few

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
        "intervals": explain_too_few(differences)
        or "95 % percentile bootstrap, queries drawn in pairs, 1000 resamples, seed 0",
        "scores": differences,
        "not_compared": [name for name in first.flat if name not in differences],
        "notes": notes,
        "report_of_b": second.report,
    }


def report(
    runs: Annotated[list[GoesOn], Parameter(name="RUN")],
    /,
    *,
    out: Writes | None = None,
    videos: ReadsVideos | None = None,
) -> int:
    """Write a page about a run or a comparison, or about several runs.

    Args:
        runs: folder; several: their curves on one page
        out: page (default: report.html in the folder; of several runs, runs.html here)
        videos: folder of the test videos, for frames and playback (default: the one that the run had)

    Example:
        video-opd report runs/demo
        video-opd report runs/opd-0 runs/opd-1 runs/grpo-0 --out runs.html
    """
    from video_opd.report import write_comparison_report, write_overlay_report, write_report

    is_comparison = (runs[0] / "comparison.json").exists()
    if videos is not None and (len(runs) > 1 or is_comparison):
        raise ConfigurationError(
            f"--videos {videos} with {'several runs' if len(runs) > 1 else 'a comparison'}",
            reason="only the page of one run shows videos",
            remedy="leave out --videos, or name the folder of one run",
        )
    if len(runs) > 1:
        page = out or Path("runs.html")
        with explain_write_errors(page):
            show(write_overlay_report(runs, page))
        return 0
    page = out or runs[0] / "report.html"
    with explain_write_errors(page):
        show(write_comparison_report(runs[0], page) if is_comparison else write_report(runs[0], videos, page))
    return 0


def watch(
    run: Annotated[GoesOn, Parameter(name="RUN")],
    /,
    *,
    page: bool = False,
    out: Writes | None = None,
    every: Positive = 10,
) -> int:
    """Follow a run in the terminal, and on a page that refreshes itself.

    Args:
        run: folder
        page: write a page again and again while the run goes on
        out: where (default: live.html in the folder); implies --page
        every: seconds between two writings of the page

    Example:
        video-opd watch runs/demo --page
    """
    from video_opd.consoles import EscapingConsole
    from video_opd.report.run.live_view import LivePage, watch_run

    path = out or (run / "live.html" if page else None)
    live = LivePage(run=run, path=path, every_s=every) if path else None
    with explain_write_errors(path or run):
        ended = watch_run(run, EscapingConsole(), live)
    show(f"{run}: {ended}.")
    if path:
        show(path)
    return 0
