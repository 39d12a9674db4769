"""Training by a recipe. The package itself can be called: `video_opd.train(recipe, …)` is `from_recipe.train`.

The public function and this package have one name. Python binds the package to it when any of its modules is imported,
so the package must do what the function does.

    video_opd.train(recipe, out=None, **overrides) -> TrainedRun

Args:
    recipe: the name of a shipped recipe, the path of a recipe, or a `Recipe`.
    out: the run folder; by default `runs/NAME` of the recipe.
    overrides: other values for keys of the recipe. A table is a dictionary: `training={"steps": 20}`,
        `method={"name": "grpo"}`, `seed=1`.

Raises:
    UserError: anything that you can mend, in one sentence.
    Interrupted: a signal stopped the run; its state is saved, and the same call goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video_opd.config import Recipe
    from video_opd.train.from_recipe import TrainedRun


class _CallablePackage(ModuleType):
    """A package that trains when it is called."""

    def __call__(self, recipe: str | Path | Recipe, out: str | Path | None = None, **overrides: Any) -> TrainedRun:
        """See `video_opd.train.from_recipe.train`."""
        from video_opd.train.from_recipe import train

        return train(recipe, out, **overrides)


sys.modules[__name__].__class__ = _CallablePackage
