"""Tables of the plug-ins in a folder: the name of each, and the place of its object.

The names of a table can be read without importing any object, so that `--help` lists them at once. For a plug-in of a
user, the table has the object itself.
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
    """Names -> objects. An object of this package is imported when it is first used.

    Args:
        kind: what a name of the table stands for, for messages: "a scorer".
        package: the package of the modules, `__package__` of the table's own module.
        places: name -> "module.attribute" below the package.
        reserved: names that are used elsewhere and cannot be registered.
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
            ConfigurationError: the name is taken or not valid.
        """
        require_free(self._kind, name, entry, {**dict.fromkeys(self._reserved), **self._entries})
        self._entries[name] = entry

    def unregister(self, name: str) -> None:
        """Remove what was registered under a name. The built-in objects remain."""
        if not isinstance(self._entries.get(name, ""), str):
            del self._entries[name]


def load_place(package: str, place: str) -> Any:
    """Import the object at "module.attribute" below a package."""
    module, _, attribute = place.partition(".")
    return getattr(import_module(f"{package}.{module}"), attribute)


def require_free(kind: str, name: str, entry: object, taken: Mapping[str, object]) -> None:
    """Refuse a name that cannot be registered.

    A function or class that is defined again (a notebook cell that ran again) may replace its earlier definition.

    Args:
        kind: what the name stands for, for the message: "a scorer".
        name: the name.
        entry: the object to register.
        taken: the existing names and their objects.

    Raises:
        ConfigurationError: the name is taken or not valid.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"the name {name!r} for {kind}",
            reason="a name may have only lower-case letters, digits, dots, dashes and underscores",
            remedy="choose another name",
        )
    if name in taken and not _is_same_definition(taken[name], entry):
        raise ConfigurationError(
            f"the name {name!r} for {kind}",
            reason="the name is taken",
            remedy=f"choose a name that is none of {', '.join(taken)}",
        )


def _is_same_definition(one: object, other: object) -> bool:
    """Whether two functions or classes are definitions of the same name in the same module."""
    if one is other:
        return True
    name = getattr(one, "__qualname__", None)
    if name is None or "<lambda>" in name or name != getattr(other, "__qualname__", None):
        return False
    return bool(getattr(one, "__module__", None) == getattr(other, "__module__", ""))
