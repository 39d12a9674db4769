"""The summary of docs/CLAIMS.md: each claim in a sentence or two, with its verdict computed from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

CLEAR = 0.03
"""A difference of two mIoUs that seldom occurs by chance: about two standard errors of the difference of two runs."""


def mean(values: Sequence[float] | None) -> float | None:
    """None where nothing was run."""
    return sum(values) / len(values) if values else None


def relation(a: float, b: float) -> str:
    """Compare two mIoUs in words: only a clear difference is called better or worse."""
    return "better than" if a - b > CLEAR else "worse than" if b - a > CLEAR else "about equal to"


def versus(one: str, a: float, other: str, b: float) -> str:
    """A sentence that compares `one` with `other`."""
    return f"{one} ({a:.3f}) is {relation(a, b)} {other} ({b:.3f})"


def in_short(found: Any) -> list[str]:
    """One entry per claim; a claim whose runs are missing has no entry."""
    said = [_labels(found), _estimators(found), _policies(found), _wordings(found), _cost(found), _falsified(found),
            _ladder(found), _gradients(found), _several(found), _prefixes(found), _forgetting(found)]  # fmt: skip
    return [sentence for sentence in said if sentence]


def _labels(found: Any) -> str | None:
    opd = mean(found.miou("main", "opd", (0, 1)))
    parts = []
    for level, study in (("clean", "noise-clean"), ("audit", "main"), ("double", "noise-double"),
                         ("heavy", "noise-heavy")):  # fmt: skip
        rivals = [(name, mean(found.miou(study, name, (0, 1)))) for name in ("grpo", "sft")]
        told = [f"{relation(opd, value)} {name} ({value:.3f})" for name, value in rivals if opd and value is not None]
        if told:
            parts.append(f"with {level} labels opd is {' and '.join(told)}")
    if opd is None or not parts:
        return None
    return (
        f"**Methods that read labels suffer from their noise.** opd reads no labels and reaches {opd:.3f}: "
        f"{'; '.join(parts)}."
    )


def _estimators(found: Any) -> str | None:
    pairs = [(name, mean(found.miou(study, "opd-exact")), mean(found.miou(study, "opd")))
             for name, study in (("short answers", "main"), ("long answers", "long-1"))]  # fmt: skip
    told = [f"{name}: {versus('exact', a, 'sampled', b)}" for name, a, b in pairs if a is not None and b is not None]
    return "**Sampled or exact estimator, on policy.** For " + "; ".join(told) + "." if told else None


def _policies(found: Any) -> str | None:
    told = []
    for name, study in (("short answers", "main"), ("long answers", "long-1")):
        for on, off in (("opd", "op-rkd"), ("opd-exact", "op-rkd-exact")):
            a, b = mean(found.miou(study, on)), mean(found.miou(study, off))
            if a is not None and b is not None:
                told.append(f"for {name}, {versus(on, a, off, b)}")
    return (
        "**On or off policy, with the same estimator and with annotated text in the model's own wording.** "
        + ("; ".join(told).capitalize() + ".")
        if told
        else None
    )


def _wordings(found: Any) -> str | None:
    on = mean(found.miou("long-1", "opd", (0,)))
    told = []
    for wording, words in (("lacks", "lacks the reasoning"), ("otherwise", "is worded otherwise")):
        values = {name: mean(found.miou("wording-1", f"{name}-{wording}")) for name in ("op-rkd", "op-fkd", "sft")}
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            told.append(f"if the text {words}: " + ", ".join(f"{name} {value:.3f}" for name, value in known.items()))
    if on is None or not told:
        return None
    return f"**Text that is not the model's own.** mIoU {'; '.join(told)}; opd, which does not read the text: {on:.3f}."


def _cost(found: Any) -> str | None:
    cost = found.measures.get("cost")
    if cost is None:
        return None
    ratios = cost["opd_over_grpo"]
    return (
        f"**A fifth of GRPO's cost.** OPD costs {ratios['both naive']:.2f} of GRPO if both recompute the prompt for "
        f"every answer, and {ratios['both shared']:.2f} if both share one reading. The saving comes "
        f"{'from the implementation, not from' if ratios['both shared'] > 0.9 else 'partly from'} the method."
    )


def _falsified(found: Any) -> str | None:
    kinds = {"shuffled": "shuffled", "noise": "replaced by noise", "blind": "of a teacher that sees no video",
             "early": "biased towards low digits"}  # fmt: skip
    before = found.studies["main"] and found.studies["main"]["student_before"]["scores"]["miou"]
    values = {words: mean(found.miou("falsification", f"opd-{kind}")) for kind, words in kinds.items()}
    known = {words: value for words, value in values.items() if value is not None}
    intact = mean(found.miou("main", "opd"))
    if not known or before is None or intact is None:
        return None
    told = ", ".join(f"{words} {value:.3f}" for words, value in known.items())
    gone = [words for words, value in known.items() if value < before + CLEAR]
    return (
        f"**The gain comes from the teacher.** The student has {before:.3f} before training and {intact:.3f} with the "
        f"intact signal of the teacher. With other signals: {told}. {len(gone)} of these {len(known)} signals "
        "give no gain."
    )


def _ladder(found: Any) -> str | None:
    told = []
    for study, suffix in (("main", ""), ("ladder", "-b"), ("ladder", "-c"), ("ladder", "-d")):
        teacher, student = found.teacher_miou(study, f"opd{suffix}"), mean(found.miou(study, f"opd{suffix}", (0, 1)))
        if teacher is not None and student is not None:
            told.append((teacher, student))
    if len(told) < 2:
        return None
    passed = sum(student > teacher + CLEAR for teacher, student in told)
    falls = all(one[1] > other[1] for one, other in pairwise(told))
    mixed = found.teacher_miou("passing-clean", "mixture"), mean(found.miou("passing-clean", "mixture"))
    beyond = (
        f" Distillation mixed with a reward on clean labels reaches {mixed[1]:.3f} with a teacher of {mixed[0]:.3f}."
        if mixed[0] is not None and mixed[1] is not None
        else ""
    )
    return (
        "**"
        + ("A weaker teacher gives a weaker student" if falls else "Students of weaker teachers")
        + ".** mIoU of teacher and student: "
        + ", ".join(f"{teacher:.3f} and {student:.3f}" for teacher, student in told)
        + f". By distillation alone, the student became better than {passed} of the {len(told)} teachers."
        + beyond
    )


def _several(found: Any) -> str | None:
    told = []
    for estimator in ("sampled", "baseline", "exact"):
        values = [mean(found.miou("estimators", f"opd-{estimator}-{count}")) for count in (1, 4, 8)]
        if all(value is not None for value in values):
            told.append(f"{estimator} " + ", ".join(f"{value:.3f}" for value in values))
    return "**More answers from one reading.** mIoU with 1, 4 and 8 answers: " + "; ".join(told) + "." if told else None


def _gradients(found: Any) -> str | None:
    spread = found.measures.get("gradient_spread")
    if spread is None:
        return None
    names = ("opd-sampled-1", "opd-sampled-8", "opd-baseline-8", "opd-exact-1", "opd-exact-8")
    told = ", ".join(f"{name} {spread[name]['noise_to_signal']:.2f}" for name in names)
    grpo = spread["grpo"]["noise_to_signal"]
    calmer = [name for name in names if spread[name]["noise_to_signal"] < grpo]
    return (
        f"**Variance of the gradient** (noise over signal; appendix A): {told}; grpo with its eight answers "
        f"{grpo:.2f}. Less noise than grpo: {', '.join(calmer) or 'none'}."
    )


def _prefixes(found: Any) -> str | None:
    told = []
    for name, study in (("short", "main"), ("long", "long-1")):
        measured = found.measures.get(f"exposure-{study}")
        if measured is not None:
            ratios = {
                method: measured[method]["own"]["mean"] / measured[method]["annotated"]["mean"]
                for method in ("op-rkd", "op-fkd", "sft", "opd", "grpo")
            }
            told.append(f"{name} answers: " + ", ".join(f"{method} {ratio:.2f}" for method, ratio in ratios.items()))
    if not told:
        return None
    return (
        "**Are the student's own prefixes a problem?** KL to the teacher on own prefixes, divided by the KL on "
        "annotated prefixes, after training, for " + "; ".join(told) + "."
    )


def _forgetting(found: Any) -> str | None:
    results = found.studies["main"]
    if results is None:
        return None
    before = results["student_before"]["side_questions"]["accuracy"]
    after = {name: method["side_questions"]["mean"] for name, method in results["methods"].items()}
    lowest = min(after, key=after.__getitem__)
    return (
        f"**Does training on grounding reduce other abilities?** The share of correct side questions is {before:.3f} "
        f"before training. After training it is lowest with {lowest}: {after[lowest]:.3f}."
    )
