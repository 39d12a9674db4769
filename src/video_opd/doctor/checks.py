"""The checks: each looks at one thing that silently ruins a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from video_opd.data.ablated_prompts import ABLATIONS
from video_opd.doctor.patient import Finding, Patient, answer, make_greedy_sampling, measure_accuracy, score
from video_opd.errors import EngineError
from video_opd.eval.how_asked import explain_prompt_mismatch
from video_opd.methods.opd import OnPolicyDistillationSettings
from video_opd.methods.teachers import OneTeacher, View
from video_opd.methods.wording import IMPROBABLE_NATS, measure_surprise_at_wording
from video_opd.policy.families import Clock, list_family_names
from video_opd.policy.load import Policy
from video_opd.sample_size import MIN_AGREEING, MIN_QUERIES, count_of
from video_opd.seeds import derive_seed
from video_opd.train.build import load_frozen, make_method, make_source
from video_opd.train.learner import Learner
from video_opd.train.loop import run_micro_batch
from video_opd.types import Prompt, flatten

ROUNDING_NATS = {"float32": 1e-3, "bfloat16": 0.1}
"""How far two computations of one log-prob may lie apart."""
NOISE_NATS = {"float32": 1e-4, "bfloat16": 0.1}
"""Largest RMS of advantages that should all be zero; the tiny models have 1e-6 and 0.007. Other frames give 0.5."""
LOUD = 0.1
"""Share of the teacher's own RMS above which such noise deserves a look."""
BLIND_NATS = 0.02
"""If the scores of a teacher's answers fall by less than this per token without the video, it does not use the video.
"""


MORE_EXAMPLES = f"look at {MIN_AGREEING} or more with --examples"


def explain_too_few(patient: Patient) -> str:
    """Say that the examples are too few to judge a model; an empty text if they are enough."""
    count = len(patient.prompts)
    if count >= MIN_AGREEING:
        return ""
    return f"{count_of(count, 'example is', 'examples are')} too few to say, whatever the numbers"


def _check_same_prompt(patient: Patient) -> Iterator[Finding]:
    """Check that the processors of teacher and student make the same ids, grid, times and pixels from a clip."""
    mine, teacher = patient.prompts[0], patient.models["teacher"]
    source = make_source(patient.recipe, teacher, [mine.example])
    theirs = source.render(mine.example)
    source.close()
    same = {
        "token ids": torch.equal(mine.input_ids, theirs.input_ids),
        "grid": mine.grid_thw == theirs.grid_thw,
        "frame times": mine.frame_times_s == theirs.frame_times_s,
        "pixels": torch.equal(mine.pixel_values, theirs.pixel_values),
    }
    different = [name for name, equal in same.items() if not equal]
    times = ", ".join(f"{time_s:.2f}" for time_s in mine.frame_times_s[:3])
    yield Finding(
        checked="student's and teacher's processors render the same prompt",
        found=f"different: {', '.join(different)}"
        if different
        else f"same ids ({len(mine)}), grid {mine.grid_thw}, frame times ({times} … s) and pixels",
        verdict="fail" if different else "ok",
        remedy="use a student and a teacher of one family and one release" if different else "",
    )


def _check_same_numbers(patient: Patient) -> Iterator[Finding]:
    """Check that scoring twice gives the same numbers, and that the sampler recorded these numbers."""
    first, again = (
        torch.cat(score(patient.student, patient.prompts, patient.groups, patient.recipe)) for _ in range(2)
    )
    limit = ROUNDING_NATS[patient.recipe.compute.precision]
    difference = float((first - again).abs().max())
    yield Finding(
        checked="scoring twice gives the same numbers",
        found=f"largest difference {difference:.1e} nats",
        verdict="ok" if difference <= limit else "fail",
        remedy=""
        if difference <= limit
        else "the model is not deterministic here: check for dropout or a wrong device setting",
    )
    sampler = torch.tensor([value for each in flatten(patient.groups) for value in each.sampler_logprobs or ()])
    gap = float((sampler - first.cpu()).abs().mean())
    yield Finding(
        checked="the log-prob recorded when sampling is the one that is trained on",
        found=f"mean gap {gap:.1e} nats per token",
        verdict="ok" if gap <= limit else "fail",
        remedy="" if gap <= limit else "sampler and learner run different models or prompts",
    )


