"""A model that answers queries one by one, can be stopped before a prompt or a layer, and sees a clip only once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from video_opd.data.prompts import PromptRenderer
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.eval.several_queries import begin_together, render_together
from video_opd.grounding import parse_answer
from video_opd.policy.load import Policy
from video_opd.policy.location import BUNDLED
from video_opd.policy.read import Reading
from video_opd.policy.shared_vision import share_vision
from video_opd.serve.api_records import QueryAnswer
from video_opd.types import Example, Prompt, Sampling


@dataclass(frozen=True, eq=False, kw_only=True)
class ServedModel:
    """A frozen model and what puts the queries to it."""

    name: str
    """How the page and the API call it."""
    policy: Policy
    renderer: PromptRenderer
    max_new_tokens: int

    @property
    def is_tiny(self) -> bool:
        """Whether it is one of the tiny models that ship with the package."""
        return self.policy.name in BUNDLED

    @property
    def budget(self) -> VideoBudget:
        """The frames that it sees."""
        return replace(self.renderer.budget, pixels_per_token_side=self.renderer.pixels_per_token_side)

    def stop_by(self, check: Callable[[], None]) -> None:
        """Call `check` before every layer; what it raises ends the pass.

        A layer runs to its end, and so does what is not a layer, such as the embedding.

        Args:
            check: raises to stop.
        """
        for module in self.policy.model.modules():
            if isinstance(module, torch.nn.ModuleList):
                for layer in module:
                    layer.register_forward_pre_hook(lambda *_: check())


def share_towers(models: Sequence[ServedModel]) -> None:
    """Let every model's vision tower see a clip once for all queries, and two equal towers see it once for both."""
    policies = [model.policy for model in models]
    while policies:
        first, *others = policies
        served = share_vision(first, others, num_clips=1)
        policies = [other for other in others if other not in served]


class SeenVideo:
    """The frames of one video as models see them; each way to see it is decoded and made into a tensor once.

    Args:
        decode: gives the frames that fit a budget.
        check: is called before each prompt is made; what it raises ends the work.
    """

    def __init__(self, decode: Callable[[VideoBudget], Frames], check: Callable[[], None]) -> None:
        self._decode, self._check = decode, check
        self._frames: dict[VideoBudget, Frames] = {}
        self._tensors: list[Tensor] = []

    @property
    def num_concealed(self) -> int:
        """Damaged pictures that the decoder painted over."""
        return max((frames.num_concealed for frames in self._frames.values()), default=0)

    def decode(self, budget: VideoBudget) -> Frames:
        """The frames that fit a budget."""
        if budget not in self._frames:
            self._frames[budget] = self._decode(budget)
        return self._frames[budget]

    def render(self, model: ServedModel, video: str, queries: Sequence[str]) -> list[Prompt]:
        """The prompts of a model, one a query.

        Args:
            model: whose prompts they are.
            video: name of the video.
            queries: about it.

        Raises:
            UserError: a query cannot be asked.
        """
        frames = self.decode(model.budget)

        def render_next(example: Example, frames: Frames) -> Prompt:
            self._check()
            return model.renderer(example, frames)

        examples = [
            Example(id=f"query {number}", video=video, query=query, spans=(), duration=frames.duration_s)
            for number, query in enumerate(queries, start=1)
        ]
        prompts = render_together(render_next, examples, frames)
        pixels = prompts[0].pixel_values
        known = next((each for each in self._tensors if each.shape == pixels.shape and torch.equal(each, pixels)), None)
        if known is None:
            self._tensors.append(pixels)
            return prompts
        return [replace(prompt, pixel_values=known) for prompt in prompts]  # a tower tells a clip by its tensor


def read_video(model: ServedModel, prompts: Sequence[Prompt]) -> Callable[[int], Reading]:
    """Read a video, before its first query is answered.

    Args:
        model: that reads it.
        prompts: all about one video.

    Returns:
        Gives the reading of a prompt by its place.
    """
    read_to_end = begin_together(model.policy, prompts)
    # Where the queries share no reading, the first one's own takes in the video.
    first = read_to_end(prompts[:1])
    return lambda place: read_to_end([prompts[place]]) if place else first


def write_answer(model: ServedModel, reading: Reading, duration_s: float) -> QueryAnswer:
    """Write the answer to the one prompt of a reading; its `seconds` are left at 0.

    Args:
        model: that made the reading.
        reading: of one prompt.
        duration_s: of the video.
    """
    (prompt,) = reading.prompts
    sampling = Sampling(max_new_tokens=model.max_new_tokens, greedy=True)
    text = model.policy.answer(reading, sampling=sampling)[0].answers[0].text
    parsed = parse_answer(text)
    return QueryAnswer(
        query=prompt.example.query,
        spans=[(span.start_s, span.end_s) for span in parsed.spans],
        answer=text,
        duration=duration_s,
        num_video_tokens=prompt.num_video_tokens,
        reason=parsed.reason,
        seconds=0.0,
    )
