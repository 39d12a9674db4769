"""The tables on stdout for a reader, without --json."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from video_opd.consoles import EscapingConsole
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.curriculum import Choice
    from video_opd.doctor import Finding
    from video_opd.doctor.published_settings import PublishedSettings
    from video_opd.eval.scorers import OfficialScores
    from video_opd.grounding import Scores


def show_run(results: dict[str, Any]) -> None:
    """Print the scores before and after training, and the path of the report."""
    from video_opd.sample_size import MIN_QUERIES, SIDE_QUESTIONS, describe_shortage

    teachers = [key for key in results if key.startswith("teacher")]
    columns = {key: results[key] for key in ("student_before", "student_after", *teachers) if key in results}
    console = EscapingConsole()
    if columns:
        table = Table(title=f"{results['steps']} steps, {results['train_seconds']:.0f} s of training")
        table.add_column("test set")
        for name in columns:
            table.add_column(name.replace("_", ", "), justify="right")
        for key in next(iter(columns.values())):
            values = [scores[key] for scores in columns.values()]
            table.add_row(escape(_label(key)), *(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values))
        if side := results.get("side_questions"):
            table.add_row("side questions", *(f"{side[name]['accuracy']:.3f}" for name in columns))
        console.print(table)
        num_queries = min(scores["num_queries"] for scores in columns.values())
        if num_queries < MIN_QUERIES:
            show(describe_shortage("What the run changed", num_queries))
        asked = min((scores["num_questions"] for scores in side.values()), default=MIN_QUERIES) if side else MIN_QUERIES
        if asked < MIN_QUERIES:
            show(describe_shortage("What was forgotten", asked, *SIDE_QUESTIONS))
    else:
        show("The recipe has no test manifest, so the change of the scores is unknown.")
    show(f"report: {Path(results['run']) / 'report.html'}")


def _label(key: str) -> str:
    """The name of a score in a table."""
    return {"output_format_rate": "output format rate"}.get(key, key)


def show_comparison(results: dict[str, Any], out: Path) -> None:
    """Print one row per method, the conclusions, and the path of the page."""
    table = Table(title=f"{escape(results['name'])}: mean (sd) over seeds {', '.join(map(str, results['seeds']))}")
    for heading in ("method", "learning rate", "test mIoU", "95 % interval", "output format rate", "training, s"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for name, method in results["methods"].items():
        miou, cells = method.get("test_miou"), ["-", "-", "-"]
        if miou is not None:
            reach = " - ".join(f"{end:.3f}" for end in miou["interval"] or ())
            rate = method["scores"]["output_format_rate"]["mean"]
            cells = [f"{miou['mean']:.3f} ({miou['sd_over_seeds']:.3f})", reach or "-", f"{rate:.3f}"]
        seconds = sum(method["ledger"][f"{results['time']}_by_phase"].values())
        table.add_row(escape(name), f"{method['learning_rate']:g}", *cells, f"{seconds:.0f}")
    EscapingConsole().print(table)
    for sentence in results["sentences"]:
        show(f"- {sentence}")
    show(f"report: {out / 'report.html'}")


def show_scores(scores: Scores, title: str) -> None:
    """Print every score with its interval."""
    from video_opd.sample_size import count_of

    EscapingConsole().print(Text(f"{title}: {count_of(scores.num_queries)}", "bold"), soft_wrap=True)
    table = Table()
    for heading in ("", "value", "95 % interval"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, value in scores.to_dict().items():
        if name != "num_queries":
            reach = " - ".join(f"{end:.3f}" for end in scores.intervals.get(name, ()))
            table.add_row(_label(name), f"{value:.3f}", reach or "-")
    EscapingConsole().print(table)
    show(
        "first predicted span against the best-matching annotated one; IoU >= threshold, nothing rounded; every query "
        "counts; fractions 0..1" + ("; 95 % bootstrap" if scores.intervals else "")
    )
    if scores.cannot_be_said:
        show(scores.cannot_be_said)


def show_official_scores(found: OfficialScores, title: str) -> None:
    """Print every score of one of the field's scorers, and its rule."""
    EscapingConsole().print(Text(title, "bold"), soft_wrap=True)  # a table would wrap the rule to its own width
    table = Table()
    table.add_column("")
    table.add_column("value", justify="right")
    for name, value in found.flat().items():
        table.add_row(escape(name), f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value))
    EscapingConsole().print(table)
    for part, rule in found.convention.to_dict().items():
        show(f"{part}: {rule}")


