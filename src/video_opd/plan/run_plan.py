"""Makes the plan of a run from its recipe and the cards that it is to have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from video_opd.config import CouplingSettings, Recipe, RoundsSettings, SelectionFileSettings
from video_opd.errors import ConfigurationError, DataError
from video_opd.plan.asking_memory import estimate_run
from video_opd.plan.cards import Gpus
from video_opd.plan.model_refusals import refuse_unusable_models
from video_opd.plan.plan_record import MOST_ANSWERS, MOST_TOKENS, Plan
from video_opd.plan.remedies import TOKENS_STEP, RemedySearch
from video_opd.plan.step_flops import Judge, StepWork
from video_opd.plan.step_time import StepTime
from video_opd.policy.model_shape import ModelShape
from video_opd.train.answering_choice import find_most_together, is_answering_open, set_together
from video_opd.train.build import count_steps, list_step_sizes
from video_opd.train.early_checks import refuse_unfit_job
from video_opd.train.largest_micro_batch import choose_load, size_prompt
from video_opd.train.measured_models import count_weight_bytes, measure_model
from video_opd.train.memory_choice import MARGIN, describe_step, list_durations
from video_opd.train.memory_estimate import StepMemory
from video_opd.train.run_inputs import Inputs


def make_plan(recipe: Recipe, gpus: Gpus, *, num_examples: int | None = None, answer_tokens: int | None = None) -> Plan:
    """Plan a run. Only configurations and manifests are read; a published model that is not here is not downloaded.

    Args:
        recipe: what is to be run.
        gpus: the cards, one process on each; one process in all where the recipe gives the teacher cards of its own.
        num_examples: of the training manifest, where that is not there yet.
        answer_tokens: mean length of an answer; by default the largest.

    Raises:
        ConfigurationError: a model that cannot be described, or a recipe that so many processes cannot share.
    """
    has_places = any(teacher.device or teacher.devices for teacher in recipe.name_teachers().values())
    num_processes = 1 if has_places else gpus.count
    refuse_unfit_job(recipe, num_processes)
    refuse_unusable_models(recipe, num_processes, gpus.card)
    _refuse_long_answers(recipe, answer_tokens)
    inputs = Inputs()
    longest_s = max(list_durations(recipe, inputs), default=None)
    asked = describe_step(recipe, inputs, num_processes=num_processes, capability=gpus.card.capability)
    apart = _settle_checkpointing(asked, gpus.card.room)
    # With `auto`, another size is checkpointed where it does not fit otherwise.
    smallest = _set_checkpointing(asked, is_on=True) if recipe.training.gradient_checkpointing == "auto" else apart
    memory = _settle_answering(apart, longest_s, gpus.card.room)
    recipe = memory.recipe
    time = _describe_time(memory, gpus, list_durations(recipe, inputs), answer_tokens)
    pool = _count_examples(recipe, recipe.data.train, inputs) or num_examples
    num_steps = _count_steps(recipe, inputs, pool)
    estimate = estimate_run(memory)
    search = RemedySearch(recipe=recipe, gpus=gpus, num_processes=num_processes, inputs=inputs)
    return Plan(
        recipe=recipe,
        gpus=gpus,
        num_processes=num_processes,
        student=memory.student,
        teachers={name: measure_model(each.model) for name, each in recipe.name_teachers().items()},
        memory=estimate,
        work=time.work,
        flops=time.count_flops(),
        seconds=time.estimate(),
        num_steps=num_steps,
        step_sizes=None if num_steps is None else list_step_sizes(recipe, num_steps),
        selection_s=_estimate_selection(time, pool),
        evaluation_s=_estimate_evaluations(time, inputs, num_steps),
        largest_max_tokens=_find_largest_max_tokens(smallest, longest_s, gpus.card.room),
        largest_num_answers=_find_largest_num_answers(smallest, gpus.card.room),
        remedies=search.find() if estimate.peak > gpus.card.room else None,
    )


def _refuse_long_answers(recipe: Recipe, answer_tokens: int | None) -> None:
    """Refuse answers that are longer than they can be."""
    most = recipe.answers.max_new_tokens
    if answer_tokens is not None and answer_tokens > most:
        raise ConfigurationError(
            f"--answer-tokens {answer_tokens}",
            reason=f"answers.max_new_tokens = {most} is the largest length of an answer",
            remedy=f"give a mean length of at most {most}, or raise answers.max_new_tokens",
        )


def _settle_checkpointing(memory: StepMemory, room: int) -> StepMemory:
    """With `auto`, checkpoint where the step does not fit with a margin, as `train` does."""
    if memory.recipe.training.gradient_checkpointing != "auto":
        return memory
    return _set_checkpointing(memory, is_on=memory.estimate().peak * MARGIN > room)


def _set_checkpointing(memory: StepMemory, *, is_on: bool) -> StepMemory:
    training = memory.recipe.training.model_copy(update={"gradient_checkpointing": is_on})
    return replace(memory, recipe=memory.recipe.model_copy(update={"training": training}), is_checkpointed=is_on)


def _settle_answering(memory: StepMemory, longest_s: float | None, room: int) -> StepMemory:
    """Answer as many prompts together as fit, where the recipe leaves it open, as `train` does."""
    recipe = memory.recipe
    if not is_answering_open(recipe) or recipe.method.writes_annotations:
        return memory
    choice = find_most_together(
        recipe,
        memory.student,
        lambda trial: _change(memory, trial, longest_s).estimate(),
        num_processes=memory.num_processes,
        free=room,
    )
    return _change(memory, set_together(recipe, choice), longest_s)


def _change(memory: StepMemory, recipe: Recipe, longest_s: float | None) -> StepMemory:
    """The step of a recipe with other limits."""
    load = choose_load(recipe, memory.student, num_processes=memory.num_processes, longest_s=longest_s)
    return replace(memory, recipe=recipe, load=load)


def _describe_time(memory: StepMemory, gpus: Gpus, durations: Sequence[float], answer_tokens: int | None) -> StepTime:
    """The step with prompts of the mean length; without durations all are of the largest one."""
    recipe, student, load = memory.recipe, memory.student, memory.load
    sizes = [size_prompt(recipe, student, seconds) for seconds in durations] or [size_prompt(recipe, student)]
    visual = sum(size.visual for size in sizes) / len(sizes)
    work = StepWork(
        prompts=recipe.training.batch_size / memory.num_processes,
        num_pieces=load.num_pieces,
        num_loops=ceil(ceil(recipe.training.batch_size / memory.num_processes) / load.together)
        if load.together
        else load.num_pieces,
        is_read_twice=load.together > 0 and not memory.is_checkpointed,
        tokens=sum(size.tokens for size in sizes) / len(sizes),
        patches=visual * student.patches_per_token,
        groups=sum(size.groups for size in sizes) / len(sizes),
        answers=load.answers // load.prompts,
        answer_tokens=answer_tokens or load.answer_tokens,
    )
    return StepTime(
        recipe=recipe,
        student=student,
        judges=tuple(_list_judges(recipe, student, gpus.card.capability)),
        work=work,
        card=gpus.card,
        num_processes=memory.num_processes,
        is_checkpointed=memory.is_checkpointed,
    )


def _list_judges(recipe: Recipe, student: ModelShape, capability: float) -> Iterator[Judge]:
    """Who scores the answers of a step. Of several teachers each judges its share, or all of them everything."""
    width = 2 if recipe.compute.precision == "bfloat16" else 4
    teachers = recipe.name_teachers().values() if recipe.method.needs_teacher else ()
    for teacher in teachers:
        shape = measure_model(teacher.model)
        yield Judge(
            shape=shape,
            num_bytes=count_weight_bytes(teacher.model, shape, width, capability),
            share=1.0 if recipe.teachers_by == "average" else 1 / len(teachers),
            is_student=recipe.student.lora is not None and teacher.model == recipe.student.model,
        )
    if recipe.method.needs_reference:
        yield Judge(shape=student, num_bytes=width * student.num_all, is_student=True, is_reference=True)


def _count_examples(recipe: Recipe, manifest: Path | None, inputs: Inputs) -> int | None:
    try:
        return len(inputs.read_manifest(recipe, manifest)) or None
    except DataError:
        if manifest is not None and manifest.exists():
            raise
        return None  # it is not there yet


def _count_steps(recipe: Recipe, inputs: Inputs, pool: int | None) -> int | None:
    if recipe.training.steps is None and isinstance(recipe.curriculum, SelectionFileSettings):
        try:
            return count_steps(recipe, (), inputs)
        except DataError:
            return None
    if recipe.training.steps or isinstance(recipe.curriculum, RoundsSettings | CouplingSettings):
        return count_steps(recipe, (), inputs)
    return None if pool is None else ceil(pool / recipe.training.batch_size)


def _estimate_selection(time: StepTime, pool: int | None) -> float | None:
    """Seconds of scoring the pool: of a teacher once, of the student before every round."""
    recipe = time.recipe
    curriculum = recipe.curriculum
    if not isinstance(curriculum, RoundsSettings | CouplingSettings):
        return 0.0
    if pool is None:
        return None
    seconds = 0.0
    if curriculum.needs_teacher and curriculum.teacher_scores is None:
        seconds += _ask_teachers(time, curriculum.num_answers)
    if isinstance(curriculum, CouplingSettings) or curriculum.is_student_asked:
        rounds = curriculum.num_rounds if isinstance(curriculum, RoundsSettings) else 1
        seconds += rounds * time.answer_pool(time.student, curriculum.num_answers)
    return pool * seconds / time.num_processes


def _estimate_evaluations(time: StepTime, inputs: Inputs, num_steps: int | None) -> float:
    """Seconds of the evaluations: on the validation manifest as often as the recipe says, on the test manifest of the
    student before and after, and of the teachers."""
    recipe = time.recipe
    student = time.answer_pool(time.student, 1)
    every = recipe.schedule.evaluate_every
    often = 1 + ((num_steps or 0) // every if every else 0)
    seconds = often * student * (_count_examples(recipe, recipe.data.validation, inputs) or 0)
    seconds += (2 * student + _ask_teachers(time, 1)) * (_count_examples(recipe, recipe.data.test, inputs) or 0)
    return seconds / time.num_processes


def _ask_teachers(time: StepTime, num_answers: int) -> float:
    """Seconds in which every teacher answers one prompt."""
    recipe, seconds = time.recipe, 0.0
    width = 2 if recipe.compute.precision == "bfloat16" else 4
    for teacher in recipe.name_teachers().values():
        shape = measure_model(teacher.model)
        size = count_weight_bytes(teacher.model, shape, width, time.card.capability)
        seconds += time.answer_pool(shape, num_answers, num_bytes=size)
    return seconds


def _find_largest_max_tokens(memory: StepMemory, longest_s: float | None, room: int) -> int | None:
    def has_room(steps: int) -> bool:
        video = memory.recipe.video.model_copy(update={"max_tokens": TOKENS_STEP * steps})
        recipe = memory.recipe.model_copy(update={"video": video})
        return estimate_run(_change(memory, recipe, longest_s)).peak <= room

    found = _find_largest(has_room, MOST_TOKENS // TOKENS_STEP)
    return None if found is None else TOKENS_STEP * found


def _find_largest_num_answers(memory: StepMemory, room: int) -> int | None:
    def has_room(count: int) -> bool:
        load = replace(memory.load, answers=memory.load.prompts * count)
        return estimate_run(replace(memory, load=load)).peak <= room

    return _find_largest(has_room, MOST_ANSWERS)


def _find_largest(has_room: Callable[[int], bool], most: int) -> int | None:
    """The largest number from 1 to `most` for which there is room; None where there is none for 1."""
    if not has_room(1):
        return None
    low, high = 1, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if has_room(middle) else (low, middle)
    return low
