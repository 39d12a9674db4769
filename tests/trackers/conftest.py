from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trackers.tracked_runs import FAKE
from video_opd.plugins import load_plugin
from video_opd.trackers import TRACKERS


@pytest.fixture
def fake(tmp_path) -> Path:
    """The plugin file of the tracker `fake`, loaded."""
    path = tmp_path / "fake_tracker.py"
    path.write_text(FAKE)
    load_plugin(path)
    yield path
    TRACKERS.unregister("fake")
    for name in [name for name in sys.modules if name.startswith("video_opd_plugin_")]:
        del sys.modules[name]
