"""docs/CLAIMS.md and docs/SHOULD_I_USE_THIS.md from kept results: tables, and sentences that follow from them.

    python benchmarks/studies/claims_document.py

What has not been run is left out and said to be missing. The words around them are in claims.md.j2 and say what was
done; every finding is computed. It reads what `run_claims.py` kept in results/claims.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import agreement
import jinja2
import release_sections
import small_sections
import small_studies
import view_sections
from advice import write_advice
from claims_studies import EXPOSED, studies
from claims_summary import CLEAR, in_short
from kept_results import read_kept
from markdown import bullets, spread, table
from method_tables import overview, seconds_of, sweep_table
from study import METHODS, NOISE, READ_LABELS

Results = dict[str, Any]

MEASURES = ("cost", "gradient_spread", *(f"exposure-{name}" for name in EXPOSED))


class Findings:
    """Everything that was measured, by name; None where it was not."""

    def __init__(self) -> None:
        self.studies: dict[str, Results | None] = {name: read_kept("claims", name) for name in studies(Path("models"))}
        self.measures = {name: read_kept("claims", f"measure-{name}") for name in MEASURES}

    def miou(self, study: str, method: str, seeds: Sequence[int] | None = None) -> list[float] | None:
        """Test mIoU of each run of a method."""
        results = self.studies.get(study)
        if results is None or method not in results["methods"]:
            return None
        runs = results["methods"][method]["runs"]
        return [run["scores"]["miou"] for run in runs if seeds is None or run["seed"] in seeds]

    def teacher_miou(self, study: str, method: str) -> float | None:
        """Test mIoU of the teacher that a method was judged by."""
        results = self.studies.get(study)
        found = results["methods"].get(method, {}).get("teacher_miou") if results else None
        return None if found is None else float(found)


def noise_table(found: Findings, student: str, prefix: str, seeds: Sequence[int]) -> str | None:
    """Methods against levels of annotation noise, for one student. `prefix`: of the studies' names."""
    base = "main" if student == "tiny-student" else student
    rows = []
    for name in METHODS:
        cells = [name]
        for level in NOISE:
            study = base if level == "audit" or name not in READ_LABELS else f"{prefix}-{level}"
            cells.append(spread(found.miou(study, name, seeds)))
        rows.append(cells)
    if all(cell == "-" for row in rows for cell in row[1:]):
        return None
    head = [f"{student}, {len(seeds)} seed{'s' * (len(seeds) > 1)}"]
    head += [f"{level}: {wrong:.0%} wrong, {vague:.0%} imprecise" for level, (wrong, vague) in NOISE.items()]
    return table(head, rows)


def noise_verdict(found: Findings) -> list[str]:
    """Which method is better at each level: only if it is clearly so for every student that was run."""
    said = []
    cells = [("tiny-student", "main", "noise", (0, 1)), ("student-1", "student-1", "student-1", (0,)),
             ("student-2", "student-2", "student-2", (0,))]  # fmt: skip
    for level in NOISE:
        for one, rival in (("opd", "grpo"), ("opd", "sft"), ("opd", "op-fkd"), ("opd-exact", "op-fkd")):
            gaps = []
            for _, base, prefix, seeds in cells:
                mine = found.miou(base, one, seeds)
                theirs = found.miou(base if level == "audit" else f"{prefix}-{level}", rival, seeds)
                if mine and theirs:
                    gaps.append(sum(mine) / len(mine) - sum(theirs) / len(theirs))
            if gaps:
                unclear = "not clearly different from"
                side = "better than" if min(gaps) > CLEAR else "worse than" if max(gaps) < -CLEAR else unclear
                each = ", ".join(f"{gap:+.3f}" for gap in gaps)
                said.append(f"With {level} labels, {one} is {side} {rival} (difference per student: {each}).")
    return said


def two_by_two(found: Findings, study: str, title: str) -> str | None:
    """Estimator against policy."""
    if found.studies.get(study) is None:
        return None
    rows = [
        [estimator, spread(found.miou(study, on)), spread(found.miou(study, off))]
        for estimator, on, off in (
            ("sampled token", "opd", "op-rkd"), ("whole distribution, reverse KL", "opd-exact", "op-rkd-exact"),
        )
    ]  # fmt: skip
    rows.append(["whole distribution, forward KL", "-", spread(found.miou(study, "op-fkd"))])
    return table([title, "on policy", "off policy"], rows)


