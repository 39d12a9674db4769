"""What can be said of a comparison. Computed from its numbers; nothing here is typed by hand, and a difference within
its interval is called not clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from video_opd.compare.estimates import SeedNoise
from video_opd.sample_size import MIN_QUERIES, SIDE_QUESTIONS, count_of, describe_shortage


def write_sentences(results: dict[str, Any]) -> list[str]:
    """Write the claims that hold, those that do not, and those that cannot be judged. Comparisons with the first method
    come first.
    """
    said = [
        *_describe_differences(results),
        *_describe_shortage(results),
        *_describe_target(results),
        *_compare_with_teachers(results),
        *_describe_forgetting(results),
    ]
    if results["num_devices"] > 1:
        said.append(f"The runs were made on different devices ({results['device']}): their times cannot be compared.")
    return said


def training_time(results: dict[str, Any], method: str) -> float:
    """Seconds of one run, mean over seeds: CPU seconds on a CPU, wall seconds on a device."""
    ledger = results["methods"][method]["ledger"]
    return float(sum(ledger[f"{results['time']}_by_phase"].values()))


def _describe_shortage(results: dict[str, Any]) -> list[str]:
    """Say what the comparison cannot show, because it has too few queries."""
    said, several = [], len(results["methods"]) > 1
    what = "Which method is better" if several else "How good the method is"
    if results["student_before"] is None:
        said.append(f"No test manifest: {what[:1].lower() + what[1:]} cannot be said.")
    elif (asked := results["student_before"].get("scores", {}).get("num_queries", MIN_QUERIES)) < MIN_QUERIES:
        said.append(describe_shortage(what, asked, "test query", "test queries"))
    asked = results.get("num_validation_queries")
    if asked is not None and asked < MIN_QUERIES:
        judged = [
            *(["which learning rate is best"] if results.get("sweep") else []),
            *(["when a method reaches the target"] if results["target_miou"] is not None else []),
        ]
        if judged:
            what = " and ".join(judged)
            what = what[:1].upper() + what[1:]
            said.append(describe_shortage(what, asked, "validation query", "validation queries"))
    return said


def _describe_differences(results: dict[str, Any]) -> list[str]:
    said = []
    reference = next(iter(results["methods"]))
    for each in results.get("differences", ()):
        if each["one"] != reference:
            continue
        one, other, mean = each["one"], each["other"], each["mean"]
        cost = f"costs {training_time(results, one) / training_time(results, other):.2f} of its time"
        at = f"at {results['methods'][one]['curve'][-1]['step']} steps"
        if each["interval"] is None:
            said.append(
                f"{one} and {other} differ by {mean:+.3f} mIoU {at} {_explain_open(each)}, which proves nothing; "
                f"{one} {cost}."
            )
            continue
        if mean == 0 and each["interval"] == [0, 0]:
            said.append(f"{one} and {other} score the same on every query {at}; {one} {cost}.")
            continue
        side, margin = _side(each)
        said.append(
            {
                "above": f"{one} beats {other} by {margin} {at} and {cost}.",
                "below": f"{other} beats {one} by {margin} {at}; {one} {cost}.",
                "neither": f"{one} and {other} show no clear difference {at}: {margin}; {one} {cost}.",
            }[side]
        )
    return said


def _side(difference: dict[str, Any]) -> tuple[str, str]:
    """On which side of zero the whole interval of a difference lies, and the difference in words: its size where the
    side is known, with its sign where it is not."""
    mean, (low, high) = difference["mean"], difference["interval"]
    side = "above" if low > 0 else "below" if high < 0 else "neither"
    size = f"{mean:+.3f}" if side == "neither" else f"{abs(mean):.3f}"
    return side, f"{size} ± {(high - low) / 2:.3f} mIoU"


def _explain_open(estimate: dict[str, Any]) -> str:
    """Why a difference has no interval: "on 1 test query", "with one seed"."""
    num_queries, num_seeds = estimate.get("num_queries", MIN_QUERIES), estimate.get("num_seeds", 1)
    why = []
    if num_queries < MIN_QUERIES:
        why.append(f"on {count_of(num_queries, 'test query', 'test queries')}")
    if num_seeds == 1:
        why.append("with one seed")
    return " and ".join(why)


def _describe_target(results: dict[str, Any]) -> list[str]:
    target = results["target_miou"]
    asked = results.get("num_validation_queries")
    if target is None or (asked is not None and asked < MIN_QUERIES):
        return []
    said, unit = [], "CPU seconds" if results["time"] == "cpu_seconds" else "seconds"
    for name, method in results["methods"].items():
        reached = [point for point in method["to_target"] if point is not None]
        if not reached:
            said.append(f"{name} does not reach a validation mIoU of {target:g}.")
            continue
        steps = sum(point["step"] for point in reached) / len(reached)
        seconds = sum(point[results["time"]] for point in reached) / len(reached)
        seeds = "" if len(reached) == len(method["to_target"]) else f" with {len(reached)} of its seeds"
        when = f"by step {steps:.0f} and {seconds:.0f} {unit}"
        said.append(f"{name} reaches a validation mIoU of {target:g} {when}{seeds}.")
    return said


def _compare_with_teachers(results: dict[str, Any]) -> list[str]:
    said = []
    for name, method in results["methods"].items():
        gap = method.get("over_its_teacher")
        if gap is None or gap["interval"] is None:
            continue
        side, margin = _side(gap)
        said.append(
            {
                "above": f"{name} passes its teacher by {margin}.",
                "below": f"{name} stays behind its teacher by {margin}.",
                "neither": f"{name} shows no clear difference from its teacher: {margin}.",
            }[side]
        )
    return said


def _describe_forgetting(results: dict[str, Any]) -> list[str]:
    before = (results["student_before"] or {}).get("side_questions")
    asked = [(name, method) for name, method in results["methods"].items() if method.get("side_questions") is not None]
    if before is None or not asked:
        return []
    if before["num_questions"] < MIN_QUERIES:
        return [describe_shortage("What was forgotten", before["num_questions"], *SIDE_QUESTIONS)]
    noise = _estimate_forgetting_noise([method for _, method in asked])
    said = []
    for name, method in asked:
        after = method["side_questions"]
        change = after["mean"] - before["accuracy"]
        # Two shares of as many questions, taken as independent though the questions are the same: rather too wide.
        variances = [share * (1 - share) / before["num_questions"] for share in (before["accuracy"], after["mean"])]
        reach, seeds = 1.96 * math.sqrt(sum(variances)), ""
        if noise.degrees_of_freedom:
            reach = math.hypot(reach, noise.reach(len(method["runs"])))
        else:
            seeds = ", of one seed"
        verdict = (
            "forgets some of the" if change < -reach else "gains on the" if change > reach else "shows no change on the"
        )
        said.append(f"{name} {verdict} side questions: {before['accuracy']:.3f} before, {after['mean']:.3f} after "
                    f"(± {reach:.3f}{seeds}).")  # fmt: skip
    return said


def _estimate_forgetting_noise(methods: Sequence[dict[str, Any]]) -> SeedNoise:
    """How much the share of side questions that are answered right changes with the seed, pooled over methods."""
    freedom = sum(len(method["runs"]) - 1 for method in methods)
    squares = sum((len(method["runs"]) - 1) * method["side_questions"]["sd"] ** 2 for method in methods)
    return SeedNoise(variance=squares / freedom if freedom else math.nan, degrees_of_freedom=freedom)
