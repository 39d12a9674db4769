"""README and docs: every command is understood, every link leads somewhere, every module is listed, examples run."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest

from video_opd.cli import take_overrides
from video_opd.cli.application import understand
from video_opd.data.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[1]
LOG = ROOT / "docs" / "LOG.md"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")])
"""The log tells of commands and files as they were, so it is not held to today's."""
PRESENT = [page for page in PAGES if page != LOG]

FORMER = "official/", "assemble/", "vocabulary.py", "training/", "evaluation/official"
"""Rooms that have other names now."""


def blocks(page: Path, language: str = "") -> list[str]:
    """The code blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == language]


def commands_of(text: str) -> list[str]:
    """Every `video-opd …` of a block, with lines that go on put together, without comments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if re.match(r"\s*(\$ )?video-opd ", line)]


def commands() -> list[tuple[str, str]]:
    """Page and command, of blocks and of the running text where it is a whole command."""
    found = []
    for page in PRESENT:
        if page.name == "EXTENDING.md":
            continue  # its commands name plugins that must be there: tests/test_extending.py
        found += [(page.name, command) for block in blocks(page) for command in commands_of(block)]
    for recipe in sorted((ROOT / "recipes").rglob("*.toml")):
        lines = recipe.read_text(encoding="utf-8").splitlines()
        found += [(recipe.name, line[4:]) for line in lines if line.startswith("#   video-opd ")]
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_is_understood(page, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(re.sub(r">\(.*?\)", "pipe", command), comments=True)[1:]
    words, overrides = take_overrides([word for word in words if word not in ("…", "&&")])
    call = understand(words)
    assert call.recipe_keys is not None or not overrides


def test_commands_are_found():
    assert len(commands()) > 40


def test_a_command_that_is_not_understood_would_be_found(tmp_path, monkeypatch):
    from video_opd.errors import ConfigurationError

    monkeypatch.chdir(tmp_path)
    (command,) = commands_of("$ video-opd train tiny-opd \\\n    --outt runs/x   # a comment\nanother line\n")
    with pytest.raises(ConfigurationError, match="--outt"):
        understand(shlex.split(command, comments=True)[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PRESENT, ids=lambda page: page.name)
def test_paths_are_those_of_today(page):
    text = page.read_text(encoding="utf-8").partition("## Every file")[0]  # that list has a test of its own
    paths = re.findall(r"`((?:src|tests|docs|recipes|scripts|benchmarks)/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [room for room in FORMER if f"`{room}" in text] == []


def test_no_place_of_a_machine_is_named():
    for page in (*PAGES, ROOT / "examples" / "tour.ipynb"):
        assert not re.search(r"(?<![\w.])/(?:work|home|root)/|--index-url http", page.read_text(encoding="utf-8")), (
            page.name
        )


def test_every_module_is_listed_and_no_other():
    spec = importlib.util.spec_from_file_location("list_modules", ROOT / "scripts" / "list_modules.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w/.]+)` \| (.*) \|$", text, re.MULTILINE)
    assert [name for name, _ in listed] == script.modules(), "run `python scripts/list_modules.py`"
    assert [name for name, said in listed if not said] == [], "they have no docstring"


def test_every_folder_is_in_the_tree():
    (tree,) = (block for block in blocks(ROOT / "docs" / "ARCHITECTURE.md") if block.startswith("src/"))
    folders = {path.name for path in (ROOT / "src" / "video_opd").iterdir() if path.is_dir()}
    assert [name for name in sorted(folders - {"__pycache__", "recipes"}) if f"  {name}/" not in tree] == []


def test_the_readme_is_two_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/API.md", "docs/EXPLANATION.md"])
def test_the_examples_run(page, world, tmp_path, monkeypatch):
    from video_opd.grounding.reward import REWARDS

    monkeypatch.setattr(REWARDS, "_entries", REWARDS._entries)  # an example registers one, which goes again
    monkeypatch.chdir(tmp_path)
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    shutil.copy(world / "videos" / read_manifest(world / "test.jsonl")[0].video, "clip.mp4")
    examples = blocks(ROOT / page, "python")
    assert examples
    names: dict[str, object] = {}
    for number, example in enumerate(examples):
        exec(compile(example, f"{page}, example {number}", "exec"), names)
