"""One prompt object: the template, the clock, the check that what was made is what was meant."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.data.batches import choose_batch
from video_opd.data.prompt_templates import TEMPLATES, PromptTemplate, explain_mismatch
from video_opd.data.prompts import PromptRenderer
from video_opd.data.query_words import QUERY_POLICIES
from video_opd.data.query_words import timelens as clean_query
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.errors import ConfigurationError, EngineError
from video_opd.grounding import form_reward, parse_answer
from video_opd.types import Example, Span

EXAMPLE = Example(id="a", video="a.mp4", query="the red circle", spans=(Span(1.0, 2.5),), duration=10.0)


def frames(times, height=32, width=64) -> Frames:
    images = np.random.default_rng(0).integers(0, 255, (len(times), height, width, 3), dtype=np.uint8)
    return Frames(images=images, times_s=tuple(times), duration_s=times[-1] + 0.5, indices=tuple(range(len(times))))


@pytest.fixture
def render(processor):
    return PromptRenderer(processor, TEMPLATES["timelens"], VideoBudget())


def test_the_fields_template_puts_the_video_first(render, processor):
    text = processor.tokenizer.decode(render(EXAMPLE, frames([0.0, 0.5])).input_ids)
    assert text.startswith("<|im_start|>user\n<0.2 seconds><|vision_start|><|video_pad|>")
    assert "the sentence 'the red circle'," in text
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


def test_the_order_of_question_and_video_is_data(processor):
    render = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget())
    text = processor.tokenizer.decode(render(EXAMPLE, frames([0.0, 0.5])).input_ids)
    assert text.index("When is the red circle visible?") < text.index("<|video_pad|>")


def test_one_pair_of_markers_around_each_group_and_none_around_the_video(render, processor):
    """transformers 5 leaves the template's outer pair standing; the model was trained without it."""
    text = processor.tokenizer.decode(render(EXAMPLE, frames([0.0, 0.5, 1.0, 1.5])).input_ids)
    assert text.count("<|vision_start|>") == text.count("<|vision_end|>") == 2


def test_uneven_frame_times_reach_the_prompt_unchanged(render, processor):
    """Each marker is the mean of its two frames' true times, whatever the frame rate would have made of them."""
    text = processor.tokenizer.decode(render(EXAMPLE, frames([0.0, 0.4, 7.0, 7.4, 8.06, 9.14])).input_ids)
    assert "<0.2 seconds>" in text
    assert "<7.2 seconds>" in text
    assert "<8.6 seconds>" in text


def test_video_tokens_are_counted_in_the_ids(render):
    prompt = render(EXAMPLE, frames([0.0, 0.5, 1.0, 1.5], height=64, width=96))
    assert prompt.grid_thw == (2, 4, 6)
    assert prompt.num_video_tokens == 2 * 2 * 3
    assert prompt.pixel_values.shape == (2 * 4 * 6, 3 * 2 * 16 * 16)
    assert int((prompt.mm_token_type_ids == 2).sum()) == prompt.num_video_tokens


def test_pixels_are_those_of_the_frames(render):
    """First patch of the first group: three channels, two frames, sixteen by sixteen, scaled to -1 … 1."""
    given_frames = frames([0.0, 0.5])
    patch = render(EXAMPLE, given_frames).pixel_values[0].reshape(3, 2, 16, 16).numpy()
    expected = given_frames.images[:, :16, :16].transpose(3, 0, 1, 2) / 127.5 - 1
    assert np.allclose(patch, expected, atol=1e-5)


def test_more_video_tokens_than_allowed_are_refused(processor):
    render = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget(max_tokens=3, max_frame_tokens=3))
    with pytest.raises(EngineError, match=r"4 video tokens: the limit is 3\..*max_frames"):
        render(EXAMPLE, frames([0.0, 0.5, 1.0, 1.5]))


def test_a_processor_that_makes_another_grid_is_refused(processor, render, monkeypatch):
    """If a release of transformers resized behind our back, training would stop before it began."""
    original = processor.video_processor.__class__.__call__

    def resizing(self, videos, **arguments):
        return original(
            self, videos, **(arguments | {"do_resize": True, "size": {"shortest_edge": 1, "longest_edge": 4096}})
        )

    monkeypatch.setattr(processor.video_processor.__class__, "__call__", resizing)
    with pytest.raises(EngineError, match="the processor made grid"):
        render(EXAMPLE, frames([0.0, 0.5, 1.0, 1.5], height=64, width=96))


@pytest.mark.parametrize("user", ["{video}When?", "{query}", "{query}{video}{video}"])
def test_templates_have_one_place_for_each(user):
    with pytest.raises(ConfigurationError, match=r"has \{"):
        PromptTemplate(user=user)


def test_queries_are_cleaned_as_timelens_does():
    assert clean_query("  A person\n opens  the door.. ") == "A person opens the door"


def test_braces_in_a_query_are_text():
    content = TEMPLATES["timelens"].content("the {odd} sign {video}")
    assert content[0] == {"type": "video"}
    assert "'the {odd} sign {video}'" in content[1]["text"]


