"""The documentation as a site: it builds, its links lead somewhere, and nothing on it comes from another host."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    pytest.importorskip("griffe", reason="the site needs the packages of the extra `docs`")
    spec = importlib.util.spec_from_file_location("build_docs", SCRIPTS / "build_docs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("reference_pages", None)


@pytest.mark.slow
def test_the_site_builds_without_a_fault(script, tmp_path):
    first = script.build(tmp_path / "site-of-docs")
    pages = {page.stem: page.read_text(encoding="utf-8") for page in first.parent.glob("*.html")}
    assert "On-policy distillation" in pages["index"]
    assert "normalise_by" in pages["RECIPE_KEYS"]
    assert "sampled_advantage" in pages["PYTHON"]
    assert "Ask one question about one video." in pages["COMMANDS_IN_FULL"]
    assert "paper/video-opd-8b" in pages["RECIPES"]


def test_faults_of_a_site_are_found(script, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<a href="https://example.org">fine</a> <a href="#here">fine</a> <img src="data:,">')
    assert script.list_faults(tmp_path) == []
    page.write_text('<a href="gone.html#x">x</a> <script src="https://example.org/a.js"></script>')
    assert script.list_faults(tmp_path) == [
        "page.html: gone.html#x is not there",
        "page.html: <script src=https://example.org/a.js>",
    ]


def test_a_folder_of_others_is_left_alone(script, tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "mine.md").write_text("mine")
    with pytest.raises(SystemExit, match="not made by this script"):
        script.build(tmp_path)
    assert (tmp_path / "pages" / "mine.md").read_text() == "mine"
