"""A model folder or hub name becomes a `Policy`: the weights, the processor, and the three verbs.

The tiny models that ship with the package come in by the same door as an 8B. Weights are safetensors; code from a
checkpoint is never run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.utils import logging as transformers_logging

from video_opd.errors import ConfigurationError, EngineError
from video_opd.policy import answering, beam, reading, scoring
from video_opd.policy.attention import attention_backends
from video_opd.policy.families import Clock, family_of
from video_opd.policy.head import use_float32_head
from video_opd.policy.location import resolve_model
from video_opd.policy.reading import Reading
from video_opd.policy.support import TokenSupport
from video_opd.vocabulary import AnswerGroup, Prompt, Sampling, TokenScores, flatten

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
        """Of its weights."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.model.parameters())

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
        vocabulary = json.dumps(sorted(self.tokenizer.get_vocab().items()), ensure_ascii=False)
        return hashlib.sha256(vocabulary.encode()).hexdigest()[:16]


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
    folder = resolve_model(name, revision)
    where = _device(device)
    with _loading(name, "config"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with _loading(name, "tokenizer or processor"):
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
    if not hasattr(processor, "video_processor") or processor.chat_template is None:
        lacking = "chat template" if hasattr(processor, "video_processor") else "video processor"
        raise ConfigurationError(
            f"model {name!r} ({config.model_type}) has no {lacking}",
            reason="a question about a video could not be put to it",
            remedy="use a Qwen-VL model or another video-language model of the same processor conventions",
        )
    family = family_of(config, name)
    backends = attention_backends(name, config)
    support = TokenSupport.of(processor.tokenizer, config)
    with _loading(name, "weights"):
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=weights,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            attn_implementation=backends,
            ignore_mismatched_sizes=True,  # so that they come back in the report, to be refused with a name
        )
    _refuse_random_weights(name, model, report)
    if torch.bfloat16 in (weights, autocast):
        use_float32_head(model)
    if family.clock is Clock.NONE:
        _log.warning(
            "model %r (%s) is not told when its frames were shown, so it can only guess seconds", name, family.name
        )
    try:
        model.eval().to(where)
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"model {name!r} does not fit {where}",
            reason=str(error).splitlines()[0],
            remedy="free the device, or take a larger one, a smaller model or bfloat16",
        ) from error
    return Policy(
        name=name,
        model=model,
        processor=processor,
        support=support.to(where),
        autocast=autocast,
    )


@contextmanager
def _loading(name: str, part: str) -> Iterator[None]:
    """What transformers and its libraries raise at a broken file becomes one sentence, without their progress bars."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its report of unfilled weights is a screenful; ours is a sentence
    transformers_logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        kind = "" if type(error) in (OSError, ValueError) else f"{type(error).__name__}: "
        raise ConfigurationError(
            f"model {name!r}: its {part} cannot be loaded",
            reason=shorten(f"{kind}{error}", 300, placeholder=" …"),
            remedy="download or save the folder again, and check that it is a video-language model",
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _refuse_random_weights(name: str, model: Any, report: dict[str, Any]) -> None:
    """Transformers fills what a checkpoint lacks with random numbers and a warning. Never here."""
    mismatched = [key for key, *_ in report["mismatched_keys"]]  # with the two shapes
    unfilled = sorted([*report["missing_keys"], *mismatched])
    if unfilled:
        raise ConfigurationError(
            f"model {name!r}: its files do not fill {len(unfilled)} of {len(model.state_dict())} weights, "
            f"such as {unfilled[0]}",
            reason="those would be random, and nothing would look wrong",
            remedy="check that config.json and *.safetensors are of one model and complete",
        )


def _device(name: str) -> torch.device:
    """The device of that name, if there is one."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA, asked for it
        raise ConfigurationError(
            f"device {name!r} cannot be used",
            reason=str(error).splitlines()[0],
            remedy="give auto, cpu, or cuda on a machine with a GPU that torch sees",
        ) from error
    return device
