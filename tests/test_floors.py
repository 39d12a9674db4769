"""The floors of the house: a module imports from its own floor and from lower ones, and nothing grows too large."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "video_opd"
SOURCE = Path(__file__).resolve().parents[1] / "src" / PACKAGE

FLOORS = (
    (
        "types",
        "errors",
        "child_environment",
        "redaction",
        "seeds",
        "messages",
        "host_memory",
        "output_streams",
        "ranks",
        "stop_signals",
        "system_memory",
        "terminal",
        "consoles",
    ),
    ("suggestions", "sample_size", "settings", "lazy", "plugin_table", "plugins"),
    ("files", "objectives", "grounding"),
    ("data", "policy", "curriculum"),
    ("methods",),  # a recipe holds the settings of methods, which stand with them
    ("config", "runs", "eval", "trackers"),
    ("train", "report"),
    ("compare", "doctor", "demo", "starting", "plan", "bug_report", "serve"),
    ("cli", "api", "__main__", "__init__"),
)
"""Rooms (a module or a package directly under the package) from the ground up; see the tree in docs/ARCHITECTURE.md."""

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

DUMPING_GROUNDS = {"utils", "helpers", "common", "misc"}

TWINS = {
    "cg_bench.py", "cg_splits.py", "didemo.py", "ego4d_nlq.py", "hirest.py", "museg.py", "nextgqa.py",
    "qvhighlights.py", "time_r1.py", "timelens2.py", "vue_tr.py",
}  # fmt: skip
"""Of one data set: an importer of its annotations and a scorer of its results. Every other name stands once."""

TWIN_FOLDERS = {Path("data/importers"), Path("eval/scorers")}

MOST_LINES, LINES_AIMED_AT = 500, 350
LONG_FOR_A_REASON = {}

MOST_LINES_OF_A_FUNCTION = 60


class Import(NamedTuple):
    """One import of a module of the package."""

    importer: str
    """Path below the package."""
    line: int
    room: str
    """What is imported from."""
    top_level: bool
    """Not inside a function."""


def room_of(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def modules(source: Path) -> list[Path]:
    return sorted(path.relative_to(source) for path in source.rglob("*.py"))


def imports(source: Path) -> Iterator[Import]:
    """Every import within the package, whether at the top, in a function, or for the type checker only."""
    for path in modules(source):
        tree = ast.parse((source / path).read_text(encoding="utf-8"))
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            for name in imported_names(node, path):
                parts = name.split(".")
                if parts[0] == PACKAGE and len(parts) > 1 and not parts[1].startswith("__"):
                    yield Import(str(path), node.lineno, parts[1], id(node) not in inside)


def imported_names(node: ast.AST, path: Path) -> list[str]:
    """Dotted names that an import statement reaches for; nothing for other statements."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = (PACKAGE, *path.parent.parts)
        base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
    return [f"{base}.{alias.name}" for alias in node.names] if base == PACKAGE else [base]


def climbing(source: Path) -> list[str]:
    """Imports from a higher floor, as `file:line imports room`."""
    return [
        f"{found.importer}:{found.line} imports {found.room}"
        for found in imports(source)
        if found.room not in FLOOR_OF or FLOOR_OF[found.room] > FLOOR_OF.get(room_of(Path(found.importer)), -1)
    ]


