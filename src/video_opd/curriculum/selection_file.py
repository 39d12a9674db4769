"""The file of a selection, JSON lines, the kept examples first and in training order:

{"id": "q7", "tau": 0.91, "sigma": 0.12, "delta": 0.79, "kept": true, "order": 1, "why": "1 of 2500 chosen by …"}
{"id": "q3", "tau": 0.35, "sigma": null, "delta": null, "kept": false, "why": "the teacher's reliability …"}
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from video_opd.curriculum.selection import Selection, Verdict
from video_opd.errors import DataError
from video_opd.files.durable import write_durably
from video_opd.files.run_records import SelectionRow
from video_opd.files.strict_json import decode, name_kind


def write_selection(path: Path, selection: Selection) -> None:
    """Write a selection, completely or not at all."""
    write_durably(
        path, (f"{json.dumps(_row(verdict), ensure_ascii=False)}\n".encode() for verdict in selection.verdicts)
    )


def _row(verdict: Verdict) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(verdict, name) for name in ("id", "tau", "sigma", "delta", "kept")}
    if verdict.kept:
        row["order"] = verdict.order
    if verdict.kind:
        row["kind"] = verdict.kind
    return SelectionRow(**row, why=verdict.why).to_json()


def read_selection(path: Path, known_ids: Collection[str]) -> Selection:
    """Read a selection, and check that its kept examples are in a manifest.

    Args:
        known_ids: the ids of the training manifest.

    Raises:
        DataError: the file does not exist, a line is not valid, an example is not in the manifest or occurs twice, or
            no example is kept.
    """
    if not path.is_file():
        raise DataError(
            f"selection {path}: no such file",
            reason="the curriculum needs the list of examples to train on",
            remedy="write it with `video-opd select`",
        )
    verdicts: list[Verdict] = []
    for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), start=1):
        try:
            verdicts.append(_verdict(decode(line), number))
        except ValueError as error:
            raise DataError(
                f"{path} line {number} is not a line of a selection",
                reason=str(error),
                remedy='write lines like {"id": "q1", "kept": true}',
            ) from error
    selection = Selection(verdicts=tuple(sorted(verdicts, key=lambda v: (v.order is None, v.order or 0))))
    strangers = [id for id in selection.ids if id not in known_ids]
    if strangers or len(set(selection.ids)) < len(selection.ids) or not selection.ids:
        raise DataError(
            f"selection {path}",
            reason=f"{len(strangers)} of its examples are not in the manifest, such as {strangers[0]!r}"
            if strangers
            else "it has an example twice"
            if selection.ids
            else "it has no chosen example",
            remedy="select from scores of the training manifest",
        )
    return selection


def _verdict(row: object, number: int) -> Verdict:
    """The verdict in line `number`.

    Raises:
        ValueError: it holds none; with one sentence.
    """
    if not isinstance(row, dict):
        raise ValueError(f"it is {name_kind(row)}, not an object")
    if not isinstance(row.get("id"), str) or not isinstance(row.get("kept"), bool):
        raise ValueError("`id` is a text, `kept` true or false")
    numbers: dict[str, Any] = {name: row.get(name) for name in ("tau", "sigma", "delta")}
    texts: dict[str, Any] = {name: row.get(name, "") for name in ("why", "kind")}
    try:
        order = int(row.get("order", number)) if row["kept"] else None
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"`order` is {name_kind(row['order'])}, not a number") from None
    for name, value in numbers.items():
        if value is not None and not _is_number(value):
            raise ValueError(f"`{name}` is {name_kind(value)}, not a number")
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"`{name}` is {name_kind(value)}, not a text")
    return Verdict(id=row["id"], order=order, **numbers, **texts)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
