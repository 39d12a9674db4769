"""Section 9 of docs/CLAIMS.md: teacher views."""

from __future__ import annotations

from comparing import Results, gap, miou, mious, phase_ms, step_figure, verdict
from markdown import bullets, spread, table
from view_studies import ARMS, MARGIN_S, MARGINS_S, ON_OTHERS, OTHER_STUDENTS, SMALL_STUDENTS

WORDS = {
    "view": "the student, frozen, sees the clip around the span; exact",
    "view-sampled": "the same, sampled",
    "view-random": "the student, frozen, sees a random clip of the same length; exact",
    "teacher": "`tiny-teacher`, sees the whole video; exact",
    "teacher-sampled": "the same, sampled",
    "sft": "supervised fine-tuning on the labels",
    "grpo": "GRPO with the labels as reward",
}
RIVALS = {
    "view-random": "the view of a random clip",
    "sft": "supervised fine-tuning",
    "grpo": "GRPO",
    "teacher": "`tiny-teacher`",
}
"""What the view is compared with, as a sentence names it."""
CHANGED = {
    "frozen": "a frozen copy of the student sees the clip, as in the first table",
    "refresh-20": "the copy sees the clip, and takes over the student's weights after every 20 steps",
    "average-98": "the copy sees the clip, and is an average of the student's weights, 0.98 of it kept at every step",
    "average-90": "the copy sees the clip, and is an average with 0.9 of it kept",
    "hint": "a frozen copy sees the whole video, and a sentence that tells the annotated span",
    "hint-random": "a frozen copy sees the whole video, and a sentence that tells a random span of the same length",
}
BRIEFLY = {
    "refresh-20": "A copy that is refreshed every 20 steps",
    "average-98": "An average with 0.98",
    "average-90": "An average with 0.9",
    "hint": "A copy that is told the annotated span",
    "hint-random": "A copy that is told a random span",
}
LEVELS = {"audit": "views", "clean": "views-clean", "heavy": "views-heavy"}
"""The study by the noise of its labels."""


def views(results: Results | None) -> str | None:
    """Scores and costs with `audit` labels."""
    if results is None:
        return None
    rows = []
    for name in ARMS:
        method = results["methods"][name]
        teacher = phase_ms(results, name, "teacher")
        rows.append([
            WORDS[name], f"{method['learning_rate']:g}", spread(mious(results, name)),
            spread([run["scores"]["r1@0.7"] for run in method["runs"]]),
            f"{method['scores']['output_format_rate']['mean']:.3f}",
            f"{teacher:.0f}" if method["ledger"]["work"].get("teacher", {}).get("prompt_passes") else "-",
        ])  # fmt: skip
    before = results["student_before"]["scores"]
    rows.append(["student before", "", f"{before['miou']:.3f}", f"{before['r1@0.7']:.3f}",
                 f"{before['output_format_rate']:.3f}", ""])  # fmt: skip
    head = ["teacher", "learning rate", "mIoU (sd)", "R1@0.7 (sd)", "output format rate",
            "teacher's part of a step, CPU ms"]  # fmt: skip
    said = [verdict(f"The view ({miou(results, 'view'):.3f})", f"{rival} ({miou(results, name):.3f})", apart)
            for name, rival in RIVALS.items() if (apart := gap(results, "view", name))]  # fmt: skip
    return table(head, rows) + "\n\n" + bullets([*said, *_aims(results)])


def _aims(results: Results) -> list[str]:
    """What was to be reached, and whether it was."""
    cost = phase_ms(results, "view", "teacher") / phase_ms(results, "teacher", "teacher")
    above = miou(results, "view") - miou(results, "sft")
    aims = [
        ("mIoU of the view at least 0.85", f"{miou(results, 'view'):.4f}", miou(results, "view") >= 0.85),
        ("at least 0.06 above supervised fine-tuning", f"{above:+.3f}", above >= 0.06),
        ("a random clip at most 0.55", f"{miou(results, 'view-random'):.3f}", miou(results, "view-random") <= 0.55),
        ("the teacher's part at most 0.65 of `tiny-teacher`'s", f"{cost:.2f}", cost <= 0.65),
    ]
    return [f"Aim: {aim}. Found: {found}, {'reached' if is_reached else 'missed'}." for aim, found, is_reached in aims]


