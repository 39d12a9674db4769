"""The settings of a comparison: one recipe for all methods, the changes of each method, and the seeds."""

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
from video_opd.suggestions import suggest

MAY_DIFFER = ("method", "teacher", "teachers", "teachers_by", "curriculum", "training", "answers")
"""Tables in which the methods of a comparison may differ. Data, student and questions are the same for all."""


SAME_FOR_ALL = {
    ("training", "steps"): "methods are compared on the same examples",
    ("training", "batch_size"): "methods are compared on the same examples",
    ("answers", "max_new_tokens"): "every student is evaluated with it",
}
"""Keys of these tables in which they may not differ, and why."""


class ComparisonRecipe(Settings):
    """Several methods with the same data, student and seeds, each with the learning rate that suits it."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]
    """Name of the comparison; its folder is runs/NAME unless --out gives another."""
    recipe: str
    """The recipe that all methods share; a file in the folder of this file."""
    seeds: Annotated[tuple[Integer, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds; every method is run once with each."""
    learning_rates: tuple[MoreThanZero, ...] = ()
    """Learning rates to try: every method keeps the one with the best mIoU on the validation manifest. None: every
    method runs with its own."""
    sweep_seeds: tuple[Integer, ...] = ()
    """Seeds for trying the learning rates; none: the first of `seeds`."""
    target_miou: Share | None = None
    """Target mIoU on the validation manifest: the page shows when each method reaches it."""
    shared: dict[str, Any] = Field(default_factory=dict)
    """Tables that replace keys of the recipe for all methods."""
    methods: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    """Name -> tables that replace keys of the recipe for one method. The others are compared with the first."""

    @model_validator(mode="after")
    def _check_comparable(self) -> ComparisonRecipe:
        for name, tables in self.methods.items():
            if "/" in name or name.startswith("."):
                raise ValueError(
                    f"methods.{name}: it is also a folder's name, so it may not have a slash or begin with a dot"
                )
            strangers = [key for key in tables if key not in MAY_DIFFER]
            if strangers:
                raise ValueError(
                    f"methods.{name} changes {', '.join(strangers)}: runs on other data, students or questions cannot "
                    f"be compared. Change it for all under [shared]; a method may change {', '.join(MAY_DIFFER)}"
                )
            for key, table in tables.items():
                if key in ("method", "teacher", "curriculum", "training", "answers") and not isinstance(table, dict):
                    raise ValueError(f"methods.{name}.{key} = {table!r}: this key is a table and needs keys of its own")
            for (table, key), why in SAME_FOR_ALL.items():
                if key in tables.get(table, {}):
                    raise ValueError(f"methods.{name} changes {table}.{key}: {why}. Change it for all under [shared]")
            if self.learning_rates and "learning_rate" in tables.get("training", {}):
                raise ValueError(
                    f"methods.{name} sets training.learning_rate, but learning_rates are tried for every method; leave "
                    "out one of the two"
                )
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: a seed is given twice, which would repeat the same run; leave one out")
        return self


def load_comparison(
    path: Path, overrides: dict[str, str] | None = None, *, only: Sequence[str] | None = None, **said: Any
) -> tuple[ComparisonRecipe, dict[str, Any]]:
    """Read a comparison, and the tables of the recipe that its methods share.

    Args:
        overrides: dotted recipe keys, for all methods: `{"training.steps": "40"}`.
        only: methods to keep, in this order.
        said: keys of the comparison itself that replace those in the file; None: not given.

    Raises:
        ConfigurationError: a file is missing or not valid, or the methods cannot be compared.
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
                reason=f"{path} has no method of that name",
                remedy=suggest(strangers[0], comparison.methods, f"choose from {', '.join(comparison.methods)}"),
            )
        comparison = comparison.model_copy(update={"methods": {name: comparison.methods[name] for name in only}})
    if comparison.learning_rates and "training.learning_rate" in (overrides or {}):
        raise ConfigurationError(
            "--training.learning-rate",
            reason=f"{path} already tries several learning rates for every method",
            remedy="give them with --learning-rates, or give that option without a value for no sweep",
        )
    below = path.parent / comparison.recipe
    refuse_what_is_no_recipe(below)
    shared = read_tables(below)
    refuse_other_tables(below, shared, comparison=False)
    shared = overlay(shared, comparison.shared)
    set_keys(shared, overrides or {})
    # Decoding ahead would count the time of one run towards another.
    return comparison, overlay(shared, {"data": {"workers": 0}})


def make_recipe(
    comparison: ComparisonRecipe, shared: dict[str, Any], method: str, learning_rate: float | None, seed: int
) -> Recipe:
    """Make the recipe of one run of a comparison.

    Args:
        comparison: the comparison, which changes the shared tables for each method.
        shared: the tables that all methods share, as `load_comparison` gives them.
        method: the name of the method in the comparison.
        learning_rate: the learning rate of this run; None: as in the tables.
        seed: the seed of this run.

    Raises:
        ConfigurationError: the tables do not make a valid recipe.
    """
    tables = overlay(shared, comparison.methods[method]) | {"name": f"{comparison.name}-{method}-{seed}", "seed": seed}
    if learning_rate is not None:
        tables = overlay(tables, {"training": {"learning_rate": learning_rate}})
    if isinstance(tables.get("tracker"), dict):
        tables = overlay({"tracker": {"group": comparison.name}}, tables)
    return parse_recipe(tables, where=f"{comparison.recipe} with methods.{method}")
