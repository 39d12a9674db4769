"""The page of all figures, RESULTS.md, from the files of results/ and gpu/results/.

python benchmarks/results_page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE / "RESULTS.md"
WORDS = {"ratio": "ours / plain", "released_ratio": "ours / released", "peak_memory_ratio": "peak memory / plain"}


def render(folder: Path = HERE) -> str:
    """The whole page."""
    parts = [
        "# Figures",
        "`python benchmarks/results_page.py` writes this page from the JSON files in `benchmarks/results` and "
        "`benchmarks/gpu/results`. Do not edit it.",
    ]
    for name, title, show in (
        ("step", "A training step", show_step),
        ("growth", "How a step grows", show_growth),
        ("peers", "Beside other trainers", show_peers),
        ("data_wait", "Waiting for videos", show_data_wait),
        ("memory", "Peak memory of a step", show_rows),
        ("memory_estimate", "The estimate of memory", show_rows),
        ("soak", "An hour of training", show_soak),
        ("many_rows", "Files of many rows", show_many_rows),
    ):
        parts.append(f"## {title}")
        path = folder / "results" / f"{name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            parts += [describe_origin(found), *show(found)]
        else:
            parts.append("Not measured yet.")
    runs = {path.stem: json.loads(path.read_text(encoding="utf-8"))
            for path in sorted((folder / "gpu" / "results").glob("*.json"))}  # fmt: skip
    for name, found in runs.items():
        parts += show_gpu(name, found)
    parts += name_missing(runs.values())
    return "\n\n".join(part for part in parts if part) + "\n"


def describe_origin(found: dict[str, Any]) -> str:
    """When and on what it was measured."""
    versions = found.get("versions", {name: found[name] for name in ("torch", "av") if name in found})
    told = [str(found[key]) for key in ("date", "machine") if key in found]
    return "; ".join([*told, ", ".join(f"{name} {number}" for name, number in versions.items())]) + "."


def show_soak(found: dict[str, Any]) -> list[str]:
    """By series: median, range, and how much it rises in an hour."""
    rows = [
        [name.replace("_", " "), *(f"{row[key]:,.1f}" for key in ("median", "least", "most")),
         f"{row['rise_per_hour']:+.2f}", "yes" if row["levels_off"] else "no"]
        for name, row in found["series"].items()
    ]  # fmt: skip
    told = (
        f"{found['seconds']:,} s, {found['steps']:,} steps, {found['clips']:,} clips shown, two processes that "
        f"decode (`make soak`). The first third is not counted. Then it was stopped, with status {found['status']}."
    )
    return [told, make_table(["series", "median", "least", "most", "rise in an hour", "levels off"], rows)]


def show_step(found: dict[str, Any]) -> list[str]:
    """Ratios with their targets, then seconds by phase."""
    rows = [
        [
            case["case"], case["prompt_tokens"], case["vocabulary"], case["ours"], case["plain"], case["released"],
            *(show_target(case, key) for key in WORDS), " to ".join(map(show_number, case["ratio_range"])),
        ]
        for case in found["cases"]
    ]  # fmt: skip
    heads = ["case", "prompt tokens", "vocabulary", "ours, s", "plain, s", "released, s", *WORDS.values(),
             "range of ours / plain"]  # fmt: skip
    phases = list(dict.fromkeys(phase for case in found["cases"] for each in case["phases"].values() for phase in each))
    times = [
        [case["case"], path, *(seconds.get(phase) for phase in phases)]
        for case in found["cases"]
        for path, seconds in case["phases"].items()
    ]
    return [
        "CPU-seconds on one thread, medians. `plain`: transformers' `generate`, then full passes with logits at the "
        "answer's positions only; GRPO reads the prompt once for each answer. `released`: the passes of the authors' "
        "code (docs/OFFICIAL.md). Teacher and optimiser are in each. In brackets: the target, and whether it is met. "
        "`python benchmarks/step.py` says more.",
        make_table(heads, rows),
        tell_gradients(found["cases"]),
        "Seconds by phase:",
        make_table(["case", "path", *phases], times),
    ]


def tell_gradients(cases: Iterable[dict[str, Any]]) -> str:
    """How much of the peaks is the gradient, which every path needs."""
    told = [
        f"- {case['case']}, {case['prompt_tokens']} tokens: ours {peaks['ours']:.3f} GB, plain {peaks['plain']:.3f} "
        f"GB; {peaks['gradient']:.3f} GB of both is the gradient. Without it: "
        f"{(peaks['ours'] - peaks['gradient']) / (peaks['plain'] - peaks['gradient']):.2f}."
        for case in cases
        if "gradient" in (peaks := case.get("peak_memory_gb", {}))
    ]
    return "Peak memory beyond weights and optimiser:\n\n" + "\n".join(told) if told else ""


def show_target(case: dict[str, Any], key: str) -> str:
    """A figure, its target, and whether it is met."""
    if case[key] is None:
        return "not measured"
    most = case["targets"].get(key)
    if most is None:
        return show_number(case[key])
    return f"{show_number(case[key])} ({most:.2f}: {'met' if case[key] <= most else 'missed'})"


def show_growth(found: dict[str, Any]) -> list[str]:
    """Exponents beside those of the arithmetic."""
    rows = [
        [row["axis"], " ".join(map(str, row["at"])), " ".join(map(show_number, row["cpu_seconds"])),
         row["exponent"], row["exponent_of_arithmetic"]]
        for row in found["growth"]
    ]  # fmt: skip
    text = (
        "An exponent of 1: twice the quantity takes twice the CPU time. `processes`: CPU time of all of them, for one "
        "step of the tiny world under torchrun; where it grows, the work of sharing the step does."
    )
    return [text, make_table(["quantity", "at", "CPU-seconds", "exponent", "of the arithmetic"], rows)]


def show_peers(found: dict[str, Any]) -> list[str]:
    """Ours beside every peer, what its step does, and why one was skipped."""
    measured = [row for row in found["peers"] if "skipped" not in row]
    rows = [
        [f"{row['peer']} {row['versions'][row['peer']]}", row["vision"], row["prompt_tokens"]["ours"],
         row["prompt_tokens"]["peer"], row["ours"], row["theirs"], row["ratio"]]
        for row in measured
    ]  # fmt: skip
    heads = ["peer", "vision", "prompt tokens, ours", "the peer's", "ours, s", "the peer, s", "ours / the peer"]
    told = {row["peer"]: row["what_it_does"] for row in measured}
    notes = [f"- {peer}: {what}" for peer, what in told.items()]
    notes += [f"- {row['peer']} was skipped: {row['skipped']}" for row in found["peers"] if "skipped" in row]
    return [make_table(heads, rows) if rows else "", "\n".join(notes)]


def show_data_wait(found: dict[str, Any]) -> list[str]:
    """What a clip costs, and how long a step waits for it."""
    rows = [
        [
            f"{row['video']['file']} ({row['video']['seconds']:g} s, {row['video']['codec']})",
            *(row["prompt"][key] for key in ("cpu_seconds", "video_tokens")),
            *(each["share_waiting"] for each in row["training"]),
            row.get("load_of_the_machine", found.get("load_at_the_end")),
        ]
        for row in found["rows"]
    ]
    waits = [f"share waiting, {each['workers']} workers" for each in found["rows"][0]["training"]]
    text = (
        "CPU-seconds to decode a clip and to make its prompt, and the share of a training step that waits for it. The "
        "models are tiny, so a step has little else to do: real ones wait less."
    )
    return [text, make_table(["clip", "CPU-seconds", "video tokens", *waits, "load of the machine"], rows)]


def show_rows(found: dict[str, Any]) -> list[str]:
    """Files that hold a list of rows with the same keys."""
    rows = found["rows"]
    return [make_table([key.replace("_", " ") for key in rows[0]], [list(row.values()) for row in rows])]


def show_many_rows(found: dict[str, Any]) -> list[str]:
    """Every command before and after its memory and time were bounded."""
    cases: dict[tuple[str, int], dict[str, dict[str, Any]]] = {}
    for row in found["rows"]:
        cases.setdefault((row["command"], row["rows"]), {})[row["label"]] = row
    labels = sorted({row["label"] for row in found["rows"]}, reverse=True)
    rows = []
    for (command, count), of in sorted(cases.items(), key=lambda case: case[0][1]):
        figures = [
            show_cost(of.get(label, {}), key) for label in labels for key in ("time", "of_reading", "bytes_per_row")
        ]
        rows.append([command, f"{count:,}", of[max(of)]["reading_s"], *figures])
    heads = [f"{label}: {what}" for label in labels for what in ("CPU s", "/ reading", "bytes a row")]
    text = (
        "CPU-seconds less the start of the program. `reading`: `json.loads` of every line of the same files. Bytes: "
        "the growth of the peak of resident memory, for each row of each file. The aim: 3 times reading, and 300 bytes."
    )
    return [text, make_table(["command", "rows", "reading, s", *heads], rows)]


def show_cost(row: dict[str, Any], key: str) -> Any:
    """A figure of a row; nothing where it was not measured."""
    if key == "time":
        return f"more than {row['stopped_after_s']:g}" if "stopped_after_s" in row else row.get("cpu_seconds")
    return f"{row[key]:.0f}" if key == "bytes_per_row" and key in row else row.get(key)


def show_gpu(name: str, found: dict[str, Any]) -> list[str]:
    """One run on a GPU: card and versions, then every section."""
    environment = found.get("environment", {})
    card = environment.get("card") or {"name": found.get("card", "no GPU")}
    packages = {key: value for key, value in environment.get("packages", {}).items() if value}
    rate = environment.get("bfloat16_tflops")
    parts = [
        f"## GPU: {card['name']} ({name})",
        f"{', '.join((found['date'][:10], *(f'{key} {value}' for key, value in packages.items())))}."
        + ("" if packages else " The versions of the packages were not recorded.")
        + (f" A matrix product in bfloat16 runs at {rate} TFLOP/s." if rate else ""),
    ]
    for section, entries in found.items():
        if isinstance(entries, dict) and section != "environment":
            parts += [f"### {section}", *show_entries(entries)]
    return parts


SECTIONS = ("large-step", "parity", "together", "command", "real-size", "token-loop", "quantised")
"""Of gpu/run.py."""


def name_missing(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Which sections of the GPU check have no figure of any card."""
    measured = {name for found in runs for name, entries in found.items()
                if isinstance(entries, dict) and "left_out" not in entries}  # fmt: skip
    missing = [name for name in SECTIONS if name not in measured]
    if not missing:
        return []
    return ["## Not measured on a GPU", f"No run on a GPU has these sections of the check yet: {', '.join(missing)}."]


