"""A model folder or hub name becomes a `Policy`: the weights, the processor, and the three verbs.

The tiny models that ship with the package come in by the same door as an 8B. Weights are safetensors; code from a
checkpoint is never run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForImageTextToText

from video_opd.errors import ConfigurationError, EngineError, first_line
from video_opd.policy.adapters import merge_adapter, require_peft
from video_opd.policy.answer import answer
from video_opd.policy.beam_search import BeamSettings, find_best_answers, text_itself
from video_opd.policy.description import Description, describe, fingerprint_of, guard_loading, require_device
from video_opd.policy.families import Clock, Family, find_family
from video_opd.policy.head import use_float32_head
from video_opd.policy.location import resolve_parts
from video_opd.policy.patch_embedding import use_matrix_product
from video_opd.policy.placement import Placement, list_tensors, move_scores
from video_opd.policy.quantised import FourBits
from video_opd.policy.read import Reading, read, unwrap_model
from video_opd.policy.score import score
from video_opd.policy.sharding import Sharding
from video_opd.policy.token_support import TokenSupport
from video_opd.policy.weights import cast_unquantised, num_bytes, refuse_not_finite, refuse_random, refuse_unused
from video_opd.types import AnswerGroup, Prompt, Sampling, TokenScores, flatten

_log = logging.getLogger(__name__)
Layout = Sharding | Placement | FourBits


@dataclass
class Work:
    """How much a model has read, written and scored."""

    prompt_passes: int = 0
    """Prompts that were read."""
    prompt_tokens: int = 0
    answers_written: int = 0
    tokens_written: int = 0
    tokens_scored: int = 0

    def __add__(self, other: Work) -> Work:
        """Sum of the work of two models, as a new record."""
        return Work(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    def count_since(self, before: Work) -> dict[str, int]:
        """How much each count has grown since an earlier state."""
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
    vision: Any = None
    """The features of clips that a frozen vision tower has seen; see `policy.shared_vision`."""
    placement: Placement | None = None
    """Where it lies, if it has a place of its own."""
    resting: dict[str, Tensor] = field(default_factory=dict)
    """Its weights on the CPU, where it waits there between its turns."""
    is_awake: bool = False
    """Whether such weights are on its device."""

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of its processor."""
        return self.processor.tokenizer

    @property
    def pad_token_id(self) -> int:
        """Token that fills up short prompts. It is masked by position, so it may be the end of turn."""
        pad = self.tokenizer.pad_token_id
        return self.support.end_token_id if pad is None else pad

    @property
    def num_readers(self) -> int:
        """Processes that read a batch each at the same time."""
        return 1

    @property
    def num_bytes(self) -> int:
        """Memory that its weights take. Quantised ones are often buffers."""
        return sum(map(num_bytes, (*self.model.parameters(), *self.model.buffers())))

    @property
    def family(self) -> Family:
        """The family that the model belongs to."""
        return find_family(unwrap_model(self.model).config)

    def read(self, prompts: Sequence[Prompt], *, grad: bool = False) -> Reading:
        """Prefill: take in the prompts once; see `policy.read.read`."""
        self.work.prompt_passes += len(prompts)
        self.work.prompt_tokens += sum(map(len, prompts))
        self.wake()
        with self.precision(), self.vision.follow(prompts) if self.vision else nullcontext():
            return read(self.model, prompts, grad=grad, pad_token_id=self.pad_token_id)

    def answer(self, reading: Reading, *, count: int = 1, sampling: Sampling) -> tuple[AnswerGroup, ...]:
        """Roll out `count` answers per prompt from one reading; see `policy.answer.answer`."""
        with self.precision():
            groups = answer(
                self.model,
                reading,
                count=count,
                sampling=sampling,
                support=self.support,
                tokenizer=self.tokenizer,
            )
        return self._count_written(groups)

    def find_best_answers(
        self,
        reading: Reading,
        *,
        count: int,
        width: int | None = None,
        max_new_tokens: int,
        key: Callable[[str], Hashable] = text_itself,
    ) -> tuple[AnswerGroup, ...]:
        """Find the most probable answers to every prompt; see `policy.beam_search.find_best_answers`.

        Args:
            reading: one group is returned per prompt, in its order.
            count: answers per prompt, each with another key.
            width: live beams per prompt; twice `count` and at least 4 where it is not given.
            max_new_tokens: most tokens of an answer.
            key: of the decoded text. Of all answers with one key only the best is kept.
        """
        width = max(4, 2 * count) if width is None else width
        settings = BeamSettings(count=count, width=width, max_new_tokens=max_new_tokens, key=key)
        with self.precision():
            groups = find_best_answers(self.model, reading, settings, support=self.support, tokenizer=self.tokenizer)
        return self._count_written(groups)

    def _count_written(self, groups: tuple[AnswerGroup, ...]) -> tuple[AnswerGroup, ...]:
        self.work.answers_written += len(flatten(groups))
        self.work.tokens_written += sum(map(len, flatten(groups)))
        return groups

    def score(
        self,
        reading: Reading,
        groups: Sequence[AnswerGroup],
        *,
        distribution: bool = False,
        grad: bool = False,
        temperature: float = 1.0,
    ) -> TokenScores:
        """Compute log-probs of given answers; see `policy.score.score`.

        Args:
            reading: of the prompts that were answered.
            groups: one per prompt of the reading, all of one size.
            distribution: also keep the log-probs of the whole support at every answer position.
            grad: keep the graph; the reading must have been made with `grad` too.
            temperature: by which all logits are divided.
        """
        self.work.tokens_scored += sum(map(len, flatten(groups)))
        with self.precision(), torch.set_grad_enabled(grad):
            scores = score(self.model, reading, groups, support=self.support.at(temperature), distribution=distribution)
        return scores if self.placement is None else move_scores(scores, torch.device(self.placement.scores_on))

    def wake(self) -> None:
        """Bring its weights from the CPU to its device, if they wait there. `read` does it."""
        if self.resting and not self.is_awake:
            assert self.placement is not None
            place_model(self.model, torch.device(self.placement.devices[0]), self.resting)
            self.is_awake = True

    def rest(self) -> None:
        """Leave its device, if it is one that waits on the CPU. Nothing is copied: its weights are there still."""
        if self.resting and self.is_awake:
            place_model(self.model, torch.device("cpu"), self.resting)
            self.is_awake = False

    def precision(self) -> AbstractContextManager[Any]:
        """A context in which its passes compute in the type of `autocast`; each verb enters it for itself.

        Around several verbs it lets them share the copies that arithmetic in another type makes of float32 weights.
        """
        # Without a type of its own it still switches another model's off: a teacher inside the student's context.
        return torch.autocast(self.model.device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def freeze(self) -> Policy:
        """Switch off the gradient of every weight: for a teacher, or a model that is only evaluated."""
        self.model.requires_grad_(False)
        return self

    def fingerprint(self) -> str:
        """A short hash of the tokenizer. Where it is the same for two policies, token ids mean the same to both."""
        return fingerprint_of(self.tokenizer)


def load_policy(
    name: str,
    *,
    device: str = "cpu",
    weights: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    revision: str | None = None,
    layout: Layout | None = None,
) -> Policy:
    """Load model and processor.

    Args:
        name: a folder, a hub name, or one of `BUNDLED`.
        device: such as `cpu` or `cuda:0`.
        weights: type the weights are held in. A student that is trained needs float32: at learning rates of 1e-6 an
            update is lost in the eight bits of a bfloat16.
        autocast: type to compute in, if another.
        revision: branch, tag or commit of a model on the hub.
        layout: how its weights lie on the processes of a job, all of which must load it at once; or the place of a
            frozen model that has one of its own, in place of `device`.

    Raises:
        ConfigurationError: the name leads to no loadable model, its weights do not fill it, or the device does not
            exist.
        EngineError: the model does not fit the device.
    """
    placement = layout if isinstance(layout, Placement) else None
    where = require_device(placement.devices[0] if placement else device)
    known = describe(name, revision, device=str(where))
    parts = resolve_parts(name, revision)
    if parts.adapters:
        require_peft()
        _refuse_unmergeable(known)
    model = _load_model(known, parts.base, where, weights, layout)
    for folder in parts.adapters:
        merge_adapter(name, model, folder)
    refuse_not_finite(name, model)
    if torch.bfloat16 in (weights, autocast) or (isinstance(layout, Sharding) and layout.mixed_precision):
        use_float32_head(model)
    use_matrix_product(model, known.family)
    if known.family.clock is Clock.NONE:
        guesses = "model %r (%s) gets no times of its frames, so it can only guess seconds"
        _log.warning(guesses, name, known.family.name)
    return Policy(
        name=name,
        model=model,
        processor=known.processor,
        support=known.support.to(where),
        autocast=autocast,
        placement=placement,
        resting=keep_on_cpu(model, where) if placement and placement.offload else {},
    )


def _refuse_unmergeable(known: Description) -> None:
    """Refuse to merge an adapter into quantised weights."""
    if known.quantisation:
        raise ConfigurationError(
            f"model {known.name!r} is an adapter, and the weights of its base are quantised",
            reason="an adapter is added to whole weights",
            remedy="merge it first, with `video-opd merge MODEL --out FOLDER`, on the unquantised base",
        )


def _load_model(
    known: Description, folder: Path, where: torch.device, weights: torch.dtype, lies: Layout | None
) -> Any:
    """The transformers model, with all of its weights and no others, on its device."""
    name = known.name
    placed_while_read: dict[str, Any] = (
        {"device_map": {"": where}} if known.quantisation and find_spec("accelerate") else {}
    )
    if isinstance(lies, Sharding):
        placed_while_read = lies.options(name, known.family, where, known.quantisation)
    elif isinstance(lies, FourBits):
        placed_while_read = {**lies.options(known.family, weights), "device_map": {"": where}}
    elif lies is not None and lies.is_spread:
        placed_while_read = {"device_map": "balanced", "max_memory": lies.find_room()}
    stays_on_cpu = isinstance(lies, Placement) and lies.offload
    try:
        with guard_loading(name, "weights", quantisation=known.quantisation):
            model, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=weights,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                attn_implementation=known.backends,
                ignore_mismatched_sizes=True,  # so that they come back in the report, to be refused with a name
                **placed_while_read,
            )
        model.is_gathered_by_layer = isinstance(lies, Sharding) and not lies.keep_gathered
        refuse_random(name, model, report)
        refuse_unused(name, report)
        model.eval()
        if known.quantisation:
            cast_unquantised(model, weights)
        if isinstance(lies, Placement):
            lies.refuse_overflow(name, model)
        if not placed_while_read and not stays_on_cpu:
            place_model(model, where)
        if known.quantisation:
            # What a package cannot do on this device, or with these sizes, shows at its first product.
            with guard_loading(name, "weights", quantisation=known.quantisation), torch.no_grad():
                model(input_ids=torch.tensor([[known.support.end_token_id]], device=where))
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"model {name!r} does not fit {where}",
            reason=first_line(error),
            remedy="free memory on the device, or use a larger device, a smaller model or bfloat16",
        ) from error
    return model


def place_model(model: torch.nn.Module, where: torch.device, resting: Mapping[str, Tensor] | None = None) -> None:
    """Bring a whole model to its device. Nothing else in the package does that.

    Weights that are placed while they are read are the exception: quantised, sharded, or spread over devices.

    Args:
        model: a whole model.
        where: its device.
        resting: its weights on the CPU, which stay there; what is on the device is a copy of them.
    """
    if resting is None:
        model.to(where)
        return
    for name, tensor in list_tensors(model):
        is_home = where == torch.device("cpu")
        tensor.data = resting[name] if is_home else resting[name].to(where, non_blocking=True, copy=True)


def keep_on_cpu(model: torch.nn.Module, where: torch.device) -> dict[str, Tensor]:
    """The weights of a model that waits on the CPU; for a GPU in memory from which it copies fast."""
    if where.type != "cpu":
        for _, tensor in list_tensors(model):
            tensor.data = tensor.data.pin_memory()
    return {name: tensor.data for name, tensor in list_tensors(model)}
