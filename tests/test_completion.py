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


@pytest.mark.parametrize("command", ["train", "doctor", "compare"])
def test_recipes_are_offered(capsys, command):
    assert main(["__complete", command, "tiny-o"]) == 0
    assert {"tiny-opd", "tiny-op-rkd"} <= set(capsys.readouterr().out.splitlines())
    assert main(["__complete", command, "grp"]) == 0
    assert {"grpo-8b", "paper/grpo-8b"} <= set(capsys.readouterr().out.splitlines())
    assert main(["__complete", command, ""]) == 0
    assert {"grpo-8b", "paper/grpo-8b"} & set(capsys.readouterr().out.splitlines()) == {"paper/grpo-8b"}


@pytest.mark.parametrize(
    "words", [["evaluate"], ["ground"], ["score"], ["score", "--teacher"], ["init", "--student"], ["init", "--teacher"]]
)
def test_models_and_folders_are_offered(capsys, tmp_path, monkeypatch, words):
    (tmp_path / "tin" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["__complete", *words, "tin"]) == 0
    assert {"tiny-student", "tiny-teacher", "tin/"} <= set(capsys.readouterr().out.splitlines())
    assert main(["__complete", *words, "tin/"]) == 0
    assert "tin/model/" in capsys.readouterr().out.splitlines()


def test_recipes_are_listed_in_lines_that_fit(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 110
    assert sum(line.startswith("tiny-opd ") for line in lines) == 1


def test_a_shell_that_is_unknown_is_asked_for(refused, monkeypatch):
    from cyclopts import completion

    def unknown():
        raise completion.ShellDetectionError("no shell was found")

    monkeypatch.setattr(completion, "detect_shell", unknown)
    assert "no shell was found. Name the shell" in refused("completion")
    assert "invalid choice: 'fsh'" in refused("completion", "fsh")
    assert "Perhaps bash is meant" in refused("completion", "bsh")
