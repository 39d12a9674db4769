"""A teacher that is told the spans: the prompt with one more sentence. It is an experiment, and can teach nothing.

A model can take the sentence as a sign to answer well, whatever it says, or copy it with the noise of the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from video_opd.data.prompts import ONE_AT_A_TIME
from video_opd.data.teacher_views import OtherSpans, ShownSpans, find_end
from video_opd.errors import EngineError
from video_opd.seeds import generator
from video_opd.types import Prompt, Span


@dataclass(frozen=True, kw_only=True)
class HintView:
    """Shows the prompt with one more sentence, which tells the spans. For experiments."""

    tokenizer: Any = field(repr=False)
    end_of_turn: int
    """The token that ends a turn; the sentence stands before the last one of the prompt."""
    frames_per_group: int
    spans: ShownSpans = "annotated"
    """`random`: spans of the same length, anywhere. `shuffled`: the spans of another example."""
    seed: int = 0
    others: OtherSpans | None = field(default=None, repr=False)
    """For `shuffled`."""

    def __call__(self, prompt: Prompt) -> Prompt:
        """The prompt as the teacher sees it.

        Raises:
            EngineError: no turn ends in the prompt.
        """
        import torch

        places = (prompt.input_ids == self.end_of_turn).nonzero()[:, 0]
        if not len(places):
            raise EngineError(
                f"{prompt.id}: there is no place for a hint",
                reason="the hint stands at the end of the user's turn, and no turn ends in the prompt",
                remedy="take another view.kind, or a model with the chat template of its family",
            )
        at = int(places[-1])
        with ONE_AT_A_TIME:
            hint = prompt.input_ids.new_tensor(self.tokenizer.encode(self.write(prompt), add_special_tokens=False))
        ids, kinds = prompt.input_ids, prompt.mm_token_type_ids
        return replace(
            prompt,
            input_ids=torch.cat([ids[:at], hint, ids[at:]]),
            mm_token_type_ids=torch.cat([kinds[:at], torch.zeros_like(hint), kinds[at:]]),
        )

    def write(self, prompt: Prompt) -> str:
        """The sentence that is added to the question, with a blank before it."""
        stretches = (f"from {start_s:.1f} to {end_s:.1f} seconds" for start_s, end_s in self.choose_spans(prompt))
        return f" It happens {' and '.join(stretches)}."

    def choose_spans(self, prompt: Prompt) -> Sequence[Span]:
        """What is told."""
        example = prompt.example
        end_s = example.shown_s or find_end(prompt, self.frames_per_group)
        if self.spans == "shuffled":
            assert self.others is not None
            return self.others.borrow(example, end_s, self.seed)
        if self.spans == "random":
            first_s, last_s = min(span.start_s for span in example.spans), max(span.end_s for span in example.spans)
            room_s = max(end_s - (last_s - first_s), 0.0)
            moved_s = generator(self.seed, "random view", prompt.id).uniform(0.0, room_s) - first_s
            return [Span(start + moved_s, end + moved_s) for start, end in example.spans]
        return example.spans
