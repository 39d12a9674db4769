"""Build the wheel of the last commit, install it into an empty environment, and run it there.

    python scripts/check_wheel.py                        # with the versions of requirements.lock: downloads gigabytes
    python scripts/check_wheel.py --packages FOLDER      # with the packages of another environment's site-packages

Nothing of the checkout is on the path of the installed program: the work is done in a temporary folder. With
`--packages` nothing is downloaded but the build's own tools; that every package which the source imports is declared in
pyproject.toml is tested in tests/test_wheel.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str | Path, cwd: Path) -> str:
    """What a command prints; its stderr is shown as it comes.

    Raises:
        CalledProcessError: it failed.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [*map(str, words)], cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


def build_wheel(folder: Path) -> Path:
    """The wheel of the last commit, from a checkout that holds nothing else."""
    checkout = folder / "checkout"
    run("git", "clone", "--quiet", "--depth", "1", ROOT.as_uri(), checkout, cwd=folder)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, checkout, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path, packages: Path | None) -> Path:
    """A new environment with the wheel; the path of its programs."""
    venv.create(folder / "environment", with_pip=True)
    programs = folder / "environment" / "bin"
    if packages is None:
        run(programs / "pip", "install", "--quiet", "--constraint", ROOT / "requirements.lock", wheel, cwd=folder)
        return programs
    run(programs / "pip", "install", "--quiet", "--no-deps", wheel, cwd=folder)
    (own,) = (folder / "environment").glob("lib/python*/site-packages")
    (own / "borrowed.pth").write_text(f"{packages.resolve()}\n")
    return programs


def main() -> None:
    """Build, install, run."""
    parser = argparse.ArgumentParser(description="build the wheel, install it into an empty environment, run it there")
    parser.add_argument("--packages", type=Path, help="site-packages that hold the dependencies already")
    parser.add_argument("--steps", default="2", help="of the demo (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
        programs, work = install(wheel, folder, arguments.packages), folder / "work"
        work.mkdir()
        command = programs / "video-opd"
        where = run(programs / "python", "-c", "import video_opd; print(video_opd.__file__)", cwd=work).strip()
        assert Path(where).is_relative_to(folder / "environment"), where
        assert run(command, "--version", cwd=work) == run(programs / "python", "-m", "video_opd", "--version", cwd=work)
        assert {"tiny-opd", "paper/video-opd-8b"} <= json.loads(run(command, "recipes", "--json", cwd=work)).keys()
        assert run(command, "recipes", "copy", "scc-8b", cwd=work).split() == ["scc-8b.toml", "video-opd-8b.toml"]
        result = json.loads(run(command, "demo", "--steps", arguments.steps, "--json", cwd=work))
        assert result["steps"] == int(arguments.steps), result
        print(f"demo: mIoU {result['student_before']['miou']:.3f} -> {result['student_after']['miou']:.3f}")


if __name__ == "__main__":
    main()
