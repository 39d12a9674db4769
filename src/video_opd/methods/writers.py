"""The writer of the training answers: the student (on policy), or the annotations (off policy)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from video_opd.errors import ConfigurationError, DataError
from video_opd.methods import MethodParts, MethodSettings
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
        return tuple(
            AnswerGroup(prompt_id=prompt.id, answers=(self._write_answer(student, prompt),))
            for prompt in reading.prompts
        )

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


class AnnotationSettings(MethodSettings):
    """Settings of the methods that train on annotated answers."""

    writes_annotations: ClassVar[bool] = True

    answer: str | None = None
    """The form of the annotated answer, with {start}, {end} and {seen}; not set: the form of the prompt's template."""

    def refuse_unfit(self, parts: MethodParts) -> None:
        """Refuse a form of annotated answers without the times.

        Raises:
            ConfigurationError: the form cannot be filled in, or two spans give the same text.
        """
        refuse_timeless_answers(self.make_annotation_writer(parts).template)

    def make_annotation_writer(self, parts: MethodParts) -> AnnotationWrites:
        """The annotations as the writer, in the words that the settings ask for."""
        template = parts.template
        return AnnotationWrites(template=template if self.answer is None else replace(template, answer=self.answer))


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
