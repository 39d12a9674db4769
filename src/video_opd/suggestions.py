"""What was probably meant: the nearest existing name. One rule for commands, flags, recipe keys, models, formats,
scorers, templates, methods … Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SYNONYMS: dict[str, tuple[str, ...]] = {
    # Keys of a recipe and flags: their names in other programs.
    "lr": ("training.learning_rate", "--learning-rates"),
    "bs": ("training.batch_size", "--batch-size"),
    "batch": ("training.batch_size", "--batch-size"),
    "train_batch_size": ("training.batch_size", "--batch-size"),
    "eval_batch_size": ("compute.evaluation_batch_size", "--batch-size"),
    "per_device_eval_batch_size": ("compute.evaluation_batch_size", "--batch-size"),
    "per_device_train_batch_size": ("training.micro_batch_size", "--batch-size"),
    "per_device_batch_size": ("training.micro_batch_size", "--batch-size"),
    "epoch": ("--steps", "training.steps"),
    "epochs": ("--steps", "training.steps"),
    "num_epochs": ("--steps", "training.steps"),
    "num_train_epochs": ("--steps", "training.steps"),
    "max_steps": ("--steps", "training.steps"),
    "num_steps": ("--steps", "training.steps"),
    "iterations": ("--steps", "training.steps"),
    "iters": ("--steps", "training.steps"),
    "wd": ("training.weight_decay",),
    "warmup": ("training.warmup_steps",),
    "scheduler": ("training.decay",),
    "lr_scheduler": ("training.decay",),
    "lr_scheduler_type": ("training.decay",),
    "max_grad_norm": ("training.clip_norm",),
    "grad_clip": ("training.clip_norm",),
    "clip_grad": ("training.clip_norm",),
    "eval_steps": ("schedule.evaluate_every",),
    "eval_every": ("schedule.evaluate_every",),
    "save_steps": ("schedule.checkpoint_every",),
    "save_every": ("schedule.checkpoint_every",),
    "save_total_limit": ("schedule.keep_checkpoints",),
    "max_length": ("answers.max_new_tokens", "--max-new-tokens"),
    "max_completion_length": ("answers.max_new_tokens", "--max-new-tokens"),
    "max_answer_tokens": ("answers.max_new_tokens", "--max-new-tokens"),
    "max_video_tokens": ("video.max_tokens", "--max-tokens"),
    "num_frames": ("video.max_frames",),
    "nframes": ("video.max_frames",),
    "frames": ("video.max_frames",),
    "num_generations": ("method.num_answers", "--answers"),
    "num_answers": ("method.num_answers", "--answers"),
    "group_size": ("method.num_answers",),
    "algorithm": ("method.name", "--methods"),
    "algo": ("method.name",),
    "loss": ("method.name",),
    "beta": ("method.reference_weight",),
    "kl_coef": ("method.reference_weight",),
    "model": ("student.model", "MODEL"),
    "student": ("student.model", "MODEL"),
    "teacher": ("teacher.model",),
    "student_model": ("student.model", "MODEL"),
    "teacher_model": ("teacher.model", "--teacher"),
    "model_name_or_path": ("student.model", "MODEL"),
    "model_path": ("student.model", "MODEL"),
    "output": ("--out",),
    "output_dir": ("--out",),
    "output_path": ("--out",),
    "out_dir": ("--out",),
    "save_dir": ("--out",),
    "random_seed": ("--seed", "seed"),
    "seed": ("--seed", "--seeds", "seed"),
    "dataset": ("data.train", "MANIFEST"),
    "train_file": ("data.train",),
    "manifest": ("data.train", "MANIFEST"),
    "video_dir": ("data.videos", "--videos"),
    "video_folder": ("data.videos", "--videos"),
    "num_workers": ("data.workers",),
    "gpu": ("compute.device", "--device", "cuda"),
    "dtype": ("compute.precision", "--precision"),
    "bf16": ("compute.precision", "--precision"),
    "fp16": ("compute.precision", "--precision"),
    "prompt": ("prompt.template", "--template"),
    "scorer": ("--as",),
    "report_to": ("tracker.name", "--tracker"),
    "logger": ("tracker.name", "--tracker"),
    "wandb": ("--tracker",),
    "tb": ("tensorboard",),
    "w&b": ("wandb",),
    "weights_and_biases": ("wandb",),
    "gt": ("--ground-truth",),
    # Data sets: the name before the dash.
    "charades": ("charades-sta",),
    "anet": ("activitynet-captions",),
    "timelens": ("timelens-bench",),
    # Commands.
    "eval": ("evaluate",),
    "test": ("evaluate",),
    "benchmark": ("evaluate",),
    "predict": ("ground",),
    "infer": ("ground",),
    "inference": ("ground",),
    "ask": ("ground",),
    "resume": ("train",),
    "finetune": ("train",),
    "rollout": ("score",),
    "validate": ("data check",),
    "convert": ("data import",),
}
"""Name in other programs -> names here; the first one that exists counts."""


_LONGEST_WORD = 200
"""Letters. No name is nearly as long, and the time to compare grows with the length."""


def find_nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that was probably meant by an unknown word; None if no name is similar.

    The order of the rules: a synonym; the same last part (after a dot or a blank) in another place; the smallest edit
    distance, of the whole and of the last part, with at most one error in three letters, and of several such names one
    with the same first letter; a name that begins or ends
    with the word, or has it as a part. Capitals, dashes and underscores make no difference.
    """
    if len(word) > _LONGEST_WORD:
        return None
    known = list(dict.fromkeys(names))
    wanted = _plain(word)
    last = _last_part(wanted)
    for synonym in dict.fromkeys((wanted, last)):
        for meant in SYNONYMS.get(synonym, ()):
            if meant in known:
                return meant
    measured = [
        (_distance_of(wanted, plain := _plain(name)), plain[:1] != wanted[:1], place, name)
        for place, name in enumerate(known)
    ]
    distance, _, _, name = min(measured, default=(0, False, 0, None))
    if name is not None and int(distance) <= max(1, len(last) // 3) and distance < len(last):
        return name
    return _find_with_part(wanted, known)


def suggest(word: str, names: Iterable[str], otherwise: str = "") -> str:
    """Make a remedy: "perhaps NAME is meant; OTHERWISE", or only OTHERWISE if no name is similar to the word."""
    meant = find_nearest(word, names)
    if meant is None:
        return otherwise
    return f"perhaps {meant} is meant" + (f"; {otherwise}" if otherwise else "")


def _plain(word: str) -> str:
    return re.sub(r"[-_]+", "_", word.strip().strip("-").lower())


def _last_part(word: str) -> str:
    return re.split(r"[. ]", word)[-1]


def _distance_of(word: str, name: str) -> float:
    """The distance of the whole words or of their last parts. Another first part costs a little:
    `compute.learning_rate` means `training.learning_rate`."""
    last, last_of_name = _last_part(word), _last_part(name)
    whole = min(float(edit_distance(word, name)), edit_distance(word.replace("_", ""), name.replace("_", "")) + 0.1)
    if last_of_name == name and last == word:
        return whole
    of_tables = edit_distance(word.removesuffix(last), name.removesuffix(last_of_name))
    return min(whole, edit_distance(last, last_of_name) + min(0.5, of_tables / 100))


def _find_with_part(word: str, names: Sequence[str]) -> str | None:
    """A name that begins or ends with the word, or has it as a part between dashes."""
    if len(word) < 3:
        return None
    for fits in (
        lambda name: name.startswith(word),
        lambda name: word in re.split(r"[_. ]", name),
        lambda name: word.startswith(name) and len(name) >= 4 and "." not in word,
        lambda name: word in name and len(word) >= 4,
    ):
        for name in names:
            if fits(_plain(name)):
                return name
    return None


def edit_distance(one: str, other: str) -> int:
    """The number of letters to insert, delete, replace or exchange with their neighbour until the words are equal (the
    optimal string alignment distance)."""
    before, row = list[int](), list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        last, before, row = before, row, [i]
        for j, other_letter in enumerate(other, start=1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other_letter))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == other_letter:
                best = min(best, last[j - 2] + 1)
            row.append(best)
    return row[-1]
