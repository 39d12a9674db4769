"""The cards that a plan can be made for, and how they are named on the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from video_opd.errors import ConfigurationError
from video_opd.suggestions import find_nearest

GIB = 2**30

USABLE = 0.985
"""Share of the GiB in a card's name that a program can allocate: 78.8 of 80 (an H100 has 79.2, an H200 139 of 141).
Cards that correct errors in memory of another kind have less: an L4 and an A10 22.0, an L40S 44.4."""

GPUS_PER_NODE = 8
NETWORK_GBS = 50.0
"""Of a card to other nodes, in GB/s and one direction: one port of 400 Gb/s."""


@dataclass(frozen=True, kw_only=True)
class GpuCard:
    """The numbers of a card that a plan uses."""

    name: str
    memory_gb: float
    """As its name says; GiB in truth."""
    tflops: float
    """Of dense products in bfloat16, by the data sheet."""
    bandwidth_tbs: float
    """Of its memory."""
    link_gbs: float
    """To the other cards of its node, in one direction: half of what data sheets call NVLink's bandwidth."""
    usable_gib: float | None = None
    """What a program can allocate, where it is another share of the name."""
    capability: float = 9.0
    """Compute capability; from 8.9 on weights in fp8 stay as they are."""
    assumed: tuple[str, ...] = ()
    """What was not given of a card that is known by its numbers alone."""

    @property
    def room(self) -> int:
        """Bytes that a program can allocate."""
        return int(GIB * (self.usable_gib or self.memory_gb * USABLE))


# Data sheets of NVIDIA and AMD: H100, H100 NVL, H200, H200 NVL, HGX B200, A100, L40S, L4, A10, RTX A6000, GeForce RTX
# 3090, 4090, 5090, MI300X. Where a sheet gives the rate with sparsity, half of it is here; for GeForce the rate with
# float32 sums. The bridges of NVL cards join two or four of them, so the link is that of PCIe.
_CARDS = (
    GpuCard(name="H100-80GB", memory_gb=80, tflops=989, bandwidth_tbs=3.35, link_gbs=450),
    GpuCard(name="H100-PCIe-80GB", memory_gb=80, tflops=756, bandwidth_tbs=2.0, link_gbs=64),
    GpuCard(name="H100-NVL-94GB", memory_gb=94, tflops=835, bandwidth_tbs=3.9, link_gbs=64),
    GpuCard(name="H200-141GB", memory_gb=141, tflops=989, bandwidth_tbs=4.8, link_gbs=450),
    GpuCard(name="H200-NVL-141GB", memory_gb=141, tflops=835, bandwidth_tbs=4.8, link_gbs=64),
    GpuCard(name="B200-180GB", memory_gb=180, tflops=2250, bandwidth_tbs=8.0, link_gbs=900, capability=10.0),
    GpuCard(name="A100-40GB", memory_gb=40, tflops=312, bandwidth_tbs=1.555, link_gbs=300, capability=8.0),
    GpuCard(name="A100-80GB", memory_gb=80, tflops=312, bandwidth_tbs=2.039, link_gbs=300, capability=8.0),
    GpuCard(name="A100-PCIe-40GB", memory_gb=40, tflops=312, bandwidth_tbs=1.555, link_gbs=32, capability=8.0),
    GpuCard(name="A100-PCIe-80GB", memory_gb=80, tflops=312, bandwidth_tbs=1.935, link_gbs=32, capability=8.0),
    GpuCard(
        name="L40S-48GB", memory_gb=48, tflops=362, bandwidth_tbs=0.864, link_gbs=32, usable_gib=44.4, capability=8.9
    ),
    GpuCard(name="L4-24GB", memory_gb=24, tflops=121, bandwidth_tbs=0.3, link_gbs=32, usable_gib=22.0, capability=8.9),
    GpuCard(name="A10-24GB", memory_gb=24, tflops=125, bandwidth_tbs=0.6, link_gbs=32, usable_gib=22.0, capability=8.6),
    GpuCard(name="A6000-48GB", memory_gb=48, tflops=155, bandwidth_tbs=0.768, link_gbs=32, capability=8.6),
    GpuCard(name="RTX3090-24GB", memory_gb=24, tflops=71, bandwidth_tbs=0.936, link_gbs=32, capability=8.6),
    GpuCard(name="RTX4090-24GB", memory_gb=24, tflops=165, bandwidth_tbs=1.008, link_gbs=32, capability=8.9),
    GpuCard(name="RTX5090-32GB", memory_gb=32, tflops=209, bandwidth_tbs=1.792, link_gbs=64, capability=12.0),
    GpuCard(name="MI300X-192GB", memory_gb=192, tflops=1307, bandwidth_tbs=5.3, link_gbs=448, capability=9.4),
)
KNOWN_CARDS = {card.name: card for card in _CARDS}

