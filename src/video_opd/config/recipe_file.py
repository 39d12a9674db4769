"""Recipes from TOML files and the command line. Unknown keys are refused, and the nearest valid one is named."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from video_opd.config import CURRICULA, GROUNDING_FILE, GroundingDefaults, Recipe
from video_opd.config.lookalikes import refuse_other_tables, refuse_what_is_no_recipe
from video_opd.config.shipped_recipes import advise_on_recipe, find_recipe, suggest_recipe
from video_opd.errors import ConfigurationError
from video_opd.files.toml_text import UnusableTomlError, load_toml
from video_opd.methods import METHODS
from video_opd.settings import OneOf, Settings, list_fields
from video_opd.suggestions import find_nearest, suggest

NAMED_TABLES: dict[str, OneOf[Any]] = {"method": METHODS, "curriculum": CURRICULA}
"""Tables whose `name` chooses their record, and the possible records; the first is the default."""

DATA_PATHS = ("videos", "train", "validation", "test")
"""Keys of [data] that are paths of data."""

KEYS_ARE_LISTED = "`video-opd train --help-keys` lists every key with its default"


def load_recipe(path: Path, overrides: dict[str, str] | None = None, *, are_flags: bool = False) -> Recipe:
    """Read a recipe, with dotted keys overridden: `{"training.learning_rate": "1e-4"}`.

    If `are_flags`, the overrides were given on the command line, and a message about one of them names its flag.

    If the path does not exist, it may be the name of a shipped recipe.
    A recipe with `base = "other.toml"` has only its differences from that recipe, which lies in the same folder.

    Raises:
        ConfigurationError: the file does not exist or is not TOML, a key is unknown, or a value has the wrong type.
    """
    path = find_recipe(path)
    refuse_what_is_no_recipe(path)
    tables = read_tables(path)
    refuse_other_tables(path, tables, comparison=False)
    set_keys(tables, overrides or {})
    return parse_recipe(tables, where=str(path), flags=overrides if are_flags else None)


def read_tables(path: Path, *, named_by: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Read the tables of a TOML file over those of the recipe that it names as `base`.

    Raises:
        ConfigurationError: a file does not exist or is not TOML, or recipes are each other's base.
    """
    if path.resolve() in named_by:
        raise ConfigurationError(
            f"recipe {path} is its own base", reason="its settings would never be complete", remedy="remove one `base`"
        )
    tables = _read_toml(path, base_of=named_by[-1] if named_by else None)
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str):
        raise ConfigurationError(
            f"{path}: base = {base!r}",
            reason="`base` must name another recipe",
            remedy='write it as base = "other.toml"',
        )
    return overlay(read_tables(path.parent / base, named_by=(*named_by, path.resolve())), tables)


def overlay(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge tables key by key; the upper ones win. A [method] or [curriculum] with a name replaces the whole lower
    table, and so does a [teacher.view] of another kind, whose keys are others.

    [[teachers]] replace a [teacher], and a [teacher] replaces [[teachers]]."""
    merged = dict(below)
    if "teachers" in above and "teacher" not in above:
        merged.pop("teacher", None)
    if "teacher" in above and "teachers" not in above:
        for key in ("teachers", "teachers_by"):
            merged.pop(key, None)
    for key, value in above.items():
        whole = key in NAMED_TABLES and isinstance(value, dict) and "name" in value
        whole |= key == "view" and _is_of_another_kind(value, below.get(key))
        tables = isinstance(value, dict) and isinstance(below.get(key), dict) and not whole
        merged[key] = overlay(below[key], value) if tables else value
    data = above.get("data")
    if isinstance(data, dict) and any(key in data for key in DATA_PATHS) and "tiny_world" not in data:
        _render_nothing(merged)
    return merged


def _is_of_another_kind(view: Any, below: Any) -> bool:
    return (
        isinstance(view, dict) and isinstance(below, dict) and view.get("kind", below.get("kind")) != below.get("kind")
    )


def _render_nothing(tables: dict[str, Any]) -> None:
    """Render no tiny world if other data paths are given without one: they mean the user's own data."""
    world = tables["data"].get("tiny_world")
    if isinstance(world, dict):
        tables["data"] = tables["data"] | {"tiny_world": world | {"render": False}}


def _read_toml(path: Path, *, base_of: Path | None = None) -> dict[str, Any]:
    try:
        return load_toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"recipe {path} cannot be read" if base_of is None else f"{path}, the base of {base_of}, cannot be read",
            reason=error.strerror or str(error),
            remedy=advise_on_recipe(path) if base_of is None else _advise_on_base(path),
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"recipe {path} is not TOML", reason=str(error), remedy="correct the file") from error
    except UnusableTomlError as error:
        raise ConfigurationError(f"recipe {path}", reason=str(error), remedy="correct the file") from error


