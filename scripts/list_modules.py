"""Write the list of modules in docs/ARCHITECTURE.md anew: every file with the first sentence of its docstring.

python scripts/list_modules.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "video_opd"
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
BEGIN = "## Every file\n"


def modules() -> list[str]:
    """Every module below the package, those that only export left out."""
    paths = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.py"))
    return sorted((path.as_posix() for path in paths if path.name != "__init__.py"), key=_by_folder)


def _by_folder(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name


def first_sentence(path: Path) -> str:
    """What a module says of itself."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", text)[0].rstrip(":")


def listing() -> str:
    """The section: a table for every folder."""
    lines, folder = [BEGIN], None
    for name in modules():
        if (found := name.rpartition("/")[0]) != folder:
            folder = found
            lines.append(f"\n### {folder or 'video_opd'}{'/' if folder else ''}\n\n| file | |\n| --- | --- |\n")
        said = first_sentence(SOURCE / name).replace("|", "\\|")
        lines.append(f"| `{name}` | {said} |\n")
    return "".join(lines)


def main() -> None:
    """Replace the section."""
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text[: text.index(BEGIN)] + listing(), encoding="utf-8")


if __name__ == "__main__":
    main()
