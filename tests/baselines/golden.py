"""Where the golden data lie, and those of their weights that are told by a rule instead of being stored."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

GOLDEN = Path(__file__).resolve().parents[2].parent / "shared" / "golden"
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden data are not beside this checkout")


def weights_by_recipe(seed, key, shape, low, high):
    """Weights that are not stored: golden/README.md, 'Weights: stored or by recipe'."""
    count = int(np.prod(shape))
    start = int.from_bytes(hashlib.sha256(f"{seed}|{key}".encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        z = np.uint64(start) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    share = (z >> np.uint64(40)).astype(np.float64) / 2**24
    values = (low + (high - low) * share).astype(np.float16).astype(np.float32)
    return torch.from_numpy(values.reshape(shape))