def test_a_system_turn_and_a_beginning_of_the_answer(processor):
    template = PromptTemplate(user="{video}{query}", system="Watch closely.", answer_prefix="Best option:(")
    prompt = PromptRenderer(processor, template, VideoBudget())(EXAMPLE, frames([0.0, 0.5]))
    text = processor.tokenizer.decode(prompt.input_ids)
    assert text.startswith("<|im_start|>system\nWatch closely.<|im_end|>\n<|im_start|>user\n<0.2 seconds>")
    assert text.endswith("the red circle<|im_end|>\n<|im_start|>assistant\nBest option:(")


def test_a_verbatim_question_keeps_its_lines_and_dots(processor):
    asked = replace(EXAMPLE, query=" Which?\nA. one.\nB.  two. ")
    for queries, query in (("as-is", asked.query), ("timelens", "Which? A. one. B. two")):
        template = PromptTemplate(user="{video}{query}", queries=queries)
        text = processor.tokenizer.decode(
            PromptRenderer(processor, template, VideoBudget())(asked, frames([0.0, 0.5])).input_ids
        )
        assert f"<|vision_end|>{query}<|im_end|>" in text


@given(st.floats(0, 3600), st.floats(0, 100))
def test_what_a_template_writes_the_parser_reads(start, length):
    span = Span(round(start, 1), round(start + length, 1))
    for template in (preset for name, preset in TEMPLATES.items() if name != "tiny-before"):
        found = parse_answer(template.answer_text(span, [0.0, 0.5, 1.0])).spans
        assert found == (pytest.approx(span, abs=0.006),)


def test_every_preset_is_whole():
    for name, preset in TEMPLATES.items():
        assert preset.queries in QUERY_POLICIES, name
        assert preset.source, name
        assert preset.form is None or re.compile(preset.form), name
        if preset.form and preset.answer_starts == "<answer>":
            assert form_reward("<think>It is seen.</think>" + preset.answer_text(Span(1, 2), []), preset.form) == 1, (
                name
            )


@pytest.mark.parametrize(
    ("name", "put"),
    [
        ("timelens", "the sentence 'A cat sits', determining"),
        ("time-r1", 'the event "a cat\n sits." in the video'),
        ("timelens2", 'the query: "  A cat\n sits.. ", return ALL'),
        ("lmms-eval-charades", "sentence:   A cat\n sits.. . Please return"),
    ],
)
def test_every_preset_cleans_a_query_its_own_way(name, put):
    (turn,) = TEMPLATES[name].messages("  A cat\n sits.. ")
    assert put in turn["content"][1]["text"]


def test_a_frame_is_seen_from_the_start_of_a_span_to_before_its_end():
    template = PromptTemplate(user="{video}{query}", answer="{seen}: {start:.1f} - {end:.1f}")
    assert template.answer_text(Span(0.5, 1.5), [0.0, 0.5, 1.0, 1.5, 2.0]) == "01100: 0.5 - 1.5"


def test_times_on_a_clock():
    answer = TEMPLATES["qwen3-vl-json"].answer_text(Span(2.5, 3725.256), [])
    assert answer == '[{"start": "00:02.50", "end": "62:05.26"}]'
    assert parse_answer(answer).spans == ((2.5, 3725.26),)


@pytest.mark.parametrize(
    ("name", "model", "family", "said"),
    [
        ("timelens", "TencentARC/TimeLens-8B", "qwen3_vl", None),
        ("timelens", "models/TimeLens-7B/", "qwen2_5_vl", "the prompt timelens-7b, and is asked with timelens"),
        ("timelens", "Boshenxx/Time-R1-7B", "qwen2_5_vl", "was trained with the prompt time-r1"),
        ("timelens2-100k", "x/TimeLens2-8B", "qwen3_vl", None),
        ("timelens", "x/TimeLens2-8B", "qwen3_vl", "was trained with the prompt timelens2 or timelens2-100k"),
        ("time-r1", "Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", None),
        ("timelens-7b", "Qwen/Qwen3-VL-8B", "qwen3_vl", "made for qwen2_5_vl, and Qwen/Qwen3-VL-8B is qwen3_vl"),
        ("timelens", "hub/models--TencentARC--TimeLens-7B/snapshots/0a1b", None, "trained with the prompt timelens-7b"),
        ("qwen3-vl-json", "Qwen/Qwen3-VL-8B-Instruct", "qwen3_vl", None),
        ("timelens-7b", "x/TimeLens-7B", "qwen2_5_vl", "a timestamp in text before every frame"),
        ("timelens", "runs/mine/model", None, None),
    ],
)  # fmt: skip
def test_a_preset_and_a_checkpoint_that_do_not_belong_together(name, model, family, said):
    found = explain_mismatch(name, model, family)
    assert found is None if said is None else said in found


def test_epochs_follow_without_a_gap_and_each_has_its_order():
    examples = [replace(EXAMPLE, id=str(n)) for n in range(10)]
    drawn = [example.id for step in range(5) for example in choose_batch(examples, step, 4, seed=1)]
    first, second = drawn[:10], drawn[10:20]
    assert sorted(first) == sorted(second) == sorted(example.id for example in examples)
    assert first != second
    assert [e.id for e in choose_batch(examples, 2, 4, seed=1)] == drawn[8:12]
    assert [e.id for e in choose_batch(examples, 0, 4, seed=2)] != drawn[:4]
