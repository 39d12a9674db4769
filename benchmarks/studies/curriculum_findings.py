"""What the comparisons behind docs/CURRICULUM.md found, and what can be said of it in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curriculum_studies import COUNT
from kept_results import read_kept

Results = dict[str, Any]


SETTINGS = {
    "main": "a teacher that is nearly always correct",
    "more-seeds": "the same, with eight other seeds",
    "weak-teacher": "a weaker teacher",
    "heavy-noise": "a weaker teacher and mostly wrong labels",
    "student-1": "another student",
    "coupling": "the parts of SCC",
    "coupling-student-1": "the same with another student",
    "small-240": "a smaller student",
    "small-560": "a smaller student that was taught for longer",
    "small-240-clean": "the first of these with clean labels",
    "small-560-clean": "the second with clean labels",
}
"""By study with the whole pool: what it is run on."""


class Findings:
    """Every finished study, by name."""

    def __init__(self, names: Sequence[str]) -> None:
        kept = {name: read_kept("curriculum", name) for name in names}
        self.studies: dict[str, Results] = {name: found for name, found in kept.items() if found is not None}
        self.missing = [name for name in names if name not in self.studies]

    @staticmethod
    def scheduled() -> int:
        """Examples that every run of 30 steps is given."""
        return COUNT

    def methods(self, study: str) -> dict[str, Results]:
        """Of a study; none where it was not run."""
        return self.studies[study]["methods"] if study in self.studies else {}

    def method(self, study: str, name: str) -> Results | None:
        """One of them."""
        return self.methods(study).get(name)

    def miou(self, study: str, name: str) -> float:
        """Mean over seeds, on the test set."""
        return float(self.methods(study)[name]["test_miou"]["mean"])

    def cut_share(self) -> str:
        """How much of the answers the prefix cut left without supervision."""
        runs = self.methods("prefix").get("long answers, cut", {}).get("runs", ())
        shares = [run["steps"]["cut_share"] for run in runs]
        return f"The cut removed {sum(shares) / len(shares):.1%} of the answer tokens." if shares else ""

    def teacher(self, study: str) -> str:
        """The teacher's mIoU on the test set."""
        teacher = (self.studies.get(study) or {}).get("teacher")
        return f"{teacher['scores']['miou']:.2f} mIoU" if teacher else "not run"

    def facts(self, study: str, name: str) -> Results:
        """Of the first round's selection of the first seed; empty where nothing was selected."""
        return dict(self.methods(study).get(name, {}).get("selection", {}))

    def cost(self, study: str, name: str) -> dict[str, float]:
        """CPU seconds of selecting and of training, and how many examples were trained on; means over seeds."""
        ledger = self.methods(study)[name]["ledger"]
        phases: dict[str, float] = ledger["cpu_seconds_by_phase"]
        train = sum(value for phase, value in phases.items() if phase != "select")
        return {
            "select": phases.get("select", 0.0),
            "train": train,
            "without_decoding": train - phases.get("decode", 0.0),
            "examples": ledger["examples"],
        }

    def difference(self, study: str, one: str, other: str) -> tuple[float, float] | None:
        """`one` less `other` in mIoU, and half of its 95 % interval; None where either was not run."""
        for each in self.studies.get(study, {}).get("differences", ()):
            for sign, pair in ((1, (one, other)), (-1, (other, one))):
                if (each["one"], each["other"]) == pair and each["interval"]:
                    return sign * each["mean"], (each["interval"][1] - each["interval"][0]) / 2
        return None

    def against(self, study: str, one: str, other: str) -> str:
        """The difference in figures."""
        difference = self.difference(study, one, other)
        return "" if difference is None else f"{difference[0]:+.3f} ± {difference[1]:.3f}"

    def in_short(self, measured: Results) -> list[str]:
        """One sentence per question; a question whose studies are missing has none."""
        said = [
            self._told("**Does selecting help?** With a teacher that is nearly always correct "
                       f"({self.teacher('main')})", "main",
                       [("filter", "whole-pool"), ("gap", "whole-pool"), ("filter+gap", "whole-pool")]),
            self._told(f"**With a teacher that is correct less often** ({self.teacher('weak-teacher')})",
                       "weak-teacher",
                       [("filter", "whole-pool"), ("gap", "whole-pool"), ("filter+gap", "whole-pool"),
                        ("filter", "filter+gap"), ("agreement", "whole-pool")]),
            self._told("**With this teacher and mostly wrong labels**", "heavy-noise",
                       [("filter", "whole-pool"), ("filter+gap", "whole-pool"), ("agreement", "whole-pool"),
                        ("agreement", "filter")]),
            self._told("**With eight other seeds**", "more-seeds",
                       [("filter", "whole-pool"), ("filter+gap", "whole-pool"), ("3 x filter+gap", "whole-pool"),
                        ("filter+gap", "filter"), ("3 x filter+gap", "filter")]),
            self._told("**The paper's ranking and others after the same filter**", "main",
                       [("filter+gap", "filter"), ("filter+half-and-half", "filter"), ("filter+reverse-kl", "filter"),
                        ("filter+dsus", "filter"), ("filter+bbds", "filter"), ("filter+gwds", "filter")]),
            self._luck(measured),
            self._told("**Three rounds**", "main", [("3 x filter", "filter"), ("3 x filter+gap", "filter+gap")]),
            self._passing(),
            self._coupling(),
            self._told("**Less scoring**", "cheaper", [("filter, race", "filter"), ("filter, enough", "filter"),
                                                        ("filter, race, enough", "filter"),
                                                        ("filter, greedy first", "filter"),
                                                        ("3 x filter+gap, reuse", "3 x filter+gap")]),
            self._told("**Two teachers, each correct about half of the colours**", "teachers",
                       [("routed by source", "one specialist"), ("routed by reliability", "one specialist"),
                        ("averaged", "one specialist"), ("routed by source", "the whole teacher")]),
            self._told("**The outcome check**", "outcome",
                       [("4 answers, mask", "4 answers"), ("4 answers, shift", "4 answers")]),
            self._told("**The prefix cut**", "prefix", [("long answers, cut", "long answers")]),
            *self.small_students(),
        ]  # fmt: skip
        return [sentence for sentence in said if sentence]

    def _compared(self) -> list[str]:
        """The studies in which curricula stand beside the whole pool."""
        return [study for study in SETTINGS if "whole-pool" in self.methods(study)]

    def settings(self) -> str:
        """What they were run on."""
        return "; ".join(f"{study}: {SETTINGS[study]}" for study in self._compared())

    def against_whole_pool(self) -> str:
        """Which curricula are clearly better or worse than training on the whole pool, in any study."""
        ahead, behind, alike = [], [], 0
        for study in self._compared():
            for name in self.methods(study):
                difference = self.difference(study, name, "whole-pool")
                if difference is None or name == "whole-pool" or "singly" in name or "grpo" in name:
                    continue
                mean, reach = difference
                told = f"{name} in {study} ({mean:+.3f} ± {reach:.3f})"
                if mean > reach:
                    ahead.append(told)
                elif mean < -reach:
                    behind.append(told)
                else:
                    alike += 1
        num_all = alike + len(ahead) + len(behind)
        return (
            f"Clearly better than the whole pool: {', '.join(ahead) or 'none'}. Clearly worse: "
            f"{', '.join(behind) or 'none'}. No clear difference, which does not mean that they are equal: {alike} "
            f"of {num_all}. (The comparisons of a study share the runs on the whole pool, the pool and the test "
            "queries. They are not corrected for their number: some are clear by chance, and then several together.)"
        )

    def small_students(self) -> list[str]:
        """What holds for students that are smaller, not spoiled."""
        pairs = [("filter", "whole-pool"), ("gap", "whole-pool"), ("filter+gap", "whole-pool"), ("gate", "whole-pool"),
                 ("scc", "whole-pool"), ("filter+gap", "filter")]  # fmt: skip
        return [
            told
            for name in ("small-240", "small-560")
            for told in (
                self._told(f"**A smaller student, not spoiled** ({name}), `audit` labels", name, pairs),
                self._told(f"**The same with clean labels** ({name})", f"{name}-clean", [("filter+gap", "filter")]),
            )
            if told
        ]

    def _told(self, question: str, study: str, pairs: Sequence[tuple[str, str]]) -> str | None:
        """Compare each of the pairs in words; clear differences are listed apart from the others."""
        by_rival: dict[str, dict[str, list[str]]] = {}
        for one, rival in pairs:
            difference = self.difference(study, one, rival)
            if difference is not None:
                mean, reach = difference
                side = "clearly better" if mean > reach else "clearly worse" if mean < -reach else "no clear difference"
                each = by_rival.setdefault(rival, {}).setdefault(side, [])
                each.append(f"{one} ({self.miou(study, one):.3f})")
        told = [
            f"Compared with {rival} ({self.miou(study, rival):.3f}), "
            + "; ".join(f"{side}: {', '.join(names)}" for side, names in sides.items())
            for rival, sides in by_rival.items()
        ]
        return f"{question}: {'. '.join(told)}." if told else None

    def _luck(self, measured: Results) -> str:
        by_draws = {row["draws"]: row for row in measured["luck"]["tiny-teacher"]}
        return (
            f"**How much of a ranking is luck?** With one answer of the student, {by_draws[1]['luck']:.0%} of the "
            f"excess gap of the selected examples; with four answers {by_draws[4]['luck']:.0%}, with eight "
            f"{by_draws[8]['luck']:.0%}."
        )

    def _passing(self) -> str | None:
        told = []
        for study in ("main", "weak-teacher"):
            for name in ("3 x filter", "3 x filter+gap"):
                over = self.methods(study).get(name, {}).get("over_its_teacher")
                if over and over["interval"]:
                    low, high = over["interval"]
                    unclear = "shows no clear difference from"
                    word = "is better than" if low > 0 else "is worse than" if high < 0 else unclear
                    told.append(f"{name} {word} its teacher ({over['mean']:+.3f}) in {study}")
        return f"**Does the student become better than its teacher?** {'; '.join(told)}." if told else None

    def coupling_against_tvdf(self) -> list[dict[str, Any]]:
        """The follow-up claims 5 % more, relative, at half the time: every study's gate and scc beside TVDF."""
        found = []
        for study in ("main", "weak-teacher", "student-1", "coupling", "coupling-student-1", "small-240", "small-560"):
            for name in ("gate", "candidates, gate", "scc"):
                for rival in ("filter+gap", "3 x filter+gap"):
                    difference = self.difference(study, name, rival)
                    if difference is not None:
                        mine, theirs = self.cost(study, name), self.cost(study, rival)
                        found.append(
                            {
                                "study": study,
                                "name": name,
                                "rival": rival,
                                "relative": self.miou(study, name) / self.miou(study, rival) - 1,
                                "clear": abs(difference[0]) > difference[1],
                                "time": (mine["select"] + mine["train"]) / (theirs["select"] + theirs["train"]),
                                "time_without_selecting": mine["train"] / theirs["train"],
                                "examples": mine["examples"] / theirs["examples"],
                            }
                        )
        return found

    def parts_of_scc(self) -> list[str]:
        """What candidates, gate and schedule do, each beside the same without it."""
        pairs = (
            ("candidates", "whole-pool"), ("candidates, gate", "candidates"), ("candidates, n_t", "candidates"),
            ("candidates, schedule", "candidates, n_t"), ("candidates, schedule", "candidates"),
            ("scc", "candidates, gate"), ("scc", "candidates, schedule"), ("scc", "candidates"), ("scc", "filter+gap"),
            ("scc", "grpo on the candidates"),
        )  # fmt: skip
        said = []
        for study in ("coupling", "coupling-student-1"):
            for one, other in pairs:
                difference = self.difference(study, one, other)
                if difference is not None:
                    mean, reach = difference
                    side = "no clear difference" if abs(mean) <= reach else "better" if mean > 0 else "worse"
                    share = self.cost(study, one)["train"] / self.cost(study, other)["train"]
                    said.append(
                        f"{study}: {one} against {other}: {round(mean, 3) + 0.0:+.3f} ± {reach:.3f}, {side}; training "
                        f"costs {share:.2f} of it."
                    )
        return said

    def _coupling(self) -> str | None:
        rows = self.coupling_against_tvdf()
        clear = [f"{row['name']} in {row['study']} ({row['relative']:+.1%})" for row in rows if row["clear"]]
        if not rows:
            return None
        least, most = (pick(row["relative"] for row in rows) for pick in (min, max))
        return (
            f"**Coupling against TVDF** (claim: a relative gain of 5 % at half the time): {least:+.1%} to {most:+.1%}; "
            f"the difference is clear in {len(clear)} of {len(rows)} comparisons"
            + (f": {', '.join(clear)}." if clear else ".")
        )


def plain(value: float | None, digits: int = 2) -> str:
    """A share or a correlation, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"
