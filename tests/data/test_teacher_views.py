"""A teacher's view of a clip: what rendering its frames alone would give, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from video_opd.data.prompt_templates import TEMPLATES
from video_opd.data.prompts import PromptRenderer
from video_opd.data.teacher_views import ClipView, OtherSpans, find_groups, find_openers, list_runs
from video_opd.data.video.video_io import Frames, VideoBudget, read_frames
from video_opd.errors import EngineError
from video_opd.types import Example, Span

EXAMPLE = Example(id="a", video="a.mp4", query="the red circle", spans=(Span(4.0, 6.0),), duration=10.0)
UNEVEN = (0.0, 0.4, 1.0, 1.4, 2.5, 3.1, 4.0, 4.4, 7.0, 7.4, 9.5, 10.6, 12.0, 12.5)
"""Seven groups, that begin at 0, 1, 2.5, 4, 7, 9.5 and 12 s."""


def make_frames(times, height=64, width=96) -> Frames:
    images = np.random.default_rng(0).integers(0, 255, (len(times), height, width, 3), dtype=np.uint8)
    return Frames(images=images, times_s=tuple(times), duration_s=times[-1] + 0.5, indices=tuple(range(len(times))))


def make_view(processor, **settings) -> ClipView:
    given = {"margin_s": 0.0, "frames_per_group": 2, "video_kind": 2, "openers": find_openers(processor.tokenizer)}
    return ClipView(**(given | settings))


def select_frames(frames: Frames, groups) -> Frames:
    chosen = [frame for group in groups for frame in (2 * group, 2 * group + 1)]
    return replace(
        frames,
        images=frames.images[chosen],
        times_s=tuple(frames.times_s[frame] for frame in chosen),
        indices=tuple(chosen),
    )


def assert_equal_prompts(seen, expected) -> None:
    """Field by field; tensors bit by bit."""
    for field in fields(seen):
        mine, theirs = getattr(seen, field.name), getattr(expected, field.name)
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs), field.name
        else:
            assert mine == theirs, field.name


@pytest.mark.parametrize("template", ["timelens", "tiny"])
@pytest.mark.parametrize(
    "spans",
    [
        [(4.0, 6.0)], [(0.0, 0.1)], [(12.3, 13.0)], [(0.0, 2.6), (9.6, 12.1)], [(1.0, 2.0), (4.5, 4.5), (9.5, 11.0)],
    ],
)  # fmt: skip
def test_a_view_is_what_rendering_its_frames_alone_gives(processor, template, spans):
    """The whole prompt is equal, so only pixels and ids differ from the student's, and the clock is the same."""
    example, frames = replace(EXAMPLE, spans=tuple(Span(*span) for span in spans)), make_frames(UNEVEN)
    render = PromptRenderer(processor, TEMPLATES[template], VideoBudget())
    whole, view = render(example, frames), make_view(processor)
    groups = view.choose_groups(whole)
    assert 0 < len(groups) < 7
    seen = view(whole)
    assert_equal_prompts(seen, render(example, select_frames(frames, groups)))
    assert (seen.grid_thw, len(seen.pixel_values)) == ((len(groups), 4, 6), len(groups) * 24)
    stamps = [
        re.findall(r"<([\d.]+) seconds>", processor.tokenizer.decode(prompt.input_ids)) for prompt in (whole, seen)
    ]
    assert stamps[1] == [stamps[0][group] for group in groups], "the times of these groups, as the student sees them"


def test_the_real_processor_says_the_same(shared_data):
    """Its tokenizer writes `?<` as one token, where a question stands before the video."""
    from transformers import AutoProcessor

    folder = shared_data / "tokenizers" / "qwen3_vl"
    real = AutoProcessor.from_pretrained(folder)
    real.chat_template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    budget = VideoBudget(fps=1.0, max_tokens=1024)
    frames = read_frames(shared_data / "video" / "OHOFG.mp4", budget)
    view = make_view(real, margin_s=2.0)
    for template in ("timelens", "tiny"):
        render = PromptRenderer(real, TEMPLATES[template], budget)
        for spans in ([Span(0.0, 3.0)], [Span(12.0, 16.0)], [Span(5.0, 6.0), Span(20.0, 25.0)]):
            whole = render(replace(EXAMPLE, spans=tuple(spans)), frames)
            groups = view.choose_groups(whole)
            assert len(groups) < whole.grid_thw[0]
            assert_equal_prompts(view(whole), render(whole.example, select_frames(frames, groups)))
    ids = render(EXAMPLE, frames).input_ids.tolist()
    assert any(token.endswith("?<") for token in real.tokenizer.convert_ids_to_tokens(ids)), "the case is in the test"


