"""`evaluate --with lmms-eval`."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from video_opd.cli.argument_types import Rate
from video_opd.cli.path_roles import Reads, ReadsFileOrNames
from video_opd.consoles import EscapingConsole
from video_opd.errors import ConfigurationError, DataError, explain_write_errors
from video_opd.files.outputs import refuse_foreign
from video_opd.files.strict_json import load_json
from video_opd.terminal import show

if TYPE_CHECKING:
    from video_opd.cli.asking_commands import EvaluationRequest
    from video_opd.eval.lmms_eval.lmms_command import Job


@Parameter(
    name="*",
    group=Group.create_ordered("Tasks of lmms-eval", help="In place of MANIFEST and --videos (docs/LMMS_EVAL.md)."),
)
@dataclass(frozen=True, kw_only=True)
class LmmsChoices:
    """The options of `evaluate` for lmms-eval, which then asks and scores."""

    harness: Annotated[Literal["lmms-eval"] | None, Parameter(name="--with")] = None
    """the program that asks and scores"""
    tasks: Annotated[str | None, Parameter(metavar="NAME[,NAME…]")] = None
    """names of tasks or groups of lmms-eval"""
    include_path: Annotated[Reads | None, Parameter(metavar="DIR")] = None
    """folder with tasks of your own"""
    lmms_python: Annotated[ReadsFileOrNames | None, Parameter(metavar="PY")] = None
    """the Python of lmms-eval's environment (default: VIDEO_OPD_LMMS_PYTHON)"""
    lmms_model: Annotated[str | None, Parameter(metavar="CLASS")] = None
    """model class of lmms-eval (default: by the model's config.json)"""
    model_args: Annotated[str | None, Parameter(metavar="K=V,…")] = None
    """arguments of that class, added to ours or in their place"""
    timeout: Annotated[Rate | None, Parameter(metavar="SECONDS")] = None
    """stop lmms-eval after this time (default: never)"""
    write_only: bool = False
    """write and print the command, to run it elsewhere"""
    read_only: bool = False
    """read the results that the command wrote into --out"""


NO_LMMS = LmmsChoices()

LMMS_FLAGS = ("tasks", "include_path", "lmms_python", "lmms_model", "model_args", "timeout")
"""The options that only lmms-eval uses."""

REPORT = "report.json"

_BAR = re.compile(r"(?P<stage>[^:]+):\s+\d+%\|.*\| (?P<done>\d+)/(?P<total>\d+) \[")


def refuse_lmms_flags(given: LmmsChoices) -> None:
    """Refuse options for lmms-eval if it is not used.

    Raises:
        ConfigurationError: names the first such option.
    """
    names = [name for name in LMMS_FLAGS if getattr(given, name) is not None]
    names += [name for name in ("write_only", "read_only") if getattr(given, name)]
    if names:
        raise ConfigurationError(
            f"--{names[0].replace('_', '-')}", reason="this option is for lmms-eval", remedy="add `--with lmms-eval`"
        )


def evaluate_with_lmms_eval(request: EvaluationRequest) -> int:
    """Write the command, run it in its own environment, and read what it wrote."""
    from video_opd.eval.lmms_eval.lmms_command import read_command, write_command
    from video_opd.eval.lmms_eval.lmms_process import failure, find_python, look_into, run
    from video_opd.eval.lmms_eval.lmms_results import list_result_files, read_report

    if request.lmms.write_only and request.lmms.read_only:
        raise ConfigurationError(
            "`video-opd evaluate`",
            reason="argument --read-only: not allowed with argument --write-only",
            remedy="see `video-opd evaluate --help`",
        )
    _refuse_what_tasks_bring(request)
    out = request.run.out
    if request.lmms.read_only:
        job, command = read_command(out)
        _refuse_strange_report(out)
        _refuse_another_job(request, job)
        return _tell(request, _read_newest_report(out, job, command))
    if not request.lmms.tasks:
        raise ConfigurationError(
            "--with lmms-eval has no --tasks",
            reason="lmms-eval knows hundreds",
            remedy="name some, such as --tasks timelens_charades,tempcompass; `PY -m lmms_eval tasks list`, with PY "
            "its environment's Python, lists them",
        )
    _refuse_strange_folder(out)
    if request.lmms.write_only:
        job, python = _make_job(request, None, None), request.lmms.lmms_python or "python"
    else:
        environment = look_into(find_python(request.lmms.lmms_python), request.how.device)
        job, python = _make_job(request, environment.version, environment.has_cuda), environment.python
    _prepare(out)
    with explain_write_errors(out / "command.json"):
        command = write_command(out, job, python)
    if request.lmms.write_only:
        show((out / "command.json").read_text(encoding="utf-8").strip() if request.run.json else shlex.join(command))
        return 0

    before, log = set(list_result_files(out)), out / "log.txt"
    began = time.monotonic()
    with _Progress(f"lmms-eval {job.version or ''}: {', '.join(job.tasks)}; log: {log}") as progress:
        run(command, log, timeout_s=request.lmms.timeout, on_line=progress.show)
    written = [path for path in list_result_files(out) if path not in before]
    if not written:
        raise failure("lmms-eval wrote no results", log)
    report = read_report(written[-1], job, command) | {"seconds": round(time.monotonic() - began, 1)}
    return _tell(request, report)


