"""Quantised checkpoints: which packages read them, and why they are not trained. Needs no torch.

A quantised model may teach or be evaluated; transformers reads it with the package of its method. The checkpoint does
not name that package, and transformers raises without it only after the weights were downloaded.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from video_opd.errors import ConfigurationError
from video_opd.files.strict_json import load_json
from video_opd.policy.families import Family

_PACKAGES = {
    "aqlm": ("accelerate", "aqlm"),
    "auto-round": ("auto_round",),
    "awq": ("accelerate", "gptqmodel"),
    "bitnet": ("accelerate",),
    "bitsandbytes": ("accelerate", "bitsandbytes"),
    "compressed-tensors": ("compressed_tensors",),
    "eetq": ("accelerate", "kernels"),
    "fbgemm_fp8": ("accelerate", "fbgemm_gpu"),
    "fouroversix": ("fouroversix",),
    "fp8": ("accelerate",),
    "fp_quant": ("fp_quant",),
    "gptq": ("optimum", "gptqmodel"),
    "higgs": ("accelerate", "flute"),
    "hqq": ("hqq",),
    "mxfp4": ("accelerate", "kernels"),
    "mxfp8": ("accelerate",),
    "quanto": ("accelerate", "optimum.quanto"),
    "quark": ("quark",),
    "sinq": ("sinq",),
    "spqr": ("accelerate", "spqr_quant"),
    "torchao": ("torchao",),
    "vptq": ("accelerate", "vptq"),
}
"""Method -> the modules that transformers needs to read such weights (5.24, `transformers.quantizers`)."""

_CALLED = {
    "flute": "flute-kernel",
    "fbgemm_gpu": "fbgemm-gpu",
    "auto_round": "auto-round",
    "compressed_tensors": "compressed-tensors",
    "optimum.quanto": "optimum-quanto",
    "quark": "amd-quark",
}
"""Module -> the name of its package for pip, where that is another name."""

_ON_CUDA = {"fp8": ("kernels",), "mxfp8": ("kernels",)}
"""Further modules on a GPU; on a CPU transformers turns such weights into bfloat16."""

FP8_CAPABILITY = 8.9
"""Smallest compute capability of a GPU on which transformers keeps `DEQUANTISED` weights as they are."""

DEQUANTISED = ("fp8", "mxfp8")
"""Methods whose weights transformers turns into the type that is computed in, on older GPUs and on a CPU."""

_NEEDED_CAPABILITY = {"fbgemm_fp8": 9.0}
"""Methods that transformers refuses on older GPUs."""

IN_EXTRA = frozenset({"accelerate", "bitsandbytes", "compressed_tensors", "kernels", "torchao"})
"""Modules that the extra `quantised` brings."""

_OTHER_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Files in which other programs say that weights are quantised; transformers does not read them."""


def find_quantisation(folder: Path) -> str | None:
    """The method by which a folder's weights are quantised; None where they are not.

    Raises:
        ConfigurationError: config.json cannot be read.
    """
    config = _read_json(folder / "config.json")
    for table in (config, *(config.get(key) for key in ("text_config", "llm_config", "thinker_config"))):
        found = table.get("quantization_config") if isinstance(table, dict) else None
        if found is not None:
            return _find_method(found)
    for name in _OTHER_FILES:
        if (folder / name).is_file():
            return f"{_find_method(_read_json(folder / name))}, by {name} alone"
    return None


def refuse_unreadable(name: str, method: str | None, *, known: Collection[str], device: str) -> None:
    """Refuse quantised weights that cannot be read here, before they are fetched.

    Args:
        name: of the model.
        method: by which its weights are quantised; None: they are not.
        known: methods that the installed transformers has.
        device: where the model will be, such as `cuda:0`.

    Raises:
        ConfigurationError: transformers does not know the method, or its package is not installed.
    """
    if method is None:
        return
    if method not in known:
        raise ConfigurationError(
            f"model {name!r}: its weights are quantised ({method})",
            reason="transformers cannot read them",
            remedy=f"use the unquantised checkpoint, or one that is quantised by one of these methods: "
            f"{', '.join(sorted(known))}",
        )
    needed = _PACKAGES.get(method, ()) + (_ON_CUDA.get(method, ()) if device.startswith("cuda") else ())
    missing = [module for module in needed if not _is_installed(module)]
    if missing:
        called = [_CALLED.get(module, module) for module in missing]
        install = "'video-opd[quantised]'" if IN_EXTRA.issuperset(missing) else " ".join(called)
        raise ConfigurationError(
            f"model {name!r}: its weights are quantised ({method})",
            reason=f"transformers cannot read them without {' and '.join(called)}",
            remedy=f"`pip install {install}`, or use the unquantised checkpoint",
        )


