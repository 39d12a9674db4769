"""A run folder: one run, one recipe, one process at a time.

    recipe.toml  environment.json  inputs.json  metrics.jsonl  answers.jsonl  rounds/  checkpoints/  evaluation/
    report.html; memory.json after a shortage of memory; tracker.json with a tracker; before-restart-1/ after --restart

The same command goes on with the run; another recipe is refused, and so is a folder that holds something else. Nothing
here ever deletes anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.files.dotted_keys import flatten_tables, is_covered
from video_opd.files.durable import sync_folder, write_durably
from video_opd.files.toml_text import load_toml
from video_opd.redaction import redact
from video_opd.runs.run_lock import LOCK, hold_run, is_lock, refuse_held

_RECIPE_SHA256 = ".recipe.sha256"  # file with the hash of recipe.toml as it was written here

_NUM_DIFFERENCES_SHOWN = 8


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Where the parts of a run lie. `RunDirectory(path)` names them for a reader; to write, use `create_or_resume`."""

    path: Path
    resumed: bool = False
    """The folder held this run already when it was opened for writing."""

    @property
    def recipe(self) -> Path:
        """The resolved recipe, TOML, as it was when the run began."""
        return self.path / "recipe.toml"

    @property
    def environment(self) -> Path:
        """Versions and machine at the first start. A resume elsewhere adds `environment-2.json`, and so on."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """Journal with one row a step."""
        return self.path / "metrics.jsonl"

    @property
    def answers(self) -> Path:
        """Journal of sampled answers with their token scores."""
        return self.path / "answers.jsonl"

    @property
    def rounds(self) -> Path:
        """Folder of the curriculum's scores and selections."""
        return self.path / "rounds"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        """Folder of evaluations, with a file of scores and one of answers each; and `timelines.json`."""
        return self.path / "evaluation"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def memory(self) -> Path:
        """What was learned from steps that ran out of memory, JSON; not there where none did."""
        return self.path / "memory.json"

    @property
    def has_begun(self) -> bool:
        """Something was measured, selected or saved; until then another recipe may take the folder."""
        if (
            any(self.rounds.glob("*/selection.jsonl"))
            or any(self.evaluation.glob("*"))
            or any(self.checkpoints.glob("*"))
            or self.memory.exists()
        ):
            return True
        return self.metrics.exists() and self.metrics.stat().st_size > 0

    @classmethod
    def refuse_unusable(
        cls,
        path: Path,
        *,
        recipe_toml: str,
        ignore_keys: frozenset[str] = frozenset(),
        younger_keys: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Refuse what `create_or_resume` would refuse, before any work is done. Nothing is made or changed.

        Args:
            path: the folder, which need not exist.
            recipe_toml: the resolved recipe.
            ignore_keys: as for `create_or_resume`.
            younger_keys: as for `create_or_resume`.

        Raises:
            ConfigurationError: the folder is in use, or holds another recipe or something that is not a run.
        """
        with _explain_failures(path):
            _refuse_strangers(path, recipe_toml)
            refuse_held(path)
            run = cls(path)
            if run.recipe.exists() and run.has_begun:
                _refuse_other_recipe(run.recipe, recipe_toml, ignore_keys, younger_keys)

    @classmethod
    @contextlib.contextmanager
    def create_or_resume(
        cls,
        path: Path,
        *,
        recipe_toml: str,
        environment: Mapping[str, Any],
        ignore_keys: frozenset[str] = frozenset(),
        younger_keys: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[RunDirectory]:
        """Hold a run folder for writing, until the `with` block ends or the process dies.

        Args:
            path: the folder; made, with its parents, if it is not there.
            recipe_toml: the resolved recipe.
            environment: what may change the numbers without being in the recipe: versions, device; JSON values.
            ignore_keys: dotted keys, or tables, that may differ when the run is resumed, such as "out".
            younger_keys: dotted keys that a folder's recipe may lack, and the key whose value each then has.

        Raises:
            ConfigurationError: the folder is in use, holds another recipe or something that is not a run, or cannot be
                written.
        """
        with contextlib.ExitStack() as held:
            with _explain_failures(path):
                _refuse_strangers(path, recipe_toml)
                path.mkdir(parents=True, exist_ok=True)
                sync_folder(path.parent)
                held.enter_context(hold_run(path))
                run = cls(path, resumed=(path / "recipe.toml").exists())
                if run.resumed and run.has_begun:
                    _refuse_other_recipe(run.recipe, recipe_toml, ignore_keys, younger_keys)
                else:
                    write_durably(run.recipe, recipe_toml.encode())
                    write_durably(path / _RECIPE_SHA256, hashlib.sha256(recipe_toml.encode()).hexdigest().encode())
                _record_environment(run.environment, environment)
                run.checkpoints.mkdir(exist_ok=True)
                run.evaluation.mkdir(exist_ok=True)
            yield run


@contextlib.contextmanager
def _explain_failures(path: Path) -> Iterator[None]:
    """Turn what the operating system says about the folder into an error that a user can act on."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"run folder {path} cannot be used",
            reason=str(error),
            remedy="With --out, choose a folder where you may write, on a disk with free space",
        ) from error


