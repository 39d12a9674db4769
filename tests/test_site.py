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
    page.write_text('<a href="https://example.org">fine</a> <a href="#here" id="here">fine</a> <img src="data:,">')
    assert script.list_faults(tmp_path) == []
    page.write_text(
        '<a href="gone.html#x">x</a> <a href="#gone">x</a> <script src="https://example.org/a.js"></script>'
    )
    (tmp_path / "page.css").write_text(
        '@import "https://example.org/a.css"; p { background: url(//example.org/a.png) }'
    )
    assert script.list_faults(tmp_path) == [
        'page.css: @import "https://example.org/a.css',
        "page.css: url(//example.org/a.png",
        "page.html: #gone is not there",
        "page.html: gone.html#x is not there",
        "page.html: <script src=https://example.org/a.js>",
    ]


@pytest.mark.parametrize("name", ["pages/mine.md", "site/mine.html", "zensical.toml"])
def test_a_folder_of_others_is_left_alone(script, tmp_path, name):
    mine = tmp_path / name
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(SystemExit, match="did not make"):
        script.build(tmp_path)
    assert mine.read_text() == "mine"
