"""Plugin files: what they register is offered, and what is wrong with one is told in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from video_opd.config.recipe_file import load_recipe
from video_opd.data.importers import FORMATS, ReadOptions, read_annotations, register_importer
from video_opd.errors import ConfigurationError, DataError, Stopped
from video_opd.eval.scorers import (
    RESULT_FORMATS,
    SCORERS,
    GroundTruth,
    ResultAnswer,
    ResultFormat,
    read_matched,
    register_scorer,
    score_as,
)
from video_opd.eval.scorers._result_rows import ResultRow, make_file_reader
from video_opd.grounding.reward import REWARDS
from video_opd.methods import METHODS
from video_opd.plugins import load_plugin
from video_opd.types import Example, Span


@pytest.fixture(autouse=True)
def nothing_stays():
    """Names that a test registers are unknown to the next."""
    modules = {*sys.modules}
    yield
    for table in (SCORERS, FORMATS, METHODS, REWARDS):
        for name in [*table]:
            table.unregister(name)  # what is ours stays
    for name in [name for name in sys.modules if name.startswith("video_opd_plugin_") and name not in modules]:
        del sys.modules[name]


@pytest.fixture
def plugin(tmp_path):
    def write(text: str, name: str = "mine.py") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


SCORER = """\
from __future__ import annotations
from dataclasses import dataclass
from video_opd.eval.scorers import register_scorer

@dataclass
class Kept:
    of: Kept | None = None

def score(truth, answers):
    raise NotImplementedError

register_scorer("mine", score)
"""


def test_a_plugin_registers_what_it_offers(plugin):
    load_plugin(plugin(SCORER))
    assert "mine" in SCORERS
    assert SCORERS["mine"].__name__ == "score"
    load_plugin(plugin(SCORER))  # the same again, as in a notebook, takes its own place


def refused(path: Path | str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_plugin(path)
    return str(caught.value)


def test_no_such_file(tmp_path):
    said = refused(tmp_path / "nowhere.py")
    assert said == f"the plugin {tmp_path}/nowhere.py: it cannot be read: No such file or directory. Check the path."
    (tmp_path / "folder.py").mkdir()
    assert "Is a directory" in refused(tmp_path / "folder.py")


@pytest.mark.parametrize(
    ("text", "place"),
    [("x = = 1\n", ", line 1: it is not Python"), ("x = 1\n  y\n", ", line 2: it is not"), ("\0", "it is not Python")],
)
def test_not_python(plugin, text, place):
    assert place in refused(plugin(text))


def test_bytes_that_are_no_text(plugin):
    path = plugin("")
    path.write_bytes(b"x = '\xff\xfe'\n")
    assert "it is not Python" in refused(path)


def test_another_kind_of_file(plugin):
    assert "its name does not end in .py" in refused(plugin('{"id": 1}', "recipe.json"))


def test_an_error_within_names_the_line_of_the_plugin(plugin):
    path = plugin("import json\n\ndef broken():\n    return json.loads('nothing')\n\nbroken()\n")
    assert refused(path).startswith(
        f"the plugin {path}, line 4, `return json.loads('nothing')`: JSONDecodeError: Expecting value"
    )
    assert not [name for name in sys.modules if name.startswith("video_opd_plugin_")]


ALL_FOUR = """\
from typing import Literal
import video_opd
from video_opd.methods import MethodSettings

@video_opd.register_method
class MineSettings(MethodSettings):
    name: Literal["mine"]

@video_opd.register_reward("mine")
def reward(answer, example): ...

@video_opd.register_importer("mine")
def read(files, reading): ...

@video_opd.register_scorer("mine")
def score(truth, answers): ...
"""


def all_names() -> list[list[str]]:
    return [[*table] for table in (METHODS, REWARDS, FORMATS, SCORERS)]


@pytest.mark.parametrize(
    ("last_line", "reason"),
    [
        ("1 / 0\n", "division by zero"),
        ('video_opd.register_scorer("timelens", score)\n', "the name is taken"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_plugin_that_fails_half_way_registers_nothing(plugin, last_line, reason):
    before = all_names()
    assert reason in refused(plugin(ALL_FOUR + last_line))
    assert all_names() == before
    with pytest.raises(ConfigurationError, match="no method has that name"):
        load_recipe(Path("tiny-opd"), {"method.name": "mine"})
    load_plugin(plugin(ALL_FOUR))  # corrected, and run again
    assert all_names() == [[*names, "mine"] for names in before]


def test_what_an_earlier_plugin_registered_stays_where_a_later_one_fails(plugin):
    load_plugin(plugin(SCORER))
    kept = SCORERS["mine"]
    refused(plugin(SCORER.replace("mine", "another") + "1 / 0\n", "another.py"))
    assert "another" not in SCORERS
    refused(plugin(SCORER + "1 / 0\n"))  # the same file, which took its own place before it failed
    assert SCORERS["mine"] is kept


def test_a_plugin_that_is_stopped_registers_nothing(plugin):
    with pytest.raises(Stopped):
        load_plugin(plugin(SCORER + "from video_opd.errors import Stopped\nraise Stopped(15, 'terminated')\n"))
    assert "mine" not in SCORERS


UNBUILDABLE = """\
from __future__ import annotations
from typing import Literal
import video_opd
from video_opd.methods import MethodSettings

