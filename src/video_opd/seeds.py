"""Seeds derived from names, so that a random draw depends on what it is for and on nothing else.

Not on the order of calls, not on the batch an example happens to sit in, not on Python's salted `hash`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive_seed(seed: int, *parts: str | int) -> int:
    """A 63-bit seed for one purpose: `derive_seed(run_seed, "answer", step, example_id)`. The same on every machine."""
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in parts)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """A NumPy generator (PCG64, whose stream NumPy guarantees) for one purpose."""
    import numpy as np  # only here: a recipe is read without it

    return np.random.Generator(np.random.PCG64(derive_seed(seed, *parts)))


def uniform(seed: int, *parts: str | int) -> float:
    """A number strictly between 0 and 1 for one purpose, for draws that must not depend on what else is drawn."""
    return ((derive_seed(seed, *parts) >> 11) + 0.5) / 2**52
