"""Evaluation suite and model zoo for unconditional 3D and 4D shape generation.

import hdbench

scores = hdbench.evaluate(samples, reference, protocol="hyperdiffusion")
results = hdbench.load_results("runs/airplane-0123456789")
differences = hdbench.compare("mine.json", "theirs.json")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hdbench.version import __version__

if TYPE_CHECKING:
    from hdbench.comparison import compare as compare
    from hdbench.evaluation import evaluate as evaluate
    from hdbench.results import load_results as load_results

__all__ = ["__version__", "compare", "evaluate", "load_results"]

_LAZY = {"compare": "hdbench.comparison", "evaluate": "hdbench.evaluation", "load_results": "hdbench.results"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, when it is asked for: `import hdbench` alone loads nothing heavy."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
