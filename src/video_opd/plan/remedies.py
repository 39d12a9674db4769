"""What makes a run fit that does not: every change is tried on the estimate before it is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from video_opd.config import Recipe, TeacherSettings
from video_opd.config.model_settings import is_base
from video_opd.errors import ConfigurationError
from video_opd.plan.asking_memory import estimate_run
from video_opd.plan.cards import KNOWN_CARDS, GpuCard, Gpus
from video_opd.plan.model_refusals import refuse_unusable_models
from video_opd.policy.lora_settings import LoraSettings
from video_opd.train.early_checks import refuse_unfit_job
from video_opd.train.memory_choice import describe_step
from video_opd.train.run_inputs import Inputs

TOKENS_STEP = 256
"""Numbers of video tokens are multiples of it."""
COUNTS = tuple(2**power for power in range(10))
"""Numbers of cards that are tried: 1 to 512."""

Change = Callable[[Recipe], Recipe]


@dataclass(frozen=True, kw_only=True)
class Remedies:
    """What makes a run fit."""

    alone: tuple[str, ...] = ()
    """Each of these is enough, first what costs least."""
    together: tuple[str, ...] = ()
    """Where none is enough alone: all of these at once."""
    more_cards: str | None = None
    """The smallest number of the same cards on which the recipe fits as it is, such as 16xH100-80GB."""
    other_cards: str | None = None
    """Where nothing else is enough: the smallest number of known cards on which it fits."""

    def describe(self) -> str:
        """In one sentence."""
        found = [*self.alone]
        if self.together:
            found.append(f"do all of this: {', '.join(self.together)}")
        if self.more_cards:
            found.append(f"use {self.more_cards}")
        if found:
            return "; or ".join(found)
        fits = f"it fits {self.other_cards}" if self.other_cards else "it fits no known card, up to 512 of them"
        return f"change the cards or the models, because no change of the other keys is enough; as it is, {fits}"


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number of the recipe that may be lowered."""

    table: str
    key: str
    step: int = 1
    least: int = 1

    def read(self, recipe: Recipe) -> int:
        """The number now; 0 where the recipe has none."""
        found = getattr(getattr(recipe, self.table), self.key, None)
        return found if isinstance(found, int) else 0

    def list_smaller(self, recipe: Recipe) -> range:
        """The multiples of the step below the number now, as how many steps each is."""
        return range(max(1, -(-self.least // self.step)), -(-self.read(recipe) // self.step))

    def set_to(self, steps: int) -> Change:
        """Set it to so many steps."""
        return lambda recipe: change_table(recipe, self.table, **{self.key: steps * self.step})

    def describe(self, steps: int) -> str:
        """Say what is done."""
        return f"lower {self.table}.{self.key} to {steps * self.step}"


NUMBERS = (
    Number(table="compute", key="evaluation_batch_size"),
    Number(table="training", key="answer_together"),
    Number(table="training", key="micro_batch_tokens", step=TOKENS_STEP),
    Number(table="training", key="micro_batch_size"),
    Number(table="video", key="max_tokens", step=TOKENS_STEP),
    Number(table="method", key="num_answers", least=2),
)
"""In the order of what they cost."""


def change_table(recipe: Recipe, table: str, **values: object) -> Recipe:
    """A recipe with other values in one of its tables."""
    return recipe.model_copy(update={table: getattr(recipe, table).model_copy(update=values)})


@dataclass(frozen=True, kw_only=True)
class RemedySearch:
    """Tries changes of a recipe that does not fit."""

    recipe: Recipe
    """Without `auto`."""
    gpus: Gpus
    num_processes: int
    inputs: Inputs = field(default_factory=Inputs)

    def find(self) -> Remedies:
        """Find what is enough alone, or else together; and cards that are enough."""
        alone = [words for words, change in self._list_switches() if self._has_room(change(self.recipe))]
        found = {number: self._find_number(number, self.recipe) for number in NUMBERS}
        alone += [number.describe(steps) for number, steps in found.items() if steps]
        together, more = () if alone else tuple(self._combine()), self._find_more_cards()
        other = None if alone or together or more else self._find_other_cards()
        return Remedies(alone=tuple(alone), together=together, more_cards=more, other_cards=other)

    def _list_switches(self) -> Iterator[tuple[str, Change]]:
        """Changes without a number, first what costs least."""
        recipe, student = self.recipe, self.recipe.student
        teachers = recipe.name_teachers().values()
        if recipe.training.gradient_checkpointing is not True:
            yield (
                "set training.gradient_checkpointing = true",
                lambda trial: change_table(trial, "training", gradient_checkpointing=True),
            )
        if self.num_processes > 1 and recipe.compute.shards not in (None, self.num_processes):
            yield "leave out compute.shards", lambda trial: change_table(trial, "compute", shards=None)
        if self.num_processes == 1 and any(not (each.has_place or is_base(each, student)) for each in teachers):
            yield "set teacher.offload = true", _offload
        if recipe.compute.precision == "float32":
            yield (
                'set compute.precision = "bfloat16"',
                lambda trial: change_table(trial, "compute", precision="bfloat16"),
            )
        if not (student.lora or student.freeze_vision):
            yield (
                "set student.freeze_vision = true",
                lambda trial: change_table(trial, "student", freeze_vision=True),
            )
        if student.lora is None:
            yield (
                "train an adapter with a table [student.lora]",
                lambda trial: change_table(trial, "student", lora=LoraSettings()),
            )

    def _has_room(self, recipe: Recipe, count: int | None = None, card: GpuCard | None = None) -> bool:
        """Whether a recipe fits so many cards, and is not refused there."""
        card = card or self.gpus.card
        count = count or self.num_processes
        try:
            refuse_unfit_job(recipe, count)
            refuse_unusable_models(recipe, count, card)
        except ConfigurationError:
            return False
        memory = describe_step(recipe, self.inputs, num_processes=count, capability=card.capability)
        return estimate_run(memory).peak <= card.room

    def _find_number(self, number: Number, recipe: Recipe) -> int | None:
        """The largest smaller number, in its steps, with which a recipe fits."""
        smaller = number.list_smaller(recipe)
        low, high = smaller.start - 1, smaller.stop
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._has_room(number.set_to(middle)(recipe)) else (low, middle)
        return low if low in smaller else None

    def _combine(self) -> Iterator[str]:
        """Changes that are enough together; those that are not needed are left out again."""
        taken: list[tuple[str, Change]] = []
        for switch in self._list_switches():
            taken.append(switch)
            if self._has_room(self._apply(taken)):
                yield from (words for words, _ in self._leave_out(taken))
                return
        for number in NUMBERS:
            recipe = self._apply(taken)
            if steps := self._find_number(number, recipe):
                taken.append((number.describe(steps), number.set_to(steps)))
                yield from (words for words, _ in self._leave_out(taken))
                return
            if smaller := number.list_smaller(recipe):
                taken.append((number.describe(smaller.start), number.set_to(smaller.start)))

    def _leave_out(self, taken: list[tuple[str, Change]]) -> list[tuple[str, Change]]:
        for change in taken[:]:
            fewer = [each for each in taken if each is not change]
            if self._has_room(self._apply(fewer)):
                taken = fewer
        return taken

    def _apply(self, changes: Sequence[tuple[str, Change]]) -> Recipe:
        recipe = self.recipe
        for _, change in changes:
            recipe = change(recipe)
        return recipe

    def _find_more_cards(self) -> str | None:
        """The smallest number of the same cards."""
        if self.num_processes < self.gpus.count:  # the recipe says which card has what
            return None
        fitting = (n for n in COUNTS if n > self.gpus.count and self._has_room(self.recipe, n))
        return next((str(Gpus(count=count, card=self.gpus.card)) for count in fitting), None)

    def _find_other_cards(self) -> str | None:
        """The smallest number of any known card; of several cards the one with the least memory."""
        cards = sorted(KNOWN_CARDS.values(), key=lambda card: card.room)
        has_places = self.num_processes < self.gpus.count
        for count in takewhile(lambda n: n <= self.recipe.training.batch_size, COUNTS):
            for card in cards:
                if self._has_room(self.recipe, count, card):
                    return str(Gpus(count=self.gpus.count if has_places else count, card=card))
        return None


def _offload(recipe: Recipe) -> Recipe:
    """Let every teacher without devices of its own wait on the CPU."""

    def move(teacher: TeacherSettings) -> TeacherSettings:
        return teacher if teacher.device or teacher.devices else teacher.model_copy(update={"offload": True})

    teacher = recipe.teacher and move(recipe.teacher)
    return recipe.model_copy(update={"teacher": teacher, "teachers": tuple(map(move, recipe.teachers))})
