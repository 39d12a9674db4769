"""A model without its weights: configuration, tokenizer, processor, and whether they are supported."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoProcessor
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from transformers.utils import logging as transformers_logging

from video_opd.errors import ConfigurationError, first_line
from video_opd.files.strict_json import load_json
from video_opd.policy.attention import choose_attention_backends
from video_opd.policy.families import Family, find_family, find_family_of_processor, list_family_names
from video_opd.policy.location import ModelParts, check_device_name, resolve_parts
from video_opd.policy.quantised import find_quantisation, refuse_unreadable
from video_opd.policy.token_support import TokenSupport


@dataclass(frozen=True, eq=False, kw_only=True)
class Description:
    """A model without its weights."""

    name: str
    folder: Path
    """Where its configuration lies; of a model on the hub it has no weights, of an adapter it is the base's."""
    config: Any
    processor: Any
    support: TokenSupport
    family: Family
    backends: dict[str, str]
    """Attention backend of each part, for `from_pretrained(attn_implementation=…)`."""
    quantisation: str | None
    """The method by which its weights are quantised; None: they are not."""

    def fingerprint(self) -> str:
        """A short hash of the tokenizer, as `Policy.fingerprint` gives it."""
        return fingerprint_of(self.processor.tokenizer)


def describe(name: str, revision: str | None = None, *, device: str = "cpu") -> Description:
    """Read everything of a model but its weights, and refuse a model that is not supported. Of the hub only small files
    are fetched.

    Args:
        name: a folder, a hub name, or one of `BUNDLED`.
        revision: of a model on the hub.
        device: where it is to run.

    Raises:
        ConfigurationError: the name leads to no loadable model, the model cannot be asked about a video, or its weights
            are quantised in a way that cannot be read here.
    """
    parts = resolve_parts(name, revision, weights=False)
    refuse_unreadable(name, find_quantisation(parts.base), known=_list_quantisations(), device=device)
    return describe_parts(name, parts)


def describe_parts(name: str, parts: ModelParts) -> Description:
    """The same of a model whose folders are known, whether its weights can be read here or not.

    Args:
        name: of the model.
        parts: its folders.

    Raises:
        ConfigurationError: its files cannot be read, or it cannot be asked about a video.
    """
    with guard_loading(name, "config"):
        config = AutoConfig.from_pretrained(parts.base, trust_remote_code=False)
    with guard_loading(name, "tokenizer or processor"):
        processor = AutoProcessor.from_pretrained(parts.processor, trust_remote_code=False)
    if not hasattr(processor, "video_processor") or processor.chat_template is None:
        lacking = "chat template" if hasattr(processor, "video_processor") else "video processor"
        raise ConfigurationError(
            f"model {name!r} ({config.model_type}) has no {lacking}",
            reason="without it the model cannot be asked about a video",
            remedy=f"use a model of {list_family_names()}",
        )
    family = find_family(config, name)
    find_family_of_processor(processor, name)
    return Description(
        name=name,
        folder=parts.base,
        config=config,
        processor=processor,
        family=family,
        backends=choose_attention_backends(name, config),
        support=TokenSupport.build(processor.tokenizer, config),
        quantisation=find_quantisation(parts.base),
    )


def make_empty(name: str, config: Any = None) -> Any:
    """The transformers model of that name with no numbers in its weights, on torch's device without memory.

    Args:
        name: a folder, a hub name, or one of `BUNDLED`.
        config: of the model, where it is at hand.

    Raises:
        ConfigurationError: as `describe`, or transformers cannot build such a model.
    """
    from transformers import AutoModelForImageTextToText

    config = deepcopy(config or describe(name).config)
    with guard_loading(name, "config"), torch.device("meta"):
        # Without ours transformers would take the backend of config.json, which may be a kernel on the hub.
        return AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa")