def _advise_on_base(path: Path) -> str:
    """The remedy where a recipe's base cannot be read: unlike a recipe, it is a path and no name."""
    remedy = "correct `base`: it is the path of a TOML file from the folder of the recipe"
    if path.suffix == ".toml" and (meant := suggest_recipe(path)):
        return f"{remedy}; `video-opd recipes copy {meant} --out {path}` writes a shipped one there"
    return remedy


def parse_recipe(tables: dict[str, Any], *, where: str = "recipe", flags: Collection[str] | None = None) -> Recipe:
    """Validate parsed TOML; the error names the first problem with the key's full name.

    Args:
        tables: the parsed TOML.
        where: the file, for the message.
        flags: the keys that were given on the command line; a message about one of them names its flag.

    Raises:
        ConfigurationError: a key is unknown or missing, or a value has the wrong type.
    """
    try:
        return Recipe.model_validate(tables)
    except ValidationError as error:
        raise refusal(where, error, flags=flags or ()) from None


def load_grounding_defaults(model_folder: Path) -> GroundingDefaults:
    """Read the model's `grounding.json`; without that file, give the defaults of the field.

    Raises:
        ConfigurationError: the file exists and is not valid.
    """
    path = model_folder / GROUNDING_FILE
    if not path.is_file():
        return GroundingDefaults()
    try:
        return GroundingDefaults.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise refusal(str(path), error) from None


def list_recipe_keys(settings: type[Settings] = Recipe, prefix: str = "") -> dict[str, str]:
    """Every key of a recipe with its dotted name, its meaning and its default.

    Args:
        settings: the record of the table.
        prefix: the first part of the keys, such as `training.`.
    """
    keys: dict[str, str] = {}
    for knob in list_fields(settings):
        name, below = knob.name, knob.records
        if isinstance(below, OneOf):
            keys |= _list_keys_of_one_of(below, f"{prefix}{name}.")
        elif below is not None:
            keys |= list_recipe_keys(below, f"{prefix}{name}.")
        else:
            keys[prefix + name] = f"{knob.help} ({knob.default_text})"
    return keys


def _list_keys_of_one_of(records: OneOf[Any], prefix: str) -> dict[str, str]:
    """The keys of tables whose `name` chooses their record; a key lists the records that have it, unless all do."""
    named = {name: list_recipe_keys(record, prefix) for name, record in records.items()}
    keys: dict[str, str] = {f"{prefix}name": f"One of {', '.join(named)}. (default: {json.dumps(next(iter(named)))})"}
    for key in dict.fromkeys(key for each in named.values() for key in each if key not in keys):
        owners: dict[str, dict[str, list[str]]] = {}
        for name, each in named.items():
            if key in each:
                meaning, _, default = each[key].rpartition(" (")
                owners.setdefault(meaning, {}).setdefault(default, []).append(name)
        keys[key] = " ".join(
            " ".join([meaning, *(f"({default} [{', '.join(names)}]" for default, names in defaults.items())])
            for meaning, defaults in owners.items()
        )
    return keys


