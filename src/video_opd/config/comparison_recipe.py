"""What a comparison is: one recipe for all, what each method changes in it, and what they are compared on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from video_opd.config.lookalikes import refuse_other_tables, refuse_what_is_no_recipe
from video_opd.config.recipe import Recipe
from video_opd.config.recipe_file import overlay, parse_recipe, read_tables, refusal, set_keys
from video_opd.config.shipped_recipes import find_recipe
from video_opd.errors import ConfigurationError
from video_opd.settings import Integer, MoreThanZero, Settings, Share
from video_opd.suggestions import perhaps

MAY_DIFFER = ("method", "teacher", "teachers", "teachers_by", "curriculum", "training")
"""Tables in which the methods of a comparison may differ; all else is the same data, student and question for all."""


SAME_BUDGET = ("steps", "batch_size")
"""Keys of [training] that say how many examples a run sees."""


class ComparisonRecipe(Settings):
    """Methods side by side: same data, same student, same seeds, each at the learning rate that suits it."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]
    """Of the comparison; its folder is runs/NAME unless --out says otherwise."""
    recipe: str
    """The recipe that all methods share, beside this file."""
    seeds: Annotated[tuple[Integer, ...], Field(min_length=1)] = (0, 1, 2)
    """Every method is run once with each."""
    learning_rates: tuple[MoreThanZero, ...] = ()
    """Every method is tried with each, and keeps the one with the best mIoU on the validation manifest; none: every
    method runs at its own."""
    sweep_seeds: tuple[Integer, ...] = ()
    """Seeds the learning rates are tried with; none: the first of `seeds`."""
    target_miou: Share | None = None
    """How soon does each method get there, on the validation manifest?"""
    shared: dict[str, Any] = Field(default_factory=dict)
    """Tables laid over the recipe for all methods."""
    methods: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """By name: tables laid over the recipe for one method. The others are compared with the first."""

    @model_validator(mode="after")
    def _comparable(self) -> ComparisonRecipe:
        for name, tables in self.methods.items():
            if "/" in name or name.startswith("."):
                raise ValueError(f"methods.{name}: it names a folder too, so it has no slash and no first dot")
            strangers = [key for key in tables if key not in MAY_DIFFER]
            if strangers:
                raise ValueError(
                    f"methods.{name} changes {', '.join(strangers)}: runs on other data, students or questions cannot "
                    f"be compared. Change it for all under [shared]; a method may change {', '.join(MAY_DIFFER)}"
                )
            for key, table in tables.items():
                if key in ("method", "teacher", "curriculum", "training") and not isinstance(table, dict):
                    raise ValueError(f"methods.{name}.{key} = {table!r}: that is the name of a table")
            budget = [key for key in SAME_BUDGET if key in tables.get("training", {})]
            if budget:
                raise ValueError(
                    f"methods.{name} changes training.{budget[0]}: methods are compared on the same examples. Change "
                    "it for all under [shared]"
                )
            if self.learning_rates and "learning_rate" in tables.get("training", {}):
                raise ValueError(
                    f"methods.{name} says training.learning_rate, and learning_rates are tried for every method alike; "
                    "leave out one of the two"
                )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: the same seed twice is the same run twice")
        return self


def load_comparison(
    path: Path, overrides: dict[str, str] | None = None, *, only: Sequence[str] | None = None, **said: Any
) -> tuple[ComparisonRecipe, dict[str, Any]]:
    """A comparison and the tables of the recipe its methods share.

    Args:
        overrides: dotted recipe keys, for all methods: `{"training.steps": "40"}`.
        only: methods to keep, in this order.
        said: keys of the comparison itself that take the place of those in the file; None: not said.

    Raises:
        ConfigurationError: a file that is not there or not understood, or methods that cannot be compared.
    """
    path = find_recipe(path)
    refuse_what_is_no_recipe(path, expected="a comparison")
    tables = read_tables(path)
    refuse_other_tables(path, tables, comparison=True)
    tables |= {key: value for key, value in said.items() if value is not None}
    try:
        comparison = ComparisonRecipe.model_validate(tables)
    except ValidationError as error:
        raise refusal(str(path), error, ComparisonRecipe) from None
    if only is not None:
        strangers = [name for name in only if name not in comparison.methods]
        if strangers:
            raise ConfigurationError(
                f"method {strangers[0]!r}",
                reason=f"{path} has none of that name",
                remedy=perhaps(strangers[0], comparison.methods, f"choose of {', '.join(comparison.methods)}"),
            )
        comparison = comparison.model_copy(update={"methods": {name: comparison.methods[name] for name in only}})
    if comparison.learning_rates and "training.learning_rate" in (overrides or {}):
        raise ConfigurationError(
            "--training.learning-rate",
            reason=f"{path} tries learning rates of its own for every method",
            remedy="say them with --learning-rates, or none of them after it for no sweep",
        )
    below = path.parent / comparison.recipe
    refuse_what_is_no_recipe(below)
    shared = read_tables(below)
    refuse_other_tables(below, shared, comparison=False)
    shared = overlay(shared, comparison.shared)
    set_keys(shared, overrides or {})
    return comparison, overlay(shared, {"data": {"workers": 0}})  # or decoding ahead would count towards what it meets


def recipe_of(
    comparison: ComparisonRecipe, shared: dict[str, Any], method: str, learning_rate: float | None, seed: int
) -> Recipe:
    """Make the recipe of one run of a comparison.

    Args:
        comparison: which changes the shared tables for each method.
        shared: the tables that all methods share, as `load_comparison` gives them.
        method: its name in the comparison.
        learning_rate: of this run; None: as the tables have it.
        seed: of this run.

    Raises:
        ConfigurationError: tables that make no recipe.
    """
    tables = overlay(shared, comparison.methods[method]) | {"name": f"{comparison.name}-{method}-{seed}", "seed": seed}
    if learning_rate is not None:
        tables = overlay(tables, {"training": {"learning_rate": learning_rate}})
    return parse_recipe(tables, where=f"{comparison.recipe} with methods.{method}")
