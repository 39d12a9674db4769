"""Pre-flight checks: what silently ruins a distillation run is found before the GPU hours are spent.

Each check says what was looked at, what was found, and what to do. "fail" means that training would learn nothing or
the wrong thing; "warn" that it deserves a look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from video_opd.assemble import (
    autocast_of,
    load_student,
    load_teacher,
    make_source,
    prepare_compute,
    prepare_data,
    require_common_tokens,
)
from video_opd.data.manifest import check_manifest, read_manifest
from video_opd.errors import DataError, EngineError
from video_opd.grounding import best_iou, parse_answer
from video_opd.objectives import masked_mean, sampled_credit, sampler_learner_gap
from video_opd.policy.load import Policy, resolve_model
from video_opd.recipe import GROUNDING_FILE, Recipe, load_grounding_defaults
from video_opd.seeds import generator
from video_opd.vocabulary import AnswerGroup, Prompt, Sampling

Verdict = Literal["ok", "warn", "fail"]

ROUNDING_NATS = {"float32": 1e-3, "bfloat16": 0.1}
"""How far two computations of one log-prob may lie apart."""
BLIND_NATS = 0.02
"""A teacher whose answers lose less than this per token without the video does not look at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check."""

    checked: str
    found: str
    verdict: Verdict
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, eq=False)
class Patient:
    """What the checks look at."""

    recipe: Recipe
    student: Policy
    teacher: Policy
    prompts: tuple[Prompt, ...]
    groups: tuple[AnswerGroup, ...]
    """The student's sampled answers, one per prompt."""


def examine(recipe: Recipe, *, num_examples: int = 8) -> list[Finding]:
    """All checks, on the first training examples of a recipe.

    Raises:
        UserError: models or data so broken that no check can run.
    """
    prepare_compute(recipe.compute)
    prepare_data(recipe.data)
    findings = [_manifest(recipe)]
    student, teacher = load_student(recipe, recipe.student.model), load_teacher(recipe)
    require_common_tokens(student, teacher)
    examples = read_manifest(recipe.data.train)[:num_examples]
    source = make_source(recipe, student, examples)
    source.max_bad_share = 1.0
    prompts = tuple(source.prompts(examples))
    source.close()
    if not prompts:
        raise DataError(
            f"none of the first {len(examples)} training videos can be used",
            reason=next(iter(source.set_aside.values()), "there are none"),
            remedy="run `video-opd data check`",
        )
    groups = student.answer(student.read(prompts), sampling=_sampling(recipe))
    patient = Patient(recipe=recipe, student=student, teacher=teacher, prompts=prompts, groups=groups)
    for check in CHECKS:
        findings.extend(check(patient))
    return findings


def _manifest(recipe: Recipe) -> Finding:
    problems = check_manifest(recipe.data.train)
    errors = sum(problem.severity == "error" for problem in problems)
    return Finding(
        checked=f"training manifest {recipe.data.train}",
        found=f"{errors} errors, {len(problems) - errors} warnings" + (f"; first: {problems[0]}" if problems else ""),
        verdict="fail" if errors else "warn" if problems else "ok",
        remedy="run `video-opd data check` with --videos for the whole list" if problems else "",
    )


def _same_prompt(patient: Patient) -> Iterator[Finding]:
    """The teacher's own processor makes the same ids, grid, times and pixels of a clip as the student's."""
    mine = patient.prompts[0]
    source = make_source(patient.recipe, patient.teacher, [mine.example])
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
        remedy="take student and teacher from one family and one release" if different else "",
    )


def _zero_credit(patient: Patient) -> Iterator[Finding]:
    """A student that is its own teacher gets no credit, and scoring twice gives the same numbers."""
    student = patient.student
    first = student.score(student.read(patient.prompts), patient.groups)
    again = student.score(student.read(patient.prompts), patient.groups)
    limit = ROUNDING_NATS[patient.recipe.compute.precision]
    credit = float(sampled_credit(first.logprobs, again.logprobs).abs().max())
    yield Finding(
        checked="teacher == student gives zero credit; scoring twice gives the same numbers",
        found=f"largest credit {credit:.1e} nats",
        verdict="ok" if credit <= limit else "fail",
        remedy=""
        if credit <= limit
        else "the model is not deterministic here: look for dropout or a wrong device setting",
    )
    sampler = torch.zeros_like(first.logprobs)
    for row, answer in enumerate(first.answers):
        sampler[row, : len(answer)] = torch.tensor(answer.sampler_logprobs)
    gap = sampler_learner_gap(sampler, first.logprobs, first.answer_mask)
    yield Finding(
        checked="the log-prob recorded when sampling is the one that is trained on",
        found=f"mean gap {gap:.1e} nats per token",
        verdict="ok" if gap <= limit else "fail",
        remedy="" if gap <= limit else "sampler and learner run different models or prompts",
    )


