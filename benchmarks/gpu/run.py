"""Run the sections, each in a process of its own and within its time, and write what they find as JSON and Markdown.

benchmarks/gpu/run.sh [OUT_DIR] [--sections parity real-size …] [--tokenizer FOLDER] [--seconds 450] [--rehearse]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

SECTIONS = {
    "environment": ("environment", 40),
    "large-step": ("large_step", 150),
    "parity": ("parity", 80),
    "together": ("together_step", 45),
    "command": ("command", 80),
    "real-size": ("real_size", 100),
    "token-loop": ("token_loop", 50),
    "quantised": ("quantised", 40),
}
"""Name -> module and seconds, the most important first."""

GRACE_S = 10.0
"""How much longer than its time a section may take before it is killed; it stops by itself between two figures."""


def run_section(name: str, arguments: argparse.Namespace) -> None:
    """In this process: one section into its file."""
    import torch
    from record import Record

    module, seconds = SECTIONS[name]
    device = "cuda" if torch.cuda.is_available() and not arguments.rehearse else "cpu"
    record = Record(arguments.out / f"{name}.json", seconds=arguments.section_seconds or seconds)
    options: dict[str, Any] = {"rehearse": arguments.rehearse}
    if name in ("large-step", "real-size", "together", "token-loop"):
        options["tokenizer"] = arguments.tokenizer
    import_module(module).measure(record, device, **options)


def run_all(arguments: argparse.Namespace) -> dict[str, Any]:
    """In processes of their own: a section that crashes, hangs or fills the device takes none of the others along."""
    results: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "rehearsal": arguments.rehearse}
    ends = time.monotonic() + arguments.seconds
    out: Path = arguments.out
    for name in arguments.sections:
        budget = SECTIONS[name][1] * (3 if arguments.rehearse else 1)  # busy machines rehearse too
        seconds = min(budget, ends - time.monotonic() - GRACE_S)
        if seconds < 5:
            results[name] = {"left_out": "no time was left"}
            continue
        print(f"{name}: at most {seconds:.0f} s", flush=True)
        command = [sys.executable, str(HERE / "run.py"), str(out), "--sections", name, "--inside",
                   "--section-seconds", str(seconds), *(["--rehearse"] if arguments.rehearse else []),
                   *(["--tokenizer", str(arguments.tokenizer)] if arguments.tokenizer else [])]  # fmt: skip
        (out / f"{name}.json").unlink(missing_ok=True)
        began, trouble = time.monotonic(), None
        with (
            (out / f"{name}.log").open("w", encoding="utf-8") as log,
            subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True) as process,
        ):
            try:
                code = process.wait(timeout=seconds + GRACE_S)
                trouble = f"exit status {code}" if code else None
            except subprocess.TimeoutExpired:
                trouble = f"stopped after {seconds + GRACE_S:.0f} s"
                os.killpg(process.pid, signal.SIGKILL)  # and what it started
        text = (out / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        print(text[-4000:], flush=True)
        found = out / f"{name}.json"
        results[name] = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
        if trouble:
            results[name]["trouble"] = {"what": trouble, "log": text[-1500:]}
        results[name]["section_seconds"] = round(time.monotonic() - began, 1)
        write(out, results)
    return results


def write(out: Path, results: dict[str, Any]) -> None:
    """The two files."""
    from table import as_markdown

    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / "results.md").write_text(as_markdown(results), encoding="utf-8")


def main() -> None:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/gpu"))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--tokenizer", type=Path, help="folder of Qwen3-VL's tokenizer and processor files")
    parser.add_argument("--seconds", type=float, default=450.0, help="for all sections together")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, in tiny sizes: does everything run?")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--section-seconds", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.inside:
        (name,) = arguments.sections
        run_section(name, arguments)
        return
    results = run_all(arguments)
    write(arguments.out, results)
    print(f"{arguments.out / 'results.json'}")


if __name__ == "__main__":
    main()
