"""The table "paper, release, SCC's paper, here" of docs/CLAIMS.md: claim by claim, with what agrees and what does not.

The first columns are figures of others, as published. The last two are computed from the studies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import small_studies
from comparing import Gap, Results, gap, miou
from curriculum_findings import SETTINGS
from kept_results import read_kept
from markdown import table

Here = tuple[str, str]
"""What was found, and whether it agrees."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of one or several papers."""

    claim: str
    paper: str = "-"
    release: str = "-"
    scc: str = "-"
    here: Callable[[Any], Here | None]
    """From the findings; None where the study was not run."""


def _is_ahead(gaps: Sequence[tuple[str, Gap | None]]) -> Here | None:
    """Whether the claimed side is ahead in comparisons."""
    known = [(name, each) for name, each in gaps if each is not None]
    if not known:
        return None
    ahead = sum(each.is_clear and each.mean > 0 for _, each in known)
    behind = sum(each.is_clear and each.mean < 0 for _, each in known)
    none_ahead = "no" if behind else "no clear difference"
    answer = "yes" if ahead == len(known) else "in part" if ahead else none_ahead
    return "; ".join(f"{name} {each}" for name, each in known), answer


def _against_grpo(found: Any) -> Here | None:
    return _is_ahead([
        ("short answers", gap(found.studies["main"], "opd", "grpo")),
        ("long answers", gap(found.studies["long-1"], "opd", "grpo")),
        *((name, gap(found.studies[name], "opd", "grpo")) for name in small_studies.names()),
    ])  # fmt: skip


def _cost(found: Any) -> Here | None:
    cost = found.measures["cost"]
    if cost is None:
        return None
    naive, shared = cost["opd_over_grpo"]["both naive"], cost["opd_over_grpo"]["both shared"]
    told = f"{naive:.2f} if both read the prompt again for every answer, {shared:.2f} if both share one reading"
    return told, "yes, without shared readings" if naive < 0.3 else "no"


def _on_policy(found: Any) -> Here | None:
    pairs = (("sampled", "opd", "op-rkd"), ("exact", "opd-exact", "op-rkd-exact"))
    studies = {"short": "main", "long": "long-1"} | {name: name for name in small_studies.names()}
    return _is_ahead([
        (f"{name}, {estimator}", gap(found.studies[study], one, other))
        for name, study in studies.items()
        for estimator, one, other in pairs
    ])  # fmt: skip


def _forgetting(found: Any) -> Here | None:
    results = found.studies["main"]
    if results is None:
        return None
    before = results["student_before"]["side_questions"]["accuracy"]
    after = {name: results["methods"][name]["side_questions"]["mean"] for name in ("opd", "op-rkd", "op-fkd", "sft")}
    lost = [name for name, value in after.items() if name != "opd" and value < before - 0.05]
    kept = after["opd"] >= before - 0.05
    told = f"before {before:.3f}; " + ", ".join(f"{name} {value:.3f}" for name, value in after.items())
    return told, "yes" if kept and lost else "no method loses it" if kept else "no"


def _curriculum(*pairs: tuple[str, str]) -> Callable[[Any], Here | None]:
    def here(_found: Any) -> Here | None:
        kept = {study: read_kept("curriculum", study) for study in SETTINGS}
        return _is_ahead([
            (f"{study}, {one} against {other}:", gap(results, one, other))
            for study, results in kept.items()
            for one, other in pairs
        ])  # fmt: skip

    return here


def _rounds(_found: Any) -> Here | None:
    results: Results | None = read_kept("curriculum", "main")
    if results is None:
        return None
    over = results["methods"]["3 x filter+gap"]["over_its_teacher"]
    low, high = over["interval"]
    told = f"student less teacher {over['mean']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    return told, "yes" if low > 0 else "no" if high < 0 else "no clear difference"


def _weaker_teachers(found: Any) -> Here | None:
    results = found.studies["small-passing"]
    if results is None:
        return None
    overs = {name: method["over_its_teacher"] for name, method in results["methods"].items()}
    passed = [name for name, over in overs.items() if over["interval"][0] > 0]
    told = "student less a teacher of its own size that GRPO trained: "
    told += ", ".join(f"{name} {over['mean']:+.3f}" for name, over in overs.items())
    if strong := found.studies["small-240-short"]:
        told += "; from `tiny-teacher` the same student learns more by "
        told += ", ".join(
            f"{name} {miou(strong, name) - miou(results, name):+.3f}" for name in overs if name in strong["methods"]
        )
    return told, f"passes it: {', '.join(passed)}" if passed else "does not pass it"


def _released(found: Any) -> Here | None:
    apart = gap(found.studies["released"], "released", "ours")
    if apart is None:
        return None
    return f"all of them less ours: {apart}", "a clear difference" if apart.is_clear else "no clear difference"


CLAIMS = (
    Claim(
        claim="On-policy distillation is more accurate than GRPO.",
        paper="mIoU 52.0 / 47.3 / 61.0 against 49.6 / 44.7 / 54.3",
        scc="on its 1,000 examples GRPO is ahead in 3 of 9 recalls, behind in every R@0.7",
        here=_against_grpo,
    ),
    Claim(claim="It costs a fifth of GRPO's time.", paper="about 20 %", release="measured on this code", here=_cost),
    Claim(
        claim="It is more accurate than distillation on annotated answers.",
        paper="R@0.7 32.4 / 35.8 / 50.4 against OP-RKD's 27.8 / 30.6 / 44.5",
        here=_on_policy,
    ),
    Claim(
        claim="The loss is summed over an answer's tokens; temperature 0.9; truncated sampling.",
        paper="not stated",
        release="so it runs",
        scc="summed (eqs. 8 and 16)",
        here=_released,
    ),
    Claim(
        claim="It loses no other ability.",
        paper="off-policy distillation lowers the accuracy on three benchmarks, this does not",
        here=_forgetting,
    ),
    Claim(
        claim="The filter by the teacher's reliability helps.",
        paper="helps",
        here=_curriculum(("filter", "whole-pool")),
    ),
    Claim(
        claim="Ranking by the gap helps.",
        paper="helps; both together 2 %",
        here=_curriculum(("gap", "whole-pool"), ("filter+gap", "filter")),
    ),
    Claim(
        claim="Three rounds pass the teacher.",
        paper="mIoU 53.3 / 50.7 / 64.6 against 53.2 / 48.9 / 58.4",
        here=_rounds,
    ),
    Claim(
        claim="The student's own answer should decide what is trained on (the gate).",
        scc="955 of 2,504 kept, accuracy about level",
        here=_curriculum(("gate", "whole-pool")),
    ),
    Claim(
        claim="Coupling is better than TVDF.",
        scc="mean R@0.3 / 0.5 / 0.7 71.8 / 53.7 / 41.8 against 69.1 / 50.6 / 39.5, in half the time",
        here=_curriculum(("scc", "filter+gap")),
    ),
    Claim(
        claim="A weaker teacher that GRPO trained does as well, and the student passes it.",
        scc="4B and 8B teachers; mIoU +0.8 to +3.3 over the teacher",
        here=_weaker_teachers,
    ),
)


def agreement(found: Any) -> str:
    """The table."""
    rows = []
    for each in CLAIMS:
        told, agrees = each.here(found) or ("not run", "-")
        rows.append([each.claim, each.paper, each.release, each.scc, told, agrees])
    return table(["claim", "paper", "release", "SCC's paper", "here", "agrees"], rows)
