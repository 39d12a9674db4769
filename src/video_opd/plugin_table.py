"""Tables of what a folder of plug-ins offers: a name, and the place of what it stands for.

A table can be read without importing anything that it names, so that `--help` lists the names at once. A name of a
user's own stands for the object itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Generic, TypeVar, cast

from video_opd.errors import ConfigurationError

_T = TypeVar("_T")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


class PluginTable(Mapping[str, _T], Generic[_T]):
    """Names -> objects; an object of ours is imported when it is first asked for.

    Args:
        kind: what the names are names of, for messages: "a scorer".
        package: folder of the modules, `__package__` of the table's own module.
        places: name -> "module.attribute" below the package.
        reserved: names that are known elsewhere and cannot be registered.
    """

    def __init__(self, kind: str, package: str, places: Mapping[str, str], reserved: tuple[str, ...] = ()) -> None:
        self._kind, self._package, self._reserved = kind, package, reserved
        self._entries: dict[str, str | _T] = dict(places)

    def __getitem__(self, name: str) -> _T:
        entry = self._entries[name]
        return cast(_T, load_place(self._package, entry)) if isinstance(entry, str) else entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def register(self, name: str, entry: _T) -> None:
        """Add an object of the user's own.

        Raises:
            ConfigurationError: the name is taken, or is none.
        """
        require_free(self._kind, name, entry, {**dict.fromkeys(self._reserved), **self._entries})
        self._entries[name] = entry

    def unregister(self, name: str) -> None:
        """Take out what was registered under a name. What is ours stays."""
        if not isinstance(self._entries.get(name, ""), str):
            del self._entries[name]


def load_place(package: str, place: str) -> Any:
    """The object at "module.attribute" below a package."""
    module, _, attribute = place.partition(".")
    return getattr(import_module(f"{package}.{module}"), attribute)


def require_free(kind: str, name: str, entry: object, taken: Mapping[str, object]) -> None:
    """Refuse a name that cannot be registered.

    The same function or class, defined anew (a cell of a notebook that ran again), may take its own place.

    Args:
        kind: what the name is a name of, for the message: "a scorer".
        name: the name.
        entry: what the name is to stand for.
        taken: the names that there are, and what they stand for.

    Raises:
        ConfigurationError: it is taken, or is no name.
    """
    require_name(kind, name)
    if name in taken and not _is_same_definition(taken[name], entry):
        raise ConfigurationError(
            f"the name {name!r} for {kind}",
            reason="the name is taken",
            remedy=f"choose a name that is none of {', '.join(taken)}",
        )


def require_function(kind: str, name: str, entry: object) -> None:
    """Refuse what cannot be called.

    Raises:
        ConfigurationError: it is no function.
    """
    if not callable(entry):
        raise ConfigurationError(
            f"{kind} of the name {name!r}",
            reason=f"a function is registered, and this is {type(entry).__name__}",
            remedy="give the function itself",
        )


def require_name(kind: str, name: object) -> None:
    """Refuse what cannot be a name; also what stands there when a decorator is written without one.

    Raises:
        ConfigurationError: it is no name.
    """
    if callable(name):
        raise ConfigurationError(
            f"{kind} without a name",
            reason="the decorator was written without its parentheses",
            remedy='write the name behind it, such as ("my-own")',
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"the name {name!r} for {kind}",
            reason="a name has lower-case letters, digits, dots, dashes and underscores, and no others",
            remedy="choose another name",
        )


def _is_same_definition(one: object, other: object) -> bool:
    """Whether two functions or classes were defined at one place of one module."""
    if one is other:
        return True
    name = getattr(one, "__qualname__", None)
    if name is None or "<lambda>" in name or name != getattr(other, "__qualname__", None):
        return False
    return bool(getattr(one, "__module__", None) == getattr(other, "__module__", ""))
