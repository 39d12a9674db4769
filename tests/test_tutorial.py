"""The tutorial's commands, in their order, each run: on a smaller world and with fewer steps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from video_opd.cli import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "TUTORIAL.md"
SMALL_WORLD = {"num_train": 4, "num_validation": 12, "num_test": 4}
SHORTER = {
    "video-opd train": "--training.steps 1",
    "video-opd compare": "--learning-rates 1e-3 --training.steps 1 --schedule.evaluate_every 1 "
    + " ".join(f"--data.tiny_world.{key} {count}" for key, count in SMALL_WORLD.items()),
}
"""By the beginning of a command: what the test adds, so that it ends in seconds."""
ELSEWHERE = {"make demo", "source .venv/bin/activate"}
"""The first is run as `video-opd demo`; the second is for a terminal."""


def tutorial_commands() -> list[str]:
    """Every command of the page; one in quotation marks may have several lines."""
    found: list[str] = []
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if found and found[-1].count('"') % 2:
                found[-1] += "\n" + line
            elif not re.match(r"video,query|\w+\.mp4,", line):  # the table
                found.append(line)
    return found


@pytest.mark.slow
def test_every_command_of_the_tutorial_runs(tmp_path, monkeypatch):
    from video_opd import demo

    small = "\n".join(["[data.tiny_world]", *(f"{key} = {count}" for key, count in SMALL_WORLD.items())])
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(demo.find_bundled_recipe("tiny-opd").read_text().replace("[data.tiny_world]", small))
    monkeypatch.setattr(demo, "find_bundled_recipe", lambda name: recipe)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    commands = tutorial_commands()
    assert commands[0] == "make demo"
    assert main(["demo", "--steps", "1"]) == 0
    for command in commands:
        if command in ELSEWHERE:
            continue
        if command.startswith("video-opd "):
            more = next((more for start, more in SHORTER.items() if command.startswith(start)), "")
            assert main(shlex.split(f"{command} {more}")[1:]) == 0, command
        else:
            subprocess.run(["bash", "-o", "errexit", "-c", command], check=True, capture_output=True)
    assert (tmp_path / "runs/kitchen/report.html").exists()
    assert (tmp_path / "runs/comparison/report.html").exists()


def test_a_command_of_several_lines_is_one_command():
    (script,) = (command for command in tutorial_commands() if command.startswith('python -c "'))
    assert "csv.writer" in script
    assert script.endswith('"')
