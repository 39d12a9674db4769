"""Build the documentation as a site that needs no network: build/site/index.html.

    python scripts/build_docs.py [--out build]

The pages are those of the repository, and they read well there too. The site adds the reference pages and the recipes.
A link to nowhere, or a page or style that would load something from another host, ends it with status 1.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import tomli_w

from reference_pages import PAGES

ROOT = Path(__file__).resolve().parents[1]
STARTING_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "CONTRIBUTING.md", "SECURITY.md": "SECURITY.md"}
OTHER_PAGES = {"benchmarks/RESULTS.md": "RESULTS.md"}

NOTEBOOK = "examples/tour.ipynb"
SETTINGS_FILE, MARK = "zensical.toml", "# made by scripts/build_docs.py\n"

NAVIGATION = {
    "Start": ["index.md", "TUTORIAL.md", "TOUR.md", "INSTALL.md", "SHOULD_I_USE_THIS.md"],
    "How to": [
        "HOW_TO.md",
        "SERVE.md",
        "DATA.md",
        "RUNNING.md",
        "SCALE.md",
        "EXTENDING.md",
        "LMMS_EVAL.md",
        "COMING_FROM.md",
    ],
    "How it works": ["EXPLANATION.md", "METHODS.md", "CURRICULUM.md", "OFFICIAL.md", "FAMILIES.md"],
    "Reference": ["COMMANDS.md", "COMMANDS_IN_FULL.md", "RECIPE_KEYS.md", "RECIPES.md", "API.md", "PYTHON.md"],
    "Measurements": ["CLAIMS.md", "RESULTS.md", "SCALING.md", "RELIABILITY.md", "REAL_MODELS.md", "LOG.md"],
    "Project": ["CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md"],
}
"""By section: its pages. A page of docs/ that is not here ends the build."""


def gather(pages: Path) -> None:
    """Put every page and picture into one folder, with links that lead within it."""
    sources = STARTING_PAGES | OTHER_PAGES | {f"docs/{path.name}": path.name for path in (ROOT / "docs").glob("*.md")}
    for source, name in sources.items():
        path = ROOT / source
        text = path.read_text(encoding="utf-8")
        lead = partial(_lead, folder=path.parent, sources=sources)
        text = re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", lead, text)
        (pages / name).write_text(text, encoding="utf-8")
    for picture in (*(ROOT / "docs").glob("*.png"), *(ROOT / "docs").glob("*.svg")):
        shutil.copy(picture, pages)
    (pages / "TOUR.md").write_text(tour_page(pages), encoding="utf-8")
    (pages / "RECIPES.md").write_text(recipes_page(), encoding="utf-8")
    for name, make in PAGES.items():
        (pages / name).write_text(make(), encoding="utf-8")


def _lead(found: re.Match[str], folder: Path, sources: dict[str, str]) -> str:
    """A link, leading to the page that its file has become."""
    target, anchor = found[1], found[2] or ""
    if re.match(r"[a-z]+:", target):
        return found[0]
    inside = (folder / target).resolve().relative_to(ROOT).as_posix()
    if inside.startswith("recipes/"):
        return f"](RECIPES.md#{_anchor(inside)})"
    name = "TOUR.md" if inside == NOTEBOOK else sources.get(inside)
    return f"]({name or Path(inside).name}{anchor})"


def _anchor(recipe: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", recipe.removeprefix("recipes/").removesuffix(".toml").lower())


def tour_page(pages: Path) -> str:
    """The notebook with what it shows; its pictures go beside the page."""
    parts = []
    for number, cell in enumerate(json.loads((ROOT / NOTEBOOK).read_text(encoding="utf-8"))["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text.replace("](../docs/", "]("))
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            shown = output.get("data", {})
            if "image/png" in shown:
                (pages / f"tour-{number}.png").write_bytes(base64.b64decode("".join(shown["image/png"])))
                parts.append(f"![Frames of a clip, and spans under them](tour-{number}.png)")
            else:
                said = "".join(output.get("text", shown.get("text/plain", "")))
                parts.append(f"```text\n{said.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def recipes_page() -> str:
    """The shipped recipes, whole."""
    parts = ["# Recipes\n\n`video-opd recipes copy NAME` writes one of them into your folder.\n"]
    for path in sorted((ROOT / "recipes").rglob("*.toml")):
        name = path.relative_to(ROOT).as_posix()
        text = path.read_text(encoding="utf-8").strip()
        heading = name.removeprefix("recipes/").removesuffix(".toml")
        parts.append(f"## {heading} {{ #{_anchor(name)} }}\n\n```toml\n{text}\n```\n")
    return "\n".join(parts)


def settings(out: Path) -> dict[str, object]:
    """Of zensical. No font and no script comes from another host."""
    shown = [page for section in NAVIGATION.values() for page in section]
    pages = {path.name for path in (out / "pages").glob("*.md")}
    if set(shown) != pages:
        raise SystemExit(f"NAVIGATION and the pages differ: {sorted(set(shown) ^ pages)}")
    schemes = {"light": "default", "dark": "slate"}
    return {
        "project": {
            "site_name": "video-opd",
            "site_description": "On-policy distillation for temporal video grounding",
            "docs_dir": "pages",
            "site_dir": "site",
            "use_directory_urls": False,
            "nav": [{section: list(names)} for section, names in NAVIGATION.items()],
            "theme": {
                "font": False,
                "features": ["navigation.sections", "search.highlight", "content.code.copy", "toc.follow"],
                "palette": [
                    {"media": f"(prefers-color-scheme: {media})", "scheme": scheme} for media, scheme in schemes.items()
                ],
            },
        }
    }


def list_faults(site: Path) -> list[str]:
    """Links to files and places that are not there, and whatever a page or a style would load from another host."""
    faults = []
    for style in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^\"')\s]+", style.read_text(encoding="utf-8"))
        faults += [f"{style.name}: {each}" for each in found]
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        places = set(re.findall(r"\bid=\"?([^\"\s>]+)", text))
        faults += [f"{page.name}: #{place} is not there"
                   for place in re.findall(r"\bhref=\"?#([^\"\s>]+)", text) if place not in places]  # fmt: skip
        for tag, attribute, target in re.findall(r"<(\w+)\b[^>]*?\b(src|href)=\"?([^\"\s>]+)", text):
            if re.match(r"(https?:)?//", target):
                if tag != "a" and "canonical" not in target:
                    faults.append(f"{page.name}: <{tag} {attribute}={target}>")
            elif not re.match(r"(#|data:|mailto:|javascript:)", target):
                file = target.partition("#")[0].partition("?")[0]
                if file and page.name != "404.html" and not (page.parent / file).exists():
                    faults.append(f"{page.name}: {target} is not there")
    return faults


def build(out: Path) -> Path:
    """Build the site in a folder; returns its first page."""
    ours = out / SETTINGS_FILE
    is_ours = ours.is_file() and ours.read_text(encoding="utf-8", errors="replace").startswith(MARK)
    if not is_ours and any((out / name).exists() for name in ("pages", "site", SETTINGS_FILE)):
        raise SystemExit(f"{out} has pages, a site or settings that this script did not make; give another --out")
    for part in ("pages", "site"):
        shutil.rmtree(out / part, ignore_errors=True)
    (out / "pages").mkdir(parents=True)
    ours.write_text(MARK, encoding="utf-8")  # first, so that a build that was stopped can be made again
    gather(out / "pages")
    ours.write_text(MARK + tomli_w.dumps(settings(out)), encoding="utf-8")
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run([program, "build", "--strict", "--config-file", SETTINGS_FILE], cwd=out, check=False,
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
        raise SystemExit(f"zensical refused the pages:\n{plain}")
    if faults := list_faults(out / "site"):
        raise SystemExit("\n".join(["the site has faults:", *faults]))
    return out / "site" / "index.html"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build")
    print(build(parser.parse_args().out.resolve()))
