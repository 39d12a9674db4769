"""Prompts from a folder of videos: decoded ahead, remembered, set aside; and nothing that goes wrong is lost."""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from concurrent.futures import wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from video_opd.data.manifest import read_manifest
from video_opd.data.prompt_source import PromptMemory, PromptSource, require_folder
from video_opd.data.prompt_templates import TEMPLATES, PromptTemplate
from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import VideoBudget, write_video
from video_opd.errors import DataError, EngineError
from video_opd.types import Span

BUDGET = VideoBudget(fps=2.0, max_frames=64, max_tokens=64, max_frame_tokens=1)


@pytest.fixture(scope="module")
def renderer(processor) -> PromptRenderer:
    return PromptRenderer(processor, TEMPLATES["tiny"], BUDGET)


@pytest.fixture
def videos(world, tmp_path) -> Path:
    return Path(shutil.copytree(world / "videos", tmp_path / "videos"))


@pytest.fixture
def examples(world):
    return read_manifest(world / "train.jsonl")


def source_of(videos, renderer, **changes) -> PromptSource:
    return PromptSource(videos, renderer, **({"num_examples": 12, "workers": 2} | changes))


def same(left, right) -> bool:
    return torch.equal(left.input_ids, right.input_ids) and torch.equal(left.pixel_values, right.pixel_values)


@pytest.mark.parametrize("workers", [0, 2])
def test_decoding_in_other_processes_changes_nothing(videos, renderer, examples, workers):
    (videos / examples[0].video).write_bytes(b"")
    with (
        closing(source_of(videos, renderer, workers=0, max_bad_share=0.2)) as plain,
        closing(source_of(videos, renderer, workers=workers, max_bad_share=0.2, in_processes=True)) as ahead,
    ):
        ahead.prefetch(examples)
        prompts = ahead.prompts(examples)
        assert all(same(prompt, one) for prompt, one in zip(prompts, plain.prompts(examples), strict=True))
        assert ahead.set_aside == plain.set_aside != {}
        assert min(ahead.memory.cost([prompt.example for prompt in prompts])) > 0


def test_decoding_ahead_changes_nothing(videos, renderer, examples):
    with closing(source_of(videos, renderer, workers=0)) as plain, closing(source_of(videos, renderer)) as ahead:
        ahead.prefetch(examples)
        prompts = ahead.prompts(examples)
        assert [prompt.id for prompt in prompts] == [example.id for example in examples]
        assert all(same(prompt, one) for prompt, one in zip(prompts, plain.prompts(examples), strict=True))


def test_what_is_remembered_is_not_decoded_again(videos, renderer, examples):
    with closing(source_of(videos, renderer, memory=PromptMemory(2))) as source:
        first = source.prompts(examples[:3])
        shutil.rmtree(videos)
        assert source.prompts(examples[1:3]) == first[1:]
        with pytest.raises(EngineError, match="no usable video"):
            source.prompts(examples[:1])


@pytest.mark.parametrize(("kept", "decodings"), [(0, 4), (1, 3), (2, 2)])
def test_frames_serve_the_next_question_about_their_video(videos, renderer, examples, monkeypatch, kept, decodings):
    """Whatever the question; another clip of the video is another decoding."""
    import video_opd.data.prompt_source as module

    decoded, original = [], module.read_video
    monkeypatch.setattr(module, "read_video", lambda *what: decoded.append(what) or original(*what))
    cut = replace(examples[0], id="cut", clip=Span(0.0, 4.0))
    asked = [examples[0], replace(examples[0], id="again", query="another"), cut, replace(examples[0], id="whole")]
    with closing(source_of(videos, renderer, workers=0, frames_kept=kept)) as source:
        found = source.prompts(asked)
    assert len(decoded) == decodings
    with closing(source_of(videos, renderer, workers=0)) as source:
        assert all(same(one, other) for one, other in zip(found, source.prompts(asked), strict=True))


def test_damaged_videos_are_used_and_named_once(videos, renderer, examples, monkeypatch, caplog):
    import video_opd.data.prompt_source as module

    original = module.read_video
    monkeypatch.setattr(module, "read_video", lambda *what: replace(original(*what), num_concealed=3))
    with closing(source_of(videos, renderer, workers=0)) as source, caplog.at_level(logging.WARNING):
        assert len(source.prompts(examples[:2] * 2)) == 4
        assert source.damaged_videos == {example.video: 3 for example in examples[:2]}
    (said,) = [record.getMessage() for record in caplog.records]
    assert re.fullmatch(
        rf"\d videos? w\w+ used with damaged pictures .*, such as {re.escape(examples[0].video)} \(3 pictures\)", said
    )


