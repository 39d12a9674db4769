"""A teacher that is told the spans: what its prompt is, and what else of it is the student's."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from video_opd.data.hint_view import HintView
from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.teacher_views import OtherSpans, find_end
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.data.video.video_sampling import Timeline, sample_frames
from video_opd.errors import EngineError
from video_opd.types import Example, Span

EXAMPLE = Example(id="a", video="a.mp4", query="the red circle", spans=(Span(4.0, 6.06),), duration=10.0)
TWO = replace(EXAMPLE, spans=(Span(1.0, 2.0), Span(4.0, 6.0)))


def make_frames(max_frames: int = 768) -> Frames:
    """Of a video of 10 s with 30 pictures a second; the last frame shown is the last of the file."""
    timeline = Timeline(file="a.mp4", pts=tuple(range(300)), tick=Fraction(1, 30), last_duration=1)
    indices = sample_frames(timeline, VideoBudget(max_frames=max_frames))
    images = np.random.default_rng(0).integers(0, 255, (len(indices), 64, 96, 3), dtype=np.uint8)
    return Frames(images=images, times_s=tuple(at / 30 for at in indices), duration_s=10.0, indices=tuple(indices))


def make_view(processor, **settings) -> HintView:
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    return HintView(**({"tokenizer": processor.tokenizer, "end_of_turn": end, "frames_per_group": 2} | settings))


def render(processor, template: str = "timelens", example: Example = EXAMPLE, **budget):
    return PromptRenderer(processor, TEMPLATES[template], VideoBudget(**budget))(example, make_frames(**budget))


@pytest.mark.parametrize("template", ["timelens", "tiny", "tiny-before"])
def test_only_one_sentence_more_is_in_the_prompt(processor, template):
    whole = render(processor, template)
    seen = make_view(processor)(whole)
    read = processor.tokenizer.decode
    before, _, after = read(whole.input_ids).rpartition("<|im_end|>")
    assert read(seen.input_ids) == f"{before} It happens from 4.0 to 6.1 seconds.<|im_end|>{after}"
    added = len(seen) - len(whole)
    assert added > 0
    assert seen.mm_token_type_ids.sum() == whole.mm_token_type_ids.sum()
    assert seen.mm_token_type_ids.dtype == whole.mm_token_type_ids.dtype
    assert (seen.input_ids[seen.mm_token_type_ids == 2] == whole.input_ids[whole.mm_token_type_ids == 2]).all()
    for field in fields(whole):
        if field.name not in ("input_ids", "mm_token_type_ids"):
            assert getattr(seen, field.name) is getattr(whole, field.name)


def test_the_sentence_stands_in_the_last_turn(processor):
    """A system turn ends before the user's."""
    whole, read = render(processor), processor.tokenizer.decode
    system = torch.tensor(processor.tokenizer.encode("<|im_start|>system\nBe brief.<|im_end|>\n"))
    both = replace(
        whole,
        input_ids=torch.cat([system, whole.input_ids]),
        mm_token_type_ids=torch.cat([torch.zeros_like(system), whole.mm_token_type_ids]),
    )
    view = make_view(processor)
    assert read(view(both).input_ids) == read(system) + read(view(whole).input_ids)


def test_the_real_tokenizer_says_what_rendering_the_sentence_would_say(shared_data):
    from transformers import AutoProcessor

    folder = shared_data / "tokenizers" / "qwen3_vl"
    real = AutoProcessor.from_pretrained(folder)
    real.chat_template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    seen = make_view(real)(render(real))
    text = real.tokenizer.decode(seen.input_ids)
    assert torch.equal(seen.input_ids, torch.tensor(real.tokenizer.encode(text, add_special_tokens=False)))


def test_the_controls_tell_other_spans(processor):
    whole = render(processor, example=TWO)
    assert make_view(processor).write(whole) == " It happens from 1.0 to 2.0 seconds and from 4.0 to 6.0 seconds."
    prompts = [replace(whole, example=replace(TWO, id=f"{number}")) for number in range(60)]
    view = make_view(processor, spans="random")
    told = [view.choose_spans(prompt) for prompt in prompts]
    for one, other in told:
        assert one.end_s - one.start_s == pytest.approx(1.0)
        assert other.end_s - other.start_s == pytest.approx(2.0)
        assert other.start_s - one.start_s == pytest.approx(3.0)
        assert one.start_s >= 0.0
        assert other.end_s <= 10.0, "where the video ends"
    assert {round(one.start_s) for one, _ in told} == {0, 1, 2, 3, 4, 5}, "anywhere"
    assert [view.choose_spans(prompt) for prompt in prompts] == told
    assert [replace(view, seed=1).choose_spans(prompt) for prompt in prompts] != told
    other = replace(EXAMPLE, id="d", video="d.mp4", spans=(Span(1.0, 2.0),), duration=5.0)
    shuffled = make_view(processor, spans="shuffled", others=OtherSpans.of([TWO, other]))
    assert shuffled.choose_spans(whole) == (Span(2.0, 4.0),), "stretched to this video"


def test_a_video_of_one_group_is_as_long_as_its_row_says(processor):
    whole = render(processor, max_frames=2)
    assert whole.grid_thw[0] == 1
    told = {make_view(processor, spans="random", seed=seed).write(whole) for seed in range(5)}
    assert len(told) == 5
    other = replace(EXAMPLE, id="d", video="d.mp4", spans=(Span(1.0, 2.0),), duration=5.0)
    shuffled = make_view(processor, spans="shuffled", others=OtherSpans.of([EXAMPLE, other]))
    assert shuffled.write(whole) == " It happens from 2.0 to 4.0 seconds."


def test_a_video_of_unknown_length_ends_with_its_last_group(processor):
    whole = render(processor, example=replace(TWO, duration=None))
    told = [make_view(processor, spans="random", seed=seed).choose_spans(whole) for seed in range(40)]
    assert max(spans[-1].end_s for spans in told) <= find_end(whole, 2) == pytest.approx(10.5, abs=0.1)


def test_a_span_as_long_as_the_video_has_no_other_place(processor):
    whole = render(processor, example=replace(EXAMPLE, spans=(Span(3.0, 15.0),)))
    assert make_view(processor, spans="random").choose_spans(whole) == [Span(0.0, 12.0)]


def test_a_prompt_in_which_no_turn_ends_is_refused(processor):
    with pytest.raises(EngineError, match="no place for a hint"):
        make_view(processor, end_of_turn=-1)(render(processor))
