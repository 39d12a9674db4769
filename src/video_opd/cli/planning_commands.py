"""`plan`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from json import dumps
from typing import Annotated

from cyclopts import Parameter

from video_opd.cli.argument_types import (
    DEFAULT_OPTIONS,
    Positive,
    RecipeKeys,
    RecipeName,
    RecipeOptions,
    load_plugins,
)
from video_opd.terminal import show


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PlanChoices:
    """What the recipe does not say of a run."""

    gpus: Annotated[str | None, Parameter(metavar="COUNTxCARD")] = None
    """cards, such as 8xH100-80GB; or their numbers, such as 8x96GB@1000TFLOPS@3.3TB/s@450GB/s: memory and rate in
    bfloat16, and, if known, bandwidth of the memory and between cards (default: the GPUs of this machine)"""
    examples: Positive | None = None
    """number of training examples, where the manifest is not there yet"""
    answer_tokens: Positive | None = None
    """mean length of an answer (default: the largest, answers.max_new_tokens)"""


AS_THE_RECIPE_SAYS = PlanChoices()


def plan(
    recipe: RecipeName,
    /,
    *,
    choices: PlanChoices = AS_THE_RECIPE_SAYS,
    options: RecipeOptions = DEFAULT_OPTIONS,
    keys: RecipeKeys,
) -> int:
    """Estimate memory, operations and hours of a training on given cards. The exit status is 2 if it does not fit.

    Args:
        recipe: TOML file, or the name of a shipped recipe

    Example:
        video-opd plan qwen3-vl-2b-from-8b --gpus 1xH100-80GB --examples 2500
    """
    from video_opd.config.recipe_file import load_recipe

    load_plugins(options.plugin)
    read = load_recipe(recipe, dict(keys), are_flags=True)

    from video_opd.plan import describe_accuracy, describe_plan, find_gpus_here, make_plan, parse_gpus

    gpus = find_gpus_here() if choices.gpus is None else parse_gpus(choices.gpus)
    made = make_plan(read, gpus, num_examples=choices.examples, answer_tokens=choices.answer_tokens)
    if options.json:
        show(dumps(describe_plan(made), indent=2))
    else:
        from video_opd.cli.plan_tables import show_plan

        show_plan(made)
        show(describe_accuracy(), file=sys.stderr)
    made.refuse_unfit()
    return 0
