"""What can be said of a comparison. Computed from its numbers; nothing here is typed by hand, and a difference within
its interval is said to be none that shows."""

from __future__ import annotations

from typing import Any


def sentences(results: dict[str, Any]) -> list[str]:
    """The claims that hold and those that do not, the first method against each other first."""
    return [*_differences(results), *_target(results), *_against_teacher(results), *_forgetting(results)]


def training_time(results: dict[str, Any], method: str) -> float:
    """Seconds of one run, mean over seeds: CPU seconds on a CPU, wall seconds on a device."""
    ledger = results["methods"][method]["ledger"]
    return float(sum(ledger[f"{results['time']}_by_phase"].values()))


def _differences(results: dict[str, Any]) -> list[str]:
    said = []
    reference = next(iter(results["methods"]))
    for each in results.get("differences", ()):
        if each["one"] != reference:
            continue
        one, other = each["one"], each["other"]
        low, high = each["interval"]
        ratio = training_time(results, one) / training_time(results, other)
        steps = results["methods"][one]["curve"][-1]["step"]
        margin = f"{abs(each['mean']):.3f} ± {(high - low) / 2:.3f} mIoU"
        cost = f"costs {ratio:.2f} of its time"
        if low > 0:
            said.append(f"{one} beats {other} by {margin} at {steps} steps and {cost}.")
        elif high < 0:
            said.append(f"{other} beats {one} by {margin} at {steps} steps; {one} {cost}.")
        else:
            said.append(
                f"No difference between {one} and {other} shows at {steps} steps: {each['mean']:+.3f} ± "
                f"{(high - low) / 2:.3f} mIoU; {one} {cost}."
            )
    return said


def _target(results: dict[str, Any]) -> list[str]:
    target = results["target_miou"]
    if target is None:
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
        said.append(
            f"{name} reaches a validation mIoU of {target:g} after {steps:.0f} steps, {seconds:.0f} {unit}{seeds}."
        )
    return said


def _against_teacher(results: dict[str, Any]) -> list[str]:
    teacher = results["teacher"]
    if teacher is None or "differences" not in results:
        return []
    miou = teacher["scores"]["miou"]
    passed = [name for name, method in results["methods"].items() if method["test_miou"]["interval"][0] > miou]
    if passed:
        return [f"{name} passes the teacher, whose mIoU is {miou:.3f}." for name in passed]
    return [f"No method passes the teacher, whose mIoU is {miou:.3f}."]


def _forgetting(results: dict[str, Any]) -> list[str]:
    before = (results["student_before"] or {}).get("side_questions")
    if before is None:
        return []
    said = []
    low, high = before["interval"]
    for name, method in results["methods"].items():
        if "side_questions" in method:
            after = method["side_questions"]["mean"]
            verdict = "keeps" if low <= after <= high else "gains on" if after > high else "forgets some of"
            said.append(f"{name} {verdict} the side questions: {before['accuracy']:.3f} before, {after:.3f} after.")
    return said