class MineSettings(MethodSettings):
    name: Literal["mine"]
    strength: NoSuchType = 1.0

video_opd.register_method(MineSettings)
"""


def test_a_method_whose_settings_cannot_be_built_leaves_recipes_as_they_were(plugin):
    refused(plugin(UNBUILDABLE))
    assert "mine" not in METHODS
    assert load_recipe(Path("tiny-opd")).method.name == "opd"


FIRST_USE = """\
import sys
from pathlib import Path
from video_opd.errors import ConfigurationError
from video_opd.plugins import load_plugin
assert "video_opd.eval.scorers" not in sys.modules
try:
    load_plugin(Path(sys.argv[1]))
except ConfigurationError:
    from video_opd.eval.scorers import SCORERS
    print("mine" in SCORERS, "timelens" in SCORERS)
"""


def test_a_table_that_the_plugin_itself_is_the_first_to_use_is_undone_too(plugin):
    words = [sys.executable, "-c", FIRST_USE, str(plugin(SCORER + "1 / 0\n"))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False True\n"


def test_a_missing_package_says_what_to_do(plugin):
    said = refused(plugin("import no_such_package\n"))
    assert "line 1, `import no_such_package`: ModuleNotFoundError" in said
    assert said.endswith("Install what is missing, or correct the line.")


def test_leaving_the_program_is_an_error_of_the_plugin_but_a_signal_is_none(plugin):
    assert "line 1, `raise SystemExit(3)`: SystemExit: 3" in refused(plugin("raise SystemExit(3)\n"))
    with pytest.raises(Stopped):
        load_plugin(plugin("from video_opd.errors import Stopped\nraise Stopped(15, 'terminated')\n"))


@pytest.mark.parametrize("taken", ["timelens", "ours"])
def test_a_taken_name_names_the_line_too(plugin, taken):
    path = plugin(SCORER.replace('"mine"', f'"{taken}"'))
    said = refused(path)
    assert f"line 12, `register_scorer(\"{taken}\", score)`: the name '{taken}' for a scorer: the name is taken" in said
    assert "Choose a name that is none of ours, timelens, lmms-eval-timelens" in said


def test_two_files_cannot_share_a_name(plugin):
    load_plugin(plugin(SCORER))
    assert "the name is taken" in refused(plugin(SCORER, "another.py"))


@pytest.mark.parametrize("name", ["", "Mine", "my scorer", "-mine", "mine=", "../mine", 3])
def test_a_name_that_no_command_line_could_take(name):
    for register in (register_scorer, register_importer):
        with pytest.raises(ConfigurationError, match="lower-case letters"):
            register(name, lambda *_: None)


def test_both_may_be_decorators():
    @register_scorer("mine")
    def score(truth, answers): ...

    @register_importer("mine", heeds=("unit",))
    def read(files, reading): ...

    assert SCORERS["mine"] is score
    assert FORMATS["mine"] == (read, ("unit",), False, False)
    with pytest.raises(ConfigurationError, match="no option has that name"):
        register_importer("another", read, heeds=("units",))


def test_two_lambdas_are_two_scorers():
    register_scorer("mine", lambda truth, answers: None)
    with pytest.raises(ConfigurationError, match="the name is taken"):
        register_scorer("mine", lambda truth, answers: None)


IMPORTER = """\
from video_opd.data.importers import Annotation, register_importer
from video_opd.files.records import text_lines

def read(files, reading):
    for file in files:
        for record in text_lines(file):
            parts = record.value.split("|")
            if len(parts) != 4:
                record.refuse("it has not four parts")
            video, start, end, query = parts
            yield Annotation(record=record, video=video, query=query, spans=((float(start), float(end)),))

