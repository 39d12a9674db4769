"""What stands in a file, a name or an answer never reaches the terminal as a command."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import logging
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.progress import Progress
from rich.table import Table

from video_opd.cli import main
from video_opd.cli.asking_commands import _show_answer
from video_opd.cli.completion_commands import completion
from video_opd.cli.result_tables import show_comparison
from video_opd.config.recipe_file import load_recipe
from video_opd.config.shipped_recipes import find_recipe
from video_opd.consoles import EscapingConsole
from video_opd.errors import ConfigurationError, DataError
from video_opd.eval.progress_bar import ProgressBar
from video_opd.terminal import EscapedLogRecord, escape_controls, show, show_traceback

SOURCE = Path(__file__).resolve().parents[1] / "src" / "video_opd"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
HOSTILE = {
    "ESC": "\x1b[2J", "BEL": "\x07", "CSI": "\x9b2J", "RTL": "\u202egnp", "CR": "\rvideo-opd: all is well",
    "DEL": "\x7f", "BS": "\x08", "isolate": "\u2066", "half": "\udce9",
}  # fmt: skip
EACH = pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, which must be there and be inert."""
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert text
    assert not OBEYED.search(text), text
    return text


def write_rows(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_there_is_one_place_that_prints():
    """`print`, a console of rich and the streams themselves are for `terminal` and `consoles` alone.

    The process of `chat_sandbox` answers its parent in JSON.
    """
    found = []
    for path in SOURCE.rglob("*.py"):
        if path.name in ("terminal.py", "consoles.py", "chat_sandbox.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("print", "pprint", "Console"):
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}: {called.id}")
            if isinstance(called, ast.Attribute) and (
                called.attr in ("print_exc", "print_exception", "echo")
                or (called.attr.startswith("write") and ast.unparse(called.value).startswith("sys.std"))
            ):
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}: {called.attr}")
    assert found == []


def test_escapes_are_those_of_json_and_are_made_once():
    text = "".join(map(chr, range(0x250))) + "\u202e\u2066\ud83d\ufeffé漢🙂"
    escaped = escape_controls(text)
    assert not OBEYED.search(escaped)
    assert "é漢🙂" in escaped
    assert escape_controls(escaped) == escaped
    value = {"a": HOSTILE, "\x9b": ["\t\n"]}
    for indent in (None, 2):
        assert json.loads(escape_controls(json.dumps(value, ensure_ascii=False, indent=indent))) == value


@EACH
def test_a_key_and_a_name_of_a_recipe(hostile, tmp_path, capsys):
    if hostile == HOSTILE["half"]:
        return  # TOML has no such character
    shipped, said = find_recipe(Path("tiny-opd")).read_text(), json.dumps(hostile).replace("\x7f", "\\u007f")
    recipe = tmp_path / "r.toml"
    for text in (f"{shipped}\n[{said}]\nx = 1", f"{shipped}{said} = 1", shipped.replace('"sampled"', said)):
        recipe.write_text(text)
        with pytest.raises(ConfigurationError) as refused:
            load_recipe(recipe)
        assert not OBEYED.search(str(refused.value))
        assert main(["plan", str(recipe)]) == 2
        assert re.search(r"\\[uxrab]", printed(capsys)) or "\r" in hostile  # which is a blank in a sentence


@EACH
def test_a_row_of_a_manifest(hostile, tmp_path, capsys):
    row = {"id": "a", "video": "a.mp4", "query": "q", "spans": [[1.0, 20.0]], "duration": 10.0}
    for changes in ({"id": f"a{hostile}"}, {"query": f"q{hostile}"}, {"video": f"/a{hostile}"}, {f"k{hostile}": 1},
                    {"source": f"s{hostile}"}):  # fmt: skip
        manifest = write_rows(tmp_path / "m.jsonl", row | changes)
        main(["data", "check", str(manifest)])
        printed(capsys)
        main(["data", "stats", str(manifest)])
        printed(capsys)
        main(["data", "check", str(manifest), "--json"])
        read = json.loads(capsys.readouterr().out)["problems"]
        assert read[0]["id"] in (row | changes)["id"]


