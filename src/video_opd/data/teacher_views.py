"""What a teacher sees in place of the student's prompt: a part of the clip or more of it, under the same clock.

A view is a function of the prompt, of a seed and of nothing else. Where it shows a part of the clip, the words of the
prompt, the times that stand before the groups and the pixels of the groups are those of the whole prompt; the other
groups are not there. Tests prove that the result is what rendering these frames alone gives.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from video_opd.errors import EngineError
from video_opd.seeds import generator
from video_opd.types import Example, Prompt, Span

if TYPE_CHECKING:
    from torch import Tensor

ShownSpans = Literal["annotated", "random", "shuffled"]


@dataclass(frozen=True, kw_only=True)
class OtherSpans:
    """The spans of other examples, for a view that shows a wrong part of the clip."""

    examples: tuple[Example, ...]
    """Examples whose duration is known."""
    of_clip: Mapping[tuple[str, Span | None], tuple[Example, ...]]
    """All examples about a clip, whether their duration is known or not."""

    @classmethod
    def of(cls, examples: Sequence[Example]) -> OtherSpans:
        """Those of a manifest."""
        of_clip: dict[tuple[str, Span | None], tuple[Example, ...]] = {}
        for example in examples:
            key = example.video, example.clip
            of_clip[key] = (*of_clip.get(key, ()), example)
        return cls(examples=tuple(each for each in examples if each.shown_s), of_clip=of_clip)

    def borrow(self, example: Example, duration_s: float, seed: int) -> tuple[Span, ...]:
        """The spans of another query about the same clip; where there is none, those of another example, stretched to
        this clip.

        Args:
            example: whose own spans are not to be shown.
            duration_s: of its clip.
            seed: of the draw, which depends on nothing else but the example's id.
        """
        rng = generator(seed, "shuffled view", example.id)
        known = self.of_clip.get((example.video, example.clip), ())
        if same := [other for other in known if other.spans != example.spans]:
            return same[int(rng.integers(len(same)))].spans
        others = [other for other in self.examples if (other.video, other.clip) != (example.video, example.clip)]
        others = others or [other for other in self.examples if other.id != example.id]
        other = others[int(rng.integers(len(others)))]
        scale = duration_s / other.shown_s
        return tuple(Span(start_s * scale, end_s * scale) for start_s, end_s in other.spans)


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """Shows of a prompt only the temporal groups around some spans."""

    margin_s: float
    """Seconds that are shown before and after a span, at least."""
    frames_per_group: int
    video_kind: int
    """What `mm_token_type_ids` says of a video token."""
    openers: frozenset[int] = field(repr=False)
    """Tokens that end with the `<` of a time stamp; see `find_openers`."""
    spans: ShownSpans = "annotated"
    """`random`: as many groups, anywhere. `shuffled`: around the spans of another example."""
    seed: int = 0
    others: OtherSpans | None = field(default=None, repr=False)
    """For `shuffled`."""

    def __call__(self, prompt: Prompt) -> Prompt:
        """The prompt as the teacher sees it; where that is the whole clip, the same object."""
        groups = self.choose_groups(prompt)
        return prompt if len(groups) == prompt.grid_thw[0] else self._keep_groups(prompt, groups)

    def choose_groups(self, prompt: Prompt) -> Sequence[int]:
        """The temporal groups that are shown, in their order; at least one."""
        starts, example = prompt.frame_times_s[:: self.frames_per_group], prompt.example
        if self.spans == "shuffled":
            assert self.others is not None
            end_s = find_end(prompt, self.frames_per_group)
            return find_groups(starts, self.others.borrow(example, end_s, self.seed), self.margin_s)
        groups = find_groups(starts, example.spans, self.margin_s)
        if self.spans == "random":
            first = int(generator(self.seed, "random view", prompt.id).integers(len(starts) - len(groups) + 1))
            return range(first, first + len(groups))
        return groups

    def _keep_groups(self, prompt: Prompt, groups: Sequence[int]) -> Prompt:
        """A prompt without its other groups.

        A group is its time in text, a start, its video tokens and an end. The `<` before the first time may be one
        token with the words before it, so of the first group that is shown all but the `<` is taken, and the prompt
        keeps its own.
        """
        count, rows, columns = prompt.grid_thw
        stamps, ends = self._locate_groups(prompt)
        runs = list_runs(groups)
        parts = [slice(0, stamps[0])]
        parts += [slice(stamps[a] - (number > 0), ends[b]) for number, (a, b) in enumerate(runs)]
        parts += [slice(ends[-1], None)]
        patches, frames = len(prompt.pixel_values) // count, self.frames_per_group
        return replace(
            prompt,
            input_ids=_join([prompt.input_ids[part] for part in parts]),
            mm_token_type_ids=_join([prompt.mm_token_type_ids[part] for part in parts]),
            pixel_values=_join([prompt.pixel_values[a * patches : (b + 1) * patches] for a, b in runs]),
            grid_thw=(len(groups), rows, columns),
            frame_times_s=tuple(
                time_s for a, b in runs for time_s in prompt.frame_times_s[a * frames : (b + 1) * frames]
            ),
            num_video_tokens=prompt.num_video_tokens // count * len(groups),
        )

    def _locate_groups(self, prompt: Prompt) -> tuple[list[int], list[int]]:
        """Of every group, the place after the `<` of its time stamp, and the place after its end marker.

        Raises:
            EngineError: the prompt is not built in this way.
        """
        places = (prompt.mm_token_type_ids == self.video_kind).nonzero()[:, 0]
        size = prompt.num_video_tokens // prompt.grid_thw[0]
        firsts, ends = places[::size].tolist(), (places[size - 1 :: size] + 2).tolist()
        first = next((at for at in range(firsts[0] - 2, -1, -1) if int(prompt.input_ids[at]) in self.openers), -1)
        stamps = [first + 1, *(end + 1 for end in ends[:-1])]
        opened = prompt.input_ids[[stamp - 1 for stamp in stamps]].tolist()
        if first < 0 or len(ends) != prompt.grid_thw[0] or not self.openers.issuperset(opened):
            raise EngineError(
                f"{prompt.id}: its temporal groups cannot be told apart",
                reason="there is no time in text before every group, as the model's family has it",
                remedy="use the model's own processor, or remove the view of the teacher",
            )
        return stamps, ends


@dataclass(frozen=True, kw_only=True)
class DenseView:
    """Shows a prompt with more frames or pixels, or only a part of it."""

    number: int
    """Its place in `Prompt.denser`."""
    clip: ClipView | None = None
    """Which part; None: the whole clip."""

    def __call__(self, prompt: Prompt) -> Prompt:
        """The prompt as the teacher sees it."""
        dense = prompt.denser[self.number]
        return self.clip(dense) if self.clip else dense


def find_end(prompt: Prompt, frames_per_group: int) -> float:
    """When the last temporal group of a prompt ends, in seconds; groups are taken to be equally long.

    Args:
        prompt: its frames have times.
        frames_per_group: of the family of models.
    """
    starts = prompt.frame_times_s[::frames_per_group]
    return starts[-1] + (starts[1] - starts[0] if len(starts) > 1 else 0.0)


def find_groups(starts_s: Sequence[float], spans: Collection[Span], margin_s: float) -> list[int]:
    """The temporal groups that overlap some spans, in their order; at least one for each span.

    Args:
        starts_s: when the first frame of each group is shown; a group lasts until the next one.
        spans: in seconds of the same clock.
        margin_s: seconds before and after each span that count as part of it.
    """
    found: set[int] = set()
    for start_s, end_s in spans:
        first = max(bisect_right(starts_s, start_s - margin_s) - 1, 0)
        last = max(bisect_left(starts_s, end_s + margin_s) - 1, first)
        found.update(range(first, last + 1))
    return sorted(found)


def list_runs(groups: Sequence[int]) -> list[tuple[int, int]]:
    """First and last of each run of consecutive numbers; the numbers are sorted and there is at least one."""
    breaks = [place for place, (one, other) in enumerate(pairwise(groups), start=1) if other != one + 1]
    return [(groups[a], groups[b - 1]) for a, b in pairwise([0, *breaks, len(groups)])]


def find_openers(tokenizer: Any) -> frozenset[int]:
    """The tokens of a vocabulary that end with `<`."""
    return frozenset(id for token, id in tokenizer.get_vocab().items() if token.endswith("<"))


def _join(parts: Sequence[Tensor]) -> Tensor:
    """Without a copy where there is one part only."""
    import torch

    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
