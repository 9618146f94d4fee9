"""Voxel diffusion: a 3D U-Net that denoises occupancy grids, in 3D and 4D."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hdbench.datasets.base import Dataset
from hdbench.method import Context, Method
from hdbench.recipe import Recipe
from hdbench.seeds import derive_seed
from hdbench.shapes import Float32, Kind, Mesh, Shape
from hdbench.shapes import Sequence as Frames

from ..placement import Placement
from ..saving import reading_model, save_model
from ..training import fixed_threads, train
from ..units import block_noise, samples_in_blocks
from .denoiser import SHOWN_FRAMES, FrameDenoiser, GridDenoiser
from .gaussian import Gaussian
from .network import UNet
from .recipe import VoxelRecipe
from .voxels import shape_of, voxelize_all
from .window import Edges, Window

MULTIPLICATIONS_PER_SECOND = 4e10
"""Of one core, in the U-Net: for the estimate of time only, as are the next two."""
FRAMES = 16
OCCUPANCY_SECONDS = 3.5e-6
LOOKED_AT = 8
"""Training shapes from which the window is guessed."""


@dataclass(frozen=True)
class FitReport:
    """What a model remembers of how it was made."""

    seed: int
    shapes: int
    """Training shapes learnt from."""
    frames: int | None
    """Frames of each sequence; None for meshes."""
    left_out: dict[str, str]
    """Reason by name of training shape."""
    placement: Placement
    """Where samples are put: the mean centre and median scale of the training shapes."""
    window: Window
    """What is denoised of each grid; elsewhere samples are as the mean."""
    checkpoint_rule: str
    loss_curve: list[tuple[int, float]]


class VoxelDiffusion(Method):
    """Turns each shape into a grid of voxels and learns to denoise grids."""

    name: ClassVar[str] = "voxel"
    title: ClassVar[str] = "Voxel diffusion"
    output: ClassVar[Kind] = "mesh"
    version: ClassVar[int] = 2
    recipe_type: ClassVar[type[Recipe]] = VoxelRecipe

    recipe: VoxelRecipe
    report: FitReport
    network: UNet
    mean: Tensor
    """(T, R, R, R): subtracted from grids; zero where the recipe does not centre. T is 1 for meshes."""
    gaussian: Gaussian | None
    """Of the grids less their mean, where the network corrects what it expects."""

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """See `Method.supports`: voxels need an inside, so shapes must be meshes or sequences of meshes."""
        return "it learns from meshes, and these are clouds of points" if dataset.kind == "points" else None

    @property
    def sample_kind(self) -> Kind:
        """See `Method.sample_kind`: a sequence of meshes where it learnt from sequences."""
        return "mesh" if self.report.frames is None else "sequence"

    @classmethod
    def estimate_seconds(cls, dataset: Dataset, recipe: Recipe, count: int) -> float:
        """See `Method.estimate_seconds`: from the multiplications of the network and the places asked for occupancy."""
        recipe = _own(recipe)
        grid, shapes = recipe.grid, len(dataset.ids("train"))
        frames = FRAMES if dataset.kind == "sequence" else None
        how = reading(recipe, frames)
        items = FRAMES if how == "items" else 1
        forward = multiplications(recipe, frames, _likely_edges(dataset, recipe))
        passes = 3.0  # the gradient's counts as two
        if recipe.network.self_conditioning:  # a first look at every other step
            passes += 0.5 * (SHOWN_FRAMES if how == "neighbours" else 1)
        trained = passes * recipe.training.total_steps(shapes * items) * recipe.training.batch_size
        drawn = recipe.sampling.steps * (1 if how == "channels" else FRAMES) * count
        places = grid.resolution**3 * (0.2 + 0.1 * grid.subdivisions**3)
        voxelizing = shapes * (frames or 1) * (places * OCCUPANCY_SECONDS if grid.content == "share" else 0.1)
        meshing = 0.01 * (frames or 1) * count
        return 5 + (forward * (trained + drawn) / MULTIPLICATIONS_PER_SECOND + voxelizing) / 2 + meshing

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """See `Method.fit`."""
        self.recipe = _own(recipe)
        collection = voxelize_all(dataset, dataset.ids("train"), self.recipe.grid, context)
        frames = collection.values.shape[1] if dataset.kind == "sequence" else None
        grids = torch.from_numpy(collection.values)  # (N, T, R, R, R)
        window = Window.whole(self.recipe.grid.resolution)
        if self.recipe.grid.crop:
            window = Window.around(grids, multiple=self.recipe.network.coarsest)
        self._build(frames, window.edges, context.device)
        self.network.initialize(derive_seed(context.seed, "network"))
        self.mean = grids.mean(0, dtype=torch.float64).float() * self.recipe.grid.center
        grids = window.of(grids) - window.of(self.mean)
        how, count = reading(self.recipe, frames), grids.shape[1]
        if how == "items":
            grids = grids.flatten(0, 1)[:, None]  # (N T, 1, R, R, R)
        self.gaussian = None
        if components := self.recipe.network.components:
            with fixed_threads(self.recipe.training.threads):
                self.gaussian = Gaussian.of(grids, components).to(context.device)
        denoiser = denoiser_of(self.recipe, frames, self.network, self.gaussian)

        def loss(rows: Tensor, noise_generator: torch.Generator) -> Tensor:
            x0 = grids[rows].to(context.device)
            steps = torch.randint(len(denoiser.diffusion), (len(x0),), generator=noise_generator).to(context.device)
            noise = torch.randn(x0.shape, generator=noise_generator).to(context.device)
            again = self.recipe.network.self_conditioning and bool(torch.rand((), generator=noise_generator) < 0.5)
            labels: Tensor | None = None
            if how == "items":
                labels = rows % count
            elif how == "neighbours":  # one frame of each sequence
                labels = torch.randint(count, rows.shape, generator=noise_generator)
            told = None if labels is None else labels.to(context.device)
            return denoiser.losses(x0, steps, noise, told, twice=again).mean()

        trained = train(
            self.network,
            loss,
            self.recipe.training,
            items=len(grids),
            seed=derive_seed(context.seed, "training"),
            workspace=context.workspace,
            progress=context.progress,
            description="training voxel diffusion",
            matrices=self.network.matrices(),
        )
        self.network.load_state_dict(trained.weights)
        self.report = FitReport(
            seed=context.seed,
            shapes=len(collection.values),
            frames=frames,
            left_out=collection.left_out,
            placement=collection.placement,
            window=window,
            checkpoint_rule=trained.rule,
            loss_curve=trained.curve,
        )

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Shape]:
        """See `Method.sample`."""
        sequence = self.report.frames is not None
        for values in self.sample_grids(indices, seed, context):
            yield shape_of(values, self.report.placement, self.recipe.sampling, sequence=sequence)

    def sample_grids(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[Float32]:
        """Grids (T, R, R, R) of each of the samples `indices`, before meshing; T is 1 for meshes."""
        drawn = samples_in_blocks(
            denoise,
            lambda block: Block(
                self.network,
                self.gaussian,
                self.recipe,
                self.report.frames,
                self.report.window.edges,
                block,
                seed,
                context.device,
            ),
            indices,
            self.recipe.sampling.block,
            context=context,
            description="denoising voxels",
        )
        for values in drawn:
            grids = self.mean.clone()
            self.report.window.of(grids).add_(torch.from_numpy(values))
            yield grids.numpy()

    def _build(self, frames: int | None, edges: Edges, device: str) -> None:
        """A network of the recipe's size, its parameters yet to come."""
        self.network = unet(self.recipe, frames, edges).to(device)
        self.network.eval()

    def save(self, folder: Path) -> None:
        """See `Method.save`."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        if self.gaussian is not None:
            tensors |= {f"gaussian.{name}": tensor for name, tensor in self.gaussian.state_dict().items()}
        save_model(self, folder, report=asdict(self.report), tensors=tensors | {"grid.mean": self.mean})

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        with reading_model(cls, VoxelRecipe, folder) as stored:
            model.recipe = stored.recipe
            placement = Placement.from_json(stored.report["placement"])
            window = Window.whole(model.recipe.grid.resolution)  # of models that are older than windows
            if "window" in stored.report:
                window = Window.from_json(stored.report["window"])
            model.report = FitReport(**stored.report | {"placement": placement, "window": window})
            model._build(model.report.frames, window.edges, context.device)
            model.mean = stored.tensors["grid.mean"]
            model.network.load_state_dict(stored.network("network."))
            model.gaussian = None
            if gaussian := stored.network("gaussian."):
                model.gaussian = Gaussian(*gaussian["components"].shape).to(context.device)
                model.gaussian.load_state_dict(gaussian)
        return model

    def loss_curve(self) -> list[tuple[int, float]]:
        """See `Method.loss_curve`."""
        return self.report.loss_curve


@dataclass(frozen=True, eq=False)
class Block:
    """One unit of work: denoise this block of neighbouring samples."""

    network: UNet
    gaussian: Gaussian | None
    recipe: VoxelRecipe
    frames: int | None
    edges: Edges
    number: int
    seed: int
    device: str


def denoise(block: Block) -> Float32:
    """Samples (block size, T, X, Y, Z) of the window, less the mean. On the CPU one thread works."""
    sampling = block.recipe.sampling
    frames, apart = block.frames or 1, reading(block.recipe, block.frames) == "items"
    items = frames if apart else 1
    normal = block_noise(block.seed, "voxel", block.number, sampling.block, block.device)
    labels = torch.arange(items, device=block.device).repeat(sampling.block) if apart else None

    def noise() -> Tensor:
        """Of each sample its own, and for frames that are items the same: only so do they show one shape."""
        return normal(frames // items, *block.edges).repeat_interleave(items, 0)

    denoiser = denoiser_of(block.recipe, block.frames, block.network, block.gaussian).telling(labels)
    with torch.inference_mode(), fixed_threads(1):
        trajectory = denoiser.diffusion.respaced(sampling.steps).trajectory(
            denoiser.remembering(),
            noise(),
            sampler=sampling.sampler,
            noise=noise,
            eta=sampling.eta,
            order=sampling.order,
            clip=sampling.clip,
        )
        grids = deque(trajectory, maxlen=1).pop()
    return grids.reshape(sampling.block, frames, *block.edges).cpu().numpy()


def reading(recipe: VoxelRecipe, frames: int | None) -> Literal["channels", "items", "neighbours"]:
    """What the network takes so many frames for; a mesh (`frames` None) is one channel."""
    return "channels" if frames is None else recipe.network.frames


def unet(recipe: VoxelRecipe, frames: int | None, edges: Edges) -> UNet:
    """The network for grids of meshes (`frames` None) or of sequences of that many frames."""
    size, how = recipe.network, reading(recipe, frames)
    if how == "channels":
        return UNet(size, edges=edges, channels=frames or 1)
    return UNet(size, edges=edges, shown=SHOWN_FRAMES if how == "neighbours" else 1, labels=frames)


def denoiser_of(recipe: VoxelRecipe, frames: int | None, network: UNet, gaussian: Gaussian | None) -> GridDenoiser:
    """What denoises grids of meshes or sequences by such a network."""
    kind = FrameDenoiser if reading(recipe, frames) == "neighbours" else GridDenoiser
    return kind(network, gaussian, recipe.diffusion.build())


def multiplications(recipe: VoxelRecipe, frames: int | None, edges: Edges) -> int:
    """Multiplications of a forward pass over one item: a shape, or a frame of one where frames are denoised apart."""
    shown = {"channels": frames or 1, "items": 1, "neighbours": SHOWN_FRAMES}[reading(recipe, frames)]
    with torch.device("meta"), torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network = unet(recipe, frames, edges)
        grid = torch.empty(1, shown, *edges)
        estimates = grid.repeat(1, network.estimate_count, 1, 1, 1) if network.estimate_count else None
        network(grid, torch.zeros(1, dtype=torch.int64), estimates=estimates)
    return counter.get_total_flops() // 2


def _likely_edges(dataset: Dataset, recipe: VoxelRecipe) -> Edges:
    """Those of the window, so far as the bounding boxes of a few training shapes tell."""
    size, multiple = recipe.grid.resolution, recipe.network.coarsest
    if not recipe.grid.crop:
        return size, size, size
    reach = np.zeros(3)
    for name in dataset.ids("train")[:LOOKED_AT]:
        shape = dataset.shape(name)
        frames = shape.frames if isinstance(shape, Frames) else (shape,)
        vertices = [frame.vertices for frame in frames if isinstance(frame, Mesh) and len(frame.vertices)]
        if not vertices:
            continue
        extents = np.ptp(np.concatenate(vertices), axis=0)
        reach = np.maximum(reach, extents / max(extents.max(), 1e-9))
    x, y, z = (-(-np.rint(reach * size).astype(int) // multiple) * multiple).clip(min=multiple).tolist()
    return x, y, z


def _own(recipe: Recipe) -> VoxelRecipe:
    if not isinstance(recipe, VoxelRecipe):
        raise TypeError(f"voxel diffusion needs a VoxelRecipe, not a {type(recipe).__name__}")
    return recipe
