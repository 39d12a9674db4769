"""The text of a chat, made by a model's own template in a process with limits.

A prompt differs from the next one in the words of its query alone. So a template is rendered once, with a mark in the
place of the words, and the words are put there afterwards: they are text to a template and never a part of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from video_opd.errors import EngineError

_SCRIPT = Path(__file__).with_name("chat_sandbox.py")
_WALL_S = 60
"""More than the limit on computing time, for a machine that is busy."""
_MARK = "videoopdqueryvideoopd"
"""Letters alone, so that no rule of a template for punctuation or case of the first letter touches it."""


def render_chat(
    template: str, turns: Callable[[str], Sequence[Mapping[str, Any]]], words: str, values: Mapping[str, Any]
) -> str:
    """Render a chat template.

    Args:
        template: of the model, in jinja2's language.
        turns: makes the turns of the chat from the words of a query.
        words: of the query.
        values: what the template is given beside the turns, as JSON values.

    Raises:
        EngineError: the template fails, takes too long or too much memory, or changes the words of a query.
    """
    # Templates may trim a text, so what stands at both ends is left where it was.
    inner = words.strip()
    before, _, after = words.partition(inner) if inner else (words, "", "")
    request = {"template": template, "values": {"messages": turns(before + _MARK + after), **values}}
    text = _render(json.dumps(request))
    if _MARK not in text:
        raise EngineError(
            "the model's chat template leaves out the query",
            reason="every prompt would be the same",
            remedy="use the chat template of the original model",
        )
    return text.replace(_MARK, inner)


@lru_cache(maxsize=256)
def _render(request: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_SCRIPT)],
            input=request.encode(),
            capture_output=True,
            timeout=_WALL_S,
            env={},  # no secret is in reach of a template
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        answer = {"error": f"it did not end within {_WALL_S} s"}
    except ValueError:
        answer = {"error": _explain_end(done.returncode, done.stderr)}
    if "error" in answer:
        raise EngineError(
            "the model's chat template cannot be rendered",
            reason=str(answer["error"]),
            remedy="use the chat template of the original model, or another model",
        )
    return str(answer["text"])


def _explain_end(status: int, printed: bytes) -> str:
    if status < 0:
        return "it did not end within the limits on time and memory"
    return (printed.decode(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]
