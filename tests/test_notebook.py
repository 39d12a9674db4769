"""The notebook of the laptop tour: its cells run, one after the other, in a small world."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "tour.ipynb"
FULL, SMALL = "STEPS, TRAIN, TEST = 60, 960, 400", "STEPS, TRAIN, TEST = 1, 4, 8"


@pytest.mark.slow
def test_the_cells_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert FULL in sources[0]
    names: dict[str, object] = {}
    for number, source in enumerate(sources):
        shorter = source.replace(FULL, SMALL).replace('training={"steps"', 'training={"warmup_steps": 0, "steps"')
        exec(compile(shorter, f"cell {number}", "exec"), names)
    assert (tmp_path / "tour" / "run" / "report.html").exists()
    assert set(names["run"].scores) >= {"student_before", "student_after"}


def test_it_is_kept_with_its_pictures():
    assert '"image/png"' in NOTEBOOK.read_text(encoding="utf-8")
