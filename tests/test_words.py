"""The words of the source: plain docstrings, arguments that are explained, short parameter lists, names of functions
that say whether they act or answer yes or no, standard English.

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

PREDICATES = {"is", "has", "are", "can", "should", "may", "needs"}
"""First words of a function that returns a bool."""

NOT_NAMED_AS_A_PREDICATE = {
    "api/grounding_model.py: GroundingModel.shares_video": "docs/API.md documents it: users' code reads it",
    "curriculum/selection.py: Verdict.kept": "a key of the file of a selection",
    "eval/lmms_eval/lmms_process.py: _signal_group": "it acts: the bool says whether there was a group to signal",
    "files/written_record.py: _require_flag": "it converts a value that was read; the bool is that value",
    "grounding/parser_tokens.py: _give_words_roles": "it acts: the bool says whether a word was a label",
}
"""Functions that return a bool and have another name, and why."""

NO_VERBS = set(
    re.findall(
        r"\w+",
        "about after around as at before behind beside between by for from in into of off on over per to "
        "under until upon with within without and but if not or than unless how what when where which who "
        "whose why begun built drawn found given gone held kept known left lost made meant said seen sent "
        "shown spent taken told thought understood worn written",
    )
)
"""Prepositions, conjunctions and irregular participles: no first word of a function that returns nothing."""

VERBS_LIKE_PARTICIPLES = {"bring", "embed", "exceed", "feed", "need", "proceed", "seed", "string", "succeed"}

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
    def returns(self) -> str:
        """The annotation of what it returns, as text."""
        return ast.unparse(self.node.returns) if self.node.returns else ""

    @property
    def first_word(self) -> str:
        return self.node.name.strip("_").split("_")[0]

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


def is_misnamed_predicate(function: Function, file: str) -> bool:
    """Whether a function answers yes or no, and its name does not ask."""
    answers = function.returns == "bool" or function.returns.startswith(("TypeGuard[", "TypeIs["))
    is_special = function.node.name.startswith("__")
    is_asked = is_special or function.first_word in PREDICATES
    return answers and not is_asked and f"{file}: {function.name}" not in NOT_NAMED_AS_A_PREDICATE


def is_misnamed_action(function: Function) -> bool:
    """Whether a function returns nothing, so that it acts, and its name begins with a participle or a preposition."""
    word = function.first_word
    is_participle = word.endswith(("ed", "ing")) and word not in VERBS_LIKE_PARTICIPLES
    return function.returns == "None" and (is_participle or word in NO_VERBS)


def findings_in(text: str, file: str) -> Iterator[Finding]:
    """Everything in one module that breaks a rule."""
    tree = ast.parse(text)
    for function in functions(tree):
        many = len(function.parameters)
        is_constructor = function.is_method and function.node.name == "__init__"
        if many > MOST_PARAMETERS and not is_constructor:
            yield Finding(f"more than {MOST_PARAMETERS} parameters", file, function.name)
        if is_misnamed_predicate(function, file):
            yield Finding("returns a bool and is no predicate", file, function.name)
        if is_misnamed_action(function):
            yield Finding("acts and is no verb", file, function.name)
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
def _is_settled(a) -> bool: ...
def _seed_all(a) -> None: ...
def _settled(a) -> int: ...
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
        ("def _fits(a) -> bool: ...", "returns a bool and is no predicate: a.py: _fits"),
        ("class A:\n @property\n def _seen(self) -> bool: ...", "returns a bool and is no predicate: a.py: A._seen"),
        ("def _f():\n def passes() -> bool: ...", "returns a bool and is no predicate: a.py: _f.passes"),
        ("def _settled(a) -> None: ...", "acts and is no verb: a.py: _settled"),
        ("async def _without(a) -> None: ...", "acts and is no verb: a.py: _without"),
        ('x = f"{1} videos cannot be\\n had"', "dialect: a.py: cannot be had"),
        ('"""Nobody knows."""', "dialect: a.py: nobody"),
    ],
)  # fmt: skip
def test_each_rule_finds_what_breaks_it(code, expected):
    assert [str(finding) for finding in findings_in(code, "a.py")] == [expected]


def test_every_exception_to_the_names_of_predicates_is_needed():
    """So that a renamed function does not leave its exception behind."""
    found = {
        f"{path.relative_to(SOURCE).as_posix()}: {function.name}"
        for path in SOURCE.rglob("*.py")
        for function in functions(ast.parse(path.read_text(encoding="utf-8")))
        if function.returns == "bool"
    }
    assert NOT_NAMED_AS_A_PREDICATE.keys() <= found


if __name__ == "__main__":
    print(*sorted(map(str, findings())), sep="\n")
