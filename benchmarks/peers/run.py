"""A step of ours beside a step of TRL and of ms-swift on the same models and clip; writes results/peers.json.

    python benchmarks/peers/run.py [--peer trl|ms-swift|all] [--steps 4] [--out benchmarks/results/peers.json]

Every peer gets an environment of its own, `.venv-peer-NAME` in this checkout, with the pinned versions of
requirements-NAME.txt. What it needs and this Python's environment has in a fitting version, torch above all, is taken
from there. The programs take turns: ours, the peer, ours. All of them take one prompt a step, write an answer of 16
tokens, and train on the full-vocabulary reverse KL with AdamW in float32, without checkpointing. Decoding and
processing the clip is in every step. Measured is CPU time on one thread; the first step of each program is left out. A
peer that does not install, or fails, is recorded as skipped, and the command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from world import QUESTION, write_world  # noqa: E402

from machine import describe_machine  # noqa: E402
from step import QUICK, SIZES  # noqa: E402

RESULTS = HERE.parent / "results" / "peers.json"
NUM_ANSWER_TOKENS = 16
PEERS = {
    "trl": (
        ("trained, as images", "trained"),
        "TRL shows a clip to the student while it answers. Its training passes get no pixels of the clip, of student "
        "and of teacher, and nothing says so: it trains on the text alone and does less work than the others. With "
        "images these passes get pixels, so one image a second in place of the clip does the work of the others.",
    ),
    "ms-swift": (("frozen", "trained"), "Generation, teacher and loss read the prompt once each, with the clip."),
}
"""By name: vision frozen or trained, and what its step does."""


class Skipped(Exception):
    """A peer cannot be measured; says why."""


def prepare(peer: str) -> Path:
    """The Python of the peer's environment, which is made where it is missing.

    Raises:
        Skipped: it cannot be made.
    """
    folder = HERE.parents[1] / f".venv-peer-{peer}"
    requirements = HERE / f"requirements-{peer}.txt"
    python, done = folder / "bin" / "python", folder / "installed"
    if done.exists() and done.read_text() == requirements.read_text():
        return python
    try:
        venv.create(folder, with_pip=True)
        (packages,) = (folder / "lib").glob("python*/site-packages")
        mine = [path for path in sys.path if path.endswith("site-packages")]
        (packages / "shared.pth").write_text("\n".join(mine) + "\n")
        command = [python, "-m", "pip", "install", "--quiet", "--requirement", requirements]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=1500)
    except subprocess.TimeoutExpired:
        raise Skipped("pip did not finish within 25 minutes") from None
    except subprocess.CalledProcessError as error:
        raise Skipped(f"pip could not install requirements-{peer}.txt: {find_reason(error.stderr)}") from None
    except (OSError, ValueError) as error:
        raise Skipped(f"its environment could not be made: {find_reason(str(error))}") from None
    done.write_text(requirements.read_text())
    return python


def find_reason(text: str) -> str:
    """The last line of an error, without paths and hosts."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "WARNING" not in line]
    errors = [line for line in lines if re.match(r"(\w+\.)*\w*(Error|ERROR|Exception)\b", line)] or lines
    return re.sub(r"\S*[/\\]\S*", "…", errors[-1])[:300] if errors else "it printed nothing"


def take_steps(python: Path, program: str, world: Path, steps: int, vision: str) -> dict[str, Any]:
    """Run a program that takes steps, and return what it measured.

    Raises:
        Skipped: it failed.
    """
    command = [python, HERE / program, world, str(steps), str(NUM_ANSWER_TOKENS), vision, QUESTION]
    paths = [HERE.parents[1] / "src", HERE.parent] if program == "ours_steps.py" else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, paths))}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise Skipped(f"{program} ended with status {done.returncode}: {find_reason(done.stderr)}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compare(peer: str, python: Path, world: Path, steps: int, vision: str) -> dict[str, Any]:
    """Ours and a peer in turn."""
    ours_python = Path(sys.executable)
    ours = take_steps(ours_python, "ours_steps.py", world, steps, vision)
    theirs = take_steps(python, f"{peer.replace('-', '_')}_steps.py", world, steps, vision)
    again = take_steps(ours_python, "ours_steps.py", world, steps, vision)
    mine, other = ours["seconds"][1:] + again["seconds"][1:], theirs["seconds"][1:]
    return {
        "vision": vision,
        "prompt_tokens": {"ours": ours["prompt_tokens"], "peer": theirs["prompt_tokens"]},
        "ours": statistics.median(mine),
        "theirs": statistics.median(other),
        "ratio": statistics.median(mine) / statistics.median(other),
        "ratio_range": [min(mine) / max(other), max(mine) / min(other)],
        "student_passes_over_the_prompt": theirs["passes_of_student"],
        "of_them_with_pixels": theirs["passes_with_pixels"],
        "versions": theirs["versions"],
    }


def measure(peer: str, world: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All that is measured of a peer; or why it was skipped."""
    rows: list[dict[str, Any]] = []
    visions, what = PEERS[peer]
    try:
        python = prepare(peer)
        for vision in visions:
            rows.append({"peer": peer, **compare(peer, python, world, arguments.steps, vision), "what_it_does": what})
            row = rows[-1]
            print(
                f"{peer}, vision {vision}: {row['ours']:.2f} / {row['theirs']:.2f} s = {row['ratio']:.3f}", flush=True
            )
    except Skipped as reason:
        print(f"{peer} was skipped: {reason}", file=sys.stderr)
        rows.append({"peer": peer, "skipped": str(reason)})
    return rows


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=(*PEERS, "all"), default="all")
    parser.add_argument("--steps", type=int, default=4, help="of each program; the first one warms up")
    parser.add_argument("--seconds", type=int, default=20, help="of the clip: 32 video tokens each")
    parser.add_argument("--quick", action="store_true", help="tiny models, two steps; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.steps, arguments.seconds = 2, 2
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder), arguments.seconds, QUICK if arguments.quick else SIZES)
        for peer in PEERS if arguments.peer == "all" else [arguments.peer]:
            rows += measure(peer, Path(folder), arguments)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            results = {**describe_machine(), "quick": arguments.quick, "peers": rows}
            text = json.dumps(results, indent=2, ensure_ascii=False)
            arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