def _check_noise_floor(patient: Patient) -> Iterator[Finding]:
    """Check that advantages are only rounding when the student, loaded as a teacher is loaded, is its own teacher."""
    checked = "a student that is its own teacher gives advantages of zero, on the way that training goes"
    precision, (student, recipe) = patient.recipe.compute.precision, (patient.student, patient.recipe)
    try:  # in float32 a teacher is held as the student is; in bfloat16 it has bfloat16 weights, as an adapter's base
        shares = precision == "float32" or recipe.student.lora is not None
        itself = student if shares else load_frozen(recipe, recipe.student.model)
    except EngineError as error:
        yield Finding(checked=checked, found=f"not known: {error.cause}", verdict="warn", remedy="free the device")
        return
    advantages = _compute_first_advantages(patient, itself)
    rms, largest, limit = _rms(advantages), float(advantages.abs().max()), NOISE_NATS[precision]
    found = f"noise floor of {precision}: RMS {rms:.1e}, largest {largest:.1e} nats over {len(advantages)} tokens"
    loud = False
    if patient.teacher is not None:
        signal = _rms(_compute_first_advantages(patient, patient.teacher, patient.view))
        loud = rms > LOUD * signal
        found += f"; with the recipe's teacher the RMS is {signal:.1e}"
    yield Finding(
        checked=checked,
        found=found,
        verdict="fail" if rms > limit else "warn" if loud else "ok",
        remedy="teacher and student are read or scored differently: please report this as a bug"
        if rms > limit
        else "rounding hides much of the teacher's signal: compute in float32"
        if loud
        else "",
    )


def _compute_first_advantages(patient: Patient, teacher: Policy, view: View | None = None) -> Tensor:
    """(N,) advantages of the answers' tokens of a first step of distillation from this teacher, made by the learner
    itself, with the student, the method and the seed of that step."""
    recipe = patient.recipe
    method = OnPolicyDistillationSettings()
    if isinstance(recipe.method, OnPolicyDistillationSettings):
        method = recipe.method.model_copy(update={"ablation": None, "outcome_check": None, "advantage_clamp": None})
    distillation = make_method(recipe.model_copy(update={"method": method}), OneTeacher(teacher, view))
    learner = Learner(patient.student, recipe.training, total_steps=1, temperature=recipe.training_temperature)
    advantages, seed = [], derive_seed(recipe.seed, "step", 0)
    for pieces in learner.begin(patient.prompts):
        with learner.precision():
            rollouts, _ = learner.answer(pieces, distillation, seed)
            for rollout in rollouts:
                batch = run_micro_batch(learner, rollout, distillation)
                advantages.append(batch.losses.advantage[batch.answer_mask])
    return torch.cat(advantages)


