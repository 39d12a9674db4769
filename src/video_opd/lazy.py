"""Packages that export names of their modules, and import a module only when one of its names is used (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def import_on_use(package: str, modules: Sequence[str], names: Sequence[str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package.

    Args:
        package: its full name.
        modules: the modules of the package that define the names. They are searched in this order, so the lightest is
            first.
        names: the names that the package exports, its `__all__`.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name in names:
            for module in modules:
                found = vars(import_module(f"{package}.{module}"))
                if name in found:
                    return found[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
