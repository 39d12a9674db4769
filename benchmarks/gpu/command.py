"""The `train` command itself on the tiny world: whole, and killed and resumed. Are the weights the same?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from record import Record
from safetensors.torch import load_file

from video_opd.demo import find_bundled_recipe

COMMAND = [sys.executable, "-c", "import sys; from video_opd.cli import main; sys.exit(main())"]
STEPS, EVERY = 8, 2


def measure(record: Record, device: str, *, rehearse: bool) -> None:
    """One run to the end; one that is killed after its first checkpoint and goes on; the two compared."""
    with tempfile.TemporaryDirectory(prefix="video-opd-gpu-") as folder:
        out = Path(folder)
        keys = keys_of(out / "world", device, rehearse=rehearse)
        began = time.monotonic()
        whole = start(out / "whole", keys, out)
        until(whole, out / "world" / "world.json", 120, or_any=out / "whole" / "metrics.jsonl")
        broken = start(out / "broken", keys, out)  # beside the first: nothing is timed here
        record.attempt("killed", lambda: kill_after_a_checkpoint(broken, out / "broken"))
        code = whole.wait(timeout=200)
        record["whole"] = {
            "exit_status": code,
            "seconds": round(time.monotonic() - began, 1),
            **last_lines(out, "whole"),
        }
        again = start(out / "broken", keys, out)
        code = again.wait(timeout=200)
        record["resumed"] = {"exit_status": code, **last_lines(out, "broken")}
        record.attempt("whole against resumed", lambda: compare(out / "whole", out / "broken"))
        record.attempt("steps", lambda: steps_of(out / "whole"))
        record.attempt("environment", lambda: json.loads(next((out / "whole").glob("environment*.json")).read_text()))


def keys_of(world: Path, device: str, *, rehearse: bool) -> list[str]:
    """The recipe tiny-opd, on this device in bfloat16, with a world that is rendered in a moment."""
    keys: dict[str, Any] = {
        "data.videos": world / "videos", **{f"data.{s}": world / f"{s}.jsonl" for s in ("train", "validation", "test")},
        "data.tiny-world.num-train": 64, "data.tiny-world.num-validation": 8, "data.tiny-world.num-test": 16,
        "compute.device": device, "compute.precision": "bfloat16", "schedule.checkpoint-every": EVERY,
        "schedule.evaluate-every": 0, "training.steps": STEPS,
    }  # fmt: skip
    if rehearse:
        keys |= {"schedule.checkpoint-every": 1, "training.steps": 3, "training.batch-size": 4}
        keys |= {"data.tiny-world.num-train": 16, "data.tiny-world.num-test": 4}
    return [word for key, value in keys.items() for word in (f"--{key}", str(value))]


def start(folder: Path, keys: list[str], out: Path) -> subprocess.Popen[bytes]:
    """The command in the background; what it says goes to a file beside the run."""
    with (out / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(
            [*COMMAND, "train", str(find_bundled_recipe("tiny-opd")), "--out", str(folder), *keys],
            stdout=log, stderr=log, env=os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        )  # fmt: skip


def until(process: subprocess.Popen[bytes], path: Path, seconds: float, *, or_any: Path) -> None:
    """Wait for a file, or for the end of the process."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None and not (path.exists() or or_any.exists()):
        time.sleep(0.05)


def kill_after_a_checkpoint(process: subprocess.Popen[bytes], run: Path) -> dict[str, Any]:
    """SIGKILL as soon as a checkpoint is whole: nothing is saved on the way out."""
    ends = time.monotonic() + 100
    while time.monotonic() < ends and process.poll() is None:
        saved = sorted(path.parent.name for path in run.glob("checkpoints/step-??????/COMPLETE.json"))
        if saved:
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=30)
            return {"after": saved[-1], "exit_status": process.returncode}
        time.sleep(0.005)
    process.kill()
    process.wait(timeout=30)
    return {"after": None, "exit_status": process.returncode, **last_lines(run.parent, run.name)}


def last_lines(out: Path, name: str) -> dict[str, str]:
    """The end of what a command said."""
    return {"said": (out / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-500:]}


def compare(one: Path, other: Path) -> dict[str, Any]:
    """The final checkpoints: the student's weights and the optimiser's state."""
    found: dict[str, Any] = {}
    folders = [sorted(path for path in (run / "checkpoints").iterdir() if path.is_dir())[-1] for run in (one, other)]
    found["checkpoints"] = [folder.name for folder in folders]
    for file in sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*.safetensors")):
        a, b = (load_file(folder / file) for folder in folders)
        differing = [name for name in a if not torch.equal(a[name], b[name])]
        found[str(file)] = {
            "bit_equal": not differing, "tensors": len(a), "tensors_that_differ": len(differing),
            "largest_difference": max(float((a[n].float() - b[n].float()).abs().max()) for n in a),
        }  # fmt: skip
    return found


def steps_of(run: Path) -> dict[str, Any]:
    """The reverse KL and the seconds of every step."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    keep = ("step", "reverse_kl", "sampler_learner_gap", "grad_norm", "step_seconds", "seconds", "peak_memory")
    return {"columns": sorted(rows[-1])[:60], "rows": [{k: row[k] for k in keep if k in row} for row in rows]}
