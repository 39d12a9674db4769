"""The examples of docs/EXTENDING.md, each run as it stands there: as a plugin file, and as an object in Python."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import video_opd
from video_opd.cli import main
from video_opd.data.importers import FORMATS
from video_opd.data.manifest import read_manifest
from video_opd.eval.scorers import SCORERS
from video_opd.grounding.reward import REWARDS
from video_opd.methods import METHODS
from video_opd.trackers import TRACKERS

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "EXTENDING.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^## (A method|A reward|An importer|A scorer|A tracker)\n(.*?)(?=^## )", TEXT, re.MULTILINE | re.DOTALL)
)


def code(section: str) -> tuple[str, str, str]:
    """The plugin file, the command and the Python of a section."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    plugin, python = (text for language, text in blocks if language == "python")
    (command,) = (text for language, text in blocks if not language)
    return plugin, command.strip(), python


@pytest.fixture(autouse=True)
def a_folder_of_ones_own(tmp_path, monkeypatch):
    """And names that no other test sees."""
    monkeypatch.chdir(tmp_path)
    yield
    for table in (SCORERS, FORMATS, METHODS, REWARDS, TRACKERS):
        for name in [*table]:
            table.unregister(name)  # what is ours stays
    for name in [name for name in sys.modules if name.startswith("video_opd_plugin_")]:
        del sys.modules[name]


def as_a_plugin(section: str, *more: str) -> int:
    """Run the command of a section with the file that it names."""
    plugin, command, _ = code(section)
    name = plugin.splitlines()[0].removeprefix("# ")
    Path(name).write_text(plugin)
    program, *words = shlex.split(command)
    assert program == "video-opd"
    assert words[words.index("--plugin") + 1] == name
    return main([*words, *more])


def as_an_object(section: str, **names: object) -> dict[str, object]:
    """Run the definitions of a section and then its Python, without a plugin file."""
    plugin, _, python = code(section)
    space: dict[str, object] = {"__name__": "notebook"}
    for text in (plugin, python):
        exec(compile(text, "notebook", "exec", dont_inherit=True), space | names if text is python else space)
    return space


def test_every_section_is_tried():
    assert [*SECTIONS] == ["A method", "A reward", "An importer", "A scorer", "A tracker"]
    assert len(re.findall(r"^```python$", TEXT, re.MULTILINE)) == 10


LINES = "kitchen7.mp4 | 3.0 | 7.5 | a person opens the fridge\nkitchen8.mp4 | 0 | 2 | it rains\n"


def test_an_importer_as_a_plugin(capsys):
    Path("mine.txt").write_text(LINES)
    assert as_a_plugin("An importer") == 0
    assert [(example.id, example.spans) for example in read_manifest(Path("mine.jsonl"))] == [
        ("bars/kitchen7/0", ((3.0, 7.5),)), ("bars/kitchen8/0", ((0.0, 2.0),)),
    ]  # fmt: skip
    Path("mine.txt").write_text("kitchen7.mp4 | 3.0 | later | a person opens the fridge\n")
    assert as_a_plugin("An importer") == 2
    assert "mine.txt, line 1: '3.0' and 'later' are not two times in seconds" in capsys.readouterr().err


def test_an_importer_as_an_object(capsys):
    Path("mine.txt").write_text(LINES)
    as_an_object("An importer")
    assert capsys.readouterr().out == "2 2 Counter()\n"
    assert [example.query for example in read_manifest(Path("mine.jsonl"))] == ["a person opens the fridge", "it rains"]


