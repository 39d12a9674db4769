"""Where a teacher's weights lie when they do not lie beside the student's: on devices of their own, or on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from video_opd.errors import ConfigurationError
from video_opd.policy.description import require_device
from video_opd.types import TokenScores


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a frozen model lies."""

    devices: tuple[str, ...]
    """It reads on the first; its layers are spread over all of them."""
    scores_on: str
    """Device that its scores are brought to."""
    offload: bool = False
    """Between its turns it waits on the CPU."""

    def refuse_unfit(self, name: str, *, quantisation: str | None) -> None:
        """Refuse, before any weights are fetched, a placement that cannot be.

        Args:
            name: of the model.
            quantisation: method of its weights; None: they are not quantised.

        Raises:
            ConfigurationError: a device does not exist, or the weights cannot be moved or spread.
        """
        for device in self.devices:
            require_device(device)
        if self.offload:
            refuse_quantised_offload(name, quantisation)
        if self.is_spread:
            self._refuse_unspreadable()

    def _refuse_unspreadable(self) -> None:
        cause = f"teacher.devices = {list(self.devices)}"
        if not all(device.startswith("cuda:") for device in self.devices):
            raise ConfigurationError(
                cause,
                reason="layers are spread over GPUs that are named by their numbers",
                remedy='give names such as "cuda:1" and "cuda:2"',
            )
        if not find_spec("accelerate"):
            raise ConfigurationError(
                cause,
                reason="transformers spreads layers with the help of accelerate, which is not installed",
                remedy="pip install 'video-opd[distributed]'",
            )

    @property
    def is_spread(self) -> bool:
        """Whether its layers lie on several devices."""
        return len(self.devices) > 1

    def find_room(self) -> dict[int, int]:
        """Bytes that its weights may take on each GPU. Those that are not named get nothing."""
        numbers = [int(device.partition(":")[2]) for device in self.devices]
        # A tenth stays free for keys, values and activations.
        return {number: int(0.9 * torch.cuda.mem_get_info(number)[0]) for number in numbers}

    def refuse_overflow(self, name: str, model: Any) -> None:
        """Refuse a model whose layers did not fit the devices: transformers puts the rest on a disk.

        Raises:
            ConfigurationError: a layer lies elsewhere.
        """
        if not self.is_spread:
            return
        lie_on = {str(place) for place in getattr(model, "hf_device_map", {}).values()}
        if lie_on & {"cpu", "disk"}:
            raise ConfigurationError(
                f"model {name!r} does not fit {', '.join(self.devices)}",
                reason=f"a part of it was left for {' and '.join(sorted(lie_on & {'cpu', 'disk'}))}",
                remedy="name more devices in teacher.devices, or use a smaller or quantised teacher",
            )


def refuse_quantised_offload(name: str, quantisation: str | None) -> None:
    """Refuse to move quantised weights between the CPU and a device.

    Args:
        name: of the model.
        quantisation: method of its weights; None: they are not quantised.

    Raises:
        ConfigurationError: they are quantised.
    """
    if quantisation:
        raise ConfigurationError(
            f"teacher.offload with {name!r}, whose weights are quantised ({quantisation})",
            reason="quantised weights stay on the device on which their package made them",
            remedy="leave out offload, or use the unquantised checkpoint",
        )


def list_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers of a model, each once, by name."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def move_scores(scores: TokenScores, where: torch.device) -> TokenScores:
    """The same scores on another device."""
    tensors = {name: getattr(scores, name) for name in ("logprobs", "answer_mask", "distribution")}
    return replace(scores, **{name: tensor.to(where) for name, tensor in tensors.items() if tensor is not None})
