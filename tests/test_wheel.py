"""What goes into a wheel: every package that the source imports is declared, and the metadata is complete."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CALLED = {"PIL": "pillow"}
"""Modules that have another name than their package."""
COMES_WITH = {
    "huggingface_hub": "transformers",
    "tokenizers": "transformers",
    "markupsafe": "jinja2",
    "pydantic_core": "pydantic",
}
"""Packages that another one always brings."""
OPTIONAL = {
    "pyarrow", "trackio", "wandb", "tensorboard", "torchao", "compressed_tensors", "bitsandbytes", "accelerate", "peft",
    "mlflow", "fastapi", "python_multipart", "starlette", "uvicorn",
}  # fmt: skip
"""Imported only where the user asked for what needs them, with a sentence where they are missing."""


def imported() -> set[str]:
    """Names of all packages but our own and the standard library."""
    found: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names.append(node.module or "")
            found |= {name.partition(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"video_opd"}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", line)[0].lower() for line in requirements}  # type: ignore[index]


def test_every_import_is_declared():
    declared = names(PROJECT["dependencies"])
    packages = {COMES_WITH.get(name, CALLED.get(name, name)).replace("_", "-") for name in imported() - OPTIONAL}
    assert packages <= declared
    assert {"torch", "cyclopts"} <= packages, "they are looked for"


def test_every_declared_package_is_locked():
    locked = names((ROOT / "requirements.lock").read_text().splitlines())
    wanted = names(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"])
    assert wanted - {name.replace("_", "-") for name in locked} == set()


def test_the_lock_holds_versions_and_no_places():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+]+", line)] == []


def test_the_metadata_is_complete():
    wanted = "name", "description", "readme", "license", "requires-python", "keywords", "classifiers", "urls", "authors"
    assert [key for key in wanted if not PROJECT.get(key)] == []
    assert "Typing :: Typed" in PROJECT["classifiers"]
    assert (ROOT / "src" / "video_opd" / "py.typed").exists()
