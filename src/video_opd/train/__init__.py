"""Training by a recipe. The package itself can be called: `video_opd.train(recipe, …)` is `from_recipe.train`.

The public function and this package have one name. Python binds the package to it when any of its modules is imported,
so the package must do what the function does, and `help` shows the function's text.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from video_opd.config import Recipe
    from video_opd.train.from_recipe import TrainedRun


class _CallablePackage(ModuleType):
    # A package that trains when it is called.

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        from video_opd.train.from_recipe import train

        return train.__doc__

    def __call__(
        self,
        recipe: str | Path | Recipe,
        out: str | Path | None = None,
        *,
        restart: bool = False,
        accept_changed: str | Sequence[str] = (),
        **overrides: Any,
    ) -> TrainedRun:
        """See `video_opd.train.from_recipe.train`."""
        from video_opd.train.from_recipe import train

        return train(recipe, out, restart=restart, accept_changed=accept_changed, **overrides)


sys.modules[__name__].__class__ = _CallablePackage