def explain_other_model(name: str, wanted: str) -> str:
    """Say in what a model differs from another one besides the numbers of its weights; nothing where it does not.

    Args:
        name: a folder, a hub name, or one of `BUNDLED`.
        wanted: the other one.
    """
    there, here = describe(name), describe(wanted)
    found, shapes = (
        {key: tuple(weight.shape) for key, weight in make_empty(each.name, each.config).named_parameters()}
        for each in (there, here)
    )
    for key in sorted(found.keys() | shapes.keys()):
        if key not in found or key not in shapes:
            return f"{key} is " + ("there and not here" if key in found else "here and not there")
        if found[key] != shapes[key]:
            return f"{key} is {found[key]} there and {shapes[key]} here"
    if there.fingerprint() != here.fingerprint():
        return "its tokenizer has other tokens than the student's"
    if there.processor.chat_template != here.processor.chat_template:
        return "its chat template is not the student's"
    pictures, ours = (each.processor.video_processor.to_dict() for each in (there, here))
    return _find_difference(_read_config(there), _read_config(here)) or _find_difference(pictures, ours)


def _read_config(model: Description) -> dict[str, Any]:
    """A config.json as it stands in the file: what transformers adds depends on its version."""
    return dict(load_json((model.folder / "config.json").read_text(encoding="utf-8")))


def _find_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """The first number that two tables have under one name and that is not the same. Names that only one has and texts
    are not compared: another version of transformers may write others for the same model.
    """
    for key in sorted(there.keys() & here.keys()):
        one, other = there[key], here[key]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            if found := _find_difference(one, other):
                return found
        elif _is_number(one) and _is_number(other) and one != other:
            return f"{key} of its configuration is {one} there and {other} here"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fingerprint_of(tokenizer: Any) -> str:
    """A short hash of a tokenizer. Where two models have the same, token ids mean the same to both."""
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()), ensure_ascii=False)
    return hashlib.sha256(vocabulary.encode()).hexdigest()[:16]


def require_device(name: str) -> torch.device:
    """Find the device of that name.

    Raises:
        ConfigurationError: it does not exist.
    """
    check_device_name(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA, asked for it
        absent = isinstance(error, NotImplementedError)  # its message is a screenful about backends
        raise ConfigurationError(
            f"device {name!r} cannot be used",
            reason="torch has no such device here" if absent else first_line(error),
            remedy="give auto, cpu, or cuda on a machine with a GPU that torch sees",
        ) from error
    return device


BROKEN_FILE = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, StrictDataclassError)
"""Errors that transformers and its libraries raise at a broken file."""


@contextmanager
def guard_loading(name: str, part: str, *, quantisation: str | None = None) -> Iterator[None]:
    """Turn what transformers and its libraries raise at a broken file into one sentence, without their progress bars.

    Args:
        name: of the model.
        part: what is loaded, for the message.
        quantisation: method of the weights; its package may raise anything at a config that does not fit them.
    """
    # A config may hold anything, and what transformers raises at it is anything, too.
    expected: tuple[type[Exception], ...] = (Exception,) if quantisation or part == "config" else BROKEN_FILE
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # its report of unfilled weights is a screenful; ours is a sentence
    transformers_logging.disable_progress_bar()
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # nothing is wrong with the file
    except ImportError as error:  # the package of a quantisation, too old or broken, or of a tokenizer
        raise ConfigurationError(
            f"model {name!r}: its {part} cannot be loaded with the packages installed here",
            reason=shorten(str(error), 300, placeholder=" …"),
            remedy="install the package that the error names, or use a checkpoint that does not need it",
        ) from error
    except expected as error:
        if quantisation:
            raise ConfigurationError(
                f"model {name!r}: its quantised weights ({quantisation}) cannot be used here",
                reason=shorten(f"{type(error).__name__}: {error}".rstrip(": "), 300, placeholder=" …"),
                remedy="check that config.json and *.safetensors belong together and that the package of the method "
                "works on this device, or use the unquantised checkpoint",
            ) from error
        kind = "" if type(error) in (OSError, ValueError) else f"{type(error).__name__}: "
        raise ConfigurationError(
            f"model {name!r}: its {part} cannot be loaded",
            reason=shorten(f"{kind}{error}", 300, placeholder=" …"),
            remedy="download or save the folder again, and check that it is a video-language model",
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _list_quantisations() -> set[str]:
    """Methods that the installed transformers has, as checkpoints name them."""
    return {method.removesuffix("_4bit").removesuffix("_8bit") for method in AUTO_QUANTIZATION_CONFIG_MAPPING}
