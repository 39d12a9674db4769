"""Tables of the plug-ins in a folder: the name of each, and the place of its object.

The names of a table can be read without importing any object, so that `--help` lists them at once. For a plug-in of a
user, the table has the object itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Generic, TypeVar, cast

from video_opd.errors import ConfigurationError
from video_opd.suggestions import suggest

_T = TypeVar("_T")

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")

_TABLES: list[PluginTable[Any]] = []
"""Every table that was made."""


class PluginTable(Mapping[str, _T], Generic[_T]):
    """Names -> objects; an object of ours is imported when it is asked for.

    Args:
        kind: what the names are names of, for messages: "a scorer".
        package: folder of the modules, `__package__` of the table's own module.
        places: name -> "module.attribute" below the package, or the object itself.
        reserved: names that are known elsewhere and cannot be registered.
        definition: the function or class that tells whether an object is the same, defined anew; by default the object.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        places: Mapping[str, str | _T],
        *,
        reserved: tuple[str, ...] = (),
        definition: Callable[[_T], object] = lambda entry: entry,
    ) -> None:
        self._kind, self._package, self._reserved, self._definition = kind, package, reserved, definition
        self._ours = self._entries = dict(places)  # neither is changed: another one takes its place
        _TABLES.append(self)

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
        self._require_free(name, entry)
        with undo_on_failure():
            self._replace({**self._entries, name: entry})

    def unregister(self, name: str) -> None:
        """Remove what was registered under a name. What is ours stays."""
        if name not in self._ours:
            self._replace({known: entry for known, entry in self._entries.items() if known != name})

    def remedy(self, word: str) -> str:
        """What to do about a word that is none of the names: the nearest of them, and all of them."""
        names = (*self._reserved, *self._entries)
        return suggest(word, names, f"choose one of {', '.join(sorted(names))}")

    def _require_free(self, name: str, entry: _T) -> None:
        """Refuse a name that cannot be registered. The same function or class, defined anew (a cell of a notebook that
        ran again), may take its own place."""
        require_name(self._kind, name)
        is_again = name in self and _is_same_definition(self._definition(self[name]), self._definition(entry))
        taken = (*self._reserved, *self._entries)
        if name in taken and not is_again:
            raise ConfigurationError(
                f"the name {name!r} for {self._kind}",
                reason="the name is taken",
                remedy=f"choose a name that is none of {', '.join(taken)}",
            )

    def _replace(self, entries: dict[str, str | _T]) -> None:
        """Let the table have these entries. A table that others are built from tells them here."""
        self._entries = entries


@contextmanager
def undo_on_failure() -> Iterator[None]:
    """Where the block fails, every table again has the entries that it had before."""
    before = [(table, table._entries) for table in _TABLES]
    try:
        yield
    except BaseException:
        made_since = [(table, table._ours) for table in _TABLES[len(before) :]]
        for table, entries in (*before, *made_since):
            if table._entries is not entries:
                table._replace(entries)
        raise


def load_place(package: str, place: str) -> Any:
    """Import the object at "module.attribute" below a package."""
    module, _, attribute = place.partition(".")
    return getattr(import_module(f"{package}.{module}"), attribute)


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
            reason="a name may have only lower-case letters, digits, dots, dashes and underscores",
            remedy="choose another name",
        )


def _is_same_definition(one: object, other: object) -> bool:
    """Whether two functions or classes are definitions of the same name in the same module."""
    if one is other:
        return True
    name = getattr(one, "__qualname__", None)
    if name is None or "<lambda>" in name or name != getattr(other, "__qualname__", None):
        return False
    return bool(getattr(one, "__module__", None) == getattr(other, "__module__", ""))
