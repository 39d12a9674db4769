"""Seeds derived from names, so that a random draw depends only on its purpose.

It does not depend on the order of calls, on the batch of an example, or on Python's salted `hash`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive_seed(seed: int, *parts: str | int) -> int:
    """Make a 63-bit seed for one purpose: `derive_seed(run_seed, "answer", step, example_id)`. It is the same
    everywhere."""
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in parts)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """Make a NumPy generator (PCG64, whose stream NumPy guarantees) for one purpose."""
    import numpy as np  # imported here, so that a recipe is read without NumPy

    return np.random.Generator(np.random.PCG64(derive_seed(seed, *parts)))


def uniform(seed: int, *parts: str | int) -> float:
    """Draw a number strictly between 0 and 1 for one purpose; it does not depend on other draws."""
    return ((derive_seed(seed, *parts) >> 11) + 0.5) / 2**52
