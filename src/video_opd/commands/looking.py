"""`metrics`, `report`."""

from __future__ import annotations

import argparse
import json
import sys

from video_opd.commands.asking import Overrides
from video_opd.errors import writing


def metrics(arguments: argparse.Namespace, _: Overrides) -> int:
    """Score a predictions file."""
    from video_opd.data.manifest import read_manifest
    from video_opd.grounding import read_predictions
    from video_opd.grounding.metrics import score as score_predictions

    scores = score_predictions(read_predictions(arguments.predictions), read_manifest(arguments.ground_truth))
    if arguments.json:
        print(json.dumps(scores.to_report(), indent=2))
    else:
        from video_opd.terminal import show_scores

        show_scores(scores, str(arguments.predictions))
    for what, ids in (("without a prediction", scores.missing_ids), ("predicted but not asked", scores.unknown_ids)):
        if ids:
            print(f"{len(ids)} {what}, such as {', '.join(ids[:3])}", file=sys.stderr)
    return 0


def report(arguments: argparse.Namespace, _: Overrides) -> int:
    """Write report.html."""
    from video_opd.report import write_comparison_report, write_report

    is_comparison = (arguments.run / "comparison.json").exists()
    with writing(arguments.run / "report.html"):
        print(write_comparison_report(arguments.run) if is_comparison else write_report(arguments.run))
    return 0
