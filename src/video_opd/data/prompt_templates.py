"""How a question is asked: a template is a sentence with `{query}` in it and `{video}` where the video goes, and the
answer's form. The built-in ones stand in `prompts.toml`.

The field puts the video first; the tiny world puts it last, because a tiny model that must remember a whole video
before it hears the question does not learn (docs/LOG.md).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from video_opd.data.query_words import QUERY_POLICIES
from video_opd.errors import ConfigurationError
from video_opd.types import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTemplate:
    """How a question is asked and what form the answer takes."""

    user: str
    """The user's turn, with `{query}` and `{video}` each once."""
    answer: str = "The event happens in {start:.1f} - {end:.1f} seconds."
    """The annotated answer in the model's own wording, with `{start}` and `{end}` in seconds (or `{start_clock}` and
    `{end_clock}` as mm:ss.ff) and, where the model first writes down what it sees, `{seen}`: 0 or 1 for every frame.
    Only off-policy methods and supervised training write it; the others never let the model see an annotation."""
    answer_starts: str = ""
    """What the final answer begins with, where reasoning comes first; all before its last occurrence is thinking."""
    form: str | None = None
    """Regular expression of a whole well-formed answer, for the format reward of thinking answers."""
    queries: str = "timelens"
    """How the words of a query are changed before it is asked; a name of `query_words.QUERY_POLICIES`."""
    parser: str = "ours"
    """Whose rule reads the answers in the field. Training, curriculum and our own scores read them with ours."""
    scorer: str = "ours"
    """Which of `video-opd metrics --as` goes with it."""
    checkpoints: tuple[str, ...] = ()
    """Parts of the names of models that were trained with it, in lower case."""
    families: tuple[str, ...] = ()
    """`model_type`s it was made for; none: any."""
    source: str = ""
    """Where it comes from."""
    note: str = ""
    """What a user of it must know."""
    system: str = ""
    """The system's turn; none where empty."""
    answer_prefix: str = ""
    """What the model's turn begins with; its answer goes on from there."""

    def __post_init__(self) -> None:
        for placeholder in ("{query}", "{video}"):
            if self.user.count(placeholder) != 1:
                raise ConfigurationError(
                    f"prompt template {self.user!r} has {placeholder} {self.user.count(placeholder)} times",
                    reason="the question and the video each have one place in the prompt",
                    remedy=f"write {placeholder} exactly once",
                )

    def messages(self, query: str) -> list[dict[str, Any]]:
        """The turns before the model's turn, in the form of the chat template."""
        return self.turns(self.change_words(query))

    def change_words(self, query: str) -> str:
        """Change the words of a query as `queries` says."""
        return QUERY_POLICIES[self.queries](query)

    def turns(self, words: str) -> list[dict[str, Any]]:
        """The same as `messages`, for words that are not changed."""
        system = [{"role": "system", "content": [{"type": "text", "text": self.system}]}] if self.system else []
        return [*system, {"role": "user", "content": self.content(words)}]

    def split_around_query(self) -> tuple[str, str]:
        """The text right before and after a query, as far as the video."""
        before, after = self.user.split("{query}")
        return before.rpartition("{video}")[2], after.partition("{video}")[0]

    def content(self, query: str) -> list[dict[str, str]]:
        """The user's turn as the chat template wants it: text and video parts in order."""
        before, after = self.user.split("{video}")
        parts = [("text", before), ("video", ""), ("text", after)]
        return [
            {"type": "video"} if kind == "video" else {"type": "text", "text": text.replace("{query}", query)}
            for kind, text in parts
            if kind == "video" or text
        ]

    def answer_text(self, span: Span, frame_times_s: Sequence[float]) -> str:
        """The annotated answer in words, for a prompt with frames at these times.

        Raises:
            ConfigurationError: the form has an unknown placeholder.
        """
        seen = "".join(str(int(span.start_s <= time_s < span.end_s)) for time_s in frame_times_s)
        try:
            return self.answer.format(
                start=span.start_s, end=span.end_s, seen=seen,
                start_clock=_clock(span.start_s), end_clock=_clock(span.end_s),
            )  # fmt: skip
        except (LookupError, ValueError, AttributeError, TypeError, MemoryError, OverflowError) as error:
            raise ConfigurationError(
                f"annotated answer {self.answer!r}",
                reason=f"it cannot be filled in: {type(error).__name__} {error}",
                remedy="use only {start}, {end}, {start_clock}, {end_clock} and {seen}, such as "
                "'{start:.1f} - {end:.1f} seconds'",
            ) from error


def _clock(time_s: float) -> str:
    """`mm:ss.ff`; minutes go on past an hour."""
    hundredths = round(time_s * 100)
    return f"{hundredths // 6000:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def _presets() -> dict[str, PromptTemplate]:
    tables = tomllib.loads((files("video_opd.data") / "prompts.toml").read_text(encoding="utf-8"))
    presets = {}
    for name, table in tables.items():
        lists: dict[str, Any] = {key: tuple(table.pop(key, ())) for key in ("checkpoints", "families")}
        presets[name] = PromptTemplate(**table, **lists)
    return presets


TEMPLATES = _presets()
"""Built-in presets by name, as `prompts.toml` has them."""


def is_trained_with(name: str, model: str) -> bool:
    """Whether a checkpoint's name says that it was trained with a preset that has no note.

    Raises:
        KeyError: no preset has that name.
    """
    return name in _list_trained_presets(model) and not TEMPLATES[name].note


def _list_trained_presets(model: str) -> list[str]:
    path = model.rstrip("/").lower()
    snapshot = re.search(r"models--([^/]+)/snapshots/", path)  # how the hub's cache calls a download
    called = snapshot.group(1) if snapshot else path.rpartition("/")[2]
    return [name for name, preset in TEMPLATES.items() if any(part in called for part in preset.checkpoints)]


def explain_mismatch(name: str, model: str, family: str | None) -> str | None:
    """Why a preset and a checkpoint do not belong together, as far as their names show it.

    Scores fall, and nothing fails, when a model is asked in words it was not trained with.

    Args:
        name: of the preset.
        model: name of the checkpoint, a hub name or a folder.
        family: its `model_type`, where known.

    Returns:
        One sentence, or None where they belong together.

    Raises:
        KeyError: no preset has that name.
    """
    preset, trained = TEMPLATES[name], _list_trained_presets(model)
    if trained and name not in trained:
        return f"{model} was trained with the prompt {' or '.join(trained)}, and is asked with {name}"
    if preset.families and family is not None and family not in preset.families:
        return f"the prompt {name} was made for {' and '.join(preset.families)}, and {model} is {family}"
    return preset.note or None
