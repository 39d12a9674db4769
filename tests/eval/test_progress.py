"""The bars of scoring and training: one frame on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from video_opd.eval.scoring_progress import ScoringProgress
from video_opd.train.progress import TrainingProgress


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def console(request) -> Console:
    return Console(file=io.StringIO(), force_terminal=request.param, width=90, color_system=None)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_scoring_shows_how_many_and_how_fast(console):
    with ScoringProgress("scoring [x]", 10, console) as progress:
        progress.advance(4, 6)
    if console.is_terminal:
        assert "scoring [x]  4/10 ━" in shown(console)
        assert " a second " in shown(console)
    else:
        assert shown(console) == "scoring [x]: 4 examples in 0 s\n", "no bar in a file"


def test_a_training_goes_on_where_it_was_and_shows_its_numbers(console):
    with TrainingProgress(20, 3, console) as progress:
        progress.note_score(0.5)
        progress.show(4, {"loss": 1.0, "miou": 0.4})
    assert "mIoU 0.400  validation mIoU 0.500" in shown(console)
    assert ("step  3/20 ━" if console.is_terminal else "step 4/20  mIoU") in shown(console)
