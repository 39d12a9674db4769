"""docs/CURRICULUM.md from the results of run_curriculum.py: tables, and sentences that follow from them.

    python benchmarks/studies/curriculum_document.py

What has not been run is left out and said to be missing. The words around the tables are in curriculum.md.j2 and say
what was done; every finding is computed. It reads what `run_curriculum.py` kept in results/curriculum.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from curriculum_findings import Findings, plain
from curriculum_studies import OF_SMALL, studies
from kept_results import read_kept
from markdown import bullets, table

PARTS = ("whole-pool", "filter", "gap", "filter+gap")
STRATEGIES = (
    "filter", "filter+gap", "filter+dsus", "filter+bbds", "filter+gwds", "filter+half-and-half", "filter+reverse-kl",
    "filter+reverse-kl-per-token", "agreement",
)  # fmt: skip

COUPLED = (
    "whole-pool", "filter", "filter+gap", "gate", "filter, gate", "candidates", "candidates, n_t", "candidates, gate",
    "candidates, schedule", "scc", "grpo on the candidates", "whole-pool, singly", "gate, singly",
)  # fmt: skip


def scores(found: Findings, study: str, methods: Iterable[str]) -> str:
    """Test scores of the methods of a study, what they cost, and how they stand to the whole pool."""
    rows = []
    for name in methods:
        method = found.method(study, name)
        if method is None:
            continue
        miou, parts = method["test_miou"], found.cost(study, name)
        low, high = miou["interval"] or (float("nan"),) * 2
        recall = method["scores"]["r1@0.7"]
        rows.append(
            [name, f"{miou['mean']:.3f} ({miou['sd_over_seeds']:.3f})", f"{low:.3f} to {high:.3f}",
             f"{recall['mean']:.3f}", found.against(study, name, "whole-pool"), f"{parts['examples']:.0f}",
             f"{parts['select']:.0f}", f"{parts['train']:.0f}"]
        )  # fmt: skip
    head = ["", "mIoU (sd)", "95 % interval", "R1@0.7", "against whole-pool", "examples trained on", "selecting, CPU s",
            "training, CPU s"]  # fmt: skip
    return table(head, rows) if rows else "Not run."


def shift(found: Findings) -> str:
    """What the selections of the main study are like."""
    rows = []
    for name in ("filter", "gap", "filter+gap", "filter+reverse-kl", "agreement", "scc"):
        facts = found.facts("main", name)
        if facts:
            pool, kept = facts["pool"], facts["kept"]
            rows.append(
                [
                    name,
                    *(
                        f"{pool[key]:.2f} -> {kept[key]:.2f}"
                        for key in ("start_s", "start_share", "length_s", "duration_s")
                    ),
                ]
            )
    head = ["pool -> chosen, mean of", "start, s", "start / duration", "length, s", "duration of the video, s"]
    return table(head, rows) if rows else "Not run."


def luck(measured: dict[str, Any]) -> str:
    """How much of a ranking is luck."""
    rows = [
        [teacher, str(row["draws"]), plain(row["reliability"], 2), f"{row['correlation']:.2f}",
         f"{row['excess_seen']:.3f}", f"{row['excess_fresh']:.3f}", f"{row['luck']:.0%}"]
        for teacher, several in measured["luck"].items()
        for row in several
    ]  # fmt: skip
    head = ["teacher", "draws of the student", "split-half reliability", "correlation with fresh draws",
            "excess gap seen", "excess gap on fresh draws", "luck"]  # fmt: skip
    return table(head, rows)


def thresholds(measured: dict[str, Any]) -> str:
    """What a threshold keeps."""
    rows = [
        [setting, row["reliability"], f"{row['threshold']:.1f}", f"{row['kept']:.0%}", plain(row["label_right"]),
         plain(row["teacher_right"]), plain(row["teacher_right_of_dropped"])]
        for setting, several in measured["thresholds"].items()
        for row in several
        if row["threshold"] or row["reliability"] == "annotation"
    ]  # fmt: skip
    head = ["teacher, labels", "filter by", "threshold", "kept", "labels correct", "teacher correct",
            "teacher correct on dropped examples"]  # fmt: skip
    return table(head, rows)


def greedy_first(measured: dict[str, Any]) -> str:
    """What a greedy answer as the first filter loses."""
    rows = [
        [teacher, f"{row['threshold']:.1f}", f"{row['skip_below']:.1f}", str(row["passing"]), str(row["skipped"]),
         str(row["lost"]), f"{row['greedy']:.3f}", f"{row['mean']:.3f}"]
        for teacher, several in measured["greedy_first"].items()
        for row in several
    ]  # fmt: skip
    head = ["teacher", "threshold", "skip_below", "pass with four answers", "skipped", "skipped and would pass",
            "skipped: IoU of the greedy answer", "mean of four"]  # fmt: skip
    return table(head, rows)


def race(measured: dict[str, Any]) -> str:
    """What looking again and again costs, and what correcting for it does."""
    rows = [
        [f"{row['share']:.2f}", f"{row['given_up_uncorrected']:.1%}", f"{row['given_up_rule']:.1%}",
         f"{row['scored_uncorrected']:,.0f}", f"{row['scored_rule']:,.0f}"]
        for row in measured["race"]
    ]  # fmt: skip
    head = ["share that passes", "abandoned, uncorrected", "abandoned", "scored, uncorrected", "scored"]
    return table(head, rows)


def coupling(found: Findings, study: str) -> str:
    """Coupling against TVDF: accuracy, examples, passes and seconds."""
    rows = []
    for name in COUPLED:
        method = found.method(study, name)
        if method is None:
            continue
        ledger, parts = method["ledger"], found.cost(study, name)
        active = parts["examples"] / found.scheduled()
        rows.append(
            [name, f"{method['test_miou']['mean']:.3f} ({method['test_miou']['sd_over_seeds']:.3f})",
             f"{parts['examples']:.0f} ({active:.0%})", f"{ledger['work']['teacher']['prompt_passes']:.0f}",
             f"{parts['select']:.0f}", f"{parts['train']:.0f}", f"{parts['without_decoding']:.0f}"]
        )  # fmt: skip
    head = ["", "mIoU (sd)", "examples trained on (of those scheduled)", "teacher's readings in training",
            "selecting, CPU s", "training, CPU s", "training without decoding, CPU s"]  # fmt: skip
    return table(head, rows) if rows else "Not run."


def against_tvdf(found: Findings) -> str:
    """The follow-up's claim, comparison by comparison."""
    rows = [
        [f"{row['study']}: {row['name']}", row["rival"],
         f"{row['relative']:+.1%}" + ("" if row["clear"] else " (not clear)"), f"{row['time']:.2f}",
         f"{row['time_without_selecting']:.2f}", f"{row['examples']:.2f}"]
        for row in found.coupling_against_tvdf()
    ]  # fmt: skip
    head = ["", "against", "mIoU, relative", "time", "time without selecting", "examples trained on"]
    return table(head, rows) if rows else "Not run."


