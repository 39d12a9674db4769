"""The command by which lmms-eval asks a model the questions of its tasks. Nothing is run here.

lmms-eval (github.com/EvolvingLMMs-Lab/lmms-eval; versions and arguments below are those of 0.7.3) wants an older PyAV
than this package, so it has an environment of its own, and is used through its command line and its files:

    OUT/command.json, command.sh     the command and what stands behind it; to be run again by hand
    OUT/log.txt                      what lmms-eval printed
    OUT/lmms-eval/MODEL/*_results.json, *_samples_TASK.jsonl    what it wrote
    OUT/report.json                  the same as this package reports scores
"""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from video_opd.config import VideoSettings
from video_opd.errors import ConfigurationError, DataError
from video_opd.files.records import json_entries
from video_opd.policy.families import FAMILIES

CLASS_OF = {model_type: family.lmms.name for family in FAMILIES if family.lmms for model_type in family.model_types}
"""lmms-eval's class for what a checkpoint's config.json calls `model_type`."""

PATCH_SIZE = {family.lmms.name: family.patch_size for family in FAMILIES if family.lmms}
"""Pixels of a patch's side where config.json does not say; the classes that are told which frames to take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameArguments:
    """The model's video settings as arguments of lmms-eval's class."""

    passed: dict[str, int | float] = field(default_factory=dict)
    not_passed: tuple[str, ...] = ()
    """Settings that the class has no argument for, and what holds instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of lmms-eval, as far as its results depend on it."""

    model: str
    """As the user called it."""
    model_class: str
    model_args: dict[str, str | int | float]
    tasks: tuple[str, ...]
    frames: FrameArguments
    include_path: str | None = None
    """Folder of tasks beside lmms-eval's own."""
    limit: int | None = None
    """Only the first so many questions of each task."""
    batch_size: int = 1
    max_new_tokens: int | None = None
    """Instead of what each task says."""
    version: str | None = None
    """Of lmms-eval; None: not known when the command was written."""

    @property
    def model_args_text(self) -> str:
        """`key=value,…`, as lmms-eval wants it and writes it into its results."""
        return ",".join(f"{key}={value}" for key, value in self.model_args.items())

    def command(self, python: str, results: Path) -> list[str]:
        """The command line. `-I`: neither the user's PYTHONPATH nor the folder it is called from may stand in for a
        package of that environment. `-u`: what was printed is in the log when it is killed."""
        words = [python, "-I", "-u", "-m", "lmms_eval", "--model", self.model_class]
        words += ["--model_args", self.model_args_text, "--tasks", ",".join(self.tasks)]
        words += ["--batch_size", str(self.batch_size), "--output_path", str(results), "--log_samples"]
        if self.include_path is not None:
            words += ["--include_path", self.include_path]
        if self.limit is not None:
            words += ["--limit", str(self.limit)]
        if self.max_new_tokens is not None:
            words += ["--gen_kwargs", f"max_new_tokens={self.max_new_tokens}"]
        return words


def choose_class(folder: Path) -> str:
    """lmms-eval's class for a model folder.

    Raises:
        ConfigurationError: no class is known for it.
    """
    model_type = _read_config(folder).get("model_type")
    if model_type not in CLASS_OF:
        raise ConfigurationError(
            f"{folder / 'config.json'}: model_type {model_type!r}",
            reason="the class of lmms-eval that loads such a model is unknown",
            remedy="name the class with --lmms-model; `PY -m lmms_eval models` lists them, with PY the environment's",
        )
    return CLASS_OF[model_type]


def convert_frames(video: VideoSettings, folder: Path, model_class: str) -> FrameArguments:
    """Video settings as lmms-eval's class takes them, in pixels of a frame, so that a model sees comparable frames.

    Either each frame is capped (`max_pixels`) or all together are (`total_pixels`); the class hands only one of the two
    to qwen_vl_utils. So the total is said where the cap on a frame does not imply it. Where min_frame_tokens is not
    set, `min_pixels` is one token, or qwen_vl_utils would enlarge small frames and break the total.
    """
    family = next((family for family in FAMILIES if family.lmms and family.lmms.name == model_class), None)
    if family is None or family.lmms is None:
        return FrameArguments(not_passed=(f"frames: whatever lmms-eval's {model_class} takes, or --model-args says",))
    vision = _read_config(folder).get("vision_config") or {}
    side = family.token_side_by_config(vision)
    square, most = side * side, family.lmms.max_frame_tokens
    passed: dict[str, int | float] = {"fps": video.fps, "max_num_frames": video.max_frames}
    passed["min_pixels"] = square * (video.min_frame_tokens or 1)
    not_passed = []
    if video.min_frames not in (None, family.lmms.min_frames):
        not_passed.append(f"min_frames = {video.min_frames}: {family.lmms.min_frames} hold")
    frames_hold_total = video.max_frames // family.frames_per_group * video.max_frame_tokens <= video.max_tokens
    if frames_hold_total or not family.lmms.caps_total:
        passed["max_pixels"] = video.max_frame_tokens * square
        if not frames_hold_total:
            not_passed.append(f"max_tokens = {video.max_tokens}: a long video gets more")
    else:
        passed["total_pixels"] = video.max_tokens * square
        if video.max_frame_tokens < most:
            not_passed.append(f"max_frame_tokens = {video.max_frame_tokens}: {most} hold")
    if video.max_frame_tokens > most:
        not_passed.append(f"max_frame_tokens = {video.max_frame_tokens}: {most} hold")
    if family.lmms.fixed_max_frames is not None:
        fixed = family.lmms.fixed_max_frames
        not_passed.append(f"max_frames = {video.max_frames}: with fps this class leaves it at {fixed}")
    return FrameArguments(passed=passed, not_passed=tuple(not_passed))


def _read_config(folder: Path) -> dict[str, Any]:
    return {str(entry.key): entry.value for entry in json_entries(folder / "config.json")}


def write_command(out: Path, job: Job, python: str) -> list[str]:
    """Write command.json and command.sh into the folder `out`; returns the command.

    Raises:
        OSError: the folder cannot be written.
    """
    command = job.command(python, out.absolute() / "lmms-eval")
    (out / "command.json").write_text(json.dumps(asdict(job) | {"command": command}, indent=2) + "\n", encoding="utf-8")
    script = out / "command.sh"
    script.write_text(
        f"#!/bin/sh\n# Written by `video-opd evaluate --with lmms-eval`, which reads the results with --read-only.\n"
        f"cd {shlex.quote(str(Path.cwd()))} || exit\nexec {shlex.join(command)}\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    return command


def read_command(out: Path) -> tuple[Job, list[str]]:
    """What `write_command` wrote.

    Raises:
        DataError: it is not there, or was not written by this package.
    """
    path = out / "command.json"
    values = {str(entry.key): entry.value for entry in json_entries(path)}
    try:
        command = [str(word) for word in values.pop("command")]
        frames = FrameArguments(**values.pop("frames"))
        return Job(**values | {"tasks": tuple(values["tasks"]), "frames": frames}), command
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not a command of `video-opd evaluate --with lmms-eval`",
            reason=f"its keys are not those of a command ({error})",
            remedy="write it again with --write-only, into a folder of its own",
        ) from None