def _refuse_another_job(request: EvaluationRequest, job: Job) -> None:
    """Refuse a folder with the results of another model or of other tasks than the command line names."""
    from video_opd.policy.location import resolve_model

    where = request.run.out / "command.json"
    pretrained = str(job.model_args["pretrained"])
    if request.model != job.model and str(resolve_model(request.model, weights=False).resolve()) != pretrained:
        raise ConfigurationError(
            f"{where} has the results of the model {job.model}, not of {request.model}",
            reason="its results would be reported as those of another model",
            remedy=f"give {job.model} as MODEL, or the folder of the other evaluation as --out",
        )
    if request.lmms.tasks is not None and set(_parse_tasks(request.lmms.tasks)) != set(job.tasks):
        raise ConfigurationError(
            f"{where} has the results of the tasks {','.join(job.tasks)}, not of {request.lmms.tasks}",
            reason="--read-only reads what was run",
            remedy="leave --tasks out, or give the folder of the other evaluation as --out",
        )


def _parse_tasks(text: str) -> tuple[str, ...]:
    return tuple(task.strip() for task in text.split(",") if task.strip())


def _refuse_what_tasks_bring(request: EvaluationRequest) -> None:
    """Refuse options that a task or a model class of lmms-eval fixes itself."""
    reasons = {
        "MANIFEST": (request.manifest, "its tasks bring their own questions"),
        "--benchmark": (request.benchmark.benchmark, "its tasks bring their own questions"),
        "--videos": (request.run.videos, "its tasks bring their own videos"),
        "--template": (request.how.template, "its tasks bring their own prompts"),
    }
    for called, (given, reason) in reasons.items():
        if given is not None:
            raise ConfigurationError(
                f"{called} with lmms-eval", reason=reason, remedy="leave it out, or make a task (docs/LMMS_EVAL.md)"
            )
    if request.how.precision == "float32":
        raise ConfigurationError(
            "--precision float32 with lmms-eval",
            reason="its Qwen classes load every model in bfloat16",
            remedy="leave it out",
        )


def _make_job(request: EvaluationRequest, version: str | None, has_cuda: bool | None) -> Job:
    """The job to run. The device is not passed on if it is lmms-eval's own default, every GPU."""
    from video_opd.cli.asking import resolve_defaults
    from video_opd.eval.lmms_eval.lmms_command import PATCH_SIZE, Job, choose_class, convert_frames
    from video_opd.policy.location import resolve_model
    from video_opd.policy.weights_files import is_adapter

    folder = resolve_model(request.model, weights=False).resolve()
    if is_adapter(folder):
        raise ConfigurationError(
            f"model {request.model!r} is an adapter",
            reason="lmms-eval loads whole models from a folder",
            remedy=f"merge it first: `video-opd merge {request.model} --out FOLDER`",
        )
    model_class = request.lmms.lmms_model or choose_class(folder)
    frames = convert_frames(resolve_defaults(request.model, request.how).video, folder, model_class)
    device: str | None = request.how.device
    if device == "auto":
        device = "cpu" if has_cuda is False else None
    args: dict[str, Any] = {"pretrained": str(folder)}
    if device is not None and model_class in PATCH_SIZE:
        args |= {"device": device, "device_map": device}
    args |= frames.passed | _parse_model_args(request.lmms.model_args)
    include_path = request.lmms.include_path
    if include_path is not None and not include_path.is_dir():
        raise ConfigurationError(
            f"--include-path {include_path}", reason="the folder does not exist", remedy="give the folder with the YAML"
        )
    for path in (folder, request.run.out.absolute()):
        if re.search(r"""[,'"{}\[\]]""", str(path)):
            raise ConfigurationError(
                f"{path} cannot be passed to lmms-eval",
                reason="lmms-eval separates its arguments by commas, quotes and brackets",
                remedy="rename the folder, or give a link to it without these characters",
            )
    resolve_model(request.model)  # all other checks passed: now the weights
    return Job(
        model=request.model,
        model_class=model_class,
        model_args=args,
        tasks=_parse_tasks(request.lmms.tasks or ""),
        frames=frames,
        include_path=None if include_path is None else str(include_path.absolute()),
        limit=request.run.limit,
        batch_size=request.run.batch_size or 1,
        max_new_tokens=request.how.max_new_tokens,
        version=version,
    )


