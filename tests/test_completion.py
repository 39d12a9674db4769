"""A shell completes commands, flags, choices and the names of formats and scorers."""

from __future__ import annotations

import subprocess

import pytest

from video_opd.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_script_is_printed_for_every_shell(shell, capsys):
    assert main(["completion", shell]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    for word in ("evaluate", "overlap", "max-bad-share", "tempcompass"):
        assert word in captured.out


def test_bash_understands_the_script(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    subprocess.run(["bash", "-n", script], check=True)


def test_names_that_plugins_may_add_to_are_asked_for(capsys):
    """The script calls the program for them."""
    assert main(["__complete", "metrics", "--as", "timel"]) == 0
    assert {"timelens", "timelens2"} <= set(capsys.readouterr().out.splitlines())
    assert main(["__complete", "data", "import", "char"]) == 0
    assert "charades-sta" in capsys.readouterr().out.splitlines()


def test_a_shell_that_is_unknown_is_asked_for(refused, monkeypatch):
    from cyclopts import completion

    def unknown():
        raise completion.ShellDetectionError("no shell was found")

    monkeypatch.setattr(completion, "detect_shell", unknown)
    assert "no shell was found. Name the shell" in refused("completion")
    assert "invalid choice: 'fsh'" in refused("completion", "fsh")