_COUNTED = re.compile(r"(?:(\d+)\s*[x×]\s*)?(.+)", re.IGNORECASE)
_NUMBER = r"(\d+(?:\.\d+)?)"
_NUMBERS = re.compile(rf"{_NUMBER}GB@{_NUMBER}TFLOPS(?:@{_NUMBER}TB/s)?(?:@{_NUMBER}GB/s)?", re.IGNORECASE)
_BYTES_PER_FLOP = 3.35 / 989
"""Bandwidth of a card of which only memory and rate are given, for each operation: that of an H100."""
_PLAIN_LINK = 32.0
"""GB/s of a card of which no link is given: PCIe 4."""


@dataclass(frozen=True, kw_only=True)
class Gpus:
    """The cards of a plan."""

    count: int
    card: GpuCard

    def __str__(self) -> str:
        """As `--gpus` has them."""
        return f"{self.count}x{self.card.name}"


def parse_gpus(text: str) -> Gpus:
    """Read what `--gpus` says: a number of cards and the name of a card, or the card's numbers.

    Args:
        text: such as 8xH100-80GB, H200, or 8x96GB@1000TFLOPS@3.3TB/s@450GB/s: memory, rate in bfloat16, bandwidth of
            the memory, and of the link to the other cards; the last two may be left out.

    Raises:
        ConfigurationError: no card, or one that is not known.
    """
    found = _COUNTED.fullmatch(text.strip())
    number, name = found.groups() if found else (None, "")
    count = 1 if number is None else int(number)
    if count < 1 or not name:
        raise ConfigurationError(
            f"--gpus {text}", reason="it names no card", remedy="write COUNTxCARD, such as 8xH100-80GB"
        )
    return Gpus(count=count, card=_find_card(name, count))


def find_gpus_here() -> Gpus:
    """Find the GPUs of this machine.

    Raises:
        ConfigurationError: torch sees none, or their numbers are not known.
    """
    if not torch.cuda.is_available():
        raise ConfigurationError(
            "a plan without --gpus",
            reason="torch sees no GPU on this machine",
            remedy="name the cards that the run will have, such as --gpus 8xH100-80GB",
        )
    properties = torch.cuda.get_device_properties(0)
    card = _recognise_card(properties.name, properties.total_memory) or _find_card(properties.name)
    return Gpus(count=torch.cuda.device_count(), card=card)


def _recognise_card(name: str, num_bytes: int) -> GpuCard | None:
    """A card by what torch calls it, such as NVIDIA A100-PCIE-40GB or NVIDIA GeForce RTX 4090, and by its memory."""
    words = set(re.split(r"[\s-]+", name.upper().replace("RTX A", "A").replace("RTX ", "RTX")))
    size = num_bytes / GIB / USABLE

    def has_name(card: GpuCard) -> bool:
        chip, *others = card.name.upper().split("-")
        return chip in words and {"PCIE", "NVL"} & set(others) == {"PCIE", "NVL"} & words

    return next((card for card in _CARDS if has_name(card) and abs(card.memory_gb - size) < 0.1 * size), None)


def _find_card(name: str, count: int = 1) -> GpuCard:
    if numbers := _NUMBERS.fullmatch(name):
        memory, tflops, bandwidth, link = (None if number is None else float(number) for number in numbers.groups())
        if memory and tflops and bandwidth != 0 and link != 0:
            return _make_card(name, memory, tflops, bandwidth, link)
    wanted = name.lower()
    fitting = [card for card in _CARDS if card.name.lower() == wanted or card.name.lower().startswith(f"{wanted}-")]
    if fitting:
        return fitting[0]
    by_short_name = {card.name.split("-")[0].lower(): card.name for card in reversed(_CARDS)}
    nearest = by_short_name.get(find_nearest(wanted.split("-")[0], by_short_name) or "")
    raise ConfigurationError(
        f"--gpus: card {name!r}",
        reason=f"its numbers are not known here; known are {', '.join(KNOWN_CARDS)}",
        remedy=(f"perhaps {count}x{nearest} is meant; or " if nearest else "")
        + "give its memory and its rate in bfloat16, such as --gpus 8x96GB@1000TFLOPS; the bandwidths of memory and "
        "link may follow, such as @3.3TB/s@450GB/s",
    )


def _make_card(name: str, memory: float, tflops: float, bandwidth: float | None, link: float | None) -> GpuCard:
    """A card of which numbers are given; of those that are missing it is noted what is assumed."""
    assumed = ["a compute capability of 8.9 or more, so that weights in fp8 stay as they are"]
    if link is None:
        assumed.insert(0, f"a link of {_PLAIN_LINK:g} GB/s to other cards")
    if bandwidth is None:
        bandwidth = tflops * _BYTES_PER_FLOP
        assumed.insert(0, f"a memory bandwidth of {bandwidth:.2f} TB/s")
    return GpuCard(
        name=name,
        memory_gb=memory,
        tflops=tflops,
        bandwidth_tbs=bandwidth,
        link_gbs=link or _PLAIN_LINK,
        assumed=tuple(assumed),
    )
