"""What a curriculum found out and decided, round by round, as it stands in a run's folder.

rounds/teacher-scores.jsonl
rounds/1/student-scores.jsonl  selection.jsonl  selection-facts.json  evaluation.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from video_opd.errors import DataError
from video_opd.files.durable import write_durably
from video_opd.files.run_records import SelectionFacts
from video_opd.files.strict_json import load_json

_FACTS = "selection-facts.json"


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Put what is known of a round's selection into its folder."""
    write_durably(folder / _FACTS, (json.dumps(SelectionFacts(**facts).to_json(), indent=2) + "\n").encode())


def read_facts(rounds: Path) -> list[dict[str, Any]]:
    """What is known of every round's selection, by round; none where a run trains on what it is given.

    Raises:
        DataError: a file that was damaged.
    """
    found = []
    for path in rounds.glob(f"*/{_FACTS}"):
        try:
            facts = load_json(path.read_text(encoding="utf-8"))
            found.append((int(facts["round"]), facts))
            for clock in ("seconds", "cpu_seconds"):
                _find_cost(facts, clock)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise _make_damaged(path, error) from error
    return [facts for _, facts in sorted(found, key=lambda pair: pair[0])]


def read_cost_of_selection(rounds: Path, clock: str) -> dict[int, float]:
    """What it took to score models for the selection of each round, by the optimiser step at which the round begins.

    Scores taken over from earlier runs cost what they cost when they were made, so that runs can be compared.

    Args:
        clock: `seconds` (wall time) or `cpu_seconds`.

    Raises:
        DataError: a file that was damaged.
    """
    return dict(_find_cost(facts, clock) for facts in read_facts(rounds))


def _find_cost(facts: Mapping[str, Any], clock: str) -> tuple[int, float]:
    """The step before which a round was selected, and what that took."""
    return int(facts["first_step"]), sum(float(each[clock]) for each in facts["cost"].values())


def _make_damaged(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is damaged",
        reason=f"{type(error).__name__}: {error}",
        remedy="restore it from a backup, or train again into another folder",
    )
