"""The text of a chat, made by a model's own template in a process with limits.

A prompt differs from the next one in the words of its query alone. So a template is rendered once, with a mark in the
place of the words, and the words are put there afterwards: they are text to a template and never a part of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

_SCRIPT = Path(__file__).with_name("chat_sandbox.py")
_WALL_S = 60
"""More than the limit on computing time, for a machine that is busy."""
_MARK = "videoopdqueryvideoopd"
"""Letters alone, so that no rule of a template for punctuation or case of the first letter touches it."""


_ENVIRONMENT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""What a Python may need to start."""


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
        ValueError: the template fails, takes too long or too much memory, or leaves the query out.
    """
    # Templates may trim a text, so what stands at both ends is left where it was.
    inner = words.strip()
    before, _, after = words.partition(inner) if inner else (words, "", "")
    asked, marked = turns(words), turns(before + _MARK + after)
    if len(asked) != len(marked):
        raise ValueError("the number of turns depends on the words of the query")
    given = {"messages": marked, "tools": None, "documents": None, **values}
    # The process is isolated from the environment, so it is told where jinja2 is.
    path = [folder for folder in sys.path if folder]
    text = _render(json.dumps({"template": template, "values": given, "path": path}))
    if _MARK not in text:
        raise ValueError("the model's chat template leaves out the query")
    return text.replace(_MARK, inner)


@lru_cache(maxsize=256)
def _render(request: str) -> str:
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_SCRIPT)],
            input=request.encode(),
            capture_output=True,
            timeout=_WALL_S,
            # No secret is in reach of a template.
            env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        answer = {"error": f"it did not end within {_WALL_S} s"}
    except ValueError:
        answer = {"error": _explain_end(done.returncode, done.stderr)}
    if "error" in answer:
        raise ValueError(f"the model's chat template cannot be rendered ({answer['error']})")
    return str(answer["text"])


def _explain_end(status: int, printed: bytes) -> str:
    if status < 0:
        return "it did not end within the limits on time and memory"
    return (printed.decode(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]