@EACH
def test_the_name_of_a_file(hostile, tmp_path, capsys):
    name = str(tmp_path / f"a{hostile}b.jsonl")
    assert main(["data", "check", name]) == 2
    printed(capsys)
    assert main([f"data{hostile}"]) == 2
    printed(capsys)
    write_rows(Path(name), {"id": "a", "video": "a.mp4", "query": "q", "spans": [[1.0, 2.0]], "duration": 10.0})
    assert main(["data", "check", name]) == 0
    assert escape_controls(hostile) in printed(capsys)


@EACH
def test_an_id_that_is_predicted_but_not_asked(hostile, tmp_path, capsys):
    truth = {"id": "a", "video": "a.mp4", "query": "q", "spans": [[1.0, 2.0]], "duration": 10.0}
    manifest = write_rows(tmp_path / "m.jsonl", truth)
    answers = write_rows(tmp_path / "p.jsonl", {"id": "a", "answer": f"1 - 2{hostile}"}, {"id": hostile, "answer": ""})
    assert main(["metrics", str(answers), "--ground-truth", str(manifest)]) == 0
    assert escape_controls(hostile) in printed(capsys)


@EACH
@pytest.mark.parametrize("spans", [(), (SimpleNamespace(start_s=1.0, end_s=2.0),)])
def test_what_a_model_answers(hostile, spans, capsys):
    found = SimpleNamespace(spans=spans, answer=hostile, duration=4.0, reason=hostile, num_video_tokens=3)
    _show_answer(found, as_json=False)
    printed(capsys)
    found.spans = ()
    _show_answer(found, as_json=True)
    assert json.loads(printed(capsys))["answer"] == hostile


@EACH
def test_the_name_of_a_run_and_of_a_comparison(hostile, tmp_path, capsys):
    name = f"n{hostile}[/bold]"
    method = {"learning_rate": 1e-3, "scores": {}, "ledger": {"seconds_by_phase": {}}, "test_miou": None}
    results = {"name": name, "seeds": [0], "methods": {name: method}, "sentences": [name], "time": "seconds"}
    with contextlib.suppress(KeyError):  # a comparison without scores has few cells
        show_comparison(results, tmp_path / name.replace("/", ""))
    run = {"steps": 1, "train_seconds": 1.0, "run": name, "student_before": {name: 0.5, "num_queries": 40}}
    with contextlib.suppress(KeyError):
        from video_opd.cli.result_tables import show_run

        show_run(run)
    printed(capsys)


def test_a_console_keeps_its_own_codes_and_takes_no_others():
    stream = io.StringIO()
    console = EscapingConsole(file=stream, force_terminal=True, color_system="standard", width=60)
    table = Table(title="\x1b[2Jtitle")
    table.add_column("\x9bname")
    table.add_row("[bold]styled[/bold] \x1b]0;owned\x07")
    console.print(table, "\u202e", "\ud800")
    with Progress(console=console, transient=True) as bar:
        bar.add_task("a\x1b[2J\x07", total=1)
    text = stream.getvalue()
    assert "\x1b[1mstyled" in text
    codes = re.sub(r"\x1b\[(?:[\d;]*m|\?25[hl]|2K|1A|\d*[A-G])", "", text)
    assert not OBEYED.search(codes.replace("\r", "")), codes
    assert "\\u001b]0;owned\\u0007" in text


def test_a_line_of_progress(capsys):
    with ProgressBar("step", 1) as bar:
        bar.say("evaluating \x1b[2J \ud800")
    assert "\\u001b[2J \\ud800" in printed(capsys)


def test_a_message_of_a_logger_and_a_traceback(capsys):
    record = EscapedLogRecord("other", logging.WARNING, __file__, 1, "model %s", ("\x1b[2J",), None)
    assert logging.Formatter("%(message)s").format(record) == "model \\u001b[2J"
    try:
        raise KeyError("a\x1b[2J\ud800")
    except KeyError as error:
        show_traceback(KeyError, error, error.__traceback__)
    assert "Traceback" in printed(capsys)


def test_an_error_is_inert_wherever_it_is_shown():
    error = DataError("a\x1b[2J\nb", reason="\u202e\x9b", remedy="mend \x07it")
    assert str(error) == "a\\u001b[2J b: \\u202e\\u009b. Mend \\u0007it."


def test_what_has_no_such_characters_is_printed_as_it_is(capsys):
    show("a\tb\né漢🙂", end="", file=sys.stdout)
    assert capsys.readouterr().out == "a\tb\né漢🙂"
    for shell in ("bash", "zsh", "fish"):
        completion(shell)
        assert "\\u00" not in capsys.readouterr().out