def test_sources_share_a_memory_and_not_their_annotations(videos, renderer, examples):
    """Another run with other labels, ids and limits does not decode again, and gets its own example back."""
    memory = PromptMemory(12)
    with closing(source_of(videos, renderer, memory=memory)) as source:
        (first,) = source.prompts(examples[:1])
    shutil.rmtree(videos)
    relabelled = replace(examples[0], id="other", spans=(Span(0.5, 1.0),))
    with closing(source_of(videos, renderer, memory=memory)) as source:
        (again,) = source.prompts([relabelled])
        assert again.example == relabelled
        assert again.pixel_values is first.pixel_values
        with pytest.raises(EngineError, match="no usable video"):
            source.prompts([replace(examples[0], query="something else")])
    assert memory.cost([relabelled]) == memory.cost([examples[0]])
    assert min(memory.cost([relabelled])) > 0
    assert memory.cost([examples[1]]) == (0, 0)


def test_the_processor_is_used_by_one_thread_at_a_time(videos, examples, processor):
    """A fast tokenizer that two threads use at once says "Already borrowed", now and then."""
    inside, most = 0, 0
    counting = threading.Lock()

    class Watched:
        __class__ = type(processor)

        def __getattr__(self, name):
            return getattr(processor, name)

        def __call__(self, *arguments, **keywords):
            nonlocal inside, most
            with counting:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            try:
                return processor(*arguments, **keywords)
            finally:
                with counting:
                    inside -= 1

    watched = [PromptRenderer(Watched(), TEMPLATES["tiny"], BUDGET) for _ in range(2)]
    with closing(source_of(videos, watched[0], workers=3)) as one, closing(source_of(videos, watched[1])) as other:
        one.prefetch(examples)
        other.prefetch(examples)
        assert len(one.prompts(examples)) == len(other.prompts(examples)) == 12
    assert most == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unusable_video_is_set_aside_once_and_with_its_reason(videos, renderer, examples, workers):
    (videos / examples[0].video).write_bytes(b"")
    bad = [example.id for example in examples if example.video == examples[0].video]
    with closing(source_of(videos, renderer, workers=workers, max_bad_share=0.2)) as source:
        for _ in range(2):
            source.prefetch(examples)
            assert [prompt.id for prompt in source.prompts(examples)] == [
                example.id for example in examples if example.id not in bad
            ]
        assert list(source.set_aside) == bad
        assert source.set_aside[bad[0]].endswith("the file is empty: there is nothing to decode")


def test_a_part_of_a_video_is_set_aside(videos, renderer, examples):
    """A file of half a second for a row of four seconds decodes without a complaint."""
    first = next(example for example in examples if example.clip is None)
    write_video(videos / first.video, np.zeros((12, 64, 64, 3), np.uint8), fps=24)
    bad = [example.id for example in examples if example.video == first.video]
    with closing(source_of(videos, renderer, max_bad_share=0.2)) as source:
        assert len(source.prompts(examples)) == 12 - len(bad)
    assert list(source.set_aside) == bad
    assert f"is 0.50 s long, and the row's `duration` is {first.duration:g} s: a part of" in source.set_aside[first.id]


def test_more_than_the_share_ends_it(videos, renderer, examples):
    (videos / examples[0].video).write_bytes(b"")
    with closing(source_of(videos, renderer, max_bad_share=2 / 12)) as source:
        assert len(source.prompts(examples)) == 10
    with (
        closing(source_of(videos, renderer, max_bad_share=0.16)) as source,
        pytest.raises(
            EngineError, match=r"2 of 12 examples have no usable video, the first train-.*: the file is empty"
        ),
    ):
        source.prompts(examples)


def test_a_prompt_over_the_limit_is_no_bad_video(videos, examples, processor):
    """It is the recipe that is wrong, and every long video would go the same way."""
    tight = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget(fps=2.0, max_tokens=4, max_frame_tokens=1))
    with closing(source_of(videos, tight, max_bad_share=1.0)) as source:
        source.prefetch(examples)
        with pytest.raises(EngineError, match="max_tokens"):
            source.prompts(examples)


