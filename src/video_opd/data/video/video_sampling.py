"""Which frames of a video a model sees, and at what size. Pure arithmetic: no decoding, no torch, no numpy.

The rule is Qwen's (`qwen_vl_utils` 0.0.14, `smart_nframes` and the `linspace` of its readers) said in time instead of
in frame numbers: as many frames as the frame rate asks for, an even number of them, evenly spaced from the first frame
to the last. At a constant frame rate both give the same frames; at a variable one only this gives the right moments.

One thing is stricter. Qwen lets the least number of tokens per frame override the total, so that "8,192 tokens" comes
out at 23,472 for a three-minute clip. Here the total is a promise: `fit_size` never exceeds it, and refuses a video
whose frames would get fewer than the least number.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction

from video_opd.errors import ConfigurationError, DataError, EngineError
from video_opd.policy.families import FAMILIES
from video_opd.types import Span

FRAMES_PER_GROUP = math.lcm(*(family.frames_per_group for family in FAMILIES))
"""Models merge that many consecutive frames (Qwen's: two) into one temporal group, so that frames come in multiples of
it. Settings are checked before a model is known, hence one number for all families."""

MIN_VIDEO_FRAMES = 2
"""One group. With fewer frames there is no time in which anything could be grounded."""

ROUNDING_S = 1e-6
"""A span that ends less than this after its video ends with it: ActivityNet Captions has 129 ends such as 95.04 s in a
video of 95.03999999999999 s."""

DURATION_TOLERANCE_S = 1.0
"""How far an annotation may reach past the end of its video. Real data sets disagree with their files by about half a
second (Charades-STA says 35.04 s of a clip that lasts 35.14 s); more means that it is another video."""

CLOCK_SLACK_S = Fraction(1, 1000)
"""Times in manifests and in Matroska files are rounded to the millisecond; closer than this is the same moment."""


MIN_FRAME_RATE, MAX_FRAME_RATE = 0.001, 1000.0
"""Pictures per second that a folder of them may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoBudget:
    """How much of a video a model may see. One token covers a square of pixels in two consecutive frames.

    Raises:
        ConfigurationError: when the limits contradict each other.
    """

    fps: float = 2.0
    """Frames wanted per second of video."""
    max_frames: int = 768
    """Most frames of one video; longer videos are sampled more thinly. Even."""
    min_frames: int = 2
    """Fewest frames of one video, where it has them. Two make one temporal group, the least a model can read. Qwen asks
    for 4; at 2 frames a second that only matters below two seconds, where asking for more repeats no information but
    samples faster than `fps` says. Even."""
    max_tokens: int = 8192
    """Most video tokens of one prompt. A hard cap: frames shrink until they fit."""
    max_frame_tokens: int = 768
    """Most tokens of one temporal group, so that a short video is not shown at a size the model never saw."""
    min_frame_tokens: int = 1
    """Fewest tokens of one temporal group. A video that the two caps leave with fewer is refused. Above 1, smaller
    frames are enlarged to it, and a group's share of `max_tokens` is not rounded down before a frame is shrunk to it:
    both as qwen_vl_utils does (its VIDEO_MIN_TOKEN_NUM)."""
    pixels_per_token_side: int = 32
    """Side of a token's square in pixels: patch 16, merged 2 by 2 (Qwen3-VL). 28 for Qwen2.5-VL."""

    def __post_init__(self) -> None:
        problem = None
        if not (math.isfinite(self.fps) and self.fps > 0):
            problem = f"fps = {self.fps} is not a positive number"
        elif min(self.min_frames, self.max_tokens, self.max_frame_tokens, self.min_frame_tokens) < 1:
            problem = "min_frames, max_tokens, max_frame_tokens and min_frame_tokens must all be at least 1"
        elif self.pixels_per_token_side < 1:
            problem = f"pixels_per_token_side = {self.pixels_per_token_side} is not at least 1"
        elif self.min_frames % FRAMES_PER_GROUP or self.max_frames % FRAMES_PER_GROUP:
            problem = f"min_frames = {self.min_frames} and max_frames = {self.max_frames} must be even"
        elif self.min_frames > self.max_frames:
            problem = f"min_frames = {self.min_frames} is more than max_frames = {self.max_frames}"
        elif self.min_frame_tokens > min(self.max_frame_tokens, self.max_tokens):
            problem = f"min_frame_tokens = {self.min_frame_tokens} is more than max_frame_tokens or max_tokens allow"
        if problem:
            raise ConfigurationError(
                f"video budget: {problem}",
                reason="no video could satisfy it, and every prompt would depend on how it was repaired",
                remedy="Change these values in the video part of the recipe",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When each frame of a video is shown, in ticks of the file's own clock, so that no time is ever rounded."""

    file: str
    """Its path, for messages."""
    pts: tuple[int, ...]
    """Presentation times in ticks, strictly increasing, not empty."""
    tick: Fraction
    """Seconds per tick."""
    last_duration: int
    """Ticks for which the last frame is shown."""

    @property
    def num_frames(self) -> int:
        """How many frames the video has."""
        return len(self.pts)

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return float(self.covered_s(range(self.num_frames)))

    def time_s(self, index: int, origin: int = 0) -> float:
        """Seconds from frame `origin` to frame `index`."""
        return float((self.pts[index] - self.pts[origin]) * self.tick)

    def covered_s(self, window: range) -> Fraction:
        """Seconds for which the frames of a contiguous, non-empty window are shown, exactly."""
        inside = window.stop < self.num_frames
        end = self.pts[window.stop] if inside else self.pts[-1] + self.last_duration
        return (end - self.pts[window.start]) * self.tick

    def window(self, clip: Span | None) -> range:
        """Indices of the frames shown within a clip, both ends included as in Qwen's readers.

        Args:
            clip: seconds from the video's first frame; None: the whole video.

        Raises:
            DataError: the clip lies outside the video, or holds fewer than two frames.
        """
        if clip is None:
            window = range(self.num_frames)
        else:
            if not 0 <= clip.start_s < clip.end_s <= self.duration_s + DURATION_TOLERANCE_S:
                raise DataError(
                    f"{self.file}: clip {clip.start_s:g} - {clip.end_s:g} s of a video of {self.duration_s:.2f} s",
                    reason="it is empty, or reaches outside the video",
                    remedy="Correct the row's `clip`, or check that it names the right video",
                )
            window = range(self._find_first_at(clip.start_s, -CLOCK_SLACK_S), self._find_first_after(clip.end_s))
        if len(window) < MIN_VIDEO_FRAMES:
            where = "the video" if clip is None else f"clip {clip.start_s:g} - {clip.end_s:g} s"
            raise DataError(
                f"{self.file}: {where} has {len(window)} frame{'s' * (len(window) != 1)}",
                reason=f"fewer than {MIN_VIDEO_FRAMES} frames cannot show when something happens",
                remedy="Leave the row out, or give it a longer clip",
            )
        return window

    def _find_first_at(self, time_s: float, slack_s: Fraction) -> int:
        """Index of the first frame at or after a time."""
        return bisect_left(self.pts, math.ceil(self.pts[0] + (Fraction(time_s) + slack_s) / self.tick))

    def _find_first_after(self, time_s: float) -> int:
        """Index of the first frame later than a time."""
        return bisect_left(self.pts, math.floor(self.pts[0] + (Fraction(time_s) + CLOCK_SLACK_S) / self.tick) + 1)


def sample_frames(timeline: Timeline, budget: VideoBudget, clip: Span | None = None) -> tuple[int, ...]:
    """Choose the frames a model sees: an even number, evenly spaced in time, first and last included.

    Each wanted moment takes the frame nearest to it. Midway between two frames the even index wins, as it does when
    numpy and torch round; at a constant frame rate that cannot happen, since an even number of frames cuts the video
    into an odd number of steps. All arithmetic is exact. Qwen's is in 32-bit floats, whose error may move a frame by
    one index in videos of many thousand frames.

    Returns:
        Indices into the file's frames in order of presentation, strictly increasing wherever the video has the frames;
        a moment in a gap of a variable frame rate may repeat its neighbour's frame.

    Raises:
        DataError: the clip does not fit the video, or fewer than two frames are in it.
    """
    window = timeline.window(clip)
    count = _num_frames(timeline.covered_s(window), len(window), timeline.tick, budget)
    first, last = timeline.pts[window.start], timeline.pts[window.stop - 1]
    steps = count - 1
    chosen = []
    for step in range(count):
        moment = first * steps + (last - first) * step  # in ticks times `steps`: an integer, so nothing is rounded
        right = bisect_left(timeline.pts, -(-moment // steps), window.start, window.stop)
        left = max(right - 1, window.start)
        to_left, to_right = moment - timeline.pts[left] * steps, timeline.pts[right] * steps - moment
        chosen.append(left if to_left < to_right or (to_left == to_right and left % 2 == 0) else right)
    return tuple(chosen)


def _num_frames(duration_s: Fraction, available: int, tick: Fraction, budget: VideoBudget) -> int:
    # A clock of whole milliseconds can lose up to a tick of the duration: 96 frames at 24 fps last 3.999 s in Matroska,
    # and must still give 8 frames and not 6. Coarse clocks count frames and lose nothing, hence the limit.
    wanted = math.floor((duration_s + min(tick, CLOCK_SLACK_S)) * Fraction(budget.fps))
    count = min(max(wanted, budget.min_frames), budget.max_frames, available)
    return count // FRAMES_PER_GROUP * FRAMES_PER_GROUP


def sampled_duration_s(num_frames: int, duration_s: float, budget: VideoBudget) -> float:
    """Seconds of video that sampled frames stand for, where a model's clock is `duration / frames`.

    The duration, and where `_num_frames` forgave it a tick, what it would be without: 20 frames at 2 a second stand for
    10 s, also in a file whose clock of whole milliseconds says 9.999. Otherwise every moment after the first would be
    early, and where it is rounded down to a step of half a second, by a whole step.
    """
    nominal_s = num_frames / budget.fps
    return nominal_s if 0 < nominal_s - duration_s <= float(CLOCK_SLACK_S) * (1 + 1e-9) else duration_s


def fit_size(num_frames: int, height: int, width: int, budget: VideoBudget) -> tuple[int, int]:
    """The size in pixels at which a model sees frames: the native size rounded to whole tokens, or what fits.

    Both sides are multiples of `pixels_per_token_side`. A side is rounded to the nearest multiple (half to even, as
    Qwen rounds) and is at least one token; where a cap binds, the frame shrinks with its aspect ratio kept as far as
    whole tokens allow. Frames are not enlarged beyond that rounding, unless `min_frame_tokens` is above 1.

    Args:
        num_frames: frames of the video that are shown.
        height: of a frame, in pixels.
        width: of a frame, in pixels.
        budget: the limits.

    Returns:
        (height, width) with `ceil(num_frames / 2) * (height / side) * (width / side) <= max_tokens` and at most
        `max_frame_tokens` tokens in a group.

    Raises:
        EngineError: so many frames that the caps leave a group fewer than `min_frame_tokens` tokens.
    """
    side = budget.pixels_per_token_side
    num_groups = math.ceil(num_frames / FRAMES_PER_GROUP)
    limit = min(budget.max_tokens // num_groups, budget.max_frame_tokens)
    if limit < budget.min_frame_tokens:
        raise EngineError(
            f"{num_frames} frames share max_tokens = {budget.max_tokens}, which leaves {limit} tokens for two frames",
            reason=f"a model needs at least {budget.min_frame_tokens} to see them",
            remedy=f"Lower max_frames or raise max_tokens to at least {num_groups * budget.min_frame_tokens}",
        )
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    if rows * columns < budget.min_frame_tokens:
        rows, columns = _enlarge(height / side, width / side, budget.min_frame_tokens, limit)
    elif rows * columns > limit:
        share: float = limit
        if budget.min_frame_tokens > 1:
            share = min(budget.max_tokens / num_groups, budget.max_frame_tokens)
        shrink = min(1.0, math.sqrt(share * side * side / (height * width)))
        rows = max(1, math.floor(height * shrink / side))
        columns = max(1, math.floor(width * shrink / side))
        # A side held at one token leaves the other more than its share: a 32 x 9000 strip must still fit.
        rows, columns = min(rows, limit), min(columns, limit)
    return rows * side, columns * side


def _enlarge(rows: float, columns: float, least: int, limit: int) -> tuple[int, int]:
    """The size in tokens of a frame that is enlarged to at least `least` tokens, and to no more than `limit`."""
    factor = math.sqrt(least / (rows * columns))
    tall, wide = math.ceil(rows * factor), math.ceil(columns * factor)
    # Both sides are rounded up, so that their product may exceed the limit: the longer one gives way.
    return (min(tall, limit // wide), wide) if tall > wide else (tall, min(wide, limit // tall))