def _refuse_strangers(path: Path, recipe_toml: str) -> None:
    """Refuse a folder that holds anything but a run, before so much as a lock is put into it.

    A run that was killed in its first instants has a lock and perhaps an unfinished temporary file but no recipe yet.
    One that never began may be given another recipe: then its recipe.toml must be as it was written here, and nothing
    have the name of what a run writes later.
    """
    if not path.exists():
        return
    run, digest = RunDirectory(path), path / _RECIPE_SHA256
    recorded = digest.read_bytes() if digest.is_file() else b""
    if not is_lock(path / LOCK):
        strangers = [LOCK]
    elif recorded and not re.fullmatch(b"[0-9a-f]{64}", recorded):
        strangers = [_RECIPE_SHA256]
    elif not os.path.lexists(run.recipe):
        names = (entry.name for entry in path.iterdir())
        ours = (LOCK, _RECIPE_SHA256)
        strangers = sorted(name for name in names if name not in ours and not name.startswith(".recipe.toml.tmp-"))
    elif run.has_begun:
        return
    else:
        written = run.recipe.read_bytes() if run.recipe.is_file() else b""
        is_ours = hashlib.sha256(written).hexdigest().encode() == recorded or written == recipe_toml.encode()
        later = [file.name for file in (run.answers, run.report) if file.exists() and file.stat().st_size]
        strangers = later if is_ours else [run.recipe.name, *later]
    if strangers and os.path.lexists(run.recipe):
        raise ConfigurationError(
            f"{run.path / strangers[0]} is there already",
            reason="no run in this folder wrote it, so it is your own file, and a run does not mix with other files",
            remedy="Choose an empty or a new folder with --out, or move the file away",
        )
    if strangers:
        raise ConfigurationError(
            f"{path} holds {strangers[0]!r}" + (f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""),
            reason="it has no recipe.toml, so it is not the folder of a run, and a run does not mix with other files",
            remedy="Choose an empty or a new folder with --out",
        )


def _refuse_other_recipe(
    written: Path, recipe_toml: str, ignore_keys: frozenset[str], younger_keys: Mapping[str, str]
) -> None:
    try:
        old = _flatten(load_toml(written.read_text(encoding="utf-8")))
    except ValueError as error:
        raise ConfigurationError(
            f"{written} is not TOML ({error})",
            reason="without it the recipe of the run in this folder is unknown",
            remedy="Restore the file from a copy, or choose another folder with --out",
        ) from error
    new = _flatten(load_toml(recipe_toml))
    old = {key: old[older] for key, older in younger_keys.items() if older in old} | old
    differences = [
        f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not is_covered(key, ignore_keys)
    ]
    if not differences:
        return
    shown = "; ".join(differences[:_NUM_DIFFERENCES_SHOWN])
    if len(differences) > _NUM_DIFFERENCES_SHOWN:
        shown += f"; and {len(differences) - _NUM_DIFFERENCES_SHOWN} more"
    raise ConfigurationError(
        f"{written.parent} holds a run with another recipe ({shown})",
        reason="a run that changes its recipe half-way is not reproducible",
        remedy="Choose another folder with --out, or resume with the recipe and flags that the run started with",
    )


def _flatten(table: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> value as JSON. As text, 1, 1.0 and true stay apart and nan equals itself."""
    return {key: json.dumps(value, sort_keys=True, default=str) for key, value in flatten_tables(table).items()}


def _record_environment(first: Path, environment: Mapping[str, Any]) -> None:
    """Write the environment, next to earlier ones if it changed: the weights may then come out differently."""
    content = redact(json.dumps(environment, indent=2, sort_keys=True, default=str)).encode() + b"\n"
    path, number = first, 1
    while path.exists():
        if path.read_bytes() == content:
            return
        number += 1
        path = first.with_name(f"{first.stem}-{number}.json")
    if number > 1:
        _log.warning("this run resumes in another environment than it started in; the new one is recorded in %s", path)
    write_durably(path, content)
