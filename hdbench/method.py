"""What a method is, and how methods are found.

A method learns from the training shapes of a dataset and draws new ones. Ours and a third party's are found the
same way, by the entry-point group `hdbench.methods` (`name = "package.module:Class"`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError, unknown_name
from hdbench.execution import LOCAL, Engine
from hdbench.progress import Progress
from hdbench.recipe import Changes, Recipe, load_recipe
from hdbench.shapes import Kind, Shape
from hdbench.store import Store

ENTRY_POINTS = "hdbench.methods"


@dataclass(frozen=True)
class Context:
    """What a method is given beside its data: where to compute, where to resume, how to report."""

    device: str
    """"cpu" or "cuda"."""
    progress: Progress
    workspace: Path
    """A folder kept until the fit is finished. What an interrupted fit left there is there again; files written
    with `hdbench.store.write_atomic` are whole. Its content becomes no part of the model."""
    workers: int
    """Processes or threads that may compute at once."""
    seed: int
    """The seed of this fit. Sampling gets its own, as an argument."""
    store: Store | None = None
    """Where parts of a fit that other fits can use again are kept (the neural fields of shapes); None: nowhere."""
    engine: Engine = LOCAL
    """Where units of work run; for `hdbench.execution.run_units`."""


class Method(ABC):
    """A family of generative models with the hyperparameters of one recipe.

    Subclasses define the class variables, the five abstract methods and, where needed, `supports`.
    """

    name: ClassVar[str]
    """The name it is registered under."""
    title: ClassVar[str]
    """The name people know it by, shown in tables."""
    output: ClassVar[Kind]
    """Native form of its samples."""
    version: ClassVar[int] = 1
    """Raised whenever the same recipe, data and seed would give another model or other samples."""
    is_control: ClassVar[bool] = False
    """True for pseudo-methods whose score is known in advance; they alone may ask for the test split."""
    fits_in_units: ClassVar[bool] = False
    """True where most of a fit is units of work, which cores share: a run begins with fits that leave cores idle."""
    recipe_type: ClassVar[type[Recipe]] = Recipe

    recipe: Recipe
    """What it was fitted with, and samples by, for methods that keep it."""

    @classmethod
    def load_recipe(
        cls, source: str, circumstances: Iterable[str] = (), *, changes: Changes = MappingProxyType({})
    ) -> Recipe:
        """The recipe named by `source`: a preset in `recipes/` beside the method's module, or the path of a TOML file.

        Its tables for the circumstances (a dataset's kind and category) apply, then the changes. Raises HdbenchError
        where there is no such recipe, or one with a wrong field.
        """
        package = cls.__module__.rpartition(".")[0]
        return load_recipe(cls.recipe_type, package, source, circumstances=circumstances, changes=changes)

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """Why this method cannot learn from `dataset`, or None when it can."""
        return None

    @classmethod
    def estimate_seconds(cls, dataset: Dataset, recipe: Recipe, count: int) -> float:
        """Rough time to fit on `dataset` and draw `count` samples on two CPU cores, for the plan shown first."""
        return 0.0

    @abstractmethod
    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """Learn from `dataset` (train and val only, unless a control), going on from `context.workspace`."""

    @abstractmethod
    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Shape]:
        """Yield one shape per index. Shape i depends on (weights, seed, i) alone, not on batch or count."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model into `folder`: safetensors and JSON, the same bytes each time."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """The model written by `save`."""

    def sample_by(self, recipe: Recipe) -> None:
        """Sample as the `Recipe.sampling_fields` of `recipe` say from now on, after `save` and `load` as well.

        Never called where there are none. The kind and the number of samples may not hang on them.
        """
        self.recipe = self.recipe.model_copy(update={name: getattr(recipe, name) for name in recipe.sampling_fields})

    def fit_from_fields(self, fields: Path, recipe: Recipe, context: Context) -> None:
        """Learn as `fit` does, from neural fields that the training shapes were turned into before.

        `fields` is what the method's `import_original`, or an earlier fit, wrote. For methods that learn from
        fields; others refuse.
        """
        raise HdbenchError(f"{self.title} does not learn from fields; leave --from-fields out.")

    @classmethod
    def import_original(
        cls, path: Path, folder: Path, context: Context, *, category: str | None = None, changes: Changes
    ) -> str:
        """Turn what the method's original code saved at `path` (a file or a folder) into files of ours in `folder`.

        A model becomes a folder that `load` reads, its recipe the preset `paper` for `category`, with what the
        file itself tells, and `changes`. Nothing is unpickled but tensors (see `hdbench.checkpoints`). Returns what
        was imported, in a few words. Raises HdbenchError for what does not fit.
        """
        raise HdbenchError(f"{cls.title} knows no original files; train it with hdbench fit {cls.name}.")

    @property
    def sample_kind(self) -> Kind:
        """Native form of what this model draws: `output`, but for controls, which follow their data."""
        return self.output

    @property
    def sample_limit(self) -> int | None:
        """How many samples this model can draw, or None for any number."""
        return None

    @property
    def reference_ids(self) -> tuple[str, ...] | None:
        """The test shapes this model is to be scored against, or None for all; a control may draw from the others."""
        return None

    @property
    def reused_seconds(self) -> float | None:
        """Time an earlier fit spent on what this one found in the store; None where that was not measured."""
        return 0.0

    def denoising(self, index: int, seed: int, context: Context) -> list[tuple[int, Shape]]:
        """How sample `index` comes about, for the report: (noise steps left, shape), the finished sample last.

        Empty for methods that have no such thing to show.
        """
        return []

    def interpolation(self, first: int, second: int, count: int, seed: int, context: Context) -> list[Shape]:
        """`count` shapes on the way from sample `first` to sample `second`, both included, for the report.

        Where sampling draws noise on the way, the ends may be what the samples' starts become without it.
        Empty for methods that have no such thing to show.
        """
        return []

    def loss_curve(self) -> list[tuple[int, float]]:
        """(step, training loss) pairs of the fit for the report; empty for what is not trained."""
        return []


def methods() -> dict[str, type[Method]]:
    """Every installed method that can be used, by name, controls last; see `broken_methods` for the others."""
    return dict(sorted(_survey()[0].items(), key=lambda item: (item[1].is_control, item[0])))


def broken_methods() -> dict[str, str]:
    """What is wrong with each installed method that cannot be used, by name: what `get_method` says of it."""
    return _survey()[1]


def method_names() -> list[str]:
    """Names of the installed methods, without importing them."""
    return sorted(entry_points(group=ENTRY_POINTS).names)


def get_method(name: str) -> type[Method]:
    """The method called `name`; HdbenchError with the nearest name when there is none."""
    if name not in method_names():
        raise unknown_name("method", name, method_names())
    return _load(name)


def _survey() -> tuple[dict[str, type[Method]], dict[str, str]]:
    """The installed methods that can be used, and the complaints about the others, by name."""
    usable, broken = {}, {}
    for name in method_names():
        try:
            usable[name] = _load(name)
        except HdbenchError as error:
            broken[name] = str(error)
    return usable, broken


def _load(name: str) -> type[Method]:
    (entry, *others) = entry_points(group=ENTRY_POINTS, name=name)
    if others:
        packages = ", ".join(sorted(e.value for e in (entry, *others)))
        raise HdbenchError(f"Method {name!r} is registered more than once ({packages}); uninstall all but one.")
    try:
        method = entry.load()
    except Exception as error:  # of a third party's module: it may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise HdbenchError(
            f"Method {name!r} ({entry.value}) cannot be imported ({reason}); mend or uninstall it."
        ) from error
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise HdbenchError(f"Method {name!r} ({entry.value}) is no subclass of hdbench.method.Method.")
    called = getattr(method, "name", None)
    if called != name:  # what it inherits from another method is the key of that method's artefacts in the store
        raise HdbenchError(
            f"Method {name!r} ({entry.value}) calls itself {called!r}; set `name = {name!r}` in its class."
        )
    return method
