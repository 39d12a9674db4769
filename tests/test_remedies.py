"""A remedy names no flag and no key that its command does not have: every one in the source is looked at."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from video_opd.cli.application import list_arguments, list_commands
from video_opd.config.comparison_recipe import ComparisonRecipe
from video_opd.config.recipe_file import list_recipe_keys

SOURCE = Path(__file__).resolve().parents[1] / "src" / "video_opd"

RAISED_BY = {
    "train/": ("train", "compare"),
    "cli/asking_commands.py": ("evaluate",),
    "cli/manifest_commands.py": ("data split", "data sample", "data merge", "data overlap", "data stats"),
    "cli/benchmark_evaluation.py": ("evaluate",),
    "cli/choosing_commands.py": ("select",),
    "cli/scoring_commands.py": ("score",),
    "cli/supervision.py": ("train", "compare"),
    "cli/checking_commands.py": ("data check",),
    "cli/importing_commands.py": ("data import",),
    "cli/lmms_evaluation.py": ("evaluate",),
    "cli/looking_commands.py": ("metrics", "report"),
    "compare/": ("compare",),
    "data/split_and_merge.py": ("data split", "data sample", "data merge"),
    "data/importers/": ("data import",),
    "data/tiny_world.py": ("tiny-world build",),
    "doctor/": ("doctor",),
    "eval/answer_file.py": ("evaluate",),
    "eval/lmms_eval/": ("evaluate",),
    "eval/scorers/": ("metrics",),
    "config/comparison_recipe.py": ("compare",),
    "config/shipped_recipes.py": ("recipes",),
    "plan/": ("plan",),
    "policy/adapter_export.py": ("merge",),
    "ranks.py": ("train", "score", "evaluate"),
    "runs/directory.py": ("train", "compare", "demo"),
    "runs/run_lock.py": ("train", "compare", "demo"),
    "serve/": ("serve",),
    "starting.py": ("init",),
    "curriculum/score_file.py": ("score",),
    "trackers/": ("train", "compare", "track"),
    "types.py": ("data stats", "data import"),
}
"""Which commands raise what stands in a module or a folder. Others must name the command with the flag."""


@cache
def flags_of_commands() -> dict[str, set[str]]:
    """ "data check" -> its flags."""
    return {
        name: {flag for argument in list_arguments(command) for flag in argument.names if flag.startswith("-")}
        | {"--help"}
        for name, command in list_commands()
    }


def text_of(node: ast.AST) -> str:
    """The text of an expression, with … for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return "…"
    return " ".join(text_of(child) for child in ast.iter_child_nodes(node))


@cache
def remedies() -> list[tuple[str, int, str]]:
    """Module, line and text of every `remedy=`."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(SOURCE.rglob("*.py"))}
    return [
        (path.relative_to(SOURCE).as_posix(), node.value.lineno, text_of(node.value))
        for path, text in texts.items() if "remedy" in text
        for node in ast.walk(ast.parse(text)) if isinstance(node, ast.keyword) and node.arg == "remedy"
    ]  # fmt: skip


def commands_of(module: str) -> tuple[str, ...]:
    return next((names for part, names in RAISED_BY.items() if module.startswith(part)), ())


def faults(module: str, text: str) -> list[str]:
    """Flags in a remedy that its command does not have, or that no command is named for."""
    found, known = [], flags_of_commands()
    for quoted in re.findall(r"`video-opd ([^`]*)`", text):
        words = quoted.split()
        name = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None) if words else None
        if name is None:
            found.append(f"`video-opd {quoted}`: no such command") if words and "…" not in words[0] else None
            continue
        found += [f"{flag} of {name}" for flag in re.findall(r"--[a-z][a-z-]*", quoted) if flag not in known[name]]
    bare = re.sub(r"`[^`]*`", "", text)
    for flag in re.findall(r"(?<!\S)--[a-z][a-z.-]*(?<!-)", bare):
        key = flag.removeprefix("--").rstrip(".").replace("-", "_")
        if key in list_recipe_keys():
            continue
        if not any(flag.rstrip(".") in known[name] for name in commands_of(module)):
            found.append(f"{flag} of {commands_of(module) or 'no known command'}")
    return found


@pytest.mark.parametrize(
    ("module", "line", "text"),
    [pytest.param(*each, id=f"{each[0]}:{each[1]}") for each in remedies() if "--" in each[2]],
)
def test_a_remedy_names_only_flags_that_there_are(module, line, text):
    assert faults(module, text) == [], f"{module}:{line}"


def test_the_test_finds_what_it_is_for():
    assert sum("--" in text for _, _, text in remedies()) > 40
    assert faults("doctor/checks.py", "look at more with --exmaples") != []
    assert faults("curriculum/choice.py", "score with --answers 4") != []
    assert faults("curriculum/choice.py", "score with `video-opd score … --anwsers 4`") != []
    assert faults("curriculum/choice.py", "score with `video-opd scor x`") != []
    assert faults("runs/round_files.py", "train again in another folder with --out") != []
    assert faults("compare/comparison_runs.py", "compare in another folder with --out") == []


def test_a_remedy_names_only_keys_that_there_are():
    """Dotted names of tables that a recipe has."""
    keys = list_recipe_keys()
    tables = {name.split(".")[0] for name in keys if "." in name} | {"shared"}
    known = {*keys, *list_recipe_keys(ComparisonRecipe), *(name.rsplit(".", 1)[0] for name in keys)}
    for module, line, text in remedies():
        for name in re.findall(r"(?<![\w./-])(?:--)?([a-z_]+\.[a-z_]+[a-z])(?![\w./(])", text):
            if name.split(".")[0] in tables and name.rsplit(".")[-1] not in ("json", "jsonl", "toml", "csv", "mp4"):
                assert name in known, f"{module}:{line}: {name}"


def test_what_is_shown_has_one_name():
    """In code, recipes, benchmarks and what people read; only files of earlier versions may call it otherwise."""
    root, known = SOURCE.parents[1], SOURCE / "files" / "older_names.py"
    former = re.compile(
        r"(?<!output_)\bformat_rate\b|parse[ _]rate|names a span\"|(?<!output )\bformat rate\b|[0-9}] readable|"
        r"(?<!\")credit",
        re.IGNORECASE,
    )
    folders = (SOURCE, root / "benchmarks", root / "recipes")
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".j2", ".toml", ".css")]
    assert len(files) > 200
    assert [path.name for path in files if path != known and former.search(path.read_text(encoding="utf-8"))] == []
