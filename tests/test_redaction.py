"""No secret of the environment or of a URL reaches a message, a log or a record."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from video_opd import redaction
from video_opd.cli.asking import warn
from video_opd.errors import ConfigurationError, DataError
from video_opd.redaction import redact, redact_logs
from video_opd.runs.directory import RunDirectory

SECRETS = {
    "HF_TOKEN": "hf_Abcdefghijklmnopqrstuvwxyz",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "AWS_SECRET_ACCESS_KEY": "wJalr/XUtnFEMI+K7MDENG",
    "MY_PASSWORD": "correct horse",
}
URL = "https://user:t0ps3cret@host.example/a/model?revision=1&token=s3cr3t&X-Amz-Signature=abcdef#end"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def is_clean(text: str) -> bool:
    return not any(secret in text for secret in (*SECRETS.values(), "t0ps3cret", "s3cr3t", "abcdef"))


def test_secrets_are_replaced_by_their_names_and_the_rest_stays():
    for name, value in SECRETS.items():
        assert redact(f"sent {value}.") == f"sent [{name}]."
    hidden = redaction.HIDDEN
    assert redact(URL) == (
        f"https://{hidden}@host.example/a/model?revision=1&token={hidden}&X-Amz-Signature={hidden}#end"
    )
    assert is_clean(redact(str(Path(URL))))  # a path has lost a slash
    assert is_clean(redact(f"Authorization: Bearer {SECRETS['WANDB_API_KEY']}1"))
    for secret, rest in (("p", "h/x@main"), ("p@ss", "h:1/x@m"), ("pa/ss", "h/x"), ("/p@a", "h"), ("12a:/@s", "h:1/x")):
        for start in ("see https://", "mlflow:/"):
            assert redact(f"{start}u:{secret}@{rest}, a@b") == f"{start}{hidden}@{rest}, a@b"
    assert redact("hf_Zyxwvutsrqponmlkjihgfedcba") == hidden


@pytest.mark.parametrize(
    "text",
    ["num_tokens = 8", "a/b@main: the key token is unknown", "student.model = 'a/b'", "--video.max-tokens=64",
     "https://huggingface.co/a/b?page=2", "https://huggingface.co/a/b@main", "http://host:8080/a@b:c",
     "http://[::1]:8080/a@b", "file:///data/me:a@b.mp4", "sqlite:////data/a:b@c/x.db", "/data/a:b@c/x.mp4",
     "https://host/a: see me@host", "1:30 - 2:45", "the query 'who is at user@host?' has no words"],
)  # fmt: skip
def test_what_is_no_secret_stays(text, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "whatever-value")
    monkeypatch.setenv("MAX_TOKENS", "huggingface")
    monkeypatch.setenv("HF_TOKEN_PATH", "student.model")
    assert redact(text) == text


def test_no_error_has_a_secret():
    for kind in (ConfigurationError, DataError):
        error = kind(f"model {URL}", reason=f"{SECRETS['HF_TOKEN']} was refused", remedy=f"open {URL}")
        assert is_clean(str(error))
        assert is_clean(repr(error.args))
        assert is_clean(error.cause + error.reason + error.remedy)


def test_no_command_says_a_secret(refused, recipe_file, tmp_path, world):
    questions = (world / "test.jsonl", "--videos", world / "videos", "--out", tmp_path / "out.jsonl")
    for command in (
        ("ground", URL, URL, "x"),
        ("evaluate", URL, *questions),
        ("train", recipe_file, "--student.model", URL, "--out", tmp_path / "run"),
        ("train", recipe_file, "--data.videos", URL, "--out", tmp_path / "run"),
        ("train", recipe_file, f"--data.{SECRETS['WANDB_API_KEY']}", "x", "--out", tmp_path / "run"),
        ("metrics", URL, "--ground-truth", URL),
        (SECRETS["MY_PASSWORD"],),
    ):
        assert is_clean(refused(*command))


def test_no_log_and_no_warning_has_a_secret(caplog, capsys):
    before = logging.getLogRecordFactory()
    try:
        redact_logs()
        redact_logs()
        logging.getLogger("video_opd.x").warning("model %r: %s", URL, SECRETS["HF_TOKEN"])
        logging.getLogger("httpx").warning("GET " + URL)
        logging.getLogger("video_opd.x").warning("%s of %d", "harmless", 7)
    finally:
        logging.setLogRecordFactory(before)
    warn(f"{URL} is slow")
    assert "harmless of 7" in caplog.text
    assert is_clean(caplog.text)
    assert is_clean(capsys.readouterr().err)


def test_no_record_of_the_environment_has_a_secret(tmp_path):
    environment = {"proxy": URL, "token": SECRETS["HF_TOKEN"], "torch": "2.15"}
    with RunDirectory.create_or_resume(tmp_path / "run", recipe_toml="name = 'a'\n", environment=environment) as run:
        text = run.environment.read_text()
    assert is_clean(text)
    assert json.loads(text)["torch"] == "2.15"


def test_the_run_itself_records_nothing_of_the_environment():
    from video_opd.train.build import describe_environment

    assert is_clean(json.dumps(describe_environment()))


def test_a_secret_that_comes_after_a_message_is_hidden_too(monkeypatch):
    assert redact("nothing here") == "nothing here"
    monkeypatch.setenv("LATER_API_KEY", "a-later-secret")
    assert redact("it is a-later-secret") == "it is [LATER_API_KEY]"
    monkeypatch.setenv("LATER_API_KEY", "another-secret")
    assert redact("it is another-secret") == "it is [LATER_API_KEY]"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["a:/", "http://", "http://u:", "http://u:p", "http://@", "a:/b@c:"])
def test_a_text_of_many_urls_is_scanned_once(unit):
    """Scanning the rest again from every URL would take minutes here."""
    redact(unit * (300_000 // len(unit)))