register_importer("mine", read)
"""


def test_an_importer_of_ones_own_reads_and_is_recognised(plugin, tmp_path):
    load_plugin(plugin(IMPORTER))
    file = tmp_path / "a.txt"
    file.write_text("a.mp4|1|2.5|a red ball\n")
    found = read_annotations("mine", [file], ReadOptions())
    assert [(one.video, one.query, one.spans) for one in found] == [("a.mp4", "a red ball", ((1.0, 2.5),))]
    with pytest.raises(DataError, match=r"it looks like mine\. Import it with `video-opd data import mine`"):
        read_annotations("qvhighlights", [file], ReadOptions())


def test_a_format_of_result_files_is_one_entry(tmp_path):
    def rows(record):
        yield ResultRow(record.value["who"], None, ResultAnswer(text=record.value["said"]))

    mine = ResultFormat(
        is_like=lambda value: {"who", "said"} <= value.keys(), read=make_file_reader(rows), own_unit="minutes"
    )
    RESULT_FORMATS.register("mine", mine)
    try:
        path = tmp_path / "p.jsonl"
        path.write_text('{"who": "1", "said": "1.0 - 2.0"}\n')
        example = Example(id="set/1", video="a.mp4", query="a", spans=(Span(60, 120),), duration=200.0)
        found = read_matched(path, GroundTruth(examples=(example,)))
    finally:
        RESULT_FORMATS.unregister("mine")
    assert found.format == "mine"
    assert found.by_id["set/1"].parse().spans == ((60.0, 120.0),)


def test_a_scorer_that_returns_something_else_is_told_so(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": "1", "answer": "1.0 - 2.0"}\n')
    truth = GroundTruth(examples=(Example(id="1", video="a.mp4", query="a", spans=(Span(1, 2),), duration=9.0),))
    with pytest.raises(ConfigurationError, match="it returned float, and a scorer returns OfficialScores"):
        score_as(lambda truth, answers: 0.5, truth, read_matched(path, truth))


def test_what_is_ours_cannot_be_taken_out():
    SCORERS.unregister("timelens")
    assert "timelens" in SCORERS


NAMES = """\
import json, sys
from video_opd.data.importers import FORMATS
from video_opd.eval.benchmarks import BENCHMARKS
from video_opd.eval.scorers import RESULT_FORMATS, SCORERS
names = [[*table] for table in (SCORERS, RESULT_FORMATS, FORMATS, BENCHMARKS)]
print(json.dumps([names, [*sys.modules]]))
"""


def test_the_tables_are_read_without_importing_what_they_name():
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True, timeout=60)
    names, modules = json.loads(done.stdout)
    assert names[0][:2] == ["timelens", "lmms-eval-timelens"]
    assert all(names)
    assert {"numpy", "pydantic", "torch"}.isdisjoint(modules)
    assert [
        name for name in modules if name.startswith(("video_opd.eval.scorers.", "video_opd.eval.benchmarks."))
    ] == []
    assert [name for name in modules if name.startswith("video_opd.data.importers.")] == [
        "video_opd.data.importers._formats"
    ]


@pytest.mark.parametrize("register", ["scorer", "reward", "importer"])
def test_a_decorator_without_its_name_is_refused_at_its_line(plugin, register):
    path = plugin(f"import video_opd\n\n@video_opd.register_{register}\ndef mine(one, other): ...\n")
    said = refused(path)
    assert f"line 3, `@video_opd.register_{register}`: a" in said
    assert "without a name: the decorator was written without its parentheses" in said


@pytest.mark.parametrize("text", ["@video_opd.register_method('x')", "@video_opd.register_method\nclass S: ..."])
def test_a_method_is_registered_by_its_settings(plugin, text):
    assert "it is no class of settings" in refused(plugin(f"import video_opd\n{text}\ndef f(): ...\n"))


def test_what_is_no_function_cannot_be_registered(plugin):
    for register in (register_scorer, register_importer):
        with pytest.raises(ConfigurationError, match="a function is registered, and this is int"):
            register("mine", 3)


def test_a_plugin_that_fails_when_it_is_used_names_its_line(plugin, tmp_path, capsys):
    from video_opd.cli import main

    row = {"id": "a", "video": "a.mp4", "query": "a", "spans": [[1, 2]], "duration": 9}
    (tmp_path / "truth.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "answers.jsonl").write_text('{"id": "a", "answer": "1 - 2 s"}\n')
    path = plugin(SCORER.replace("raise NotImplementedError", "return 1 / 0"))
    words = ["metrics", str(tmp_path / "answers.jsonl"), "--ground-truth", str(tmp_path / "truth.jsonl")]
    assert main([*words, "--plugin", str(path), "--as", "mine"]) == 2
    assert capsys.readouterr().err == (
        f"video-opd: the plugin {path}, line 10, `return 1 / 0`: ZeroDivisionError: division by zero. "
        "Correct the line.\n"
    )