@pytest.fixture
def predictions(world) -> None:
    """Of the first query the middle, of the second something else, of the others nothing."""
    examples = read_manifest(world / "test.jsonl")
    Path("test.jsonl").write_bytes((world / "test.jsonl").read_bytes())
    first, second = examples[:2]
    rows = [
        {"id": first.id, "spans": [[first.spans[0].start_s, first.spans[0].end_s]]},
        {"id": second.id, "spans": [[second.spans[0].end_s + 1, second.spans[0].end_s + 2]]},
    ]
    Path("predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.usefixtures("predictions")
def test_a_scorer_as_a_plugin(capsys):
    assert as_a_plugin("A scorer", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["scores"] == {"pointing": 25.0}
    assert report["convention"]["source"] == "my_scorer.py"


@pytest.mark.usefixtures("predictions")
def test_a_scorer_as_an_object(capsys):
    as_an_object("A scorer")
    assert capsys.readouterr().out == "{'pointing': 25.0}\n"


@pytest.fixture
def recipes(recipe_file) -> None:
    """The recipes that the examples name, made small."""
    text = recipe_file.read_text()
    Path("tiny-opd").write_text(text)
    Path("tiny-grpo").write_text(text.replace("[prompt]", '[method]\nname = "grpo"\nnum_answers = 2\n\n[prompt]'))


def metrics_of(run: Path) -> list[dict]:
    return [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "loss" in row]


@pytest.mark.usefixtures("recipes")
def test_a_method_as_a_plugin_is_compared_with_one_of_ours(capsys):
    plugin, _, _ = code("A method")
    file = plugin.splitlines()[0].removeprefix("# ")
    (name,) = re.findall(r'name: Literal\["(.*)"\]', plugin)
    Path(file).write_text(plugin)
    Path("compare.toml").write_text(
        f'name = "both"\nrecipe = "tiny-opd"\nseeds = [0]\n'
        f'[methods.opd.method]\nname = "opd"\n[methods.own.method]\nname = "{name}"\n'
    )
    words = ["compare", "compare.toml", "--out", "out", "--json"]
    assert main(words) == 2
    assert f"method.name = '{name}': no method has that name" in capsys.readouterr().err
    assert main([*words, "--plugin", file]) == 0
    assert [*json.loads(capsys.readouterr().out)["methods"]] == ["opd", "own"]
    assert all(metrics_of(run) for run in Path("out/runs").iterdir())


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize(("section", "name"), [("A method", "agreement"), ("A reward", "near-start")])
def test_training_with_ones_own_as_a_plugin(section, name):
    assert as_a_plugin(section) == 0
    assert len(metrics_of(Path("runs") / name)) == 2
    assert f'"{name}"' in (Path("runs") / name / "recipe.toml").read_text()


@pytest.mark.usefixtures("recipes")
@pytest.mark.parametrize(("section", "name"), [("A method", "agreement"), ("A reward", "near-start")])
def test_training_with_ones_own_as_an_object(section, name):
    as_an_object(section, video_opd=video_opd)
    assert len(metrics_of(Path("runs") / name)) == 2


@pytest.mark.usefixtures("recipes")
def test_a_tracker_as_a_plugin_and_from_python(capsys):
    """The weights are those of a run without it. From Python the file is loaded too: another process runs it."""
    assert as_a_plugin("A tracker") == 0
    assert "csv: runs/csv/numbers.csv" in capsys.readouterr().err
    tracked, plain = Path("runs/csv"), Path("runs/plain")
    rows = [line.split(",") for line in (tracked / "numbers.csv").read_text().splitlines()]
    assert [int(step) for step, _, _ in rows] == sorted(int(step) for step, _, _ in rows)
    for step, row in enumerate(metrics_of(tracked), start=1):
        sent = {name: float(number) for of, name, number in rows if int(of) == step}
        assert sent["train/loss"] == row["loss"]
        assert sent["train/work/student/prompt_passes"] == row["work"]["student"]["prompt_passes"]
    scores = json.loads((tracked / "evaluation/student-after.json").read_text())["scores"]
    assert float(rows[-1][2]) in scores.values()

    assert main(["train", "tiny-opd", "--out", str(plain)]) == 0
    weights = [run / "checkpoints/step-000002/model/model.safetensors" for run in (tracked, plain)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not list(plain.glob("*track*"))
    assert "tracker" not in (plain / "recipe.toml").read_text()

    capsys.readouterr()
    exec(compile(code("A tracker")[2], "notebook", "exec", dont_inherit=True), {})  # the run is done: nothing is sent
    assert capsys.readouterr().out.splitlines()[-1] == ",".join(rows[-1])
    assert len((tracked / "numbers.csv").read_text().splitlines()) == len(rows)
