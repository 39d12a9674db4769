"""What every page has in common: a template is filled in and written as one file.

A page loads nothing from the network. It runs no script, or one that stands in it and is allowed by its hash.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from video_opd import __version__
from video_opd.files.durable import write_durably
from video_opd.files.outputs import refuse_foreign
from video_opd.report.run.verdict import format_duration
from video_opd.report.visible_text import make_visible, spell_out

MARK = "Made by video-opd"
"""Stands in every page and picture, and tells them from files of others."""


def fill(template: str, **parts: Any) -> str:
    """Fill in a template of this folder; whatever is not markup already is escaped."""
    return _make_environment().get_template(template).render(version=__version__, mark=MARK, **parts)


class InlineScript(NamedTuple):
    """A script that stands in a page, and its hash: the page allows no other."""

    text: Markup
    allowed_as: str
    """For the content security policy."""


def read_script(name: str) -> InlineScript:
    """A script of this folder.

    Args:
        name: of the file.
    """
    text = (Path(__file__).parent / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return InlineScript(Markup(text), f"sha256-{digest}")


@functools.cache
def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cut"] = make_visible
    environment.filters["duration"] = format_duration
    environment.filters["kept_together"] = _keep_together
    return environment


def write_page(path: Path, text: str) -> Path:
    """Write the page, whole or not at all.

    Raises:
        ConfigurationError: a file has its name that is no page of ours.
        OSError: it cannot be written.
    """
    refuse_foreign_page(path)
    text = spell_out(text)
    # Text out of a tokenizer may hold half a surrogate pair, which UTF-8 cannot say.
    write_durably(path, text.encode("utf-8", errors="replace"))
    return path


def refuse_foreign_page(path: Path) -> None:
    """Refuse, before the work is done, to write a page in the place of something else.

    Raises:
        ConfigurationError: it would.
    """
    refuse_foreign(path, is_page, "a page of this program")


def is_page(path: Path) -> bool:
    """Whether a file is a page or picture that was made here."""
    return MARK.encode() in path.read_bytes()


def _keep_together(sentence: str) -> str:
    """For large type: no line ends between a number and its unit, or inside "held-out"."""
    return re.sub(r"(?<=\d) (?=[a-z%])", "\N{NO-BREAK SPACE}", sentence).replace("-", "\N{NON-BREAKING HYPHEN}")