@pytest.mark.parametrize("workers", [0, 1])
def test_one_over_the_limit_among_others_that_fit_is_set_aside(videos, renderer, examples, monkeypatch, workers):
    """A file longer than its row says, in the middle of hours of work, is that row's fault and nobody else's."""
    original = PromptRenderer.__call__

    def too_long(self, example, frames):
        if example.id == examples[2].id:
            raise EngineError("99 video tokens", reason="the limit is 64", remedy="raise video.max_tokens")
        return original(self, example, frames)

    monkeypatch.setattr(PromptRenderer, "__call__", too_long)
    with closing(source_of(videos, renderer, workers=workers, max_bad_share=0.2)) as source:
        source.prefetch(examples[:4])
        assert [prompt.id for prompt in source.prompts(examples[:4])] == [examples[n].id for n in (0, 1, 3)]
        assert source.set_aside == {examples[2].id: "99 video tokens: the limit is 64"}


@pytest.mark.parametrize("error", [ValueError("no such role"), "template"])
def test_what_a_processor_says_against_one_example_sets_it_aside(videos, renderer, examples, monkeypatch, error):
    import jinja2

    raised = jinja2.TemplateError("no such role") if error == "template" else error
    original = PromptTemplate.turns
    bad = replace(examples[1], query="the impossible")

    def turns(self, words):
        if words == bad.query:
            raise raised
        return original(self, words)

    monkeypatch.setattr(PromptTemplate, "turns", turns)
    with closing(source_of(videos, renderer, workers=0, max_bad_share=0.2)) as source:
        assert [prompt.id for prompt in source.prompts([examples[0], bad])] == [examples[0].id]
        assert "its prompt could not be made" in source.set_aside[bad.id]
        assert "no such role" in source.set_aside[bad.id]


def test_queries_at_fault_are_not_called_videos(videos, renderer, examples):
    with (
        closing(source_of(videos, renderer)) as source,
        pytest.raises(
            EngineError, match=r"1 of 12 examples cannot be asked, the first .*: the query '\.' has no words"
        ),
    ):
        source.prompts([replace(examples[0], query=".")])


def test_what_fails_ahead_and_is_never_asked_for_is_told_in_the_end(videos, renderer, examples, caplog):
    (videos / examples[0].video).write_bytes(b"")
    source = source_of(videos, renderer, workers=1)
    source.prefetch(examples[:1])
    source._coming[examples[0].id].exception()  # wait for it
    with caplog.at_level(logging.WARNING):
        source.close()
        source.close()
    (record,) = caplog.records
    assert "in vain" in record.message
    assert "the file is empty" in record.message
    assert record.exc_info is None, "a user's mistake has no traceback"


def test_many_that_fail_ahead_are_one_line(videos, renderer, examples, caplog):
    rows = list({example.video: example for example in examples}.values())[:3]
    for example in rows:
        (videos / example.video).write_bytes(b"")
    source = source_of(videos, renderer, workers=1)
    source.prefetch(rows)
    wait(source._coming.values())
    with caplog.at_level(logging.WARNING):
        source.close()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"3 examples were decoded ahead in vain, such as {rows[0].id}: ")


def test_a_bug_on_a_decoding_thread_is_not_swallowed(videos, renderer, examples, caplog, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("video_opd.data.prompt_source.read_video", broken)
    source = source_of(videos, renderer, max_bad_share=1.0)
    source.prefetch(examples[:2])
    with pytest.raises(ZeroDivisionError, match="ours"):
        source.prompts(examples[:1])
    wait(source._coming.values())  # or closing may cancel what has not begun
    with caplog.at_level(logging.WARNING):
        source.close()
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_closing_does_not_wait_for_what_has_not_begun(videos, renderer, examples, monkeypatch):
    def slow(*_):
        time.sleep(0.2)
        raise DataError("slow", reason="and bad", remedy="none")

    monkeypatch.setattr("video_opd.data.prompt_source.read_video", slow)
    source = source_of(videos, renderer, workers=1)
    source.prefetch(examples)
    began = time.monotonic()
    source.close()
    assert time.monotonic() - began < 1.5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode") and thread.is_alive()]


def test_a_folder_that_is_not_there(tmp_path):
    require_folder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        require_folder(tmp_path / "nowhere")
