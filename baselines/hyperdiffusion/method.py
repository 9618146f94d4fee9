"""HyperDiffusion (Erkoç et al. 2023): diffusion over the weights of occupancy fields."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.execution import run_units
from hdbench.method import Context, Method
from hdbench.recipe import Changes, Recipe, merged
from hdbench.seeds import derive_seed
from hdbench.shapes import Float32, Kind, Mesh, Shape
from hdbench.shapes import Sequence as Clip

from ..diffusion import Denoiser
from ..placement import Placement
from ..saving import reading_model, save_model
from ..training import fixed_threads, train
from ..units import block_noise
from .collection import FieldCollection
from .library import Library, fitted_library, import_fields, load_library
from .meshing import ShapeUnit, shape_unit
from .originals import AS_IT_IS, FRAMES, read_denoiser, read_fields
from .recipe import HyperDiffusionRecipe
from .transformer import Transformer

WINDOW = 1024
"""Samples denoised before any is meshed."""
FIGURE_SHAPES = 6
"""Stages of denoising that are shown."""
FIGURE_RESOLUTION = 96
"""Lattice points per axis in the paper's figures: noise has a surface everywhere."""
MULTIPLICATIONS_PER_SECOND = 1.1e10
"""Of one core, in our kernels: for the estimate of time only."""


@dataclass(frozen=True)
class FitReport:
    """What a model remembers of how it was made."""

    seed: int
    anchor: str | None
    fields: dict[str, Any]
    """count, median and lowest held-out IoU of the fields learnt from."""
    left_out: dict[str, str]
    """Reason by name of training shape."""
    placement: Placement
    """Where samples are put: the mean centre and median scale of the training shapes."""
    frames: int
    """Frames of a sample; 1 where samples are meshes."""
    checkpoint_rule: str
    loss_curve: list[tuple[int, float]]


