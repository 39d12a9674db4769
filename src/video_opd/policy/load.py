"""A model folder or hub name becomes a `Policy`: the weights, the processor, and the three verbs.

The tiny models that ship with the package come in by the same door as an 8B. Weights are safetensors; code from a
checkpoint is never run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from video_opd.errors import EngineError
from video_opd.policy import answer as answering
from video_opd.policy import beam_search as beam
from video_opd.policy import read as reading
from video_opd.policy import score as scoring
from video_opd.policy.description import Description, describe, fingerprint_of, loading, require_device
from video_opd.policy.families import Clock
from video_opd.policy.head import use_float32_head
from video_opd.policy.location import resolve_model
from video_opd.policy.read import Reading
from video_opd.policy.token_support import TokenSupport
from video_opd.policy.weights import cast_unquantised, num_bytes, refuse_not_finite, refuse_random, refuse_unused
from video_opd.types import AnswerGroup, Prompt, Sampling, TokenScores, flatten

_log = logging.getLogger(__name__)


@dataclass
class Work:
    """What a model was made to do, counted where it does it."""

    prompt_passes: int = 0
    """Prompts read."""
    prompt_tokens: int = 0
    answers_written: int = 0
    tokens_written: int = 0
    tokens_scored: int = 0

    def __add__(self, other: Work) -> Work:
        """Of two models together; a new record."""
        return Work(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    def since(self, before: Work) -> dict[str, int]:
        """By how much each count has grown."""
        return {name: count - getattr(before, name) for name, count in asdict(self).items()}


@dataclass(eq=False)
class Policy:
    """A video-language model that reads, answers and scores."""

    name: str
    model: Any
    processor: Any
    support: TokenSupport
    autocast: torch.dtype | None = None
    """Compute in this type while the weights stay as they are (a trained student keeps float32 weights)."""
    work: Work = field(default_factory=Work)

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def pad_token_id(self) -> int:
        """What prompts are padded with; masked by position, so it may be the end of turn."""
        pad = self.tokenizer.pad_token_id
        return self.support.end_token_id if pad is None else pad

    @property
    def num_bytes(self) -> int:
        """Of its weights. Quantised ones are often buffers."""
        return sum(map(num_bytes, (*self.model.parameters(), *self.model.buffers())))

    def read(self, prompts: Sequence[Prompt], *, grad: bool = False) -> Reading:
        """Take in the prompts, once; see `policy.reading.read`."""
        self.work.prompt_passes += len(prompts)
        self.work.prompt_tokens += sum(map(len, prompts))
        with self.precision():
            return reading.read(self.model, prompts, grad=grad, pad_token_id=self.pad_token_id)

    def answer(self, read: Reading, *, count: int = 1, sampling: Sampling) -> tuple[AnswerGroup, ...]:
        """Write `count` answers per prompt from one reading; see `policy.answering.answer`."""
        with self.precision():
            groups = answering.answer(
                self.model, read, count=count, sampling=sampling, support=self.support, tokenizer=self.tokenizer
            )
        return self._count_written(groups)

    def best_answers(
        self,
        read: Reading,
        *,
        count: int,
        width: int | None = None,
        max_new_tokens: int,
        key: Callable[[str], Hashable] = beam.text_itself,
    ) -> tuple[AnswerGroup, ...]:
        """The `count` most probable answers per prompt, one for each key; see `policy.beam.best_answers`."""
        with self.precision():
            groups = beam.best_answers(
                self.model, read, count=count, width=max(4, 2 * count) if width is None else width,
                max_new_tokens=max_new_tokens, support=self.support, tokenizer=self.tokenizer, key=key,
            )  # fmt: skip
        return self._count_written(groups)

    def _count_written(self, groups: tuple[AnswerGroup, ...]) -> tuple[AnswerGroup, ...]:
        self.work.answers_written += len(flatten(groups))
        self.work.tokens_written += sum(map(len, flatten(groups)))
        return groups

    def score(
        self, read: Reading, groups: Sequence[AnswerGroup], *, distribution: bool = False, grad: bool = False
    ) -> TokenScores:
        """Log-probs of given answers; see `policy.scoring.score`. With `grad` the reading must have been made so."""
        self.work.tokens_scored += sum(map(len, flatten(groups)))
        with self.precision(), torch.set_grad_enabled(grad):
            return scoring.score(self.model, read, groups, support=self.support, distribution=distribution)

    def precision(self) -> AbstractContextManager[Any]:
        """What its passes compute in. Around several of them it makes them share the copies of float32 weights that
        arithmetic in another type needs; each verb enters it for itself too."""
        # A model without one keeps out of another's: a bfloat16 teacher that judges inside the student's context.
        return torch.autocast(self.model.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def freeze(self) -> Policy:
        """No gradient for any weight: a teacher, or a model that is only evaluated."""
        self.model.requires_grad_(False)
        return self

    def fingerprint(self) -> str:
        """A short hash of the tokenizer: two policies with the same one speak of the same token ids."""
        return fingerprint_of(self.tokenizer)


def load_policy(
    name: str,
    *,
    device: str = "cpu",
    weights: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    revision: str | None = None,
) -> Policy:
    """Load model and processor.

    Args:
        name: a folder, a hub name, or one of `BUNDLED`.
        weights: type the weights are held in. A student that is trained needs float32: at learning rates of 1e-6 an
            update is lost in the eight bits of a bfloat16.
        autocast: type to compute in, if another.

    Raises:
        ConfigurationError: nothing loadable there, weights that do not fill the model, or no such device.
        EngineError: the model does not fit the device.
    """
    where = require_device(device)
    known = describe(name, revision, device=device)
    model = _load_model(known, resolve_model(name, revision), where, weights)
    refuse_not_finite(name, model)
    if torch.bfloat16 in (weights, autocast):
        use_float32_head(model)
    if known.family.clock is Clock.NONE:
        _log.warning(
            "model %r (%s) is not told when its frames were shown, so it can only guess seconds",
            name,
            known.family.name,
        )
    return Policy(
        name=name,
        model=model,
        processor=known.processor,
        support=known.support.to(where),
        autocast=autocast,
    )


def _load_model(known: Description, folder: Path, where: torch.device, weights: torch.dtype) -> Any:
    """The transformers model, with all of its weights and no others, on its device."""
    name = known.name
    placed = {"device_map": {"": where}} if known.quantisation and find_spec("accelerate") else {}
    try:
        with loading(name, "weights", quantisation=known.quantisation):
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=weights,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                attn_implementation=known.backends,
                ignore_mismatched_sizes=True,  # so that they come back in the report, to be refused with a name
                **placed,
            )
        refuse_random(name, model, report)
        refuse_unused(name, report)
        model.eval()
        if known.quantisation:
            cast_unquantised(model, weights)
        if not placed:
            model.to(where)
        if known.quantisation:
            # What a package cannot do on this device, or with these sizes, shows at its first product.
            with loading(name, "weights", quantisation=known.quantisation), torch.no_grad():
                model(input_ids=torch.tensor([[known.support.end_token_id]], device=where))
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"model {name!r} does not fit {where}",
            reason=str(error).splitlines()[0],
            remedy="free the device, or take a larger one, a smaller model or bfloat16",
        ) from error
    return model