def _teacher_sees(patient: Patient) -> Iterator[Finding]:
    """The teacher's scores of its own answers fall when the video is shuffled, reversed or taken away."""
    teacher = patient.teacher
    greedy = Sampling(max_new_tokens=patient.recipe.answers.max_new_tokens, greedy=True)
    groups = teacher.answer(teacher.read(patient.prompts), sampling=greedy)

    def mean_logprob(change: Callable[[Prompt], Prompt]) -> float:
        scores = teacher.score(teacher.read([change(prompt) for prompt in patient.prompts]), groups)
        return float(masked_mean(scores.logprobs, scores.answer_mask))

    intact = mean_logprob(lambda prompt: prompt)
    drops = {name: intact - mean_logprob(change) for name, change in CHANGES.items()}
    blind = drops["removed"] < BLIND_NATS
    timeless = max(drops["shuffled"], drops["reversed"]) < BLIND_NATS
    yield Finding(
        checked="the teacher's scores move when the video is shuffled, reversed or removed",
        found="loss in nats per answer token: " + ", ".join(f"{name} {drop:.3f}" for name, drop in drops.items()),
        verdict="fail" if blind else "warn" if timeless else "ok",
        remedy="the teacher does not look at the video: check its processor, frames and prompt"
        if blind
        else "the teacher does not mind the order of the frames: check their times"
        if timeless
        else "",
    )


def shuffled(prompt: Prompt) -> Prompt:
    """The same prompt with its temporal groups in another order under the same time stamps."""
    order = generator(0, "doctor", prompt.id).permutation(prompt.grid_thw[0])
    return replace(prompt, pixel_values=_groups(prompt)[torch.from_numpy(order)].flatten(0, 1))


def reversed_(prompt: Prompt) -> Prompt:
    """The same prompt with its temporal groups backwards."""
    return replace(prompt, pixel_values=_groups(prompt).flip(0).flatten(0, 1))


def removed(prompt: Prompt) -> Prompt:
    """The same prompt with nothing but grey in every frame."""
    return replace(prompt, pixel_values=torch.zeros_like(prompt.pixel_values))


CHANGES: dict[str, Callable[[Prompt], Prompt]] = {"shuffled": shuffled, "reversed": reversed_, "removed": removed}


def _groups(prompt: Prompt) -> torch.Tensor:
    return prompt.pixel_values.unflatten(0, (prompt.grid_thw[0], -1))


def _accuracy(patient: Patient) -> Iterator[Finding]:
    """The teacher is better than the student, by the (possibly noisy) annotations."""
    greedy = Sampling(max_new_tokens=patient.recipe.answers.max_new_tokens, greedy=True)
    means, parsed = {}, {}
    for name, policy in (("student", patient.student), ("teacher", patient.teacher)):
        groups = policy.answer(policy.read(patient.prompts), sampling=greedy)
        spans = [parse_answer(group.answers[0].text).spans for group in groups]
        ious = [
            best_iou(found[0], prompt.example.spans) if found else 0.0
            for found, prompt in zip(spans, patient.prompts, strict=True)
        ]
        means[name], parsed[name] = sum(ious) / len(ious), sum(bool(found) for found in spans)
    count = len(patient.prompts)
    mute = parsed["teacher"] < 0.8 * count
    yield Finding(
        checked=f"greedy answers to {count} training examples, against their annotations",
        found=", ".join(f"{name} mIoU {means[name]:.2f}, {parsed[name]} of {count} readable" for name in means),
        verdict="fail" if mute else "ok" if means["teacher"] > means["student"] else "warn",
        remedy="the teacher's answers cannot be read: is this the prompt it was trained with?"
        if mute
        else ""
        if means["teacher"] > means["student"]
        else "a teacher no better than its student has little to teach; look at more examples with --examples",
    )