def rounds(found: Findings, study: str) -> str:
    """One round against three, and against the teacher."""
    rows = []
    for name in ("whole-pool", "filter", "3 x filter", "filter+gap", "3 x filter+gap"):
        method = found.method(study, name)
        if method is not None:
            over = method["over_its_teacher"]
            margin = (over["interval"][1] - over["interval"][0]) / 2 if over["interval"] else float("nan")
            rows.append(
                [name, f"{method['test_miou']['mean']:.3f} ({method['test_miou']['sd_over_seeds']:.3f})",
                 f"{over['mean']:+.3f} ± {margin:.3f}", f"{found.cost(study, name)['select']:.0f}"]
            )  # fmt: skip
    return table(["", "mIoU (sd)", "over its teacher", "selecting, CPU s"], rows) if rows else "Not run."


def cheaper(found: Findings) -> str:
    """What less scoring costs and saves."""
    rows = []
    for name, method in found.methods("cheaper").items():
        parts, facts = found.cost("cheaper", name), found.facts("cheaper", name)
        scored = {who: each["num_scored"] for who, each in facts["cost"].items()}
        rows.append(
            [name, f"{method['test_miou']['mean']:.3f} ({method['test_miou']['sd_over_seeds']:.3f})",
             str(scored.get("teacher", 0)), f"{parts['select']:.0f}", f"{parts['train']:.0f}",
             f"{parts['select'] / parts['train']:.2f}"]
        )  # fmt: skip
    head = ["", "mIoU (sd)", "examples the teacher answered", "selecting, CPU s", "training, CPU s",
            "selecting / training"]  # fmt: skip
    return table(head, rows) if rows else "Not run."