def refusal(
    where: str, error: ValidationError, settings: type[Settings] = Recipe, *, flags: Collection[str] = ()
) -> ConfigurationError:
    """The first problem of a file, in our words.

    Args:
        where: the file.
        error: what the validation found.
        settings: the record that the file was read into.
        flags: the keys that were given on the command line, in place of the file.
    """
    problem = error.errors()[0]
    kind, tags = problem["type"], _list_names(str(problem["loc"][0]) if problem["loc"] else "")
    # Inside a table with a `name`, pydantic adds the name of the record to the path of the key.
    parts = [part for place, part in enumerate(problem["loc"]) if not (place == 1 and part in tags)]
    key = ".".join(str(part) for part in parts)
    if said := _find_flag(f"{key}.name" if kind == "union_tag_invalid" else key, flags):
        where = f"--{said.replace('_', '-')}"
    if kind == "value_error":
        return ConfigurationError(where, reason=str(problem["ctx"]["error"]), remedy=f"correct it; {KEYS_ARE_LISTED}")
    if kind == "union_tag_invalid":
        own = "; one of your own needs --plugin FILE" if key == "method" else ""
        return ConfigurationError(
            f"{where}: {key}.name = {problem['input']['name']!r}",
            reason=f"no {key} has that name",
            remedy=NAMED_TABLES[key].remedy(str(problem["input"]["name"])) + own,
        )
    if kind == "extra_forbidden" and key in list_recipe_keys(settings):
        return ConfigurationError(
            f"{where}: {key}",
            reason=f"this {key.partition('.')[0]} has no such setting",
            remedy=f"leave it out; {KEYS_ARE_LISTED}",
        )
    if kind == "extra_forbidden":
        return ConfigurationError(
            f"{where}: unknown key {key}",
            reason="no setting has that name",
            remedy=_suggest_setting(key, settings, problem["input"]),
        )
    if kind == "missing":
        return ConfigurationError(
            f"{where} has no {key}", reason="it has no default", remedy=f"give it; {KEYS_ARE_LISTED}"
        )
    if kind in ("model_type", "model_attributes_type"):
        return ConfigurationError(
            f"{where}: {key} = {problem['input']!r}",
            reason="this key is a table",
            remedy=f"write [{key}] on a line of its own, and its settings below",
        )
    remedy = f"correct it; {KEYS_ARE_LISTED}"
    if kind == "literal_error":
        remedy = suggest(str(problem["input"]), re.findall("'([^']*)'", problem["ctx"]["expected"]), remedy)
    return ConfigurationError(
        f"{where}: {key} = {problem['input']!r}" if key else where,
        reason=problem["msg"][0].lower() + problem["msg"][1:],
        remedy=remedy,
    )


def _find_flag(key: str, flags: Collection[str]) -> str | None:
    """The key of the command line that a problem is about: the key itself, or one within an unknown table."""
    return next((said for said in flags if key and (said == key or said.startswith(f"{key}."))), None)


def _list_names(key: str) -> list[str]:
    """The possible names of a table with a `name`."""
    return list(NAMED_TABLES.get(key, ()))


def _suggest_setting(key: str, settings: type[Settings] = Recipe, value: object = None) -> str:
    """The setting that was probably meant. If a whole table is unknown, its first key decides (`optimizer.lr`)."""
    leaves = list_recipe_keys(settings)
    names = [*leaves, *{name.rsplit(".", 1)[0]: None for name in leaves if "." in name}, "--out"]
    if find_nearest(key, names) is None and isinstance(value, dict) and value:
        key = f"{key}.{next(iter(value))}"
    return suggest(key, names, KEYS_ARE_LISTED if find_nearest(key, names) else f"leave it out; {KEYS_ARE_LISTED}")


def set_keys(tables: dict[str, Any], overrides: dict[str, str]) -> None:
    """Set dotted keys. A new method.name or curriculum.name, or another teacher.view.kind, replaces the whole table of
    the file."""
    for table in NAMED_TABLES:
        name, found = overrides.get(f"{table}.name"), tables.get(table)
        if name is not None and isinstance(found, dict) and name != found.get("name", _list_names(table)[0]):
            tables[table] = {}
    teacher, kind = tables.get("teacher"), overrides.get("teacher.view.kind")
    if isinstance(teacher, dict) and kind and _is_of_another_kind({"kind": kind}, teacher.get("view")):
        del teacher["view"]
    for key, text in overrides.items():
        _set(tables, key, text)
    says_world = any(key.startswith("data.tiny_world") for key in overrides)
    if any(f"data.{key}" in overrides for key in DATA_PATHS) and not says_world:
        _render_nothing(tables)


def _set(tables: dict[str, Any], key: str, text: str) -> None:
    """Set a dotted key; the value is read as TOML, and as a string where that fails."""
    *path, last = key.split(".")
    for part in path:
        tables = tables.setdefault(part, {})
        if not isinstance(tables, dict):
            raise ConfigurationError(
                f"--{key}: {part} is a value, not a table", reason="it has no keys", remedy=_suggest_setting(key)
            )
    try:
        tables[last] = load_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        tables[last] = text
    except UnusableTomlError as error:
        raise ConfigurationError(f"--{key}", reason=str(error), remedy="give a value that fits") from error
