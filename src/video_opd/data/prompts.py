"""Make a model's input from an example: one template, one rendering, shared by student and teacher."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from video_opd.data.chat_text import render_chat
from video_opd.data.plain_text import PlainText, has_words, refuse_unwritable
from video_opd.data.prompt_templates import PromptTemplate
from video_opd.data.video.video_io import Frames, VideoBudget
from video_opd.data.video.video_sampling import sampled_duration_s
from video_opd.errors import EngineError, QueryError
from video_opd.policy.families import Family, find_family_of_processor
from video_opd.types import Example, Prompt

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import ProcessorMixin

CLOCK_HZ = 1_000_000
"""Frame times reach the processor as whole ticks of this clock, since it takes frame numbers and a frame rate: with the
real rate, the times of a video of variable frame rate would drift away from the truth."""

ONE_AT_A_TIME = threading.Lock()
"""Prompts are rendered on decoding threads too, and a fast tokenizer that two threads use says "Already borrowed"."""


@contextlib.contextmanager
def _explain_errors(example: Example) -> Iterator[None]:
    """Turn an error of a chat template or a processor for one example into a sentence."""
    from jinja2 import TemplateError

    try:
        yield
    except (ValueError, TemplateError) as error:
        raise EngineError(
            f"{example.id}: its prompt could not be made",
            reason=f"{type(error).__name__}: {error}",
            remedy="look at its query and its video, or take another template or model",
        ) from error


@dataclass(frozen=True)
class PromptRenderer:
    """Turns an example and its frames into a `Prompt` with a transformers processor of one of our families."""

    processor: ProcessorMixin
    template: PromptTemplate
    budget: VideoBudget

    @property
    def pixels_per_token_side(self) -> int:
        """Side in pixels of the square of one video token: 32 for Qwen3-VL, 28 for Qwen2.5-VL."""
        return self.family.token_side(self.processor)

    @cached_property
    def family(self) -> Family:
        """The family of models that the processor is of."""
        return find_family_of_processor(self.processor)

    def __call__(self, example: Example, frames: Frames) -> Prompt:
        """Render once; the same object goes to student and teacher.

        What the query spells is text, control tokens included; see `plain_text`.

        Raises:
            QueryError: the query has no words, or none that a tokenizer takes, or too many.
            EngineError: the processor made another grid of the frames than the budget says, or more video tokens than
                allowed.
        """
        import torch

        names = self.family.inputs
        words = self._words(example)
        video = torch.from_numpy(frames.images).permute(0, 3, 1, 2)
        with ONE_AT_A_TIME, _explain_errors(example):
            words, stand_ins = self._plain_text.disguise(words, *self.template.split_around_query())
            template = self._chat_template
            # transformers warns of an argument that a template does not ask for.
            asked_for = {name: value for name, value in self.family.chat_arguments.items() if name in template}
            given = {**self.processor.tokenizer.special_tokens_map, "add_generation_prompt": True, **asked_for}
            text = render_chat(template, self.template.turns, words, given)
            text = self.family.remove_markers(text) + self.template.answer_prefix
            batch = self.processor(text=[text], videos=[video], return_tensors="pt", **self._video_arguments(frames))
            input_ids, token_types = self._restore(batch["input_ids"][0], batch[names.kinds][0], stand_ins)
        self._refuse_too_long(len(input_ids))
        grid = tuple(int(n) for n in batch[names.grid][0])
        prompt = Prompt(
            example=example,
            input_ids=input_ids,
            mm_token_type_ids=token_types,
            pixel_values=batch[names.pixels],
            grid_thw=(grid[0], grid[1], grid[2]),
            frame_times_s=frames.times_s,
            num_video_tokens=int((input_ids == self._video_token_id).sum()),
            model_inputs={name: batch[name] for name in (names.seconds_per_group,) if name in batch},
            num_concealed=frames.num_concealed,
        )
        self._refuse_other_grid(prompt, frames)
        return prompt

    @cached_property
    def _plain_text(self) -> PlainText:
        return PlainText(self.processor.tokenizer, self.family.tokens.visual)

    @cached_property
    def _chat_template(self) -> str:
        """The template that transformers would take; of several it is the one called default."""
        template = self.processor.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not isinstance(template, str):
            raise ValueError("the model has several chat templates, and none of them is called default")
        return template

    @cached_property
    def _video_token_id(self) -> int:
        return int(self.processor.tokenizer.convert_tokens_to_ids(self.family.tokens.video))

    def _words(self, example: Example) -> str:
        """The words of the query; refuses an empty query."""
        words = self.template.change_words(example.query)
        if not has_words(words):
            raise QueryError(
                f"the query {example.query!r} has no words",
                reason="there is nothing to ask the model",
                remedy="say what to look for",
            )
        refuse_unwritable(words, "the query")
        return words

    def _restore(self, ids: Tensor, types: Tensor, stand_ins: Mapping[str, str]) -> tuple[Tensor, Tensor]:
        """Token ids and types (P,), with the true characters where stand-ins are."""
        import torch

        if not stand_ins:
            return ids, types
        parts: list[tuple[Tensor, Tensor]] = []
        done = 0
        for start, end, text_ids in self._plain_text.locate_stand_ins(ids.tolist(), stand_ins):
            parts += [(ids[done:start], types[done:start]), (ids.new_tensor(text_ids), types.new_zeros(len(text_ids)))]
            done = end
        parts.append((ids[done:], types[done:]))
        new_ids, new_types = zip(*parts, strict=True)
        return torch.cat(new_ids), torch.cat(new_types)

    def _refuse_too_long(self, num_tokens: int) -> None:
        most = self.processor.tokenizer.model_max_length
        if num_tokens > most:
            raise QueryError(
                f"a prompt of {num_tokens} tokens",
                reason=f"the model takes {most}",
                remedy="shorten the query, or lower video.max_tokens",
            )

    def _video_arguments(self, frames: Frames) -> dict[str, Any]:
        from transformers.video_utils import VideoMetadata

        num_frames, height, width = frames.images.shape[:3]
        duration_s = sampled_duration_s(num_frames, frames.duration_s, self.budget)
        metadata = VideoMetadata(
            # In ticks, so that "frames sampled / frames in all * rate" (Qwen2.5-VL's clock) is the rate of our frames.
            total_num_frames=round(duration_s * CLOCK_HZ),
            fps=CLOCK_HZ,
            frames_indices=[round(time_s * CLOCK_HZ) for time_s in frames.times_s],
            duration=duration_s,
            width=width,
            height=height,
        )
        return {
            "video_metadata": [metadata],
            **self.family.processor_arguments(num_frames, height, width),
        }

    def _refuse_other_grid(self, prompt: Prompt, frames: Frames) -> None:
        height, width = frames.images.shape[1:3]
        expected, num_expected = self.family.expected_grid(self.processor, len(frames.times_s), height, width)
        if prompt.grid_thw != expected or prompt.num_video_tokens != num_expected:
            raise EngineError(
                f"{prompt.id}: the processor made grid {prompt.grid_thw} and {prompt.num_video_tokens} video tokens of "
                f"{len(frames.times_s)} frames of {height} x {width} pixels",
                reason=f"grid {expected} and {num_expected} tokens were expected, so the model would see other frames",
                remedy="use the model's own processor, or report this version of transformers",
            )
        if prompt.num_video_tokens > self.budget.max_tokens:
            raise EngineError(
                f"{prompt.id}: {prompt.num_video_tokens} video tokens",
                reason=f"the limit is {self.budget.max_tokens}",
                remedy="raise max_tokens, or lower max_frames or fps; in a recipe they stand under [video]",
            )
