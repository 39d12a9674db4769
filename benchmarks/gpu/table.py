"""The results as a page of Markdown tables."""

from __future__ import annotations

from typing import Any


def as_markdown(results: dict[str, Any]) -> str:
    """One heading a section; figures that have the same names share a table, the others are lists."""
    card = results.get("environment", {}).get("card", {}).get("name", "no GPU")
    lines = [f"# {card}, {results['date']}" + (" (rehearsal)" if results.get("rehearsal") else ""), ""]
    for section, found in results.items():
        if not isinstance(found, dict):
            continue
        lines += [f"## {section}", ""]
        tables: dict[tuple[str, ...], list[tuple[str, dict[str, Any]]]] = {}
        for name, value in found.items():
            flat = _flat(value) if isinstance(value, dict) else {}
            if flat and all(isinstance(v, (int, float, bool)) for v in flat.values()):
                tables.setdefault(tuple(flat), []).append((name, flat))
            else:
                lines.append(f"- {name}: {_inline(value)}")
        for columns, rows in tables.items():
            lines += ["", f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
            lines += [f"| {name} | {' | '.join(_number(row[c]) for c in columns)} |" for name, row in rows]
        lines.append("")
    return "\n".join(lines)


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}{key} ") if isinstance(inner, dict) else {f"{prefix}{key}": inner}
    return flat


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_inline(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(_number, value))
    return _number(value).replace("\n", " ")
