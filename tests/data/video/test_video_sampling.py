import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_opd.data.video.video_sampling import Timeline, VideoBudget, fit_size, sample_frames
from video_opd.errors import ConfigurationError, DataError, EngineError
from video_opd.types import Span

GOLDEN = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "golden" / "qwen3vl_processor.json"


def steady(num_frames, fps, tick=Fraction(1, 90_000), start=0):
    """A timeline at a constant frame rate, as a container with this tick would store it."""
    pts = [start + round(Fraction(i) / Fraction(fps) / tick) for i in range(num_frames + 1)]
    return Timeline(file="steady.mp4", pts=tuple(pts[:-1]), tick=tick, last_duration=pts[-1] - pts[-2])


def qwen_indices(num_frames, fps, wanted_fps=2.0, min_frames=4, max_frames=768):
    """The rule of qwen_vl_utils 0.0.14, in frame numbers and 32-bit floats."""
    import torch

    count = min(min(max(num_frames / float(fps) * wanted_fps, min_frames), max_frames // 2 * 2), num_frames)
    return tuple(torch.linspace(0, num_frames - 1, math.floor(count / 2) * 2).round().long().tolist())


@pytest.mark.parametrize(
    "fps", [3, Fraction(10_000, 1049), 10, Fraction(24_000, 1001), 24, 25, Fraction(30_000, 1001), 30, 59, 60]
)
@pytest.mark.parametrize("num_frames", [2, 3, 4, 5, 31, 60, 97, 100, 335, 491, 750, 1201, 2999])
def test_at_a_constant_frame_rate_the_frames_are_qwens(fps, num_frames):
    budget = VideoBudget(min_frames=4)
    assert sample_frames(steady(num_frames, fps, start=12_345), budget) == qwen_indices(num_frames, fps)


def test_a_clock_of_milliseconds_costs_no_frames():
    # 96 frames at 24 fps in Matroska: the last one starts at 3.958 s and is said to last 0.041 s.
    pts = tuple(round(i * 1000 / 24) for i in range(96))
    timeline = Timeline(file="a.mkv", pts=pts, tick=Fraction(1, 1000), last_duration=41)
    assert timeline.duration_s == 3.999
    assert sample_frames(timeline, VideoBudget()) == qwen_indices(96, 24)


def test_at_a_variable_frame_rate_moments_are_right_where_counting_is_seconds_off():
    # Ten seconds at 30 fps, then thirty at 3 fps. A rule in frame numbers spends three quarters of its frames on the
    # first quarter of the time, and index / average fps names moments that are seconds away from what is shown.
    times_s = [Fraction(i, 30) for i in range(300)] + [10 + Fraction(i, 3) for i in range(90)]
    tick = Fraction(1, 600)
    timeline = Timeline(file="vfr.mp4", pts=tuple(int(t / tick) for t in times_s), tick=tick, last_duration=200)
    chosen = sample_frames(timeline, VideoBudget())
    assert len(chosen) == 80

    last_s = float(times_s[-1])
    ours = [abs(timeline.time_s(index) - last_s * place / 79) for place, index in enumerate(chosen)]
    assert max(ours) <= 0.5 / 3 + 1e-9, "further from the wanted moment than half the widest gap"

    average_fps = 390 / timeline.duration_s
    counted = qwen_indices(390, average_fps)
    qwens = [abs(timeline.time_s(index) - index / average_fps) for index in counted]
    assert max(qwens) > 15


def test_a_moment_midway_takes_the_even_frame():
    # The wanted moments are 0, 2, 4 and 6; 4 lies midway between frames 2 and 3.
    timeline = Timeline(file="a.mp4", pts=(0, 2, 3, 5, 6), tick=Fraction(1), last_duration=1)
    assert sample_frames(timeline, VideoBudget(max_frames=4)) == (0, 1, 2, 4)
    # 2 lies midway between frames 1 and 2, of which the right one is even; 4 between 2 and 3.
    timeline = Timeline(file="a.mp4", pts=(0, 1, 3, 5, 6), tick=Fraction(1), last_duration=1)
    assert sample_frames(timeline, VideoBudget(max_frames=4)) == (0, 2, 2, 4)


def test_a_gap_repeats_its_neighbours_rather_than_pretend():
    timeline = Timeline(file="a.mp4", pts=(0, 1, 2, 3, 4, 100), tick=Fraction(1, 10), last_duration=1)
    chosen = sample_frames(timeline, VideoBudget())
    assert chosen == (0, 4, 4, 5, 5, 5)


@given(
    gaps=st.lists(st.integers(1, 5000), min_size=1, max_size=200),
    start=st.integers(-(10**9), 10**9),
    fps=st.floats(0.01, 100),
    max_frames=st.integers(1, 40).map(lambda half: 2 * half),
)
def test_any_video_gives_an_even_number_of_frames_in_order(gaps, start, fps, max_frames):
    pts = [start]
    for gap in gaps:
        pts.append(pts[-1] + gap)
    timeline = Timeline(file="a.mp4", pts=tuple(pts), tick=Fraction(1, 1000), last_duration=gaps[-1])
    chosen = sample_frames(timeline, VideoBudget(fps=fps, max_frames=max_frames))
    assert len(chosen) % 2 == 0
    assert 2 <= len(chosen) <= min(max_frames, len(pts))
    assert list(chosen) == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (0, len(pts) - 1)


def test_a_clip_holds_the_frames_shown_within_it():
    timeline = steady(100, 10, start=777)
    chosen = sample_frames(timeline, VideoBudget(fps=10), Span(2.0, 3.5))
    assert chosen == tuple(range(20, 36))
    assert float(timeline.covered_s(timeline.window(Span(2.0, 3.5)))) == 1.6
    assert timeline.window(Span(9.0, 10.9)) == range(90, 100), "annotations may overshoot the end a little"


@pytest.mark.parametrize("clip", [Span(-1, 5), Span(5, 5), Span(6, 5), Span(0, 11.5), Span(30, 40), Span(math.nan, 5)])
def test_a_clip_outside_the_video_is_refused(clip):
    with pytest.raises(DataError, match=r"clip .* of a video of 10\.00 s"):
        sample_frames(steady(100, 10), VideoBudget(), clip)


def test_too_few_frames_are_refused():
    with pytest.raises(DataError, match="the video has 1 frame:"):
        sample_frames(steady(1, 10), VideoBudget())
    with pytest.raises(DataError, match="has 0 frames"):
        sample_frames(steady(10, 1), VideoBudget(), Span(2.2, 2.8))


@pytest.mark.parametrize(
    ("num_frames", "height", "width", "grid"),
    [(70, 360, 640, (35, 22, 40)), (326, 224, 398, (163, 14, 24)), (26, 270, 480, (13, 16, 30))],
)
def test_where_no_cap_binds_the_grid_is_qwens(num_frames, height, width, grid):
    tall, wide = fit_size(num_frames, height, width, VideoBudget(max_tokens=14_336))
    assert (num_frames // 2, tall // 16, wide // 16) == grid


def test_half_a_token_goes_to_the_even_number():
    """80 pixels are 2.5 tokens and become 2, as Python and Qwen round; 112 are 3.5 and become 4; 16 are not 0 but 1."""
    assert fit_size(2, 80, 112, VideoBudget()) == (64, 128)
    assert fit_size(2, 16, 144, VideoBudget()) == (32, 128)


@pytest.mark.skipif(not GOLDEN.exists(), reason="the golden files are not part of the repository")
def test_the_golden_file_agrees_with_the_grids_above():
    cases = json.loads(GOLDEN.read_text())["cases"]
    grids = {tuple(case["grid_thw"][0]) for case in cases if case["config"] == "timelens_eval"}
    assert grids == {(35, 22, 40), (163, 14, 24), (13, 16, 30)}


def test_eight_thousand_tokens_mean_eight_thousand_tokens():
    # The clip that Qwen's code shows with 23,472 tokens when told 8,192.
    height, width = fit_size(326, 224, 398, VideoBudget())
    assert (height, width) == (160, 288)
    assert 163 * (height // 32) * (width // 32) == 7335


@given(
    num_frames=st.integers(2, 768),
    height=st.integers(1, 9000),
    width=st.integers(1, 9000),
    max_tokens=st.integers(384, 20_000),
    max_frame_tokens=st.integers(1, 1000),
)
def test_the_caps_hold_for_every_shape(num_frames, height, width, max_tokens, max_frame_tokens):
    budget = VideoBudget(max_tokens=max_tokens, max_frame_tokens=max_frame_tokens)
    tall, wide = fit_size(num_frames, height, width, budget)
    assert tall % 32 == wide % 32 == 0
    assert min(tall, wide) >= 32
    tokens = (tall // 32) * (wide // 32)
    assert tokens <= max_frame_tokens
    assert math.ceil(num_frames / 2) * tokens <= max_tokens
    assert tall <= max(32, height + 16), "enlarged by more than rounding"
    assert wide <= max(32, width + 16), "enlarged by more than rounding"


def test_a_budget_that_cannot_hold_the_frames_says_which_numbers_to_change():
    with pytest.raises(EngineError, match="Lower max_frames or raise max_tokens to at least 384"):
        fit_size(768, 360, 640, VideoBudget(max_tokens=383))
    with pytest.raises(EngineError, match="at least 6144"):
        fit_size(768, 360, 640, VideoBudget(max_tokens=6143, min_frame_tokens=16))


RELEASED = VideoBudget(min_frames=4, min_frame_tokens=4)
"""What the authors of Video-OPD ran: FPS_MIN_FRAMES, VIDEO_MIN_TOKEN_NUM, and MODEL_SEQ_LEN = 9103 times 0.9."""


@pytest.mark.parametrize(
    ("num_frames", "fps", "count"),
    [
        (24, 24, 4),  # a second asks for 2, and 4 are the least
        (72, 24, 6),  # three seconds ask for 6
        (3, 24, 2),  # a video of 3 frames has no 4, and frames come in pairs
        (24 * 600, 24, 768),  # ten minutes ask for 1,200
    ],
)
def test_the_number_of_frames_with_a_least_number(num_frames, fps, count):
    assert len(sample_frames(steady(num_frames, fps), RELEASED)) == count


@pytest.mark.parametrize(
    ("num_frames", "height", "width", "side", "expected"),
    [
        # 1 x 2 tokens are fewer than 4: 40 and 72 times sqrt(4096 / 2880) = 1.193 are 47.7 and 85.9, rounded up.
        (4, 40, 72, 32, (64, 96)),
        # 1 x 3 tokens of 28 pixels are fewer than 4: times sqrt(3136 / 2880) = 1.043 they are 41.7 and 75.1.
        (4, 40, 72, 28, (56, 84)),
        (4, 64, 64, 32, (64, 64)),  # 2 x 2 tokens are enough
        (4, 32, 200, 32, (32, 192)),  # 1 x 6 are too
        # 120 groups share 8192 tokens, 68.27 each: times sqrt(68.27 * 1024 / 230400) = 0.5508 they are 198.3 and 352.5.
        (240, 360, 640, 32, (192, 352)),
        # 384 groups have 21.33 each: times sqrt(21.33 * 1024 / 230400) = 0.3079 they are 110.8 and 197.1.
        (768, 360, 640, 32, (96, 192)),
        (4, 1080, 1920, 32, (640, 1152)),  # 768 each: times sqrt(786432 / 2073600) = 0.6158 they are 665.1 and 1182.4
    ],
)
def test_the_size_with_a_least_number_of_tokens(num_frames, height, width, side, expected):
    budget = VideoBudget(min_frames=4, min_frame_tokens=4, pixels_per_token_side=side)
    assert fit_size(num_frames, height, width, budget) == expected


def test_without_a_least_number_small_frames_stay_and_shares_are_rounded_down():
    assert fit_size(4, 40, 72, VideoBudget()) == (32, 64)
    assert fit_size(240, 360, 640, VideoBudget()) == (192, 320)  # 68 each: 351.8 pixels are no 11 tokens


def test_the_cap_wins_over_the_least_number_of_tokens():
    """qwen_vl_utils would exceed the cap."""
    assert fit_size(4, 40, 72, VideoBudget(max_tokens=8, min_frame_tokens=4)) == (64, 64)  # not 64 x 96: 12 tokens
    with pytest.raises(EngineError, match="raise max_tokens to at least 1536"):
        fit_size(768, 40, 72, VideoBudget(max_tokens=1535, min_frame_tokens=4))


@given(
    num_groups=st.integers(1, 384), height=st.integers(1, 3000), width=st.integers(1, 3000), least=st.integers(1, 21)
)
def test_the_caps_hold_with_a_least_number_of_tokens(num_groups, height, width, least):
    tall, wide = fit_size(2 * num_groups, height, width, VideoBudget(min_frame_tokens=least))
    tokens = (tall // 32) * (wide // 32)
    assert 0 < tokens * num_groups <= 8192
    assert tokens <= 768


@pytest.mark.parametrize(
    "wrong",
    [
        {"fps": 0.0},
        {"fps": math.nan},
        {"max_tokens": 0},
        {"max_frames": 7},
        {"min_frames": 3},
        {"min_frames": 10, "max_frames": 8},
        {"min_frame_tokens": 800},
        {"pixels_per_token_side": 0},
    ],
)
def test_a_contradictory_budget_cannot_be_made(wrong):
    with pytest.raises(ConfigurationError, match="video budget"):
        VideoBudget(**wrong)
