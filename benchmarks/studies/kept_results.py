"""What a finished study found, small enough to be kept in the repository: results/STUDY.json.

Run folders hold models, clips and answers, and they are lost with the machine. What a page is computed from is kept
here, so that a new study needs no old one to be run again.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from video_opd.files.durable import write_durably
from video_opd.files.journal import read_journal
from video_opd.runs import read_json

Results = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
NUM_LAST = 10
"""Steps at the end of a run over which a figure is averaged."""
UNUSED = ("curve", "folder")
"""Keys of a method and of its runs that no page reads: they are large, or paths."""


def keep_study(folder: Path, page: str, name: str) -> None:
    """Keep the results of a finished comparison.

    Args:
        folder: of the comparison.
        page: `claims` or `curriculum`.
        name: of the study.
    """
    found = read_json((folder / "comparison.json").read_bytes())
    for method in found["methods"].values():
        folders = [folder / run["folder"] for run in method["runs"]]
        for run, place in zip(method["runs"], folders, strict=True):
            run["steps"] = _summarise_steps(read_journal(place / "metrics.jsonl"))
            del run["ledger"]  # the method's has the mean
        for part in (method, *method["runs"]):
            for key in UNUSED:
                part.pop(key, None)
        teacher = folders[0] / "evaluation" / "teacher.json"
        if teacher.exists():
            method["teacher_miou"] = read_json(teacher.read_bytes())["scores"]["miou"]
        facts = folders[0] / "rounds" / "1" / "selection-facts.json"
        if facts.exists():
            method["selection"] = read_json(facts.read_bytes())
    keep(page, name, _name_models(found))


def keep(page: str, name: str, found: Any) -> None:
    """Write one file of results."""
    path = RESULTS / page / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, (json.dumps(_rounded(found), indent=1) + "\n").encode())


def read_kept(page: str, name: str) -> Any | None:
    """What is kept under a name; None where it was not run."""
    path = RESULTS / page / f"{name}.json"
    return read_json(path.read_bytes()) if path.exists() else None


def _summarise_steps(rows: Iterable[Results]) -> Results:
    """What a run's steps were like, over all of them."""
    rows = list(rows)
    norms = [row["grad_norm"] for row in rows if row.get("num_prompts")]
    shares = [row["cut_share"] for row in rows if row.get("cut_share") is not None]
    distances = [row["reverse_kl"] for row in rows if row.get("reverse_kl") is not None][-NUM_LAST:]
    return {
        "last_reverse_kl": statistics.fmean(distances) if distances else None,
        "median_grad_norm": statistics.median(norms) if norms else None,
        "share_above_1": sum(norm > 1 for norm in norms) / len(norms) if norms else None,
        "cut_share": statistics.fmean(shares) if shares else None,
    }


def _name_models(found: Any) -> Any:
    """The same with the names of models, at any depth, in place of their folders."""
    if isinstance(found, dict):
        kept = {key: _name_models(value) for key, value in found.items()}
        return kept | ({"model": Path(kept["model"]).name} if isinstance(kept.get("model"), str) else {})
    return [_name_models(value) for value in found] if isinstance(found, list) else found


def _rounded(found: Any) -> Any:
    """The same with six digits of every number: no page shows more."""
    if isinstance(found, dict):
        return {key: _rounded(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_rounded(value) for value in found]
    return float(f"{found:.6g}") if isinstance(found, float) else found
