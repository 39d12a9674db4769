"""Training by a recipe. The package itself can be called: `video_opd.train(recipe, …)` is `from_recipe.train`.

The public function and this package have one name. Python binds the package to it when any of its modules is imported,
so the package must do what the function does.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video_opd.train.from_recipe import TrainedRun


class _CallablePackage(ModuleType):
    """A package that trains when it is called."""

    def __call__(self, *arguments: Any, **overrides: Any) -> TrainedRun:
        """See `video_opd.train.from_recipe.train`."""
        from video_opd.train.from_recipe import train

        return train(*arguments, **overrides)


sys.modules[__name__].__class__ = _CallablePackage
