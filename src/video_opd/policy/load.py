"""A model folder or hub name becomes a `Policy`: the weights, the processor, and the three verbs.

The tiny models that ship with the package come in by the same door as an 8B. Weights are safetensors; code from a
checkpoint is never run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from video_opd.errors import ConfigurationError
from video_opd.policy import answering, reading, scoring
from video_opd.policy.reading import Reading
from video_opd.policy.support import TokenSupport
from video_opd.vocabulary import AnswerGroup, Prompt, Sampling, TokenScores

BUNDLED = ("tiny-student", "tiny-teacher")


@dataclass(eq=False)
class Policy:
    """A video-language model that reads, answers and scores."""

    name: str
    model: Any
    processor: Any
    support: TokenSupport
    autocast: torch.dtype | None = None
    """Compute in this type while the weights stay as they are (a trained student keeps float32 weights)."""

    @property
    def tokenizer(self) -> Any:
        """The processor's."""
        return self.processor.tokenizer

    @property
    def pad_token_id(self) -> int:
        """What prompts are padded with; masked by position, so it may be the end of turn."""
        pad = self.tokenizer.pad_token_id
        return self.support.end_token_id if pad is None else pad

    def read(self, prompts: Sequence[Prompt], *, grad: bool = False) -> Reading:
        """Take in the prompts, once; see `policy.reading.read`."""
        with self._precision():
            return reading.read(self.model, prompts, grad=grad, pad_token_id=self.pad_token_id)

    def answer(self, read: Reading, *, count: int = 1, sampling: Sampling) -> tuple[AnswerGroup, ...]:
        """Write `count` answers per prompt from one reading; see `policy.answering.answer`."""
        with self._precision():
            return answering.answer(
                self.model, read, count=count, sampling=sampling, support=self.support, tokenizer=self.tokenizer
            )

    def score(
        self, read: Reading, groups: Sequence[AnswerGroup], *, distribution: bool = False, grad: bool = False
    ) -> TokenScores:
        """Log-probs of given answers; see `policy.scoring.score`. With `grad` the reading must have been made so."""
        with self._precision(), torch.set_grad_enabled(grad):
            return scoring.score(self.model, read, groups, support=self.support, distribution=distribution)

    def _precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, dtype=self.autocast)

    def freeze(self) -> Policy:
        """No gradient for any weight: a teacher, or a model that is only evaluated."""
        self.model.requires_grad_(False)
        return self

    def fingerprint(self) -> str:
        """A short hash of the tokenizer: two policies with the same one speak of the same token ids."""
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items()), ensure_ascii=False)
        return hashlib.sha256(vocabulary.encode()).hexdigest()[:16]


def resolve_model(name: str) -> str:
    """The folder or hub name behind a model's name.

    Raises:
        ConfigurationError: it looks like a folder but is none, or the folder lacks what a model needs.
    """
    if name in BUNDLED:
        return str(files("video_opd") / "models" / name)
    folder = Path(name)
    if not folder.exists():
        if name.startswith((".", "/", "~")) or name.count("/") != 1:
            raise ConfigurationError(
                f"model {name!r} is not a folder",
                reason="it is neither a folder here, nor of the form owner/name, nor one of " + ", ".join(BUNDLED),
                remedy="give the folder that holds config.json and *.safetensors",
            )
        return name
    missing = [file for file in ("config.json", "tokenizer_config.json") if not (folder / file).is_file()]
    if not any(folder.glob("*.safetensors")):
        pickled = any(folder.glob("*.bin"))
        raise ConfigurationError(
            f"model folder {name} has no *.safetensors",
            reason="weights are read from safetensors only" + (", and *.bin files can run code" if pickled else ""),
            remedy="save the model with save_pretrained of a current transformers"
            if pickled
            else "give another folder",
        )
    if missing:
        raise ConfigurationError(
            f"model folder {name} has no {' and no '.join(missing)}",
            reason="model, tokenizer and processor are loaded from one folder",
            remedy="save the processor beside the model with processor.save_pretrained(folder)",
        )
    return name


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
        ConfigurationError: nothing loadable there.
    """
    where = resolve_model(name)
    arguments: dict[str, Any] = {"trust_remote_code": False, "revision": revision}
    transformers_logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(where, **arguments)
        processor = AutoProcessor.from_pretrained(where, **arguments)
        model = AutoModelForImageTextToText.from_pretrained(where, dtype=weights, use_safetensors=True, **arguments)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ConfigurationError(
            f"model {name!r} cannot be loaded",
            reason=str(error).strip().splitlines()[0],
            remedy="check the name, or the folder's config.json, tokenizer and processor files",
        ) from error
    if not hasattr(processor, "video_processor"):
        raise ConfigurationError(
            f"model {name!r} ({config.model_type}) has no video processor",
            reason="grounding needs a model that takes video",
            remedy="use a Qwen-VL model or another video-language model of the same processor conventions",
        )
    model.eval().to(device)
    return Policy(
        name=name,
        model=model,
        processor=processor,
        support=TokenSupport.of(processor.tokenizer, config),
        autocast=autocast,
    )