def test_groups_by_hand():
    starts = (0.0, 1.0, 2.5, 4.0, 7.0, 9.5, 12.0)
    assert find_groups(starts, [Span(4.0, 6.0)], 0.0) == [3]
    assert find_groups(starts, [Span(4.0, 7.0)], 0.0) == [3], "what begins at its end is not part of it"
    assert find_groups(starts, [Span(4.0, 6.0)], 1.0) == [2, 3]
    assert find_groups(starts, [Span(4.0, 6.0)], 1.6) == [1, 2, 3, 4]
    assert find_groups(starts, [Span(2.0, 2.0)], 0.0) == [1]
    assert find_groups(starts, [Span(20.0, 30.0)], 0.0) == [6]
    assert find_groups(starts, [Span(0.0, 0.5), Span(9.6, 12.5)], 0.0) == [0, 5, 6]
    assert find_groups(starts, [Span(0.0, 30.0)], 0.0) == list(range(7))
    assert list_runs([0, 1, 4, 6, 7]) == [(0, 1), (4, 4), (6, 7)]
    assert list_runs(range(2, 5)) == [(2, 4)]


def test_a_view_of_the_whole_clip_is_the_prompt_itself(processor):
    whole = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget())(EXAMPLE, make_frames(UNEVEN))
    assert make_view(processor, margin_s=20.0)(whole) is whole
    assert make_view(processor)(whole).pixel_values.data_ptr() == whole.pixel_values[3 * 24].data_ptr(), "no copy"


def test_a_random_view_is_as_long_and_depends_on_seed_and_id_alone(processor):
    whole = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget())(EXAMPLE, make_frames(UNEVEN))
    prompts = [replace(whole, example=replace(EXAMPLE, id=f"{number}")) for number in range(40)]
    view = make_view(processor, margin_s=1.0, spans="random")
    chosen = [tuple(view.choose_groups(prompt)) for prompt in prompts]
    assert {len(groups) for groups in chosen} == {2}
    assert {groups[0] for groups in chosen} == set(range(6)), "anywhere"
    moved = [
        replace(prompt, example=replace(prompt.example, spans=(Span(0.0, 0.9), Span(2.6, 2.7)))) for prompt in prompts
    ]
    assert [tuple(make_view(processor, spans="random").choose_groups(prompt)) for prompt in moved[::-1]] == chosen[::-1]
    assert [tuple(replace(view, seed=1).choose_groups(prompt)) for prompt in prompts] != chosen
    assert_equal_prompts(view(prompts[0]), view(prompts[0]))


def test_a_shuffled_view_shows_another_query_of_the_video_or_else_another_example(processor):
    whole = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget())(EXAMPLE, make_frames(UNEVEN))
    sibling = replace(EXAMPLE, id="b", spans=(Span(9.6, 11.0),), duration=None)
    twin = replace(EXAMPLE, id="c")
    other = replace(EXAMPLE, id="d", video="d.mp4", spans=(Span(1.0, 2.0),), duration=7.0)
    with_sibling = OtherSpans.of([EXAMPLE, sibling, twin, other])
    view = make_view(processor, spans="shuffled", others=with_sibling)
    assert view.choose_groups(whole) == [5], "the sibling's, and not the twin's, whose spans are its own"
    # The clip ends at 12 + 1 s, and 1 to 2 of 7 seconds are 1.86 to 3.71 of 13.
    alone = OtherSpans.of([EXAMPLE, other])
    assert make_view(processor, spans="shuffled", others=alone).choose_groups(whole) == [1, 2]


def test_a_prompt_of_another_form_is_refused(processor):
    whole = PromptRenderer(processor, TEMPLATES["tiny"], VideoBudget())(EXAMPLE, make_frames(UNEVEN))
    ids = whole.input_ids.clone()
    ids[ids == processor.tokenizer.convert_tokens_to_ids("<")] = processor.tokenizer.convert_tokens_to_ids(">")
    with pytest.raises(EngineError, match="its temporal groups cannot be told apart: there is no time in text"):
        make_view(processor)(replace(whole, input_ids=ids))