def thinking_table(found: Findings) -> str | None:
    """The same student with the short answer and with the one that writes down what it sees first."""
    rows = []
    for name in METHODS:
        cells = [name]
        for number in (1, 2):
            cells += [
                spread(found.miou(f"student-{number}", name, (0,))),
                spread(found.miou(f"long-{number}", name, (0,))),
            ]
        rows.append(cells)
    if all(cell == "-" for row in rows for cell in row[1:]):
        return None
    head = [f"student-{number}, {answer}" for number in (1, 2) for answer in ("short", "long")]
    return table(["mIoU, seed 0", *head], rows)


def wording_table(found: Findings, number: int) -> str | None:
    """Off-policy methods on annotated text that is complete, lacks the reasoning, or is worded otherwise."""
    if found.studies.get(f"wording-{number}") is None:
        return None
    rows = [
        [name, spread(found.miou(f"long-{number}", name, (0,))),
         *(spread(found.miou(f"wording-{number}", f"{name}-{wording}")) for wording in ("lacks", "otherwise"))]
        for name in ("op-rkd", "op-rkd-exact", "op-fkd", "sft")
    ]  # fmt: skip
    on_policy = [[name, spread(found.miou(f"long-{number}", name, (0,))), "the same", "the same"]
                 for name in ("opd", "opd-exact", "grpo")]  # fmt: skip
    head = [f"student-{number}, long answer", "complete", "lacks the reasoning", "worded otherwise"]
    return table(head, [*on_policy, *rows])


def scores_table(found: Findings, entries: Sequence[tuple[str, str, str]], head: str) -> str | None:
    """(label, study, method) a row."""
    rows = [[label, spread(found.miou(study, method))] for label, study, method in entries]
    return None if all(row[1] == "-" for row in rows) else table([head, "mIoU (sd)"], rows)


def ladder_table(found: Findings) -> str | None:
    """Teacher against student, rung by rung."""
    rungs = [("tiny-teacher", "main", "")] + [(f"teacher-{rung}", "ladder", f"-{rung}") for rung in "bcd"]
    rows = []
    for label, study, suffix in rungs:
        teacher = found.teacher_miou(study, f"opd{suffix}")
        if teacher is not None:
            rows.append([label, f"{teacher:.3f}", spread(found.miou(study, f"opd{suffix}", (0, 1))),
                         spread(found.miou(study, f"opd-exact{suffix}", (0, 1)))])  # fmt: skip
    return table(["", "teacher", "opd", "opd-exact"], rows) if len(rows) > 1 else None


def estimator_table(found: Findings) -> str | None:
    """Spread of the gradient, accuracy and cost of every estimator and number of answers."""
    results, gradients = found.studies.get("estimators"), found.measures.get("gradient_spread")
    if results is None and gradients is None:
        return None
    names = list((gradients or results["methods"] if results else gradients) or ())
    rows = []
    for name in names:
        noise = (gradients or {}).get(name)
        cells = [name, f"{noise['noise_to_signal']:.2f}" if noise else "-", f"{noise['cosine']:.2f}" if noise else "-"]
        study = "estimators" if results and name in results["methods"] else "main"
        mious = found.miou(study, name, (0, 1))
        cells.append(spread(mious))
        source = found.studies.get(study)
        cells.append(f"{seconds_of(source, name, decode=False):.0f}" if mious and source else "-")
        rows.append(cells)
    head = ["", "noise / signal of the gradient", "cosine of two draws", "mIoU (sd)", "CPU s without decoding"]
    return table(head, rows)


def exposure_table(found: Findings, study: str) -> str | None:
    """KL to the teacher on own and on annotated prefixes."""
    measured = found.measures.get(f"exposure-{study}")
    if measured is None:
        return None
    rows = []
    for name, each in measured.items():
        own, annotated = each["own"]["mean"], each["annotated"]["mean"]
        rows.append([name, f"{own:.3f}", f"{annotated:.3f}", f"{own / annotated:.2f}" if annotated else "-"])
    return table(
        [f"{study}: KL(student || teacher), nats per token", "own prefixes", "annotated prefixes", "ratio"], rows
    )