def experiments(results: Results | None) -> str | None:
    """Teachers that change, and teachers that are told the span."""
    if results is None:
        return None
    rows, said = [], []
    for name in results["methods"]:
        scores, distance = mious(results, name), step_figure(results, name, "last_reverse_kl")
        rows.append([CHANGED[name], spread(scores), f"{min(scores):.3f}",
                     f"{results['methods'][name]['scores']['output_format_rate']['mean']:.3f}",
                     "-" if distance is None else f"{distance:.3f}"])  # fmt: skip
        if apart := gap(results, name, "frozen"):
            said.append(verdict(BRIEFLY[name], "the frozen copy that sees the clip", apart))
    if apart := gap(results, "hint", "hint-random"):
        said.append(verdict(BRIEFLY["hint"], "one that is told a random span", apart))
    head = ["teacher", "mIoU (sd)", "worst seed", "output format rate", "reverse KL of the last steps"]
    return table(head, rows) + "\n\n" + bullets(said)


def others(found: dict[str, Results | None]) -> str | None:
    """The view on other students: from training runs of their own, and smaller ones."""
    known = {name: results for name in (*OTHER_STUDENTS, *SMALL_STUDENTS) if (results := found.get(name))}
    if not known:
        return None
    names = {**OTHER_STUDENTS, **{study: f"viewer-{student}" for study, student in SMALL_STUDENTS.items()}}
    rows = [["student before", *(f"{results['student_before']['scores']['miou']:.3f}" for results in known.values())]]
    rows += [
        [WORDS[name], *(spread(mious(results, name))
                        if name in results["methods"] else "-" for results in known.values())]
        for name in ON_OTHERS
    ]  # fmt: skip
    said = []
    for study, results in known.items():
        for name, rival in RIVALS.items():
            if apart := gap(results, "view", name):
                said.append(verdict(f"{names[study]}: the view ({miou(results, 'view'):.3f})", rival, apart))
        if study in OTHER_STUDENTS:
            said += [f"{names[study]}. {aim}" for aim in _aims(results)]
    head = ["mIoU (sd)", *(f"{names[study]}, {_seeds(results)}" for study, results in known.items())]
    return table(head, rows) + "\n\n" + bullets(said)


def _seeds(results: Results) -> str:
    count = len(results["seeds"])
    return f"{count} seed{'s' * (count > 1)}"


def margins(results: Results | None) -> str | None:
    """The view with other margins around the span."""
    if results is None:
        return None
    known = {name: margin_s for name, margin_s in MARGINS_S.items() if name in results["methods"]}
    rows = [
        [f"{margin_s:g}", spread(mious(results, name)), f"{phase_ms(results, name, 'teacher'):.0f}"]
        for name, margin_s in known.items()
    ]
    said = [
        verdict(f"A margin of {margin_s:g} s", f"one of {MARGIN_S:g} s", apart)
        for name, margin_s in known.items()
        if (apart := gap(results, name, "margin-1"))
    ]
    head = ["margin, seconds before and after the span", "mIoU (sd)", "teacher's part of a step, CPU ms"]
    return table(head, rows) + "\n\n" + bullets(said)


def longer(found: dict[str, Results | None]) -> str | None:
    """The same with twice as many steps."""
    results, short = found.get("views-120"), found.get("views")
    if results is None or short is None:
        return None
    rows = [
        [WORDS[name], *(spread(mious(each, name))
                        for each in (short, results))]
        for name in results["methods"]
    ]  # fmt: skip
    return table(["mIoU (sd)", "60 steps", "120 steps"], rows)


def noise(found: dict[str, Results | None]) -> str | None:
    """The methods that read labels, by the labels' noise."""
    known = {level: found[study] for level, study in LEVELS.items() if found.get(study)}
    if len(known) < 2:
        return None
    rows = [
        [WORDS[name], *(spread(mious(results, name))
                        for results in known.values() if results)]
        for name in ("view", "view-sampled", "sft", "grpo")
    ]  # fmt: skip
    return table(["mIoU (sd)", *(f"{level} labels" for level in known)], rows)


def in_short(found: dict[str, Results | None]) -> list[str]:
    """The section in a sentence."""
    results = found.get("views")
    if results is None:
        return []
    before = results["student_before"]["scores"]["miou"]
    other = [
        f"from {each['student_before']['scores']['miou']:.3f} to {miou(each, 'view'):.3f}"
        for study in OTHER_STUDENTS
        if (each := found.get(study))
    ]
    changed = found.get("views-experiments")
    followed = [f"{BRIEFLY[name]}: {miou(changed, name):.3f}" for name in BRIEFLY if changed]
    return [
        f"**A teacher without a second model.** A frozen copy of the student that sees only the clip around the "
        f"annotated span lifts the student from {before:.3f} to {miou(results, 'view'):.3f}; with a random clip to "
        f"{miou(results, 'view-random'):.3f}, with `tiny-teacher` to {miou(results, 'teacher'):.3f}, by supervised "
        f"fine-tuning on the same labels to {miou(results, 'sft'):.3f}."
        + (f" Other students: {'; '.join(other)}." if other else "")
        + (f" {'. '.join(followed)}." if followed else "")
    ]
