"""The user's own methods, rewards, importers, scorers and trackers, from a Python file that the user names.

A plugin file is a program: it runs with the user's rights, like `python my_file.py`. Only the command line and the
user's own Python code can name one. A recipe cannot, so that a recipe from another person never runs code.

    import video_opd

    def score(truth, answers): ...

    video_opd.register_scorer("mine", score)
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import linecache
import sys
import traceback
from pathlib import Path
from types import CodeType

from video_opd.errors import ConfigurationError, Stopped, UserError
from video_opd.plugin_table import undo_on_failure

_LOADED: set[str] = set()
"""Plugin files that were run, as their lines name them in a traceback."""

_DOCS = "docs/EXTENDING.md has complete examples"


def load_plugin(path: Path | str) -> None:
    """Run a Python file, so that the names that it registers can be used.

    Where the file fails, what it has registered until then is removed again.

    Raises:
        ConfigurationError: the file does not exist, is not Python, or fails. The message names the line of the file.
    """
    path = Path(path)
    code = _compile(path)
    name = _make_module_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and pydantic look up the module of a class in sys.modules
    try:
        with undo_on_failure():
            exec(code, module.__dict__)
    except Stopped:
        raise
    except (Exception, SystemExit) as error:
        if before is None:
            del sys.modules[name]
        else:
            sys.modules[name] = before
        raise _refusal(path, error) from error
    _LOADED.add(str(path))


def find_plugin_file(defined: object) -> Path | None:
    """The plugin file that defines a class or function; None: it was not defined in one.

    Args:
        defined: the class or function.
    """
    name = getattr(defined, "__module__", "")
    file = getattr(sys.modules.get(name), "__file__", None)
    return Path(file) if file and name == _make_module_name(Path(file)) else None


def find_failure_in_plugin(error: BaseException) -> ConfigurationError | None:
    """What went wrong in a plugin while it was used, and at which line of it; None: no plugin was at work."""
    names = [frame.filename for frame in traceback.extract_tb(error.__traceback__) if frame.filename in _LOADED]
    return _refusal(Path(names[-1]), error) if names else None


def _compile(path: Path) -> CodeType:
    if path.suffix != ".py":
        raise ConfigurationError(
            f"the plugin {path}", reason="its name does not end in .py", remedy=f"give a Python file; {_DOCS}"
        )
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the plugin {path}", reason=f"it cannot be read: {error.strerror or error}", remedy="check the path"
        ) from error
    try:
        tree = ast.parse(source, str(path))
        return compile(tree, str(path), "exec", dont_inherit=True)
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # ValueError: a NUL byte, before Python 3.12
        line = getattr(error, "lineno", None)
        said = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise ConfigurationError(
            f"the plugin {path}" + (f", line {line}" if line else ""),
            reason=f"it is not Python: {said}",
            remedy="correct the line; `python -m py_compile` checks a file",
        ) from error


def _make_module_name(path: Path) -> str:
    """The module name of a file, the same in every working directory."""
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"video_opd_plugin_{digest}"


def _refusal(path: Path, error: BaseException) -> ConfigurationError:
    """The error for a plug-in that failed, with the line of the user's own file."""
    linecache.checkcache(str(path))
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    place = f"the plugin {path}"
    if lines:
        place += f", line {lines[-1].lineno}" + (f", `{lines[-1].line}`" if lines[-1].line else "")
    if isinstance(error, UserError):
        return ConfigurationError(place, reason=f"{error.cause}: {error.reason}", remedy=error.remedy)
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    remedy = "install what is missing, or correct the line" if isinstance(error, ImportError) else "correct the line"
    return ConfigurationError(place, reason=said, remedy=remedy)