def long_functions(source: Path, most: int = MOST_LINES_OF_A_FUNCTION) -> dict[str, int]:
    """`file:line function` -> its lines, with decorators and docstring, of every function that has more than `most`."""
    lengths: dict[str, int] = {}
    for path in modules(source):
        for node in ast.walk(ast.parse((source / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                lengths[f"{path}:{node.lineno} {node.name}"] = (node.end_lineno or first) - first + 1
    return {name: length for name, length in lengths.items() if length > most}


def homeless(source: Path) -> set[str]:
    return {room_of(path) for path in modules(source)} - FLOOR_OF.keys() - {"__init__"}


def circle(source: Path) -> list[str] | None:
    """Rooms that import one another in a circle when they are loaded."""
    graph: dict[str, set[str]] = {}
    for found in imports(source):
        importer = room_of(Path(found.importer))
        if found.top_level and found.room != importer:
            graph.setdefault(importer, set()).add(found.room)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


def repeated_names(source: Path) -> dict[str, list[str]]:
    """File name -> the folders that have such a file, where there are several and they are no twins."""
    folders: dict[str, list[Path]] = {}
    for path in modules(source):
        if path.name not in ("__init__.py", "__main__.py"):
            folders.setdefault(path.name, []).append(path.parent)
    return {
        name: [str(folder) for folder in found]
        for name, found in folders.items()
        if len(found) > 1 and not (name in TWINS and set(found) == TWIN_FOLDERS)
    }


def repeated_classes(source: Path) -> dict[str, list[str]]:
    """Class name -> the modules that define a class of that name, where there are several."""
    found: dict[str, list[str]] = {}
    for path in modules(source):
        for node in ast.walk(ast.parse((source / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path))
    return {name: paths for name, paths in found.items() if len(set(paths)) > 1}


def test_every_class_name_stands_in_one_module():
    assert repeated_classes(SOURCE) == {}


def test_every_file_name_is_used_once():
    assert repeated_names(SOURCE) == {}
    assert all((SOURCE / folder / name).exists() for name in TWINS for folder in TWIN_FOLDERS), "no longer twins"


def test_every_module_has_a_floor():
    assert homeless(SOURCE) == set()
    assert {room for room in FLOOR_OF if not any((SOURCE / name).exists() for name in (room, f"{room}.py"))} == set()


def test_no_import_climbs():
    assert climbing(SOURCE) == []


def test_rooms_do_not_import_one_another_in_a_circle():
    assert circle(SOURCE) is None


def test_there_are_no_dumping_grounds():
    assert [str(path) for path in modules(SOURCE) if {part.removesuffix(".py") for part in path.parts} & DUMPING_GROUNDS] == []  # fmt: skip  # noqa: E501


def test_files_stay_small():
    lines = {str(path): len((SOURCE / path).read_text(encoding="utf-8").splitlines()) for path in modules(SOURCE)}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}
    assert {path for path, count in lines.items() if count > LINES_AIMED_AT} <= LONG_FOR_A_REASON.keys()
    assert {path for path in LONG_FOR_A_REASON if lines[path] <= LINES_AIMED_AT} == set(), "no longer needs a reason"


def test_functions_stay_small():
    assert long_functions(SOURCE) == {}


@pytest.fixture
def house(tmp_path) -> Path:
    """A house in order."""
    write(tmp_path, "__init__.py", "")
    write(tmp_path, "types.py", "")
    write(tmp_path, "data/video/video_io.py", "from video_opd.types import Span")
    write(tmp_path, "cli.py", "from video_opd import __version__\ndef main():\n    from video_opd import demo")
    write(tmp_path, "demo.py", "import video_opd.data.video.video_io")
    return tmp_path


def write(house: Path, name: str, text: str) -> None:
    (house / name).parent.mkdir(parents=True, exist_ok=True)
    (house / name).write_text(text)


def test_a_house_in_order_passes(house):
    assert climbing(house) == []
    assert homeless(house) == set()
    assert circle(house) is None


@pytest.mark.parametrize(
    "statement",
    [
        "from video_opd.policy.load import Policy",
        "import video_opd.policy.load",
        "from video_opd import policy",
        "from . import policy",
        "from .policy.load import Policy",
        "if TYPE_CHECKING:\n    from video_opd.policy.load import Policy",
        "def late():\n    from video_opd.policy.load import Policy",
        "from video_opd.attic import Trunk",
    ],
)
def test_an_import_that_climbs_is_found(house, statement):
    write(house, "types.py", statement)
    assert len(climbing(house)) == 1
    assert climbing(house)[0].startswith("types.py:")


def test_a_relative_import_that_climbs_is_found_from_within_a_package(house):
    write(house, "data/video/video_io.py", "from ...train.loop import train")
    assert climbing(house) == ["data/video/video_io.py:1 imports train"]


def test_a_long_function_is_found_within_a_class_too(house):
    text = "class Room:\n    @property\n    def long(self):\n" + "        1\n" * 58
    write(house, "types.py", text)
    assert long_functions(house) == {}
    write(house, "types.py", text + "        1\n")
    assert long_functions(house) == {"types.py:3 long": 61}


def test_a_module_without_a_floor_is_found(house):
    write(house, "attic.py", "")
    write(house, "cellar/wine.py", "")
    assert homeless(house) == {"attic", "cellar"}


def test_a_name_in_two_folders_is_found(house):
    write(house, "policy/video_io.py", "")
    assert repeated_names(house) == {"video_io.py": ["data/video", "policy"]}


def test_twins_are_of_an_importer_and_a_scorer(house):
    write(house, "data/importers/didemo.py", "")
    write(house, "eval/scorers/didemo.py", "")
    assert repeated_names(house) == {}
    write(house, "eval/benchmarks/didemo.py", "")
    assert repeated_names(house) == {"didemo.py": ["data/importers", "eval/benchmarks", "eval/scorers"]}


def test_a_class_name_in_two_modules_is_found(house):
    write(house, "types.py", "class Span: ...")
    write(house, "report.py", "def draw():\n    class Span: ...\n    class Bar: ...")
    assert repeated_classes(house) == {"Span": ["report.py", "types.py"]}


def test_a_circle_is_found(house):
    write(house, "config.py", "from video_opd.data import video")
    write(house, "data/video/video_io.py", "from video_opd.config import Recipe")
    assert circle(house) is not None
    write(house, "data/video/video_io.py", "def late():\n    from video_opd.config import Recipe")
    assert circle(house) is None
