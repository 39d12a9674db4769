"""A chat template is a program from elsewhere: it makes the text that transformers makes, or ends within limits."""

from __future__ import annotations

import io
import json
import time

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from video_opd.data import chat_sandbox, chat_text
from video_opd.data.chat_text import render_chat
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.policy.location import BUNDLED, resolve_model

TURNS = TEMPLATES["timelens"].turns
GIVEN = {"add_generation_prompt": True, "eos_token": "<|im_end|>"}


@pytest.fixture(scope="module")
def templates(shared_data) -> list[str]:
    """Of our tiny models and of real ones."""
    ours = [(resolve_model(name) / "chat_template.jinja").read_text() for name in BUNDLED]
    paths = [shared_data / "tokenizers" / name / "chat_template.json" for name in ("qwen3_vl", "qwen2_5_vl")]
    return [*ours, *(json.loads(path.read_text())["chat_template"] for path in paths)]


TRIMMING = (
    "{%- macro show(content) %}{% for part in content %}{{ part.text | default('<video>') }}{% endfor %}{% endmacro %}"
    "{%- set ns = namespace(count=0) %}{% for message in messages %}{% set ns.count = ns.count + 1 %}"
    "{{ message.role }}: {{ show(message.content) | trim }}{% generation %}{% endgeneration %}"
    "{% if loop.last %}{% break %}{% endif %}{% endfor %} {{ ns.count }} {{ messages[0].role | tojson }}{{ eos_token }}"
)


@pytest.mark.parametrize(
    "words", ["the red circle", "  a dog, runs. ", "{{ 7 * 7 }} {% raw %}", "<b>\u202e\n'\"</b>", "ß" * 50]
)
def test_the_text_is_that_of_transformers(words):
    check_text(TRIMMING, words)
    check_text((resolve_model("tiny-student") / "chat_template.jinja").read_text(), words)


def test_the_text_of_real_templates_is_that_of_transformers(templates):
    for template in templates:
        check_text(template, " a dog, runs. ")


def check_text(template: str, words: str) -> None:
    expected, _ = render_jinja_template(conversations=[TURNS(words)], chat_template=template, **GIVEN)
    assert render_chat(template, TURNS, words, GIVEN) == expected[0]


def test_a_template_is_rendered_once_for_all_queries(monkeypatch):
    runs: list[str] = []
    monkeypatch.setattr(chat_text.subprocess, "run", lambda *_, **__: runs.append("a process"))
    chat_text._render.cache_clear()
    with pytest.raises(AttributeError):
        render_chat("{{ messages }}", TURNS, "first", GIVEN)
    monkeypatch.undo()
    texts = [render_chat(TRIMMING, TURNS, words, GIVEN) for words in ("first", "second")]
    monkeypatch.setattr(chat_text.subprocess, "run", None)
    assert render_chat(TRIMMING, TURNS, "third", GIVEN) == texts[0].replace("first", "third")
    assert runs == ["a process"]


HOSTILE = {
    "a loop in a loop": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a text of 10 GB": "{{ 'a' * 10000000000 }}",
    "a text that doubles": "{% set ns = namespace(x='aaaaaaaa') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
    "{% endfor %}{{ ns.x }}",
    "a number without end": "{{ 10 ** 10 ** 10 }}",
    "a wide field": "{{ '%01000000000d' % 7 }}",
    "a text of some megabytes": "{{ 'a' * 9000000 }}",
    "a macro that calls itself": "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "a way to Python": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "a way to the environment": "{{ cycler.__init__.__globals__.os.environ }}",
    "a file": "{% include '/etc/hostname' %}",
    "an error": "{{ raise_exception('no video') }}",
    "no jinja": "{% for %}",
    "no query": "hello",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_within_limits(name, monkeypatch):
    monkeypatch.setattr(chat_text, "_WALL_S", 2)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"the model's chat template (cannot be rendered|leaves out the query)"):
        render_chat(HOSTILE[name], TURNS, "the red circle", GIVEN)
    assert time.monotonic() - began < 30


def test_the_process_has_no_secret(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret_of_this_test")
    given: dict[str, object] = {}
    run = chat_text.subprocess.run
    monkeypatch.setattr(chat_text.subprocess, "run", lambda *a, **k: given.update(k) or run(*a, **k))
    chat_text._render.cache_clear()
    render_chat(TRIMMING, TURNS, "x", GIVEN)
    assert "HF_TOKEN" not in given["env"]


def test_the_limits_are_in_the_process_itself(monkeypatch):
    """Whatever starts it."""
    limits: list[object] = []
    monkeypatch.setattr(chat_sandbox.resource, "setrlimit", lambda *what: limits.append(what) and None)
    monkeypatch.setattr(chat_sandbox.sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    with pytest.raises(ValueError, match="Expecting value"):
        chat_sandbox.main()
    kinds = {kind for kind, _ in limits}
    assert kinds == {
        chat_sandbox.resource.RLIMIT_CPU,
        chat_sandbox.resource.RLIMIT_AS,
        chat_sandbox.resource.RLIMIT_CORE,
    }
