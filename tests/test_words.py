"""The words of the source: plain docstrings, arguments that are explained, short parameter lists, standard English.

`python tests/test_words.py` prints every finding.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).resolve().parent
SOURCE = TESTS.parent / "src" / "video_opd"

KEPT = {"dialect: data/importers/_account.py: nobody"}
"""A key of the report of `data import --json`, which programs read."""

MOST_PARAMETERS, PARAMETERS_TO_EXPLAIN, FEWEST_WORDS = 6, 4, 3

DIALECT = {
    "nobody": "unknown; not known; no …",
    "somebody": "another program; a user",
    "cannot be had": "is not available; could not be downloaded",
    "to be had": "available",
    "nothing speaks": "no problem was found",
    "speaks against": "contradicts; is a reason against",
    "there is no such": "X does not exist; no X has this name",
    "will not do": "is not supported",
    "passed over": "is skipped; is ignored",
    "passes over": "skips; ignores",
    "put to it": "the model is asked",
    "put to a model": "a model is asked",
    "spoken of": "is reported; is named",
    "whatever it is told": "regardless of its settings",
}
"""Phrases that a reader of standard English stumbles over, and what may stand there."""


class Finding(NamedTuple):
    """One place that breaks a rule."""

    rule: str
    file: str
    """Path below the package."""
    where: str
    """Name of the function, or the phrase."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.file}: {self.where}"


class Function(NamedTuple):
    node: ast.FunctionDef | ast.AsyncFunctionDef
    name: str
    """With the classes around it."""
    is_public: bool
    is_method: bool

    @property
    def is_overload(self) -> bool:
        """Whether it only names types; the function that it belongs to is explained."""
        return any(isinstance(found, ast.Name) and found.id == "overload" for found in self.node.decorator_list)

    @property
    def parameters(self) -> list[str]:
        found = self.node.args
        rest = [argument for argument in (found.vararg, found.kwarg) if argument is not None]
        names = [argument.arg for argument in (*found.posonlyargs, *found.args, *found.kwonlyargs, *rest)]
        return names[1:] if self.is_method and names[:1] in (["self"], ["cls"]) else names

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""


def functions(parent: ast.AST, names: tuple[str, ...] = (), public: bool = True) -> Iterator[Function]:
    """Every function. Public: neither it nor anything around it starts with an underscore or is a function."""
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            name = (*names, node.name)
            yield Function(node, ".".join(name), public and node.name[0] != "_", isinstance(parent, ast.ClassDef))
            yield from functions(node, name, public=False)
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, (*names, node.name), public and node.name[0] != "_")
        else:
            yield from functions(node, names, public)


def repeats_its_name(function: Function) -> bool:
    """Whether a docstring has no word of its own beside the function's name (`fingerprint`: "Its fingerprint.")."""
    small = {"a", "an", "the", "its", "of", "s", "this", "that", "is", "whether", "as", "for", "and"}
    own = set(re.findall(r"[a-z]+", function.docstring.lower())) - small
    return own <= set(re.findall(r"[a-z]+", function.name.lower()))


def findings_in(text: str, file: str) -> Iterator[Finding]:
    """Everything in one module that breaks a rule."""
    tree = ast.parse(text)
    for function in functions(tree):
        many = len(function.parameters)
        is_constructor = function.is_method and function.node.name == "__init__"
        if many > MOST_PARAMETERS and not is_constructor:
            yield Finding(f"more than {MOST_PARAMETERS} parameters", file, function.name)
        if not function.is_public or function.is_overload:
            continue
        if many >= PARAMETERS_TO_EXPLAIN and not re.search(r"^\s*Args:$", function.docstring, re.MULTILINE):
            yield Finding("no Args section", file, function.name)
        if len(function.docstring.split()) < FEWEST_WORDS or repeats_its_name(function):
            yield Finding("docstring says too little", file, function.name)
    written = " ".join(strings(tree)).lower()
    for phrase in DIALECT:
        if re.search(rf"\b{phrase}\b", written):
            yield Finding("dialect", file, phrase)


def strings(tree: ast.AST) -> Iterator[str]:
    """Docstrings, messages and pieces of f-strings, each on one line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield " ".join(node.value.split())


def findings(source: Path = SOURCE) -> set[Finding]:
    paths = sorted(source.rglob("*.py"))
    return {
        finding
        for path in paths
        for finding in findings_in(path.read_text(encoding="utf-8"), path.relative_to(source).as_posix())
    }


@pytest.fixture(scope="module")
def found() -> set[str]:
    return set(map(str, findings()))


def test_nothing_is_found(found):
    assert sorted(found - KEPT) == []
    assert found >= KEPT, "no longer needed"


GOOD = '''
class Record:
    """A record."""
    def __init__(self, a, b, c, d, e, f, g): ...
    def add(self, one, two, three):
        """Add three more numbers."""
def draw(a, b, c, d):
    """Draw the four of them.

    Args:
        a: the first.
    """
def _inner(a, b, c, d, e, f): ...
'''


def test_a_module_in_order_has_no_findings():
    assert list(findings_in(GOOD, "a.py")) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('def f(a, b, *, c, d):\n    "Does four things at once."', "no Args section: a.py: f"),
        ('class A:\n def f(self, a, b, c, **d):\n  "Does four things at once."', "no Args section: a.py: A.f"),
        ("def _f(a, b, c, d, e, f, g): ...", "more than 6 parameters: a.py: _f"),
        ("def f_():\n 'Says what it does.'\n def f(a, b, c, d, e, f, g): ...", "more than 6 parameters: a.py: f_.f"),
        ('def f():\n    "The method\'s."', "docstring says too little: a.py: f"),
        ("def f(): ...", "docstring says too little: a.py: f"),
        ('def lost_frames():\n    "The frames of the lost."', "docstring says too little: a.py: lost_frames"),
        ('x = f"{1} videos cannot be\\n had"', "dialect: a.py: cannot be had"),
        ('"""Nobody knows."""', "dialect: a.py: nobody"),
    ],
)  # fmt: skip
def test_each_rule_finds_what_breaks_it(code, expected):
    assert [str(finding) for finding in findings_in(code, "a.py")] == [expected]


if __name__ == "__main__":
    print(*sorted(map(str, findings())), sep="\n")
