"""DPC (Luo and Hu 2021): every point is denoised for itself, given a latent of the whole shape."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.method import Context, Method
from hdbench.recipe import Changes, Recipe, merged
from hdbench.seeds import derive_seed
from hdbench.shapes import Float32, Kind, PointCloud

from ..saving import reading_model, save_model
from ..training import fixed_threads, train
from ..units import block_noise, samples_in_blocks
from .clouds import Placement, TrainingClouds, training_clouds
from .network import DPCNetwork
from .originals import read_generator
from .recipe import DPCRecipe, NetworkRecipe

MULTIPLICATIONS_PER_SECOND = 1.6e10
"""Of one core, in these small layers: for the estimate of time only. A run trains another method on the second."""


@dataclass(frozen=True)
class FitReport:
    """What a model remembers of how it was made."""

    seed: int | None
    """None where it was trained elsewhere."""
    shapes: int
    """Training shapes learnt from."""
    left_out: dict[str, str]
    """Reason by name of training shape."""
    placement: Placement
    """Where samples are put."""
    checkpoint_rule: str
    loss_curve: list[tuple[int, float]] = field(default_factory=list)


class DPC(Method):
    """A variational autoencoder of clouds: PointNet in, diffusion of single points out, a flow as the prior."""

    name: ClassVar[str] = "dpc"
    title: ClassVar[str] = "DPC"
    output: ClassVar[Kind] = "points"
    version: ClassVar[int] = 1
    recipe_type: ClassVar[type[Recipe]] = DPCRecipe

    recipe: DPCRecipe
    report: FitReport
    network: DPCNetwork

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """See `Method.supports`: single shapes, be they meshes or clouds."""
        return "it learns single shapes, no sequences" if dataset.kind == "sequence" else None

    @classmethod
    def estimate_seconds(cls, dataset: Dataset, recipe: Recipe, count: int) -> float:
        """See `Method.estimate_seconds`: from the multiplications of the two networks that see points."""
        recipe = _own(recipe)
        shapes, sampling = len(dataset.ids("train")), recipe.sampling
        encode, denoise = _multiplications_per_point(recipe.network)
        learnt = recipe.training.total_steps(shapes) * recipe.training.batch_size * recipe.clouds.points
        drawn = count * sampling.points * sampling.steps
        multiplications = 3 * (encode + denoise) * learnt + denoise * drawn
        return 5 + 0.05 * shapes + multiplications / MULTIPLICATIONS_PER_SECOND / 2

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """See `Method.fit`."""
        self.recipe = _own(recipe)
        clouds = training_clouds(dataset, dataset.ids("train"), self.recipe.clouds, context)
        self._build(context.device)
        self.network.initialize(derive_seed(context.seed, "network"))
        trained = train(
            self.network,
            Objective(self.network, self.recipe, clouds, context.device),
            self.recipe.training,
            items=len(clouds.points),
            seed=derive_seed(context.seed, "training"),
            workspace=context.workspace,
            progress=context.progress,
            description="training DPC",
            matrices=self.network.matrices,
        )
        self.network.load_state_dict(trained.weights)
        self.report = FitReport(
            seed=context.seed,
            shapes=len(clouds.points),
            left_out=clouds.left_out,
            placement=clouds.placement,
            checkpoint_rule=trained.rule,
            loss_curve=trained.curve,
        )

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[PointCloud]:
        """See `Method.sample`."""
        drawn = samples_in_blocks(
            denoise,
            lambda block: Block(self.network, self.recipe, block, seed, context.device),
            indices,
            self.recipe.sampling.block,
            context=context,
            description="denoising points",
        )
        for points in drawn:
            yield PointCloud(self.report.placement.to_dataset(points))

    def save(self, folder: Path) -> None:
        """See `Method.save`: tensors have the original's names."""
        save_model(self, folder, report=asdict(self.report), tensors=self.network.state_dict())

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        with reading_model(cls, DPCRecipe, folder) as stored:
            model.recipe = stored.recipe
            placement = stored.report["placement"]
            placement = Placement(tuple(placement["center"]), placement["scale"])
            model.report = FitReport(**stored.report | {"placement": placement})
            model._build(context.device)
            model.network.load_state_dict(stored.tensors)
        return model

    @classmethod
    def import_original(
        cls, path: Path, folder: Path, context: Context, *, category: str | None = None, changes: Changes
    ) -> str:
        """See `Method.import_original`: a generator's checkpoint (`GEN_….pt`), whose options decide the recipe.

        The file does not say where its training shapes stood, nor how large they were: samples stay normalised.
        """
        original = read_generator(path)
        model = cls()
        circumstances = () if category is None else (category,)
        model.recipe = _own(cls.load_recipe("paper", circumstances, changes=merged(original.facts, changes)))
        model._build("cpu")
        original.fill(model.network, path)
        model.report = FitReport(
            seed=None, shapes=0, left_out={}, placement=Placement(), checkpoint_rule=f"imported from {path.name}"
        )
        model.save(folder)
        count = sum(parameter.numel() for parameter in model.network.parameters())
        return f"a generator of {count:,} parameters; its samples have normalised coordinates"

    def loss_curve(self) -> list[tuple[int, float]]:
        """See `Method.loss_curve`."""
        return self.report.loss_curve

    def _build(self, device: str) -> None:
        """Networks of the recipe's size, their parameters yet to come."""
        self.network = DPCNetwork(self.recipe.diffusion.build(), **dict(self.recipe.network)).to(device)
        self.network.eval()


