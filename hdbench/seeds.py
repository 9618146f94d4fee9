"""Seeds are parameters: every stage and every shape derives its own from the run's, never from global state."""

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all `parts` and nothing else.

    `derive_seed(seed, "sample", index)` gives each sample its own stream, whatever the batch it is drawn in.
    """
    text = "\x1f".join(f"str:{part}" if isinstance(part, str) else f"int:{int(part)}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator seeded with `derive_seed(*parts)`."""
    return np.random.default_rng(derive_seed(*parts))