def _rms(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _check_teacher_sees(patient: Patient) -> Iterator[Finding]:
    """Check that the teacher's scores of its own answers fall when the video is shuffled, reversed or removed."""
    teacher, recipe = patient.models["teacher"], patient.recipe
    groups = answer(teacher, patient.prompts, make_greedy_sampling(recipe), recipe)

    def mean_logprob(prompts: Sequence[Prompt]) -> float:
        return float(torch.cat(score(teacher, prompts, groups, recipe)).mean())

    # Whole videos, also for a teacher with a view: a clip of one temporal group has no order.
    intact = mean_logprob(patient.prompts)
    drops = {
        name: intact - mean_logprob([spoil(prompt) for prompt in patient.prompts]) for name, spoil in ABLATIONS.items()
    }
    blind = drops["removed"] < BLIND_NATS
    timeless = max(drops["shuffled"], drops["reversed"]) < BLIND_NATS
    few = explain_too_few(patient)
    yield Finding(
        checked="the teacher's scores fall when the video is shuffled, reversed or removed, "
        f"over {count_of(len(patient.prompts), 'example', 'examples')}",
        found="loss in nats per answer token: "
        + ", ".join(f"{name} {drop:.3f}" for name, drop in drops.items())
        + (f"; {few}" if few else ""),
        verdict="warn" if few else "fail" if blind else "warn" if timeless else "ok",
        remedy=MORE_EXAMPLES
        if few
        else "the teacher does not look at the video: check its processor, frames and prompt"
        if blind
        else "the teacher ignores the order of the frames: check the frame times"
        if timeless
        else "",
    )


def _check_accuracy(patient: Patient) -> Iterator[Finding]:
    """Check that the teacher is better than the student by the annotations, which may be noisy."""
    means, parsed = {}, {}
    for name, policy in patient.models.items():
        means[name], parsed[name] = measure_accuracy(policy, patient.see(name), patient.recipe)
    count, few = len(patient.prompts), explain_too_few(patient)
    mute = parsed["teacher"] < 0.8 * count
    found = "; ".join(f"{name} mIoU {means[name]:.2f}, output format rate {parsed[name] / count:.2f}" for name in means)
    if few:
        found += f"; {few}"
    elif count < MIN_QUERIES:
        found += f"; with fewer than {MIN_QUERIES} examples only a large difference means something"
    yield Finding(
        checked=f"greedy answers to {count_of(count, 'training example', 'training examples')}, "
        "against their annotations",
        found=found,
        verdict="warn" if few else "fail" if mute else "ok" if means["teacher"] > means["student"] else "warn",
        remedy=MORE_EXAMPLES
        if few
        else "the teacher's answers cannot be parsed: check that the prompt is the one it was trained with"
        if mute
        else ""
        if means["teacher"] > means["student"]
        else "a teacher no better than its student has little to teach; look at more examples with --examples",
    )


def _check_tokens(patient: Patient) -> Iterator[Finding]:
    """Check special tokens, truncation, padding and the rows of the vocabulary."""
    for name, policy in patient.models.items():
        support, tokenizer = policy.support, policy.tokenizer
        visual = [tokenizer.convert_tokens_to_ids(token) for token in policy.family.tokens.visual]
        open_ids = [id for id in visual if id is not None and id < support.num_tokens and not support.banned[id]]
        rows = policy.model.config.get_text_config().vocab_size
        pad, end = tokenizer.pad_token_id, support.end_token_id
        generation = policy.model.generation_config
        truncating = {
            key: value
            for key in ("temperature", "top_p", "top_k")
            if (value := getattr(generation, key, None)) not in (None, 0, 1, 1.0)
        }
        yield Finding(
            checked=f"{name}: special tokens cannot be sampled, end of turn can",
            found=f"{int(support.banned.sum())} banned, end of turn {tokenizer.convert_ids_to_tokens(end)!r}"
            + (f", but {open_ids} can be sampled" if open_ids else ""),
            verdict="fail" if open_ids else "ok",
            remedy="mark them as special in the tokenizer" if open_ids else "",
        )
        yield Finding(
            checked=f"{name}: sampling is {patient.recipe.answers.how_sampled}",
            found=f"the checkpoint's generation config asks for {truncating}; it is not used" if truncating else "yes",
            verdict="ok",
        )
        yield Finding(
            checked=f"{name}: the padding token is not the end of turn",
            found=f"pad {pad}, end {end}",
            verdict="warn" if pad == end else "ok",
            remedy="answers are masked by position, so the end is still learned; other tools may mask it"
            if pad == end
            else "",
        )
        yield Finding(
            checked=f"{name}: vocabulary",
            found=f"{support.num_tokens} tokens, {rows} rows; {rows - support.num_tokens} padded rows are cut off",
            verdict="ok",
        )


def _check_prompt_of_model(patient: Patient) -> Iterator[Finding]:
    """Check that the recipe's prompt is the one that each model was trained with."""
    recipe = patient.recipe
    teachers = {name: teacher.model for name, teacher in recipe.name_teachers().items()}
    for name, model in {"student": recipe.student.model, **teachers}.items():
        wrong = explain_prompt_mismatch(recipe.prompt, model)
        yield Finding(
            checked=f"{name}: prompt template",
            found=wrong or "it suits the model",
            verdict="ok" if wrong is None else "warn",
            remedy=""
            if wrong is None
            else "set prompt.template to the one it was trained with (see grounding.json beside its weights)",
        )


def _check_told_the_time(patient: Patient) -> Iterator[Finding]:
    """Check that a model's input contains the times of its frames."""
    for name, policy in patient.models.items():
        clock = policy.family.clock
        yield Finding(
            checked=f"{name}: the model is told when its frames were shown",
            found=clock.value,
            verdict="warn" if clock is Clock.NONE else "ok",
            remedy=f"its seconds are guesses: take a model of {list_family_names(Clock.NONE)}"
            if clock is Clock.NONE
            else "",
        )


def _check_video_tokens(patient: Patient) -> Iterator[Finding]:
    counts = [prompt.num_video_tokens for prompt in patient.prompts]
    limit, longest = patient.recipe.video.max_tokens, max(len(prompt) for prompt in patient.prompts)
    yield Finding(
        checked="video tokens really made, against the limit",
        found=f"{min(counts)} to {max(counts)} of {limit}, in prompts of up to {longest} tokens",
        verdict="ok" if max(counts) <= limit else "fail",
        remedy="" if max(counts) <= limit else "lower video.max_frames",
    )


def _check_wording(patient: Patient) -> Iterator[Finding]:
    """Check that the teacher finds the annotated answers probable, if the method trains on them."""
    teacher, recipe = patient.models["teacher"], patient.recipe
    if not recipe.method.has_annotations:
        return
    judge = OneTeacher(teacher, patient.view)
    write = make_method(recipe, judge).write
    nats, example = measure_surprise_at_wording(write, patient.student, judge, patient.prompts)
    strange = nats > IMPROBABLE_NATS
    yield Finding(
        checked="the annotated answers are in the teacher's wording",
        found=f"the worst word costs {nats:.1f} nats, such as in {example!r}",
        verdict="warn" if strange else "ok",
        remedy="put them into the words the teacher would use, with method.answer, or use opd, which needs none"
        if strange
        else "",
    )


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _check_same_numbers,
    _check_tokens,
    _check_prompt_of_model,
    _check_told_the_time,
    _check_video_tokens,
)
TEACHER_CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _check_same_prompt,
    _check_noise_floor,
    _check_teacher_sees,
    _check_accuracy,
    _check_wording,
)