def position_table(found: Findings, study: str) -> str | None:
    """The same position by position: on own prefixes / on annotated ones."""
    measured = found.measures.get(f"exposure-{study}")
    if measured is None:
        return None
    shown = [name for name in measured if not name.endswith("-exact")]
    longest = max(len(each["own"]["by_position"]) for each in measured.values())
    width = 1 if longest <= 20 else 4

    def mean(by_position: list[list[float]]) -> str:
        count = sum(number for _, number in by_position)
        return f"{sum(value * number for value, number in by_position) / count:.2f}" if count else "-"

    rows = []
    for start in range(0, longest, width):
        cells = [f"{start + 1}" if width == 1 else f"{start + 1} to {min(start + width, longest)}"]
        for name in shown:
            own, annotated = (measured[name][who]["by_position"][start : start + width] for who in ("own", "annotated"))
            cells.append(f"{mean(own)} / {mean(annotated)}")
        rows.append(cells)
    return table([f"{study}, token: own / annotated", *shown], rows)


def forgetting_table(results: Results) -> str:
    """Side questions at every learning rate of the sweep."""
    rates = sorted({each["learning_rate"] for each in results["sweep"]})
    rows = []
    for name in results["methods"]:
        cells = [name]
        for rate in rates:
            runs = [each for each in results["sweep"] if (each["method"], each["learning_rate"]) == (name, rate)]
            values = [each["side_questions"]["accuracy"] for each in runs if each["side_questions"]]
            cells.append(spread(values))
        rows.append(cells)
    before = results["student_before"]["side_questions"]
    low, high = before["interval"]
    head = [f"correct side questions (before: {before['accuracy']:.3f}, {low:.3f} to {high:.3f})"]
    return table([*head, *(f"{rate:g}" for rate in rates)], rows)


def cost_table(found: Findings) -> str | None:
    """benchmarks/cost_against_grpo.py."""
    cost = found.measures.get("cost")
    if cost is None:
        return None
    seconds, ratios = cost["cpu_seconds"], cost["opd_over_grpo"]
    rows = [[name.replace("_", ", "), f"{value:.1f}"] for name, value in seconds.items()]
    millions = {name: f"{count / 1e6:.0f} M" for name, count in cost["parameters"].items()}
    head = [f"one prompt of {cost['prompt_tokens']} tokens ({cost['video_tokens']} of video), {cost['num_answers']} "
            f"answers of {cost['answer_tokens']} tokens for GRPO, one for OPD; parameters: student "
            f"{millions['student']}, teacher {millions['teacher']}", "CPU s"]  # fmt: skip
    shared = cost["shared_over_naive"]
    said = [
        f"If both recompute the prompt for every answer, OPD costs {ratios['both naive']:.2f} of GRPO. The paper "
        "reports about a fifth.",
        f"If both share one reading, OPD costs {ratios['both shared']:.2f} of GRPO. The method alone saves "
        f"{'nothing' if ratios['both shared'] >= 1 else 'the rest'} there, because the teacher's reading costs "
        "time.",
        f"The shared reading makes GRPO {1 / shared['grpo']:.1f} times as fast and OPD {1 / shared['opd']:.1f} times "
        "as fast.",
        f"OPD with the shared reading costs {ratios['shared over prefix']:.2f} of GRPO with a prefix cache only in "
        "sampling, as with an inference server.",
    ]
    return table(head, rows) + "\n\n" + bullets(said)


def passing(found: Findings) -> str | None:
    """Who passed the teacher that judged them, or the one that was there."""
    rows = []
    entries = [("opd, teacher-d", "ladder", "opd-d"), ("opd-exact, teacher-d", "ladder", "opd-exact-d"),
               ("mixture, teacher-d, clean labels", "passing-clean", "mixture"),
               ("mixture, teacher-d, noisy labels", "passing-audit", "mixture")]  # fmt: skip
    for label, study, method in entries:
        teacher, mious = found.teacher_miou(study, method), found.miou(study, method)
        if teacher is not None and mious:
            mean = sum(mious) / len(mious)
            rows.append([label, f"{teacher:.3f}", spread(mious), "yes" if min(mious) > teacher else
                         "on average" if mean > teacher else "no"])  # fmt: skip
    for label, study in (("grpo, no teacher, clean labels", "noise-clean"), ("grpo, no teacher, noisy labels", "main")):
        if mious := found.miou(study, "grpo", (0, 1)):
            rows.append([label, "-", spread(mious), "-"])
    return table(["", "teacher", "student (sd)", "passed"], rows) if rows else None


