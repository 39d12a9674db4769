"""Section 10 of docs/CLAIMS.md: students that are smaller than their teacher, not spoiled."""

from __future__ import annotations

from collections.abc import Mapping

from comparing import Gap, Results, gap, miou, mious, verdict
from markdown import bullets, spread, table
from small_studies import names
from study import METHODS

Studies = Mapping[str, Results | None]
PAIRS = (("opd", "op-rkd"), ("opd-exact", "op-rkd-exact"), ("opd-exact", "op-fkd"))
"""On policy against off policy: the first two with the same estimator, the last with another divergence."""


def methods(found: Studies) -> str | None:
    """The scores of every method on every student with either form of answer."""
    known = {name: results for name in names() if (results := found.get(name))}
    if not known:
        return None
    rows = [["student before", *(f"{results['student_before']['scores']['miou']:.3f}" for results in known.values())]]
    rows += [
        [name, *(f"{spread(mious(results, name))} at {results['methods'][name]['learning_rate']:g}"
                             for results in known.values())]
        for name in METHODS
    ]  # fmt: skip
    return table(["mIoU (sd) at the learning rate", *known], rows)


def policies(found: Studies) -> str | None:
    """On-policy against off-policy distillation, and against the rest."""
    said = []
    for name in names():
        results = found.get(name)
        for one, other in (*PAIRS, ("opd", "grpo"), ("opd", "sft"), ("opd-exact", "opd")):
            if results and (apart := gap(results, one, other)):
                said.append(f"{name}: {verdict(f'{one} ({miou(results, one):.3f})', other, apart)}")
    return bullets(said) if said else None


def on_policy_gaps(found: Studies) -> list[Gap]:
    """On policy less off policy with the same estimator, of every student and form of answer."""
    gaps = [gap(found.get(name), one, other) for name in names() for one, other in PAIRS[:2]]
    return [each for each in gaps if each is not None]


def passing(results: Results | None) -> str | None:
    """Whether the student passes a weaker teacher that GRPO trained."""
    if results is None:
        return None
    rows, said = [], []
    for name, method in results["methods"].items():
        over = method["over_its_teacher"]
        low, high = over["interval"] or (float("nan"), float("nan"))
        passed = "yes" if low > 0 else "no, it is worse" if high < 0 else "no clear difference"
        rows.append([name, f"{method['teacher_miou']:.3f}", spread(mious(results, name)),
                     f"{over['mean']:+.3f} ± {(high - low) / 2:.3f}", passed])  # fmt: skip
    if apart := gap(results, "mixture", "opd"):
        said.append(verdict("The mixture with a reward by labels", "opd alone", apart))
    table_of_all = table(["", "teacher", "student (sd)", "student less teacher", "passed"], rows)
    return table_of_all + ("\n\n" + bullets(said) if said else "")


def in_short(found: Studies) -> list[str]:
    """The section in sentences."""
    said = []
    if gaps := on_policy_gaps(found):
        ahead, behind = (sum(each.is_clear and (each.mean > 0) is side for each in gaps) for side in (True, False))
        said.append(
            f"**A student that is smaller, not spoiled.** On policy is clearly ahead of off policy with the same "
            f"estimator in {ahead} of {len(gaps)} comparisons, and clearly behind in {behind}; differences from "
            f"{min(each.mean for each in gaps):+.3f} to {max(each.mean for each in gaps):+.3f}."
        )
    if results := found.get("small-passing"):
        told = [f"{name} {method['over_its_teacher']['mean']:+.3f}" for name, method in results["methods"].items()]
        said.append(f"**A weaker teacher that GRPO trained.** Student less teacher: {', '.join(told)}.")
    return said
