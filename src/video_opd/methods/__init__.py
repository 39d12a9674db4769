"""A method says who writes the answers, who judges them, and what a token costs. Nothing else differs.

A method is one file here, with its settings and its class, and one line in `METHODS`. Users register their own methods
with `register_method`, from any file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeVar, get_args, get_origin

from video_opd.errors import ConfigurationError
from video_opd.settings import OneOf, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from video_opd.data.prompt_templates import PromptTemplate
    from video_opd.methods.teachers import Teacher
    from video_opd.policy.load import Policy
    from video_opd.policy.read import Reading
    from video_opd.types import AnswerGroup, Judgement, Prompt, TokenLosses, TokenScores


class Writer(Protocol):
    """The source of the answers: the student, or the annotations."""

    def __call__(self, student: Policy, reading: Reading, seed: int) -> tuple[AnswerGroup, ...]:
        """Write the answers to train on: one group for each prompt of the student's reading, all groups of one size."""


class Method(Protocol):
    """The three parts in which methods differ: write, judge, losses."""

    @property
    def needs_distribution(self) -> bool:
        """Whether `losses` needs the student's whole distribution at every answer position."""

    @property
    def write(self) -> Writer:
        """Who writes the answers."""

    def judge(self, prompts: Sequence[Prompt], groups: Sequence[AnswerGroup]) -> Judgement:
        """Ask the judges about the answers."""

    def losses(self, learner: TokenScores, behaviour_logprobs: Tensor, judgement: Judgement) -> TokenLosses:
        """Compute what every token costs, with gradient through the learner's scores.

        Args:
            learner: the learner's scores of the answers' tokens, with gradient.
            behaviour_logprobs: (B, T), the learner's own before its first update on this batch.
            judgement: what `judge` returned for these answers.
        """


@dataclass(frozen=True, kw_only=True)
class MethodParts:
    """What a method is built from, besides its own settings."""

    template: PromptTemplate
    """The form of the run's prompts and of an answer."""
    template_name: str
    """The name of the preset of the template, or of the preset on which it is based."""
    max_new_tokens: int
    """Most tokens of a sampled answer."""
    temperature: float = 1.0
    """Of all log-probs in training: the learner's, those that `teacher` gives, and those to ask `reference` for."""
    top_p: float | None = None
    """As in `Sampling`: which tokens are sampled from."""
    top_k: int | None = None
    given_teacher: Teacher | None = None
    """The recipe's teacher, or its teachers as one judge; None where the recipe has none."""
    reference: Policy | None = None
    """The student as it was before training, frozen; None unless the method's settings say `needs_reference`."""

    @property
    def teacher(self) -> Teacher:
        """The teacher, for methods that need one (`needs_teacher`)."""
        assert self.given_teacher is not None, "a recipe whose method needs a teacher is refused without one"
        return self.given_teacher

    def student_writes(self, num_answers: int) -> Writer:
        """The student as the writer of `num_answers` answers to each prompt."""
        from video_opd.methods.writers import StudentWrites

        return StudentWrites(
            num_answers=num_answers,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
        )


class MethodSettings(Settings):
    """The [method] table of a recipe. A method's own record adds `name: Literal["…"]`, its keys, and `build`."""

    needs_teacher: ClassVar[bool] = False
    """Whether the recipe must have a teacher."""
    has_other_signal: ClassVar[bool] = False
    """Whether the method learns something even if the teacher agrees with the student."""
    writes_annotations: ClassVar[bool] = False
    """Whether the method trains on annotated answers instead of sampled ones. Its student writes none."""
    if TYPE_CHECKING:
        name: str  # each method's record makes this a literal; its place in the table is fixed here

    @property
    def needs_reference(self) -> bool:
        """Whether the student as it was before training must be kept, frozen."""
        return False

    @property
    def has_annotations(self) -> bool:
        """Whether the method trains on annotated answers, all of them or some."""
        return self.writes_annotations

    @property
    def needs_distribution(self) -> bool:
        """Whether whole distributions are kept at the answers' tokens. The estimate of memory asks."""
        return False

    def refuse_unfit(self, parts: MethodParts) -> None:
        """Check, before any model is loaded, that the method can work with the prompt's template.

        Args:
            parts: the parts of the run, still without models.

        Raises:
            ConfigurationError: the method cannot work with the template.
        """

    def build(self, parts: MethodParts) -> Method:
        """Make the method from its settings and the parts of a run."""
        raise NotImplementedError(f"{type(self).__name__}.build")


METHODS: OneOf[MethodSettings] = OneOf(
    "a method",
    __name__,
    {
        "opd": "opd.OnPolicyDistillationSettings",
        "op-rkd": "op_rkd.OffPolicyReverseSettings",
        "op-fkd": "op_fkd.OffPolicyForwardSettings",
        "sft": "supervised.SupervisedSettings",
        "grpo": "grpo.GRPOSettings",
        "mixture": "mixture.MixtureSettings",
    },
)
"""Every method by its name in a recipe, and the place of its settings. The first is the default."""

SomeMethod = TypeVar("SomeMethod", bound=MethodSettings)


def register_method(settings: type[SomeMethod]) -> type[SomeMethod]:
    """Register a method under the name in its settings, so that recipes can use it. Use it as a decorator of the
    settings.

    Raises:
        ConfigurationError: the record has no `name: Literal["…"]`, or the name is taken.
    """
    if not (isinstance(settings, type) and issubclass(settings, MethodSettings)):
        raise ConfigurationError(
            f"a method cannot be registered by {getattr(settings, '__name__', repr(settings))}",
            reason="it is no class of settings",
            remedy="write @register_method, without a name, above a subclass of video_opd.methods.MethodSettings",
        )
    field = settings.model_fields.get("name")
    names = get_args(field.annotation) if field and get_origin(field.annotation) is Literal else ()
    if not names or not isinstance(names[0], str):
        raise ConfigurationError(
            f"method settings {settings.__name__}",
            reason="a recipe tells methods apart by their name, and these settings have none",
            remedy='declare a field such as `name: Literal["mine"]`',
        )
    METHODS.register(names[0], settings)
    return settings