PHASES = ("read", "answer", "teacher", "score", "backward", "step")
"""Phases that make up a step; those of vision are inside them. The seconds of a plain step in the files of 2026-11-27
also have the writing of its answers, so the page adds up the phases."""


def show_entries(entries: dict[str, Any]) -> list[str]:
    """Entries with the same figures share a table.

    A nested peak by phase becomes its largest, and the seconds of a step are the sum of its phases.
    """
    tables: dict[tuple[str, ...], list[list[Any]]] = {}
    notes = []
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            continue
        if "phases" in entry and "seconds" in entry:
            entry = entry | {"seconds": sum(entry["phases"].get(phase, 0.0) for phase in PHASES)}
        row = {key: shorten(key, value) for key, value in entry.items()}
        row = {key: value for key, value in row.items() if value is not None}
        if any(isinstance(value, str) for value in row.values()):
            notes.append(f"- {name}: " + "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in row.items()))
        elif row:
            tables.setdefault(tuple(row), []).append([name, *row.values()])
    if "left_out" in entries:
        notes.append(f"Not measured: {entries['left_out']}.")
    shown = [make_table(["", *(key.replace("_", " ") for key in keys)], rows) for keys, rows in tables.items()]
    return [*shown, "\n".join(notes)]


def shorten(key: str, value: Any) -> Any:
    """A figure or a short text as it is, the largest of the peaks by phase, None for the rest."""
    if isinstance(value, dict) and key.startswith("peak"):
        numbers = [each for each in value.values() if isinstance(each, (int, float))]
        return max(numbers) if numbers and len(numbers) == len(value) else None
    if isinstance(value, str):
        return value if len(value) <= 80 else value[:77].rsplit(" ", 1)[0] + " …"
    return value if isinstance(value, (bool, int, float)) else None


def make_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """In Markdown."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(map(show_number, row)) + " |" for row in rows]
    return "\n".join(lines)


def show_number(value: Any) -> str:
    """Three digits of a fraction; nothing for what is not there."""
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
