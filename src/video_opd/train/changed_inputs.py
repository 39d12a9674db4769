"""A run goes on with the inputs that it was begun with. Others are refused, or accepted by name and recorded.

On acceptance first the evaluations go aside that depend on what has changed, then `inputs.json` is written. If the
process is killed in between, the run is refused as before, or the change is accepted again. So no evaluation stands
beside inputs that it was not made with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from video_opd.config import Recipe
from video_opd.errors import ConfigurationError, explain_write_errors
from video_opd.files.durable import sync_folder
from video_opd.files.input_records import InputChange, RecordedInputs
from video_opd.files.strict_json import load_json
from video_opd.runs.checkpoint import find_newest_step, has_checkpoints
from video_opd.runs.directory import RunDirectory
from video_opd.runs.inputs_file import INPUTS_FILE, read_inputs, write_inputs
from video_opd.train.build import count_steps
from video_opd.train.input_identity import describe_differences, identify_inputs
from video_opd.train.run_inputs import Inputs
from video_opd.train.run_parts import RunParts
from video_opd.train.training_state import TrainingState

_REASON = "the run would not go on with what it was begun with, and its scores could not be compared"


def settle_inputs(
    recipe: Recipe,
    run: RunDirectory,
    inputs: Inputs,
    *,
    accept: Sequence[str] | None,
    tell: Callable[[str], None],
) -> RecordedInputs:
    """Record what a run reads before its first evaluation; when it goes on, see that it is still the same.

    Args:
        recipe: of the run; its data are rendered.
        run: its folder, held by this process.
        inputs: what was read of the recipe's files.
        accept: names of inputs that may have changed; None: the command has no way to accept a change.
        tell: is given what the user should know, one sentence each.

    Returns:
        What stands in `inputs.json`.

    Raises:
        ConfigurationError: an input has changed that is not named; or a change cannot be accepted.
        DataError: `inputs.json` is damaged.
    """
    recorded = read_inputs(run.path)
    if recorded is None or not run.has_begun:
        return _record_first(recipe, run, inputs, tell)
    now = identify_inputs(recipe, inputs, recorded)
    differences = describe_differences(recorded, now)
    _refuse_after_choice(run, differences)
    refuse_changes(run, differences, accept=accept)
    for name in accept or ():
        if name not in differences:
            tell(f"--accept-changed {name}: it is as it was recorded, so there is nothing to accept")
    if differences:
        now = _accept(recipe, run, inputs, recorded, now, differences)
        for name, line in differences.items():
            tell(f"accepted: {name}: {line}")
    if now != recorded:  # or files of models have other times and the same content
        write_inputs(run.path, now)
    return now


def refuse_changes(
    run: RunDirectory, differences: Mapping[str, str], *, accept: Sequence[str] | None = None, reason: str = _REASON
) -> None:
    """Refuse inputs that have changed and are not named.

    Args:
        run: the folder of the run.
        differences: a sentence for each input that has changed, by its name.
        accept: as for `settle_inputs`.
        reason: why the run cannot go on.

    Raises:
        ConfigurationError: there is one.
    """
    refused = [name for name in differences if name not in (accept or ())]
    if not refused:
        return
    told = "; ".join(f"{name}: {differences[name]}" for name in refused)
    flag = f"accept the change with `train … --accept-changed {' '.join(differences)}`, which is recorded; or "
    raise ConfigurationError(
        f"inputs of the run in {run.path} have changed since they were recorded in {INPUTS_FILE} ({told})",
        reason=reason,
        remedy=f"restore them; or {'' if accept is None else flag}choose another folder with --out",
    )


def note_inputs(parts: RunParts, state: TrainingState, run: RunDirectory, recorded: RecordedInputs) -> RunParts:
    """Note in the parts and the state of a run which inputs it has now.

    Args:
        parts: of the run, as they were assembled.
        state: as it was loaded; its hash of the manifests is set.
        run: the folder of the run.
        recorded: what stands in `inputs.json`.

    Raises:
        ConfigurationError: the state is of a checkpoint that saw other manifests than the run is known to have had.
    """
    if (state.step or state.data_sha256) and state.data_sha256 not in recorded.known_data:
        raise _other_data_error(run)
    state.data_sha256 = recorded.data_sha256
    return replace(parts, inputs_version=recorded.version)


def _record_first(recipe: Recipe, run: RunDirectory, inputs: Inputs, tell: Callable[[str], None]) -> RecordedInputs:
    """Record the inputs of a run that begins, or that an earlier version has begun."""
    now = identify_inputs(recipe, inputs)
    if run.has_begun:
        _refuse_other_state(run, now.data_sha256)
        now = now.model_copy(update={"from_begin": False})
        tell(
            f"the run was begun without a record of its inputs, as earlier versions did; what they are now is recorded "
            f"in {run.path / INPUTS_FILE}, and changes from now on are noticed"
        )
    write_inputs(run.path, now)
    return now


def _refuse_other_state(run: RunDirectory, data_sha256: str) -> None:
    """Compare the manifests with the checkpoints of an earlier version, before they are recorded as those of the run.
    Whether a checkpoint is whole is found out later."""
    for path in sorted(run.checkpoints.glob("step-*/state.json")):
        try:
            known = load_json(path.read_bytes())["data_sha256"]
        except (OSError, ValueError, LookupError, TypeError):
            continue
        if known != data_sha256:
            raise _other_data_error(run)


def _other_data_error(run: RunDirectory) -> ConfigurationError:
    return ConfigurationError(
        f"the manifests, or scores or a selection the recipe names, have changed since {run.path} was begun",
        reason="the run would continue with other examples than it started with",
        remedy="restore them, or choose another folder with --out",
    )


def _accept(
    recipe: Recipe,
    run: RunDirectory,
    inputs: Inputs,
    recorded: RecordedInputs,
    now: RecordedInputs,
    differences: Mapping[str, str],
) -> RecordedInputs:
    """Set aside what the change makes untrue, and add it to the history."""
    _refuse_fewer_steps(recipe, run, inputs)
    folder = _set_aside(run, _list_outdated(recipe, run, differences), number=recorded.version)
    change = InputChange(
        accepted=list(differences),
        differences=[f"{name}: {line}" for name, line in differences.items()],
        data_sha256=recorded.data_sha256,
        evaluations=str(folder.relative_to(run.path)) if folder else None,
    )
    return now.model_copy(update={"changes": [*recorded.changes, change]})


def _refuse_after_choice(run: RunDirectory, differences: Mapping[str, str]) -> None:
    """Refuse a change of what a selection was made from, named or not."""
    decides = {name: line for name, line in differences.items() if name == "train" or name.startswith("teacher")}
    made = sorted(run.rounds.glob("*/selection.jsonl"))
    if decides and made:
        reason = f"{made[-1].relative_to(run.path)} was chosen from what they were, and cannot be made again half-way"
        refuse_changes(run, decides, reason=reason)


def _refuse_fewer_steps(recipe: Recipe, run: RunDirectory, inputs: Inputs) -> None:
    total = count_steps(recipe, inputs.read_manifest(recipe, recipe.data.train), inputs)
    taken = find_newest_step(run.checkpoints)
    if taken > total:
        raise ConfigurationError(
            f"with the changed examples the run has {total} steps, and {taken} are taken",
            reason="the recipe leaves training.steps open, so the number of examples decides",
            remedy="restore what has changed, or choose another folder with --out",
        )


def _list_outdated(recipe: Recipe, run: RunDirectory, changed: Collection[str]) -> list[Path]:
    """The evaluations that were made with inputs that have changed.

    Once there is a checkpoint, the weights under training come from there, unless they are an adapter's: the student is
    still the one that was measured, although its files have changed.
    """
    is_kept = has_checkpoints(run.checkpoints) and not recipe.student.lora
    tested, validated = {"student-before", "student-after", "timelines"}, {r"validation-\d{6,}"}
    teachers = {*recipe.name_teachers()}
    outdated_by = {
        "test": tested | teachers,
        "side-questions": tested | teachers,
        "validation": validated,
        "videos": tested | validated | teachers,
        "student": set() if is_kept else tested | validated,
        **{name: {name, "timelines"} for name in teachers},
    }
    names = set().union(*(outdated_by.get(name, set()) for name in changed))
    if not names:
        return []
    written = re.compile(rf"({'|'.join(sorted(names))})\.(json|predictions\.jsonl)")  # files of others stay
    found = [path for path in sorted(run.evaluation.iterdir()) if path.is_file() and written.fullmatch(path.name)]
    if validated <= names:
        found += sorted(run.rounds.glob("*/evaluation.json"))
    return found


def _set_aside(run: RunDirectory, paths: Sequence[Path], *, number: int) -> Path | None:
    """Move files into a folder of their own below `evaluation/`; nothing is replaced or deleted."""
    if not paths:
        return None
    folder, again = run.evaluation / f"before-change-{number}", 1
    with explain_write_errors(folder):
        while any(os.path.lexists(_place_aside(run, folder, path)) for path in paths):
            again += 1
            folder = run.evaluation / f"before-change-{number}-{again}"
        for path in paths:
            target = _place_aside(run, folder, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(path, target)
        for changed in {parent for path in paths for parent in (path.parent, _place_aside(run, folder, path).parent)}:
            sync_folder(changed)
        sync_folder(run.evaluation)
    return folder


def _place_aside(run: RunDirectory, folder: Path, path: Path) -> Path:
    return folder / (path.name if path.parent == run.evaluation else path.relative_to(run.path))