class HyperDiffusion(Method):
    """Fits an occupancy field to each shape and learns to denoise the fields' weight vectors."""

    name: ClassVar[str] = "hyperdiffusion"
    title: ClassVar[str] = "HyperDiffusion"
    output: ClassVar[Kind] = "mesh"
    version: ClassVar[int] = 3
    fits_in_units: ClassVar[bool] = True
    recipe_type: ClassVar[type[Recipe]] = HyperDiffusionRecipe

    recipe: HyperDiffusionRecipe
    report: FitReport
    denoiser: Transformer
    mean: Tensor
    """(D,): subtracted from weight vectors; zero where the recipe does not standardise."""
    deviation: Tensor
    """(): what the vectors are then divided by."""
    _reused_seconds: float | None = 0.0

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """See `Method.supports`: fields need an inside, so shapes must be meshes, or sequences of meshes."""
        if dataset.kind == "sequence":
            first = next(map(dataset.shape, dataset.ids("train")), None)
            of_meshes = first is None or (isinstance(first, Clip) and isinstance(first.frames[0], Mesh))
            return None if of_meshes else f"it learns from meshes, and {dataset.name!r} holds sequences of points"
        return None if dataset.kind == "mesh" else f"it learns from meshes, and {dataset.name!r} holds {dataset.kind}"

    @classmethod
    def estimate_seconds(cls, dataset: Dataset, recipe: Recipe, count: int) -> float:
        """See `Method.estimate_seconds`: from the multiplications of each part."""
        recipe = _own(recipe)
        fields, denoiser, training = recipe.fields, recipe.denoiser, recipe.training
        shapes, weights = len(dataset.ids("train")), fields.layout.count
        frames = FRAMES if dataset.kind == "sequence" else 1
        averaging_steps = fields.averaging_rounds * fields.averaging_shapes * fields.averaging_steps
        fit_steps = shapes * fields.steps * fields.rounds + fields.anchor_steps + averaging_steps
        tokens = len(fields.layout.sizes) + 1
        denoise = 2 * weights * denoiser.width + tokens * 12 * denoiser.depth * denoiser.width**2
        multiplications = {
            "fit": 3 * weights * fields.batch_points * fit_steps,
            "train": 3 * denoise * training.total_steps(shapes) * training.batch_size,
            "sample": denoise * recipe.sampling.steps * count,
            "mesh": weights * recipe.sampling.resolution**3 * count * frames,
        }
        occupancy_seconds = (
            shapes * frames * 3e-6 * (fields.surface_points + fields.uniform_points + fields.held_out_points)
        )
        return 5 + (sum(multiplications.values()) / MULTIPLICATIONS_PER_SECOND + occupancy_seconds) / 2

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """See `Method.fit`."""
        recipe = _own(recipe)
        self._learn(fitted_library(dataset, recipe.fields, self.version, context), recipe, context)

    def fit_from_fields(self, fields: Path, recipe: Recipe, context: Context) -> None:
        """See `Method.fit_from_fields`: train the denoiser on the fields in a folder (see `library`)."""
        recipe = _own(recipe)
        self._learn(load_library(fields, recipe.fields.layout), recipe, context)

    @property
    def reused_seconds(self) -> float | None:
        """See `Method.reused_seconds`: what the fields took."""
        return self._reused_seconds

    def _learn(self, library: Library, recipe: HyperDiffusionRecipe, context: Context) -> None:
        """Train a denoiser of the fields' weight vectors."""
        self.recipe, self._reused_seconds = recipe, library.seconds
        vectors = torch.from_numpy(library.fields.vectors)
        self._measure(vectors)
        self._build(context.device)
        self.denoiser.initialize(derive_seed(context.seed, "denoiser"))
        standardized = ((vectors - self.mean) / self.deviation).to(context.device)
        diffusion = self.recipe.diffusion.build()
        network = self._network(context.device)

        def loss(rows: Tensor, noise_generator: torch.Generator) -> Tensor:
            x0 = standardized[rows.to(context.device)]
            steps = torch.randint(len(diffusion), (len(x0),), generator=noise_generator).to(context.device)
            noise = torch.randn(x0.shape, generator=noise_generator).to(context.device)
            return diffusion.losses(network, x0, steps, noise).mean()

        trained = train(
            self.denoiser,
            loss,
            self.recipe.training,
            items=len(vectors),
            seed=derive_seed(context.seed, "training"),
            workspace=context.workspace,
            progress=context.progress,
            description="training HyperDiffusion",
        )
        self.denoiser.load_state_dict(trained.weights)
        self.report = _report(library.fields, context.seed, trained.rule, trained.curve)

    @classmethod
    def import_original(
        cls, path: Path, folder: Path, context: Context, *, category: str | None = None, changes: Changes
    ) -> str:
        """See `Method.import_original`: a Lightning checkpoint becomes a model, `.pth` fields a library."""
        if path.is_dir():
            fields, layout = read_fields(path)
            import_fields(folder, fields, layout, origin=f"overfitted fields in {path.name}")
            return f"{len(fields)} fields of {layout.dimensions} dimensions"
        original = read_denoiser(path)
        kind = "sequence" if original.layout.dimensions == 4 else "mesh"
        circumstances = (kind,) if category is None else (kind, category)
        recipe = _own(cls.load_recipe("paper", circumstances, changes=merged(original.facts, changes)))
        if recipe.fields.layout != original.layout or recipe.denoiser.width != original.width:
            raise HdbenchError(f"{path} decides the sizes of fields and denoiser; leave them out of --set.")
        original.refuse_other_diffusion(recipe.diffusion.build(), path)
        model = cls()
        model.recipe = recipe
        model.mean, model.deviation = torch.zeros(original.layout.count), torch.ones(())
        model.report = FitReport(
            seed=0,
            anchor=None,
            fields={},
            left_out={},
            placement=AS_IT_IS,
            frames=FRAMES if kind == "sequence" else 1,
            checkpoint_rule=f"imported from {path.name}",
            loss_curve=[],
        )
        model._build("meta")
        model.denoiser.load_state_dict(original.weights, assign=True)
        model.save(folder)
        parameters = sum(parameter.numel() for parameter in model.denoiser.parameters())
        return f"a denoiser of {parameters:,} parameters for fields of {original.layout.dimensions} dimensions"

    @property
    def sample_kind(self) -> Kind:
        """See `Method.sample_kind`: sequences where the fields know time."""
        return "sequence" if self.recipe.fields.dimensions == 4 else "mesh"

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Mesh | Clip]:
        """See `Method.sample`."""
        for first in range(0, len(indices), WINDOW):
            yield from self._shapes(self.sample_weights(indices[first : first + WINDOW], seed, context), context)

    def _shapes(
        self, vectors: npt.NDArray[np.float32], context: Context, *, resolution: int | None = None
    ) -> Iterator[Mesh | Clip]:
        """The shapes of weight vectors (N, D) in the dataset's coordinates, at most as fine as `resolution`."""
        recipe = self.recipe
        if resolution is not None and resolution < recipe.sampling.resolution:
            coarse = recipe.sampling.model_copy(update={"resolution": resolution})
            recipe = recipe.model_copy(update={"sampling": coarse})
        units = [ShapeUnit(vector, recipe, self.report.placement, self.report.frames) for vector in vectors]
        return run_units(
            shape_unit,
            units,
            workers=context.workers,
            progress=context.progress,
            description="meshing fields",
            engine=context.engine,
        )

    def sample_weights(self, indices: Sequence[int], seed: int, context: Context) -> npt.NDArray[np.float32]:
        """Weight vectors (N, D) of the samples `indices`: fields before meshing."""
        size = self.recipe.sampling.block
        blocks = sorted({index // size for index in indices})
        drawn = {}
        with context.progress.task("denoising weights", self.recipe.sampling.steps * len(blocks)) as task:
            for block in blocks:
                for steps_done, weights in enumerate(self._denoise(block, seed, context.device), 1):
                    task.advance()
                    if steps_done == self.recipe.sampling.steps:
                        drawn[block] = weights
        return np.stack([drawn[index // size][index % size] for index in indices])

    def denoising(self, index: int, seed: int, context: Context) -> list[tuple[int, Shape]]:
        """See `Method.denoising`: the fields of the weights on their way from noise."""
        block, row = divmod(index, self.recipe.sampling.block)
        steps = self.recipe.sampling.steps
        wanted = {round(done) for done in np.linspace(1, steps, min(steps, FIGURE_SHAPES))}
        told = np.append(self.recipe.diffusion.build().respaced(steps).model_steps[::-1][1:] + 1, 0)
        kept = {
            done: weights[row]
            for done, weights in enumerate(self._denoise(block, seed, context.device), 1)
            if done in wanted
        }
        shapes = self._shapes(np.stack(list(kept.values())), context, resolution=FIGURE_RESOLUTION)
        return [(int(told[done - 1]), shape) for done, shape in zip(kept, shapes, strict=True)]

    def interpolation(self, first: int, second: int, count: int, seed: int, context: Context) -> list[Shape]:
        """See `Method.interpolation`: DDIM without noise, from starts on the great circle between two starts."""
        start, end = (
            block_noise(seed, "hyperdiffusion", index, 1, "cpu")(len(self.mean))[0].numpy() for index in (first, second)
        )
        starts = torch.from_numpy(great_circle(start, end, count)).to(context.device)
        sampling = self.recipe.sampling
        diffusion = self.recipe.diffusion.build().respaced(sampling.steps)
        with torch.inference_mode(), fixed_threads(self.recipe.training.threads):
            *_, weights = diffusion.trajectory(
                self._predictor(context.device), starts, sampler="ddim", order=sampling.order
            )
        return list(self._shapes(self._natural(weights), context, resolution=FIGURE_RESOLUTION))

    def _denoise(self, block: int, seed: int, device: str) -> Iterator[Float32]:
        """Weight vectors (block size, D) of one block of samples after each step of the sampler."""
        sampling = self.recipe.sampling
        noise = partial(block_noise(seed, "hyperdiffusion", block, sampling.block, device), len(self.mean))
        diffusion = self.recipe.diffusion.build().respaced(sampling.steps)
        trajectory = diffusion.trajectory(
            self._predictor(device),
            noise(),
            sampler=sampling.sampler,
            noise=noise,
            eta=sampling.eta,
            order=sampling.order,
        )
        while True:
            with torch.inference_mode(), fixed_threads(self.recipe.training.threads):
                x = next(trajectory, None)
            if x is None:
                return
            yield self._natural(x)

    def _network(self, device: str) -> Denoiser:
        """The denoiser, compiled where the recipe asks for it and the device gains by it."""
        compiled: Denoiser = (
            torch.compile(self.denoiser) if self.recipe.denoiser.compile and device == "cuda" else self.denoiser
        )
        return compiled

    def _predictor(self, device: str) -> Denoiser:
        """The denoiser as samplers call it: in the recipe's precision, float32 in and out."""
        network = self._network(device)
        halved = self.recipe.sampling.mixed_precision and device == "cuda"

        def predict(x: Tensor, steps: Tensor) -> Tensor:
            with torch.autocast(device, dtype=torch.bfloat16, enabled=halved):
                return network(x, steps).float()

        return predict

    def _natural(self, standardized: Tensor) -> Float32:
        """Weights (N, D) as fields have them, from those of the denoiser."""
        return (standardized.cpu() * self.deviation + self.mean).numpy()

    def save(self, folder: Path) -> None:
        """See `Method.save`."""
        tensors = {f"denoiser.{name}": tensor for name, tensor in self.denoiser.state_dict().items()}
        tensors |= {"weights.mean": self.mean, "weights.deviation": self.deviation}
        save_model(self, folder, report=asdict(self.report), tensors=tensors)

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        with reading_model(cls, HyperDiffusionRecipe, folder) as stored:
            model.recipe = stored.recipe
            placement = Placement.from_json(stored.report["placement"])
            model.report = FitReport(**stored.report | {"placement": placement})
            model.mean, model.deviation = stored.tensors["weights.mean"], stored.tensors["weights.deviation"]
            model._build(context.device)
            model.denoiser.load_state_dict(stored.network("denoiser."))
        return model

    def loss_curve(self) -> list[tuple[int, float]]:
        """See `Method.loss_curve`."""
        return self.report.loss_curve

    def _measure(self, vectors: Tensor) -> None:
        """Set what weight vectors (N, D) are standardised with."""
        self.mean, self.deviation = torch.zeros(vectors.shape[1]), torch.ones(())
        if self.recipe.denoiser.standardize:
            wide = vectors.double()
            self.mean = wide.mean(0).float()
            spread = float((wide - wide.mean(0)).square().mean().sqrt())
            self.deviation = torch.tensor(spread if spread > 0 else 1.0)

    def _build(self, device: str) -> None:
        """A denoiser of the recipe's size, its parameters yet to come."""
        size = self.recipe.denoiser
        with torch.device(device):
            denoiser = Transformer(
                self.recipe.fields.layout.sizes,
                width=size.width,
                depth=size.depth,
                heads=size.heads,
                positions=size.positions,
                time_exponents=size.time_exponents,
            )
        self.denoiser = denoiser.to(device).eval()


def great_circle(start: Float32, end: Float32, count: int) -> Float32:
    """`count` points (count, D) from `start` (D,) to `end` (D,), both included: spherical interpolation.

    Between two normal vectors all points have about the length a normal vector has (Shoemake 1985).
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    angle = np.arccos(np.clip(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)), -1, 1))
    shares = np.linspace(0, 1, count)[:, None]
    if np.sin(angle) < 1e-6:
        return ((1 - shares) * a + shares * b).astype(np.float32)
    points = (np.sin((1 - shares) * angle) * a + np.sin(shares * angle) * b) / np.sin(angle)
    return points.astype(np.float32)


def _own(recipe: Recipe) -> HyperDiffusionRecipe:
    if not isinstance(recipe, HyperDiffusionRecipe):
        raise TypeError(f"HyperDiffusion needs a HyperDiffusionRecipe, not a {type(recipe).__name__}")
    return recipe


def _known(iou: Any) -> float | None:
    """None for what was never measured: imported fields come without their shapes."""
    return float(iou) if np.isfinite(iou) else None


def _report(fields: FieldCollection, seed: int, rule: str, curve: list[tuple[int, float]]) -> FitReport:
    used = [iou for name, iou in fields.ious.items() if name not in fields.left_out]
    centers = np.array([placement.center for placement in fields.placements])
    x, y, z = centers.mean(0).tolist()
    return FitReport(
        seed=seed,
        anchor=fields.anchor,
        fields={"count": len(used), "iou_median": _known(np.median(used)), "iou_lowest": _known(np.min(used))},
        left_out=fields.left_out,
        placement=Placement((x, y, z), float(np.median([placement.scale for placement in fields.placements]))),
        frames=fields.frames,
        checkpoint_rule=rule,
        loss_curve=curve,
    )
