"""Renders a model's chat template in a process of its own, with limits on time and memory. Run as a script.

A template is a program that comes with a model. jinja2's sandbox keeps it from files and modules, and not from a loop
without end or a text of gigabytes. So it never runs in the process that trains. Reads one JSON object on stdin
(template, values, path) and writes one on stdout (text, or error). Imports nothing of the package.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import datetime
from typing import Any

CPU_S = 5
MEMORY_BYTES = 2**29
MOST_CHARACTERS = 2**20


def render(template: str, values: dict[str, Any]) -> str:
    """Render a chat template as transformers (5.24) does."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import CallBlock
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Marks what a model writes; the text is the same without it."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_pass_on"), [], [], body).set_lineno(line)

        def _pass_on(self, caller: Any) -> Any:
            return caller()

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    def write_json(
        value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
    ) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = write_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template).render(**values)


def main() -> None:
    """Answer the request on stdin."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    request = json.loads(sys.stdin.buffer.read())
    sys.path[:] = request["path"]
    try:
        text = render(request["template"], request["values"])
        if len(text) > MOST_CHARACTERS:
            raise ValueError(f"it makes a text of {len(text):,} characters, and {MOST_CHARACTERS:,} is the limit")
        answer = {"text": text}
    except MemoryError:
        answer = {"error": f"it takes more than {MEMORY_BYTES // 2**20} MiB"}
    except Exception as error:  # a template may raise anything
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