def _parse_model_args(text: str | None) -> dict[str, str]:
    """Parse `key=value,key=value` into a dict. A comma that no key follows is part of the value."""
    found: dict[str, str] = {}
    for word in re.split(r",(?=[A-Za-z_]\w*=)", text or ""):
        key, equals, value = word.partition("=")
        if word and (not equals or not key.isidentifier()):
            raise ConfigurationError(
                f"--model-args {text}",
                reason=f"{word!r} does not have the form key=value",
                remedy="write key=value,key=value",
            )
        if key == "pretrained":
            raise ConfigurationError(
                f"--model-args {text}", reason="MODEL says which weights are loaded", remedy="leave `pretrained` out"
            )
        if word:
            found[key] = value
    return found


def _refuse_strange_folder(out: Path) -> None:
    """Refuse a folder that has other content than our results."""
    from video_opd.eval.lmms_eval.lmms_command import read_command

    with explain_write_errors(out):
        if out.is_dir() and any(out.iterdir()) and not (out / "command.json").is_file():
            raise ConfigurationError(
                f"{out} holds something else",
                reason="no evaluation with lmms-eval has been written there",
                remedy="give an empty folder or a new one",
            )
    if (out / "command.json").is_file():
        read_command(out)
    _refuse_strange_report(out)


def _refuse_strange_report(out: Path) -> None:
    """Refuse to replace a file that is not a report of ours."""

    def is_ours(path: Path) -> bool:
        try:
            found = load_json(path.read_bytes())
        except (ValueError, RecursionError):
            return False
        return isinstance(found, dict) and found.keys() >= {"model", "convention", "scores"}

    if out.is_dir():
        with explain_write_errors(out / REPORT):
            refuse_foreign(out / REPORT, is_ours, "a report of an evaluation with lmms-eval")


def _prepare(out: Path) -> None:
    """Make the folder, and remove the report of an earlier run."""
    with explain_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / REPORT).unlink(missing_ok=True)


def _read_newest_report(out: Path, job: Job, command: list[str]) -> dict[str, Any]:
    from video_opd.eval.lmms_eval.lmms_results import list_result_files, read_report

    files = list_result_files(out)
    if not files:
        raise DataError(
            f"{out / 'lmms-eval'} has no *_results.json",
            reason="command.sh did not run to its end",
            remedy="run it, and read what it prints",
        )
    return read_report(files[-1], job, command)


def _tell(request: EvaluationRequest, report: dict[str, Any]) -> int:
    report = {"model": request.model, **report}
    file = request.run.out / REPORT
    with explain_write_errors(file):
        file.write_text(dumps(report, indent=2) + "\n", encoding="utf-8")
    if request.run.json:
        show(dumps(report, indent=2))
    else:
        from video_opd.cli.result_tables import show_task_scores

        show_task_scores(report)
        show(f"report: {file}")
    return 0


class _Progress:
    """Shows lmms-eval's progress bars on stderr as one bar; without a terminal, as a plain line from time to time."""

    SECONDS_BETWEEN_LINES = 10.0

    def __init__(self, title: str) -> None:
        from rich.progress import Progress

        self.console = EscapingConsole(stderr=True)
        self.title = title
        self.told = time.monotonic()
        self.bar = Progress(console=self.console, transient=True, disable=not self.console.is_terminal)
        self.task = self.bar.add_task("starting", total=None)

    def __enter__(self) -> _Progress:
        self._say(self.title)
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, line: str) -> None:
        """Show a line of the log if it is a progress bar; ignore other lines."""
        found = _BAR.match(line)
        if found is None:
            return
        stage, done, total = found["stage"].strip(), int(found["done"]), int(found["total"])
        if self.console.is_terminal:
            self.bar.update(self.task, description=stage, completed=done, total=total)
        elif time.monotonic() - self.told >= self.SECONDS_BETWEEN_LINES:
            self.told = time.monotonic()
            self._say(f"lmms-eval: {stage} {done}/{total}")

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