def plain_scores(found: Findings, study: str) -> str:
    """Test scores only."""
    rows = []
    for name, method in found.methods(study).items():
        miou = method["test_miou"]
        low, high = miou["interval"] or (float("nan"),) * 2
        first = next(iter(found.methods(study)))
        rows.append(
            [name, f"{miou['mean']:.3f} ({miou['sd_over_seeds']:.3f})", f"{low:.3f} to {high:.3f}",
             f"{method['scores']['r1@0.7']['mean']:.3f}", found.against(study, name, first),
             f"{found.cost(study, name)['train']:.0f}"]
        )  # fmt: skip
    head = ["", "mIoU (sd)", "95 % interval", "R1@0.7", "against the first row", "training, CPU s"]
    return table(head, rows) if rows else "Not run."


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    page = Path(__file__).resolve().parents[2] / "docs" / "CURRICULUM.md"
    parser.add_argument("--document", type=Path, default=page)
    arguments = parser.parse_args()
    found, measured = Findings(list(studies(Path("runs")))), read_kept("curriculum", "measures")
    if measured is None:
        raise SystemExit("the scores of the pool have not been measured; run run_curriculum.py first")
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True, autoescape=False,
    ).get_template("curriculum.md.j2")  # fmt: skip
    arguments.document.write_text(
        template.render(
            found=found,
            in_short="\n".join(f"- {sentence}" for sentence in found.in_short(measured)),
            parts={name: scores(found, name, PARTS) for name in ("main", "weak-teacher", "heavy-noise", "student-1")},
            more_seeds=scores(found, "more-seeds", (*PARTS, "3 x filter+gap")),
            strategies=scores(found, "main", STRATEGIES),
            weak_agreement=scores(found, "weak-teacher", ("filter", "agreement")),
            heavy_agreement=scores(found, "heavy-noise", ("filter", "agreement")),
            luck=luck(measured),
            more_draws=scores(
                found, "main", ("filter", "filter+gap, 1 answers", "filter+gap", "filter+gap, 8 answers")
            ),
            rounds={name: rounds(found, name) for name in ("main", "weak-teacher")},
            coupling={name: coupling(found, name) for name in ("main", "weak-teacher", "student-1")},
            apart={name: coupling(found, name) for name in ("coupling", "coupling-student-1")},
            parts_of_scc=bullets(found.parts_of_scc()),
            against_tvdf=against_tvdf(found),
            cheaper=cheaper(found),
            greedy_first=greedy_first(measured),
            race=race(measured),
            thresholds=thresholds(measured),
            shift=shift(found),
            teachers=plain_scores(found, "teachers"),
            outcome=plain_scores(found, "outcome"),
            prefix=plain_scores(found, "prefix"),
            cut=found.cut_share(),
            small={name: scores(found, name, OF_SMALL) for name in ("small-240", "small-560")},
            small_clean={name: plain_scores(found, f"{name}-clean") for name in ("small-240", "small-560")},
        ),
        encoding="utf-8",
    )
    print(json.dumps({"document": str(arguments.document), "missing": found.missing}))


if __name__ == "__main__":
    main()
