"""What a run reads: its manifests, its models, its videos. How they are told apart, and what has changed.

Of manifests, scores and selections the content counts, by its SHA-256. So it does of models, but weights have many
gigabytes: a file whose size and times of change are as recorded is taken for the one that was hashed. Where a file
system keeps whole seconds, or all times can be set, other weights of the same size may go unnoticed. Of videos names
and sizes are recorded, of those that the manifests name: to read them all would take hours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from video_opd.config import Recipe
from video_opd.errors import ConfigurationError
from video_opd.files.input_records import FORMAT, InputFile, InputModel, InputVideos, ModelFile, RecordedInputs
from video_opd.policy.file_hashes import hash_file
from video_opd.policy.location import list_model_files
from video_opd.suggestions import suggest
from video_opd.train.run_inputs import Inputs

SHOWN_LETTERS = 8
"""Of a SHA-256 in a sentence."""


def list_input_names(recipe: Recipe) -> list[str]:
    """The names of a recipe's inputs, for `train --accept-changed`."""
    data = recipe.data
    is_there = {
        "train": True,
        "validation": True,
        "test": data.test is not None,
        "side-questions": recipe.side_questions is not None,
        "student": True,
        **dict.fromkeys(recipe.name_teachers(), True),
        "videos": True,
        **dict.fromkeys(_find_choice_files(recipe), True),
    }
    return [name for name, here in is_there.items() if here]


def refuse_unknown_inputs(recipe: Recipe, names: Sequence[str]) -> None:
    """Refuse names of inputs that the recipe does not have.

    Raises:
        ConfigurationError: there is one.
    """
    known = list_input_names(recipe)
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"--accept-changed {name}",
                reason="the recipe has no input of that name",
                remedy=suggest(str(name), known, f"choose from {', '.join(known)}"),
            )


def identify_inputs(recipe: Recipe, inputs: Inputs, known: RecordedInputs | None = None) -> RecordedInputs:
    """Find out what the recipe's inputs are at this moment. Models on the hub are downloaded.

    Args:
        recipe: whose data are rendered.
        inputs: keeps what was read of its files.
        known: what was recorded earlier; files of models that look the same are not hashed again.

    Raises:
        UserError: a file cannot be read.
    """
    data_sha256 = inputs.hash_everything(recipe)
    models = {"student": recipe.student.model}
    models |= {name: teacher.model for name, teacher in recipe.name_teachers().items()}
    known_models = known.models if known else {}
    return RecordedInputs(
        format=FORMAT,
        from_begin=known.from_begin if known else True,
        data_sha256=data_sha256,
        files={
            name: InputFile(path=str(path), bytes=inputs.measure_file(path), sha256=inputs.hash_files(path))
            for name, path in _find_files(recipe, inputs).items()
        },
        models={name: _identify_model(model, known_models.get(name)) for name, model in models.items()},
        videos=InputVideos(folder=str(recipe.data.videos), bytes=inputs.measure_videos(recipe)),
        changes=known.changes if known else [],
    )


def describe_differences(then: RecordedInputs, now: RecordedInputs) -> dict[str, str]:
    """Say what has changed, by the name of the input; empty where nothing has.

    Videos are compared that were named then and are named now: which ones are named is a matter of the manifests.
    """
    found = {}
    for name in [*then.files, *(name for name in now.files if name not in then.files)]:
        if line := _compare_files(then.files.get(name), now.files.get(name)):
            found[name] = line
    for name, model in now.models.items():
        if name in then.models and (line := _compare_models(then.models[name], model)):
            found[name] = line
    if line := _compare_videos(then.videos, now.videos):
        found["videos"] = line
    return found


