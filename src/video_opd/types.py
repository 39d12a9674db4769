"""The central records: frozen, each with its own id. The rest of the package works on them.

A worked example, with a tokenizer that writes one digit a token:

    Example   id="a1", video="a1.mp4", query="the red circle", spans=((2.0, 4.5),), duration=10.0
    Prompt    the same example as the model sees it: 97 token ids, 40 patches, frame times 0.0, 0.5, … 9.5
    Answer    token_ids=(… 2 . 0 - 4 . 5 seconds . <|im_end|>), one sampler log-prob each, truncated=False
    Group     the answers to one prompt, in the order they were written

This module imports neither torch nor numpy, so that scores and `--help` stay cheap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from video_opd.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


class Span(NamedTuple):
    """A stretch of time in a video, in seconds from its first frame; `end_s >= start_s`."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a manifest: a video, a question about it, and where the answer lies."""

    id: str
    video: str
    """Path relative to the folder of the videos, with forward slashes."""
    query: str
    spans: tuple[Span, ...]
    """Annotated spans. They judge teacher and student; they are never targets of Video-OPD."""
    duration: float | None
    """Seconds. None: the manifest does not give it; see `known_duration`."""
    source: str = ""
    """Name of the data set the row came from."""
    clip: Span | None = None
    """The part of the video that is used, in seconds of the file; spans are relative to its start. None: the whole
    video."""
    frame_rate: float | None = None
    """Pictures per second if the video is a folder of numbered pictures; None for a file, which has its own rate."""

    @property
    def shown_s(self) -> float:
        """Seconds of what is shown of the video; 0 where neither a clip nor the duration is known."""
        return self.clip.end_s - self.clip.start_s if self.clip else self.duration or 0.0

    @property
    def known_duration(self) -> float:
        """The duration in seconds, for code that needs one.

        Raises:
            DataError: the manifest does not give it.
        """
        if self.duration is None:
            raise DataError(
                f"row {self.id!r} has no `duration`",
                reason="this command needs the length of the video",
                remedy="write it into the manifest, or give the folder of the videos with --videos where the command "
                "takes one: `video-opd data import jsonl MANIFEST --videos FOLDER` writes them all",
            )
        return self.duration


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompt:
    """An example as a model sees it. It is rendered once; student and teacher get the same object."""

    example: Example
    input_ids: Tensor
    """(P,) int64, with every `<|video_pad|>` expanded; it ends where the answer begins."""
    mm_token_type_ids: Tensor
    """(P,) int64: 0 text, 1 image, 2 video."""
    pixel_values: Tensor
    """(N, C) float32 patches; N = t * h * w of the grid."""
    grid_thw: tuple[int, int, int]
    """Temporal groups, patch rows, patch columns."""
    frame_times_s: tuple[float, ...]
    """True presentation times of the frames, seconds from the first frame of the clip."""
    num_video_tokens: int
    """`<|video_pad|>` tokens counted in `input_ids`."""
    model_inputs: dict[str, Any] = field(default_factory=dict)
    """Further inputs of this family of models (Qwen2.5-VL: second_per_grid_ts)."""
    repeat: int = 0
    """How many earlier prompts of the same batch have the same example; see `number_repeats`."""
    num_concealed: int = 0
    """Damaged pictures that the decoder of its video painted over, as far as it said so."""
    denser: tuple[Prompt, ...] = ()
    """The same example with more frames or pixels, for teachers that see it so."""

    @property
    def id(self) -> str:
        """Id of the example that the prompt asks about."""
        return self.example.id

    def __len__(self) -> int:
        return int(self.input_ids.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, token by token."""

    prompt_id: str
    token_ids: tuple[int, ...]
    """Ends with the end-of-turn token unless `truncated`."""
    sampler_logprobs: tuple[float, ...] | None
    """Log-prob of each token under the model that wrote it, at that time. None: it comes from an annotation."""
    text: str
    """Decoded, without special tokens."""
    truncated: bool
    """The length limit came before the end-of-turn token; no such token was added."""

    def __post_init__(self) -> None:
        if self.sampler_logprobs is not None and len(self.sampler_logprobs) != len(self.token_ids):
            raise ValueError(
                f"answer to {self.prompt_id}: {len(self.sampler_logprobs)} log-probs for {len(self.token_ids)} tokens"
            )
        if not self.token_ids:
            raise ValueError(f"answer to {self.prompt_id}: no tokens")

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerGroup:
    """The answers to one prompt, all from the same reading."""

    prompt_id: str
    answers: tuple[Answer, ...]

    def __post_init__(self) -> None:
        strangers = {answer.prompt_id for answer in self.answers} - {self.prompt_id}
        if strangers or not self.answers:
            raise ValueError(f"group {self.prompt_id}: answers to {sorted(strangers) or 'no prompt'}")

    def __iter__(self) -> Iterator[Answer]:
        return iter(self.answers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenScores:
    """The scores of one model for every token of B answers, right-padded to T tokens.

    The model that computed the log-probs gives them their name: sampler, learner or teacher.
    """

    answers: tuple[Answer, ...]
    logprobs: Tensor
    """(B, T) float32: log-prob of the answer's token; 0 where padded."""
    answer_mask: Tensor
    """(B, T) bool: True on the answer's tokens, end of turn included."""
    distribution: Tensor | None = None
    """(B, T, V) float32: log-probs of the whole vocabulary at every answer position, if requested."""

    def __post_init__(self) -> None:
        lengths = [len(answer) for answer in self.answers]
        counted = self.answer_mask.sum(dim=1).tolist()
        if tuple(self.logprobs.shape) != tuple(self.answer_mask.shape) or counted != lengths:
            ids = [answer.prompt_id for answer in self.answers]
            raise ValueError(f"scores do not match the answers to {ids}: {counted} scores for {lengths} tokens")
        if self.distribution is not None and self.distribution.shape[:2] != self.answer_mask.shape:
            raise ValueError(f"distribution {tuple(self.distribution.shape)} over answers {lengths}")

    @property
    def num_tokens(self) -> int:
        """Answer tokens, padding not counted."""
        return int(self.answer_mask.sum())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judgement:
    """The scores that the judges of a method give P groups of G answers: B = P * G rows, group after group."""

    teacher: TokenScores | None = None
    """The teacher's scores of every token."""
    reference: TokenScores | None = None
    """The scores of the student before training, for a penalty that keeps the student near it."""
    rewards: Tensor | None = None
    """(P, G): the reward of each whole answer."""

    def drop_distributions(self) -> Judgement:
        """The same without the tensors over the vocabulary, which are V times as large as the rest."""
        slim = [scores and replace(scores, distribution=None) for scores in (self.teacher, self.reference)]
        return Judgement(teacher=slim[0], reference=slim[1], rewards=self.rewards)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenLosses:
    """The losses that a method computes from a judgement, per token of B answers. They are the same for all methods."""

    loss: Tensor
    """(B, T), with gradient: the loss of each token; the learner sums it over the answers' tokens."""
    advantage: Tensor
    """(B, T): the advantage of each token, to be recorded. For distillation it is minus the sampled reverse KL, minus
    its expectation if a baseline is used."""
    clamped: Tensor
    """(B, T): 1 where a bound limited the advantage or the importance ratio."""
    ratio: Tensor | None = None
    """(B, T): the importance ratio of each token before any bound, if the loss has one; no gradient."""
    ratio_bounded: Tensor | None = None
    """(B, T): 1 where a bound limited the importance ratio, if there is one; these tokens are in `clamped` too."""
    supervised: Tensor | None = None
    """(B, T) bool: the answers' tokens that the teacher judges, if it stops before the end of some answers."""
    contradicted: Tensor | None = None
    """(P, 1) bool: prompts for which the teacher's ranking contradicts the outcome, if that is checked."""
    masked: Tensor | None = None
    """(B, 1) bool: answers that do not count in the loss or in what divides it, if there may be any."""

    def drop_tokens(self, tokens: Tensor) -> TokenLosses:
        """The same with zeros for some tokens: no loss, no advantage, no bound, no ratio.

        Args:
            tokens: (B, T) or (B, 1) bool, the tokens to remove.
        """
        return replace(
            self,
            loss=self.loss.masked_fill(tokens, 0.0),
            advantage=self.advantage.masked_fill(tokens, 0.0),
            clamped=self.clamped.masked_fill(tokens, 0.0),
            ratio=None if self.ratio is None else self.ratio.masked_fill(tokens, 0.0),
            ratio_bounded=None if self.ratio_bounded is None else self.ratio_bounded.masked_fill(tokens, 0.0),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How answers are sampled; by default from the untruncated policy at temperature 1."""

    max_new_tokens: int
    greedy: bool = False
    first_is_greedy: bool = False
    """Of a prompt's answers, the first takes the most probable token each time. The sampled ones are numbered without
    it, so they are the same without it."""
    seed: int = 0
    """Every answer has its own random stream, a function of this seed, the prompt's id and the answer's number. The
    first prompt of an example has the answers 0 to G - 1; a repeated prompt in the batch has the numbers from G on."""
    temperature: float = 1.0
    """Every logit is divided by it. The recorded log-probs are those at this temperature, before any truncation."""
    top_p: float | None = None
    """Draw from the fewest most probable tokens whose probabilities add up to at least this; None: from all."""
    top_k: int | None = None
    """Draw from that many most probable tokens, and before `top_p`; None: from all."""


def flatten(groups: Sequence[AnswerGroup]) -> tuple[Answer, ...]:
    """List all answers, group after group."""
    return tuple(answer for group in groups for answer in group)


def number_repeats(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """Number the prompts of one batch that have the same example, so that each gets its own answers.

    Number a batch before you split it: then the answers do not depend on the split."""
    seen: Counter[str] = Counter()
    told_apart = []
    for prompt in prompts:
        told_apart.append(replace(prompt, repeat=seen[prompt.id]))
        seen[prompt.id] += 1
    return tuple(told_apart)