def show_differences(comparison: dict[str, Any]) -> None:
    """Print the scores of two files side by side, and their paired difference."""
    EscapingConsole().print(Text(f"A: {comparison['a']}, B: {comparison['b']}", "bold"), soft_wrap=True)
    judged = [found["interval"] is not None for found in comparison["scores"].values()]
    caption = "95 % paired bootstrap over queries; an interval on one side of 0 is a significant difference"
    table = Table(caption=caption if any(judged) else None)
    for heading in ("", "A", "B", "A - B", "95 % interval", "queries"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in comparison["scores"].items():
        reach = " to ".join(f"{end:+.3f}" for end in found["interval"] or ()) or "-"
        cells = (f"{found['a']:.3f}", f"{found['b']:.3f}", f"{found['difference']:+.3f}", reach)
        table.add_row(escape(_label(name)), *cells, str(found["num_queries"]))
    EscapingConsole().print(table)
    if not all(judged):
        show(comparison["intervals"])
    if comparison["not_compared"]:
        show(f"not compared, because they are not means over all queries: {', '.join(comparison['not_compared'])}")


def show_summary_of_scores(summary: dict[str, Any], title: str, out: Path) -> None:
    """Print the summary of a file of scores."""
    reliability = summary["split_half_reliability"]
    how = "unknown" if reliability is None else f"{reliability:.2f}"
    if summary["num_scored"]:
        show(
            f"{title}: {summary['num_scored']} examples, mean IoU {summary['mean_iou']:.3f}, its answers agree to "
            f"{summary['mean_agreement']:.3f}, split-half reliability of an example's mean IoU {how}"
        )
    show(f"scores: {out}")


def show_choice(choice: Choice, out: Path) -> None:
    """Print how many examples were chosen, and how they differ from the pool."""
    facts = choice.facts
    show(
        f"{facts['num_kept']} chosen of {facts['num_passing']} that pass the filter, of {facts['num_pool']} in the pool"
    )
    table = Table(title="what the selection is like")
    for heading in ("mean of", "pool", "chosen"):
        table.add_column(heading, justify="left" if heading == "mean of" else "right")
    names = {"start_s": "start, s", "start_share": "start / duration", "length_s": "length, s"}
    for key, name in (names | {"duration_s": "duration of the video, s"}).items():
        table.add_row(name, *(f"{facts[who][key]:.2f}" for who in ("pool", "kept")))
    for source in facts["pool"]["sources"]:
        shares = (facts[who]["sources"].get(source, 0.0) for who in ("pool", "kept"))
        table.add_row(f"share of {escape(source or '(no source)')}", *(f"{share:.2f}" for share in shares))
    EscapingConsole().print(table)
    show(f"selection: {out}")


def show_findings(findings: Sequence[Finding]) -> None:
    """Print one paragraph per finding. A table does not suit the long sentences in narrow windows and logs."""
    console = EscapingConsole(highlight=False)
    width = min(console.width, 100)
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for finding in findings:
        what_to_do = [f"-> {finding.remedy}"] if finding.remedy else []
        lines = [
            line
            for paragraph in (finding.checked, finding.found, *what_to_do)
            for line in textwrap.wrap(paragraph, width - 6, break_on_hyphens=False)
        ]
        console.print(Text(f"{finding.verdict:6}", colours[finding.verdict]) + Text(lines[0], "bold"), soft_wrap=True)
        for line in lines[1:]:
            console.print(Text(" " * 6 + line), soft_wrap=True)
    counts = ", ".join(f"{sum(f.verdict == verdict for f in findings)} {verdict}" for verdict in colours)
    console.print(counts)


def show_published(published: PublishedSettings | None) -> None:
    """Print how a recipe differs from the authors' release and from the paper's text.

    Args:
        published: None: neither has the recipe's method.
    """
    if published is None:
        show("Neither the paper's recipes nor the authors' release has this method, so no settings were compared.")
        return
    compared = published.paper if published.released is None else f"{published.released} and {published.paper}"
    if not published.differences:
        show(f"The settings are those of {compared}, as far as these are stated.")
        return
    table = Table(title=f"settings that differ from {compared}")
    for column in ("setting", "this recipe", "released", "paper's text"):
        table.add_column(column)
    for each in published.differences:
        table.add_row(*map(escape, (each.setting, each.recipe, each.released, each.paper)))
    EscapingConsole().print(table)


def show_benchmark(report: Mapping[str, Any]) -> None:
    """Print the accuracy overall and by group, in per cent; for two models before and after."""
    change, convention = report.get("change"), report["convention"]
    named = f"rule {convention['rule']}" if convention["rule"] else "options scored"
    table = Table(
        title=escape(f"{report['model']} on {report['benchmark']}: {named}, questions: {convention['questions']}"),
        caption=escape(f"{convention['rating']}; {convention['intervals']}"),
    )
    columns = ("before", "after", "difference") if change else ("chance", "accuracy")
    for heading in ("", "questions", *columns, "95 % interval", *(() if change else ("unread",))):
        table.add_column(heading, justify="left" if not heading else "right")

    def add_row(name: str, group: Mapping[str, Any]) -> None:
        shares = [_format_percent(group[column], signed=column == "difference") for column in columns]
        reach = " - ".join(_format_percent(end, signed=bool(change)) for end in group["interval"] or (None,))
        unread = () if change else (str(group["num_unmatched"]),)
        table.add_row(escape(name), str(group["num_questions"]), *shares, reach, *unread)

    scores = change or report
    add_row("all", scores["overall"])
    for grouping, groups in scores["categories"].items():
        table.add_section()
        table.add_row(Text(f"by {grouping}", "bold"))
        for name, group in groups.items():
            add_row(name, group)
    EscapingConsole().print(table)
    if change:
        show(change["sentence"])
    show(f"answers: {report['answers']}")


def _format_percent(share: float | None, *, signed: bool) -> str:
    if share is None:
        return "-"
    return f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"


def show_task_scores(report: dict[str, Any]) -> None:
    """Print the scores that another program gave a model, task by task."""
    by = report["convention"]
    table = Table(title=escape(f"{report['model']}, scored by {by['scorer']} {by['version'] or ''}".rstrip()))
    for heading in ("task", "questions", "metric", "value", "standard error"):
        table.add_column(heading, justify="left" if heading in ("task", "metric") else "right")
    for task, metrics in report["scores"].items():
        num = report["samples"].get(task, {}).get("num")
        for name, score in metrics.items():
            cells = ("-" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in score.values())
            table.add_row(escape(task), "-" if num is None else str(num), escape(name), *map(escape, cells))
    EscapingConsole().print(table)