class Objective:
    """The loss of one training step: mean squared error of the noise, and divergence of the latents."""

    def __init__(self, network: DPCNetwork, recipe: DPCRecipe, clouds: TrainingClouds, device: str) -> None:
        self.network, self.device = network, device
        self.objective, self.diffusion = recipe.objective, recipe.diffusion.build()
        self.clouds = torch.from_numpy(clouds.points).to(device)  # (N, pool, 3)
        groups = self.objective.time_steps
        self.points = min(recipe.clouds.points, self.clouds.shape[1]) // groups * groups
        if not self.points:
            raise HdbenchError(
                f"A recipe with clouds.points = {recipe.clouds.points} cannot deal them out among "
                f"objective.time_steps = {groups}; take fewer time steps."
            )

    def __call__(self, rows: Tensor, noise: torch.Generator) -> Tensor:
        """Loss of the clouds `rows` (B,); latents, time steps and noise are drawn from `noise`."""
        if len(rows) == 1:
            rows = rows.repeat(2)  # batch norm needs company
        groups = self.objective.time_steps
        points = self._draw(rows, noise)
        mean, log_variance = self.network.encoder(points)
        latents = mean + (0.5 * log_variance).exp() * self._normal(mean, noise)
        x0 = points.reshape(len(rows) * groups, -1, 3)
        contexts = latents.repeat_interleave(groups, 0)
        errors = self.diffusion.losses(
            lambda x, steps: self.network.denoise(x, steps, contexts),
            x0,
            self._times(len(x0), noise).to(self.device),
            self._normal(x0, noise),
        )
        divergence = self.network.divergence(latents, log_variance)
        return errors.mean() + self.objective.kl_weight * divergence.mean()

    def _draw(self, rows: Tensor, noise: torch.Generator) -> Tensor:
        """Points (B, P, 3) of the clouds `rows`: neighbours in the pool, whose order is random."""
        pool = self.clouds.shape[1]
        start = torch.randint(pool, (len(rows), 1), generator=noise)
        chosen = (start + torch.arange(self.points)) % pool
        return self.clouds[rows[:, None].to(self.device), chosen.to(self.device)]

    def _times(self, count: int, noise: torch.Generator) -> Tensor:
        """Time steps (count,)."""
        if not self.objective.spread_times:
            return torch.randint(len(self.diffusion), (count,), generator=noise)
        order = torch.randperm(count, generator=noise)
        shares = (order + torch.rand(count, generator=noise)) / count
        return (shares * len(self.diffusion)).long().clamp(max=len(self.diffusion) - 1)

    def _normal(self, like: Tensor, noise: torch.Generator) -> Tensor:
        return torch.randn(like.shape, generator=noise).to(self.device)


@dataclass(frozen=True, eq=False)
class Block:
    """One unit of work: denoise this block of neighbouring samples."""

    network: DPCNetwork
    recipe: DPCRecipe
    number: int
    seed: int
    device: str


def denoise(block: Block) -> Float32:
    """Samples (block size, P, 3) as the network makes them. On the CPU one thread works, whatever there are."""
    sampling = block.recipe.sampling
    normal = block_noise(block.seed, "dpc", block.number, sampling.block, block.device)
    process = block.recipe.diffusion.build().respaced(sampling.steps)
    with torch.inference_mode(), fixed_threads(1):
        latents = block.network.flow.inverse(normal(block.network.latent))
        trajectory = process.trajectory(
            lambda x, steps: block.network.denoise(x, steps, latents),
            normal(sampling.points, 3),
            sampler="ddpm",
            noise=lambda: normal(sampling.points, 3),
        )
        return deque(trajectory, maxlen=1).pop().cpu().numpy()


def _own(recipe: Recipe) -> DPCRecipe:
    if not isinstance(recipe, DPCRecipe):
        raise TypeError(f"DPC needs a DPCRecipe, not a {type(recipe).__name__}")
    return recipe


def _multiplications_per_point(network: NetworkRecipe) -> tuple[int, int]:
    """Of the encoder's shared layers and of the denoiser."""
    encoder, decoder = (3, *network.encoder_widths), (3 + 6 * network.octaves, *network.decoder_widths, 3)
    encode, denoise = (sum(a * b for a, b in pairwise(sizes)) for sizes in (encoder, decoder))
    return encode, denoise
