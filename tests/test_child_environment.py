"""A process that this one starts finds the package where this one has it."""

from __future__ import annotations

import os
from pathlib import Path

import video_opd
from video_opd.child_environment import make_child_environment


def test_the_package_comes_first_and_the_rest_stays(monkeypatch):
    root = str(Path(video_opd.__file__).parents[1])
    for before, after in (("", [root]), ("/a", [root, "/a"])):
        monkeypatch.setenv("PYTHONPATH", before)
        made = make_child_environment(OPENBLAS_NUM_THREADS="1")
        assert made == {**os.environ, "PYTHONPATH": os.pathsep.join(after), "OPENBLAS_NUM_THREADS": "1"}