def digest_inputs(recorded: RecordedInputs, names: Collection[str]) -> str:
    """A hash of the videos and of some other inputs: where it is the same, what was measured on them is comparable.

    Args:
        recorded: all inputs of a run.
        names: of files and models; those that the run does not have count as absent.
    """
    files = {name: recorded.files[name].sha256 for name in names if name in recorded.files}
    # A model is told by its files, not by the name that a run has for it: one run's teacher-2 may be another's teacher.
    models = [
        {file: state.sha256 for file, state in recorded.models[name].files.items()}
        for name in sorted(names)
        if name in recorded.models
    ]
    content = json.dumps([files, models, recorded.videos.to_json()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _find_choice_files(recipe: Recipe) -> dict[str, Path]:
    """The files by which a recipe chooses examples: a selection, scores."""
    curriculum = recipe.curriculum
    found = {
        "selection": getattr(curriculum, "file", None),
        "teacher-scores": getattr(curriculum, "teacher_scores", None),
    }
    found |= {f"{name}-scores": teacher.scores for name, teacher in recipe.name_teachers().items() if teacher.scores}
    return {name: path for name, path in found.items() if path is not None}


def _find_files(recipe: Recipe, inputs: Inputs) -> dict[str, Path]:
    data = recipe.data
    found = {"train": data.train, "validation": data.validation, "test": data.test}
    found["side-questions"] = inputs.find_side_questions_file(recipe)
    return {name: path for name, path in found.items() if path is not None} | _find_choice_files(recipe)


def _identify_model(name: str, known: InputModel | None) -> InputModel:
    known_files = known.files if known else {}
    files = {file: _identify_file(path, known_files.get(file)) for file, path in list_model_files(name).items()}
    return InputModel(name=name, files=files)


def _identify_file(path: Path, known: ModelFile | None) -> ModelFile:
    """Hash a file of a model, unless it looks as it did when it was hashed."""
    try:
        found = path.stat()
        looks = {"bytes": found.st_size, "modified_ns": found.st_mtime_ns, "changed_ns": found.st_ctime_ns}
        if known and known.model_dump(include=set(looks)) == looks:
            return known
        return ModelFile(**looks, sha256=hash_file(path))
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read",
            reason=f"the run has to know which weights and files it was begun with ({error.strerror or error})",
            remedy="make it readable; or, if the model does not need it, move it out of the folder",
        ) from error


def _compare_files(then: InputFile | None, now: InputFile | None) -> str:
    if then is None or now is None:
        return f"{now.path} is new" if now else f"{then.path} is no longer used" if then else ""
    if then.sha256 == now.sha256:
        return ""
    return f"{now.path} had {_tell_state(then)} and has {_tell_state(now)}"


def _compare_models(then: InputModel, now: InputModel) -> str:
    lines = list(_list_model_differences(then, now))
    more = f", and {len(lines) - 1} more of its files changed" if len(lines) > 1 else ""
    return f"{lines[0]}{more} ({now.name})" if lines else ""


def _list_model_differences(then: InputModel, now: InputModel) -> Iterator[str]:
    """A clause for each file; weights first, since they matter most."""
    for file in sorted(
        then.files.keys() | now.files.keys(), key=lambda file: (not file.endswith(".safetensors"), file)
    ):
        before, after = then.files.get(file), now.files.get(file)
        if before is None or after is None:
            yield f"{file} is {'gone' if before else 'new'}"
        elif before.sha256 != after.sha256:
            yield f"{file} had {_tell_state(before)} and has {_tell_state(after)}"


def _tell_state(state: InputFile | ModelFile) -> str:
    return f"{state.bytes:,} bytes with SHA-256 {state.sha256[:SHOWN_LETTERS]}…"


def _compare_videos(then: InputVideos, now: InputVideos) -> str:
    both = {name: (before, now.bytes[name]) for name, before in then.bytes.items() if name in now.bytes}
    missing = [name for name, (before, after) in both.items() if before is not None and after is None]
    back = [name for name, (before, after) in both.items() if before is None and after is not None]
    resized = [name for name, sizes in both.items() if None not in sizes and sizes[0] != sizes[1]]
    clauses = []
    if missing:
        clauses.append(f"{len(missing)} missing, such as {missing[0]}")
    if back:
        clauses.append(f"{len(back)} there that were missing, such as {back[0]}")
    if resized:
        before, after = both[resized[0]]
        clauses.append(f"{len(resized)} of another size, such as {resized[0]} ({before:,} bytes then, {after:,} now)")
    return f"of {len(both):,} in {now.folder} {', '.join(clauses)}" if clauses else ""