def _tokens(patient: Patient) -> Iterator[Finding]:
    """Special tokens, truncation, padding, vocabulary rows."""
    for name, policy in (("student", patient.student), ("teacher", patient.teacher)):
        support, tokenizer = policy.support, policy.tokenizer
        visual = [
            tokenizer.convert_tokens_to_ids(token) for token in ("<|video_pad|>", "<|image_pad|>", "<|vision_start|>")
        ]
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
            checked=f"{name}: sampling is from the untruncated policy at temperature 1",
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


def _prompt_of_model(patient: Patient) -> Iterator[Finding]:
    """The recipe asks the models the way they want to be asked."""
    for name, model in (("student", patient.recipe.student.model), ("teacher", patient.recipe.teacher.model)):
        folder = Path(resolve_model(model))
        if not (folder / GROUNDING_FILE).exists():
            continue
        wanted = load_grounding_defaults(folder).prompt
        same = wanted == patient.recipe.prompt
        yield Finding(
            checked=f"{name}: prompt template",
            found="the one the model was trained with" if same else f"{patient.recipe.prompt}, trained with {wanted}",
            verdict="ok" if same else "warn",
            remedy="" if same else f"use the template in {folder / GROUNDING_FILE}",
        )


def _video_tokens(patient: Patient) -> Iterator[Finding]:
    counts = [prompt.num_video_tokens for prompt in patient.prompts]
    limit, longest = patient.recipe.video.max_tokens, max(len(prompt) for prompt in patient.prompts)
    yield Finding(
        checked="video tokens really made, against the limit",
        found=f"{min(counts)} to {max(counts)} of {limit}, in prompts of up to {longest} tokens",
        verdict="ok" if max(counts) <= limit else "fail",
        remedy="" if max(counts) <= limit else "lower video.max_frames",
    )


def _cost(patient: Patient) -> Iterator[Finding]:
    """Seconds and memory of a step, from one measured micro-batch."""
    training = patient.recipe.training
    piece = patient.prompts[: training.micro_batch_size]
    groups = patient.groups[: len(piece)]
    began = time.perf_counter()
    try:
        reading = patient.student.read(piece, grad=True)
        patient.student.answer(reading, sampling=_sampling(patient.recipe))
        teacher = patient.teacher.score(patient.teacher.read(piece), groups)
        scores = patient.student.score(reading, groups, grad=True)
        (-(teacher.logprobs - scores.logprobs.detach()) * scores.logprobs).sum().backward()
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"{len(piece)} prompts of {max(len(p) for p in piece)} tokens do not fit the device",
            reason=str(error).splitlines()[0],
            remedy="lower training.micro_batch_size or video.max_tokens, or set student.freeze_vision",
        ) from error
    finally:
        patient.student.model.zero_grad(set_to_none=True)
    seconds = (time.perf_counter() - began) * training.batch_size / len(piece)
    gib = _memory_gib(patient, piece)
    steps = training.steps or len(read_manifest(patient.recipe.data.train)) // training.batch_size
    yield Finding(
        checked="rough cost (decoding apart)",
        found=f"{seconds:.1f} s a step of {training.batch_size}, {seconds * steps / 60:.1f} min in all; about "
        + ", ".join(f"{part} {size:.2f} GiB" for part, size in gib.items()),
        verdict="ok",
    )


def _memory_gib(patient: Patient, piece: Sequence[Prompt]) -> dict[str, float]:
    """Weights with gradient and AdamW state, the teacher, and the activations one micro-batch keeps."""
    parameters = list(patient.student.model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    text = patient.student.model.config.get_text_config()
    width = 2 if autocast_of(patient.recipe.compute) else 4
    tokens = sum(len(prompt) for prompt in piece)
    # Kept per token and layer: about ten hidden-sized tensors and three of the MLP's width.
    kept = tokens * text.num_hidden_layers * (10 * text.hidden_size + 3 * text.intermediate_size) * width
    teacher = sum(p.numel() * p.element_size() for p in patient.teacher.model.parameters())
    sizes = {"student": 4 * sum(p.numel() for p in parameters) + 12 * trained, "teacher": teacher, "activations": kept}
    return {name: size / 2**30 for name, size in sizes.items()}


CHECKS: tuple[Callable[[Patient], Iterator[Finding]], ...] = (
    _same_prompt,
    _zero_credit,
    _teacher_sees,
    _accuracy,
    _tokens,
    _prompt_of_model,
    _video_tokens,
    _cost,
)


def _sampling(recipe: Recipe) -> Sampling:
    return Sampling(max_new_tokens=recipe.answers.max_new_tokens, seed=recipe.seed)
