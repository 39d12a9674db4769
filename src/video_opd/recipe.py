"""What a run is: a TOML file, parsed and frozen. Unknown keys are refused, and the nearest valid one is named.

Reading a recipe imports neither torch nor transformers.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from video_opd.errors import ConfigurationError


class Settings(BaseModel):
    """A frozen table of a recipe."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        coerce_numbers_to_str=True,  # `--name 7`: the command line cannot tell that a name is meant
    )


# Strict: the text "60" is no number and `true` is not 1. A whole number will do where a fraction may stand.
Integer = Annotated[int, Field(strict=True)]
Count = Annotated[Integer, Field(ge=0)]
Positive = Annotated[Integer, Field(ge=1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[Number, Field(ge=0)]
MoreThanZero = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Momentum = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]


class StudentSettings(Settings):
    """The model that learns."""

    model: str
    """A folder, a hub name, or `tiny-student`."""
    freeze_vision: Flag = False
    """Leave the vision tower as it is, as TimeLens does."""


class TeacherSettings(Settings):
    """The frozen model that judges."""

    model: str
    """A folder, a hub name, or `tiny-teacher`. Same tokenizer and frame size as the student's."""


class TinyWorldSettings(Settings):
    """The rendered data set, and what is wrong with its training annotations."""

    seed: Integer = 0
    """Draws clips, questions and noise."""
    wrong_share: Share = 0.20
    """Share of training spans that belong to another event (TimeLens's audit of Charades-STA: 20.6 %)."""
    imprecise_share: Share = 0.35
    """Share of training spans with displaced ends (the same audit: 34.9 %)."""
    jitter_s: NotNegative = 1.0
    """Standard deviation of the displacement."""
    num_train: Positive = 960
    """Training queries."""
    num_validation: Positive = 96
    """Validation queries, annotated exactly."""
    num_test: Positive = 400
    """Test queries, annotated exactly."""


class DataSettings(Settings):
    """Where the examples are."""

    videos: Path
    """Folder the manifests' video paths are relative to."""
    train: Path
    """Manifest trained on."""
    validation: Path
    """Manifest evaluated on schedule while training."""
    test: Path | None = None
    """Manifest evaluated before and after, and never used to choose anything."""
    max_bad_share: Share = 0.05
    """Training stops when more than this share of its examples has an unusable video."""
    workers: Count = 1
    """Threads that decode the next batch while this one is trained on; 0: none."""
    tiny_world: TinyWorldSettings | None = None
    """Render the tiny world into the manifests' folder where it is missing."""


class PromptSettings(Settings):
    """How the question is put."""

    template: str = "timelens"
    """Name of a built-in template."""
    user: str | None = None
    """A template of your own: the user's turn, with {video} and {query} once each."""


class VideoSettings(Settings):
    """How much of a video a prompt holds."""

    fps: MoreThanZero = 2.0
    """Frames per second looked at, as long as max_frames allows."""
    max_frames: Annotated[Positive, Field(multiple_of=2)] = 768
    """Most frames of a prompt, an even number; a longer video is looked at more sparsely."""
    max_tokens: Positive = 8192
    """Most video tokens of a prompt; checked against what the processor really made."""
    max_frame_tokens: Positive = 768
    """Most tokens of one temporal group (two frames)."""


class SideQuestionSettings(Settings):
    """A second kind of question, with a one-word answer, asked before and after: what does training forget?"""

    file: Path | None = None
    """JSON lines of id, video, question, answer, duration; videos as in `data.videos`. None: the tiny world's own."""
    template: str = "tiny-before"
    """Name of a built-in template; the question takes the place of {query}."""
    user: str | None = None
    """A template of your own."""


class OnPolicyDistillationSettings(Settings):
    """Video-OPD."""

    name: Literal["opd"] = "opd"
    """The method."""
    estimator: Literal["sampled", "exact"] = "sampled"
    """`sampled`: the paper's credit of the sampled token. `exact`: the reverse KL of every visited state, in full."""
    credit_clamp: MoreThanZero | None = None
    """Bound on a token's credit in nats; none by default. The clamped share is logged."""


class AnswerSettings(Settings):
    """What an answer may be."""

    max_new_tokens: Positive = 64
    """Most tokens of an answer; one that is longer is cut off and counted as truncated."""


class TrainingSettings(Settings):
    """The optimiser and its batches."""

    steps: Positive | None = None
    """Optimiser steps; where not set, one pass over the training examples."""
    batch_size: Positive = 32
    """Prompts a step."""
    micro_batch_size: Positive = 1
    """Prompts read together; changes memory and speed, never the gradient."""
    updates_per_batch: Positive = 1
    """More than one brings in the importance ratio."""
    learning_rate: MoreThanZero = 1e-6
    """Of AdamW, after the warm-up."""
    warmup_steps: Count = 0
    """Steps over which the learning rate rises linearly to its full size."""
    decay: Literal["none", "linear", "cosine"] = "none"
    """How the learning rate falls to 0 from the warm-up to the last step."""
    weight_decay: NotNegative = 0.0
    """AdamW's."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """AdamW's."""
    clip_norm: MoreThanZero = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""


class ScheduleSettings(Settings):
    """What is measured, saved and recorded when."""

    evaluate_every: Count = 0
    """Steps between evaluations on the validation manifest; 0: only at the end."""
    checkpoint_every: Positive = 20
    """Steps between checkpoints; an interrupted run goes on from the newest."""
    keep_checkpoints: Positive = 2
    """Newest checkpoints that are kept."""
    probe_every: Count = 10
    """Steps between measurements of the reverse KL before and after an update, on the same states; 0: never."""
    probe_size: Positive = 4
    """Prompts in that measurement."""
    answers_every: Positive = 1
    """Steps between records of answers in answers.jsonl."""
    answers_kept: Count = 4
    """Answers recorded each time."""


class ComputeSettings(Settings):
    """What it runs on."""

    device: str = "auto"
    """`auto`: a CUDA device if there is one, else the CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: float32 weights for the student, bfloat16 arithmetic, a bfloat16 teacher."""
    threads: Positive | None = None
    """CPU threads; two on a busy machine can be ten times slower than one."""
    evaluation_batch_size: Positive = 1
    """Prompts answered together when evaluating."""


class GroundingDefaults(Settings):
    """How a model wants to be asked. Travels beside its weights as `grounding.json`, so that a student is evaluated
    with the prompt and the frames it was trained on unless somebody says otherwise."""

    prompt: PromptSettings = PromptSettings()
    video: VideoSettings = VideoSettings()
    answers: AnswerSettings = AnswerSettings()


GROUNDING_FILE = "grounding.json"

KEYS_ARE_LISTED = "`video-opd train --help-keys` lists every key with its default"


class Recipe(Settings):
    """A run. Same recipe, same data, same seed: same weights."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]
    """Of the run; its folder is runs/NAME unless --out says otherwise."""
    seed: Integer = 0
    """Draws the order of the examples and every sampled answer."""
    student: StudentSettings
    teacher: TeacherSettings
    data: DataSettings
    prompt: PromptSettings = PromptSettings()
    video: VideoSettings = VideoSettings()
    method: OnPolicyDistillationSettings = OnPolicyDistillationSettings()
    answers: AnswerSettings = AnswerSettings()
    training: TrainingSettings = TrainingSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    side_questions: SideQuestionSettings | None = None
    compute: ComputeSettings = ComputeSettings()

    def grounding_defaults(self) -> GroundingDefaults:
        """What a student of this run should be asked with."""
        return GroundingDefaults(prompt=self.prompt, video=self.video, answers=self.answers)

    def to_toml(self) -> str:
        """The resolved recipe, defaults included; keys that are None are left out, as TOML has no null."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def load_recipe(path: Path, overrides: dict[str, str] | None = None) -> Recipe:
    """Read a recipe, with dotted keys overridden: `{"training.learning_rate": "1e-4"}`.

    Raises:
        ConfigurationError: no such file, not TOML, an unknown key, a value of the wrong type.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"recipe {path} cannot be read",
            reason=error.strerror or str(error),
            remedy="give the path of a recipe, such as recipes/tiny-opd.toml",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"recipe {path} is not TOML", reason=str(error), remedy="mend the file") from error
    for key, text in (overrides or {}).items():
        _set(tables, key, text)
    return parse_recipe(tables, where=str(path))


def parse_recipe(tables: dict[str, Any], *, where: str = "recipe") -> Recipe:
    """Validate parsed TOML; the first problem is reported, with the key's full name.

    Raises:
        ConfigurationError: an unknown key, a missing one, a value of the wrong type.
    """
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise _refusal(where, error) from None


def load_grounding_defaults(model_folder: Path) -> GroundingDefaults:
    """What stands in the model's `grounding.json`; the field's defaults for a folder or hub name without one.

    Raises:
        ConfigurationError: the file is there and cannot be understood.
    """
    path = model_folder / GROUNDING_FILE
    if not path.is_file():
        return GroundingDefaults()
    try:
        return GroundingDefaults.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _refusal(str(path), error) from None


def recipe_keys(settings: type[Settings] = Recipe, prefix: str = "") -> dict[str, str]:
    """Every key of a recipe with its dotted name, and what it means, its default included."""
    keys: dict[str, str] = {}
    for name, info in settings.model_fields.items():
        table = _table_type(info.annotation)
        if table is not None:
            keys |= recipe_keys(table, f"{prefix}{name}.")
        else:
            meaning = " ".join((info.description or "").split())
            keys[prefix + name] = f"{meaning} ({_default(info)})"
    return keys


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    return "not set by default" if info.default is None else f"default: {json.dumps(info.default)}"


def _table_type(annotation: Any) -> type[Settings] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, Settings)), None)


def _refusal(where: str, error: ValidationError) -> ConfigurationError:
    """The first problem of a file, in our words."""
    problem = error.errors()[0]
    key, kind = ".".join(str(part) for part in problem["loc"]), problem["type"]
    if kind == "extra_forbidden":
        return ConfigurationError(
            f"{where}: unknown key {key}", reason="no setting has that name", remedy=_nearest(key)
        )
    if kind == "missing":
        return ConfigurationError(
            f"{where} has no {key}", reason="it has no default", remedy=f"give it; {KEYS_ARE_LISTED}"
        )
    if kind == "model_type":
        return ConfigurationError(
            f"{where}: {key} = {problem['input']!r}",
            reason="that is the name of a table",
            remedy=f"write [{key}] on a line of its own, and its settings below",
        )
    return ConfigurationError(
        f"{where}: {key} = {problem['input']!r}" if key else where,
        reason=problem["msg"][0].lower() + problem["msg"][1:],
        remedy=f"correct it; {KEYS_ARE_LISTED}",
    )


def _nearest(key: str) -> str:
    """Which setting was probably meant."""
    leaves = recipe_keys()
    tables = {name.rsplit(".", 1)[0] for name in leaves if "." in name}
    last_parts = {name.rsplit(".", 1)[-1]: name for name in leaves}
    close = difflib.get_close_matches(key, [*tables, *leaves], n=1) or [
        last_parts[part] for part in difflib.get_close_matches(key.rsplit(".", 1)[-1], last_parts, n=1)
    ]
    return f"perhaps {close[0]} is meant; {KEYS_ARE_LISTED}" if close else f"leave it out; {KEYS_ARE_LISTED}"


def _set(tables: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted key; the value is read as TOML, and as a string where that fails."""
    *path, last = key.split(".")
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise ConfigurationError(
                f"--{key}: {part} is a value, not a table", reason="it has no keys", remedy=_nearest(key)
            )
    try:
        tables[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        tables[last] = text
