"""A small environment in the place of lmms-eval's: a virtual environment whose `lmms_eval` is `lmms_stand_in.py`."""

from __future__ import annotations

import re
import shutil
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from video_opd.cli import main
from video_opd.eval.lmms_eval.lmms_process import PYTHON_VARIABLE

STAND_IN = Path(__file__).with_name("lmms_stand_in.py")
SENTENCE = re.compile(r"video-opd: \S.*: \S.*\. [A-Z`(].*[^.]\.")


def make_environment(folder: Path, *, with_lmms_eval: bool) -> str:
    """A virtual environment, without pip, with or without the stand-in as its lmms_eval; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    if with_lmms_eval:
        package = packages / "lmms_eval"
        package.mkdir()
        (package / "__init__.py").touch()
        shutil.copy(STAND_IN, package / "__main__.py")
        (packages / "torch.py").write_text("class cuda:\n    def is_available(): return False\n")
        (packages / "lmms_eval-0.7.3.dist-info").mkdir()
        (packages / "lmms_eval-0.7.3.dist-info" / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: lmms_eval\nVersion: 0.7.3\n"
        )
    return str(folder / "bin" / "python")


@pytest.fixture(scope="session")
def make_lmms_environment() -> Callable[..., str]:
    return make_environment


@pytest.fixture(scope="session")
def lmms_python(tmp_path_factory) -> str:
    return make_environment(tmp_path_factory.mktemp("lmms") / "env", with_lmms_eval=True)


@pytest.fixture
def lmms_evaluate(lmms_python, tmp_path, capsys, monkeypatch) -> Callable[..., tuple[int, str, list[str]]]:
    """Exit status, stdout and lines of stderr of `evaluate tiny-student --with lmms-eval …`, told how to fail."""
    monkeypatch.delenv(PYTHON_VARIABLE, raising=False)

    def run(*words: object, told: str = "", python: str | None = lmms_python) -> tuple[int, str, list[str]]:
        monkeypatch.setenv("FAKE_LMMS", told)
        capsys.readouterr()
        given = ["--lmms-python", python] if python else []
        command = ["evaluate", "tiny-student", "--with", "lmms-eval", "--out", tmp_path / "out", *given, *words]
        status = main([str(word) for word in command])
        captured = capsys.readouterr()
        return status, captured.out, captured.err.splitlines()

    return run


@pytest.fixture
def lmms_refused(lmms_evaluate) -> Callable[..., str]:
    """The sentence of an evaluation that must fail."""

    def run(*words: object, **how: Any) -> str:
        status, out, err = lmms_evaluate(*words, **how)
        assert (status, out) == (2, ""), err
        assert SENTENCE.fullmatch(err[-1]), err[-1]
        assert not re.search(r":\.|\.\.( |$)", err[-1]), err[-1]
        return err[-1]

    return run