def falsification_entries() -> list[tuple[str, str, str]]:
    """The rows of the third section."""
    words = {"shuffled": "scores shuffled among the tokens of an answer", "noise": "noise of the same size",
             "early": "prefers low digits, 1 nat per digit", "blind": "a teacher that sees grey frames"}  # fmt: skip
    return [("intact", "main", "opd"), *((text, "falsification", f"opd-{kind}") for kind, text in words.items())]


def write(found: Findings) -> str:
    """The document."""
    main_study, long_study = found.studies["main"], found.studies["long-1"]
    blocks: dict[str, list[str | None]] = {
        "in_short": [
            bullets(
                [
                    *in_short(found),
                    *release_sections.in_short(found.studies),
                    *view_sections.in_short(found.studies),
                    *small_sections.in_short(found.studies),
                ]
            )
        ],
        "agreement": [agreement.agreement(found)],
        "methods": [overview(main_study) if main_study else None],
        "sweep": [sweep_table(main_study) if main_study else None, sweep_table(long_study) if long_study else None],
        "noise": [
            noise_table(found, "tiny-student", "noise", (0, 1)), noise_table(found, "student-1", "student-1", (0,)),
            noise_table(found, "student-2", "student-2", (0,)), bullets(noise_verdict(found)),
        ],
        "two_by_two": [
            two_by_two(found, "main", "short answer, tiny-student"),
            two_by_two(found, "long-1", "long answer, student-1"),
            two_by_two(found, "long-2", "long answer, student-2"),
        ],
        "long": [overview(long_study) if long_study else None],
        "thinking": [thinking_table(found)],
        "wording": [wording_table(found, 1), wording_table(found, 2)],
        "cost": [cost_table(found)],
        "falsification": [scores_table(found, falsification_entries(), "the teacher's signal"), ladder_table(found)],
        "estimators": [estimator_table(found)],
        "passing": [passing(found)],
        "exposure": [exposure_table(found, "main"), exposure_table(found, "long-1"), position_table(found, "main"),
                     position_table(found, "long-1")],
        "forgetting": [forgetting_table(main_study) if main_study else None],
        "released": [release_sections.differences(found.studies["released"])],
        "clipping": [release_sections.clipping(found.studies["clipping"])],
        "divergences": [release_sections.divergences(found.studies["divergences"])],
        "views": [view_sections.views(found.studies["views"]), view_sections.noise(found.studies)],
        "views_margins": [view_sections.margins(found.studies["views-margin"])],
        "views_longer": [view_sections.longer(found.studies)],
        "views_others": [view_sections.others(found.studies)],
        "views_experiments": [view_sections.experiments(found.studies["views-experiments"])],
        "small": [small_sections.methods(found.studies)],
        "small_policies": [small_sections.policies(found.studies)],
        "small_exposure": [exposure_table(found, name) for name in small_studies.names()],
        "small_passing": [small_sections.passing(found.studies["small-passing"])],
    }  # fmt: skip
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string((Path(__file__).parent / "claims.md.j2").read_text(encoding="utf-8"))
    return template.render({name: _joined(some) for name, some in blocks.items()})


def _joined(blocks: Sequence[str | None]) -> str:
    """What there is, and a word where something is missing."""
    found = [block for block in blocks if block]
    if len(found) < len(blocks):
        found.append("*Some of these experiments have not been run yet; their rows are missing.*")
    return "\n\n".join(found)


def main() -> None:
    """Write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--document", type=Path, default=Path(__file__).resolve().parents[2] / "docs" / "CLAIMS.md")
    arguments = parser.parse_args()
    found = Findings()
    arguments.document.write_text(write(found), encoding="utf-8")
    advice = arguments.document.with_name("SHOULD_I_USE_THIS.md")
    advice.write_text(write_advice(found), encoding="utf-8")
    print(arguments.document, advice)


if __name__ == "__main__":
    main()
