"""What every page has in common: templates filled in and written as one file that loads and runs nothing."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

import jinja2

from video_opd import __version__
from video_opd.files.durable import write_durably
from video_opd.files.outputs import refuse_foreign
from video_opd.report.run.verdict import format_duration

MARK = "Made by video-opd"
"""Stands in every page and picture, and tells them from files of others."""


INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and marks that turn the direction of the text that follows them. No page has one."""


def fill(template: str, **parts: Any) -> str:
    """Fill in a template of this folder; whatever is not markup already is escaped."""
    return _make_environment().get_template(template).render(version=__version__, mark=MARK, **parts)


@functools.cache
def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
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
    text = INVISIBLE.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)
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
