"""The writer of the training answers: the student (on policy), the annotations (off policy), or both in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from video_opd.errors import ConfigurationError, DataError
from video_opd.methods import MethodParts, MethodSettings, Writer
from video_opd.seeds import uniform
from video_opd.types import Answer, AnswerGroup, Prompt, Sampling, Span

if TYPE_CHECKING:
    from video_opd.data.prompt_templates import PromptTemplate
    from video_opd.policy.load import Policy
    from video_opd.policy.read import Reading


@dataclass(frozen=True, kw_only=True)
class StudentWrites:
    """Writes `num_answers` answers to each prompt with the student's current policy, from the reading that it learns
    from."""

    num_answers: int = 1
    max_new_tokens: int = 64
    temperature: float = 1.0
    top_p: float | None = None
    top_k: int | None = None

    def __call__(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        """Sample from the policy as it is."""
        sampling = Sampling(
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
        )
        return student.answer(reading, count=self.num_answers, sampling=sampling)


@dataclass(frozen=True, kw_only=True)
class AnnotationWrites:
    """Writes the annotation of each example in words: one answer per prompt, with its end-of-turn token.

    If there are several annotated spans, the first is written, because the form of an answer has room for one.
    """

    template: PromptTemplate

    def __call__(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:  # noqa: ARG002
        """Write the annotations in words; the seed has no effect.

        Raises:
            ConfigurationError: the form of the answer cannot be filled in, or has a special token.
            DataError: an example has no annotated span.
        """
        return tuple(self.write_group(student, prompt) for prompt in reading.prompts)

    def write_group(self, student: Policy, prompt: Prompt) -> AnswerGroup:
        """Write the annotation of one prompt, with the tokenizer of the student.

        Raises:
            ConfigurationError: the form of the answer cannot be filled in, or has a special token.
            DataError: the example has no annotated span.
        """
        return AnswerGroup(prompt_id=prompt.id, answers=(self._write_answer(student, prompt),))

    def _write_answer(self, student: Policy, prompt: Prompt) -> Answer:
        if not prompt.example.spans:
            raise DataError(
                f"example {prompt.id} has no annotated span",
                reason="this method trains on annotated answers",
                remedy="annotate it or leave it out, or use a method that needs no annotation, such as opd",
            )
        text = self.template.answer_text(prompt.example.spans[0], prompt.frame_times_s)
        ids = student.tokenizer(text, add_special_tokens=False)["input_ids"]
        impossible = [id for id in ids if student.support.banned[id]]
        if impossible or student.support.end_token_id in ids:
            token = student.tokenizer.decode((impossible or [student.support.end_token_id])[:1])
            raise ConfigurationError(
                f"annotated answer {text!r} holds the special token {token!r}",
                reason="an answer may not contain special tokens; the end-of-turn token is added automatically",
                remedy="remove it from the form of the answer (method.answer)",
            )
        return Answer(
            prompt_id=prompt.id,
            token_ids=(*ids, student.support.end_token_id),
            sampler_logprobs=None,
            text=text,
            truncated=False,
        )


@dataclass(frozen=True, kw_only=True)
class MixedWrites:
    """Writes some answers with the student's current policy, and the annotation in place of the others: the mix of GKD
    (arXiv 2306.13649), where the share of the student's own answers is called lambda.

    GKD decides for a whole batch. Here every prompt is decided by itself, by a draw that depends only on the seed of
    the step and the example. The expectation is the same, and the batches are more alike.
    """

    own: Writer
    annotation: AnnotationWrites
    own_share: float
    """The probability that an answer is the student's own."""

    def __call__(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        """Draw for every prompt who writes its answer, and have both write theirs.

        Raises:
            ConfigurationError: the form of the annotated answer cannot be filled in, or has a special token.
            DataError: an example has no annotated span, and its annotation is to be written.
        """
        from video_opd.policy.sharding import is_any_process

        own = [row for row, prompt in enumerate(reading.prompts) if self.is_own(prompt, seed)]
        written: dict[int, AnswerGroup] = {}
        if is_any_process(bool(own), student.model):
            asked = own or [0]  # without an answer of its own to write, a process goes along with its first prompt
            every = len(asked) == len(reading.prompts)
            groups = self.own(student, reading if every else reading.select_rows(asked), seed)
            written = dict(zip(own, groups, strict=False))
        return tuple(
            written[row] if row in written else self.annotation.write_group(student, prompt)
            for row, prompt in enumerate(reading.prompts)
        )

    def is_own(self, prompt: Prompt, seed: int) -> bool:
        """Whether the student answers a prompt, and not the annotation.

        Args:
            prompt: one of the batch.
            seed: of the step.
        """
        return uniform(seed, "own answer", prompt.id, prompt.repeat) < self.own_share


class AnnotatedAnswerSettings(MethodSettings):
    """Settings of the methods that can train on annotated answers."""

    answer: str | None = None
    """The form of the annotated answer, with {start}, {end} and {seen}; not set: the form of the prompt's template."""

    def refuse_unfit(self, parts: MethodParts) -> None:
        """Refuse a form of annotated answers without the times.

        Raises:
            ConfigurationError: the form cannot be filled in, or two spans give the same text.
        """
        if self.has_annotations:
            refuse_timeless_answers(self.make_annotation_writer(parts).template)

    def make_annotation_writer(self, parts: MethodParts) -> AnnotationWrites:
        """The annotations as the writer, in the words that the settings ask for."""
        template = parts.template
        return AnnotationWrites(template=template if self.answer is None else replace(template, answer=self.answer))


class AnnotationSettings(AnnotatedAnswerSettings):
    """Settings of the methods that train on annotated answers only."""

    writes_annotations: ClassVar[bool] = True


def refuse_timeless_answers(template: PromptTemplate) -> None:
    """Refuse a form of annotated answers without the times.

    Raises:
        ConfigurationError: the form cannot be filled in, or two spans give the same text.
    """
    one, other, third = (template.answer_text(Span(*ends), (0.0, 2.0)) for ends in ((1, 3), (1, 5), (2, 5)))
    if one == other or other == third:
        raise ConfigurationError(
            f"annotated answer {template.answer!r}",
            reason="the form does not have both the start and the end",
            remedy="write it with {start} and {end}, such as '{start:.1f} - {end:.1f} seconds'",
        )