def refuse_old_card(name: str, method: str | None, *, card: str, capability: float) -> None:
    """Refuse quantised weights that a GPU cannot use.

    Args:
        name: of the model.
        method: by which its weights are quantised; None: they are not.
        card: name of the GPU.
        capability: its compute capability.

    Raises:
        ConfigurationError: transformers refuses them there.
    """
    needed = _NEEDED_CAPABILITY.get(method or "", 0.0)
    if capability < needed:
        raise ConfigurationError(
            f"model {name!r}: its weights are quantised ({method}), and a {card} cannot use them",
            reason=f"transformers asks for a compute capability of {needed}, and this card has {capability}",
            remedy="use the unquantised checkpoint, or a newer card",
        )


def refuse_as_student(name: str, method: str | None) -> None:
    """Refuse to train quantised weights.

    Raises:
        ConfigurationError: they are quantised.
    """
    if method is not None:
        raise ConfigurationError(
            f"student {name!r}: its weights are quantised ({method})",
            reason="all weights of a student are trained, but quantised weights take no gradient and are too coarse "
            "to hold an "
            "update of a learning rate of 1e-6",
            remedy="use the unquantised checkpoint as the student; a quantised one can be the teacher",
        )


@dataclass(frozen=True)
class FourBits:
    """The linear layers of a language model are quantised while they are read: the frozen weights under an adapter."""

    def refuse_unfit(self, name: str, *, is_whole: bool) -> None:
        """Refuse, before any weights are fetched, what cannot be quantised here.

        Args:
            name: of the model.
            is_whole: its weights are neither quantised nor to be merged with an adapter.

        Raises:
            ConfigurationError: the packages are missing, or the weights are not whole.
        """
        cause = f"student.lora.quantise = '4bit' with {name!r}"
        missing = [module for module in _PACKAGES["bitsandbytes"] if not _is_installed(module)]
        if missing:
            raise ConfigurationError(
                cause,
                reason=f"weights are quantised with the help of {' and '.join(missing)}",
                remedy="`pip install 'video-opd[quantised]'`, or leave the key out",
            )
        if not is_whole:
            raise ConfigurationError(
                cause,
                reason="an adapter cannot be added to quantised weights without rounding it too",
                remedy="merge the model first, with `video-opd merge MODEL --out FOLDER`, or leave the key out",
            )

    def options(self, family: Family, weights: Any) -> dict[str, Any]:
        """Arguments of `from_pretrained`.

        Args:
            family: of the model; its vision model and its output head stay as they are.
            weights: type of what is not quantised, in which is computed.
        """
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_compute_dtype=weights,
            llm_int8_skip_modules=[f"model.{family.vision_module}", "lm_head"],
        )
        return {"quantization_config": config}

    def leave_unpacked(self, model: Any) -> None:
        """Keep bitsandbytes from packing weights anew at a pass without gradient on a CPU.

        A student makes passes of both kinds, and the packed weights serve one kind only (seen in 0.50).
        """
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False


def _find_method(table: Any) -> str:
    """The name of the method, found as transformers finds it."""
    if not isinstance(table, dict):
        return "an unknown method"
    if table.get("load_in_4bit") or table.get("load_in_8bit"):
        return "bitsandbytes"
    named = table.get("quant_method") or table.get("quant_algo") or table.get("quantization")
    if isinstance(named, dict):  # NVIDIA's: {"producer": …, "quantization": {"quant_algo": "FP8"}}
        named = named.get("quant_algo")
    return str(named or "an unknown method")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a module's package
        return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"model folder {path.parent}: its config cannot be loaded ({path.name})",
            reason=f"{type(error).__name__}: {error}",
            remedy="download or save the folder again",
        ) from error
    if not isinstance(found, dict):
        raise ConfigurationError(
            f"model folder {path.parent}: its config cannot be loaded ({path.name})",
            reason=f"it holds a JSON value of the type {type(found).__name__}, and a configuration is an object",
            remedy="download or save the folder again",
        )
    return found
