"""PVD (Zhou et al. 2021): diffusion of point clouds with point-voxel convolutions."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numba
import torch
from torch import Tensor

from hdbench.checkpoints import read_checkpoint, refuse_misfit, tensors_of
from hdbench.datasets.base import Dataset
from hdbench.errors import HdbenchError
from hdbench.geometry.normalisation import Moments, denormalise
from hdbench.method import Context, Method
from hdbench.recipe import Changes, Recipe
from hdbench.seeds import derive_seed
from hdbench.shapes import Float32, Kind, PointCloud

from ..saving import reading_model, save_model
from ..training import fixed_threads, train
from ..units import block_noise, samples_in_blocks
from .clouds import read_clouds
from .pvcnn import PVCNN2, multiplications
from .recipe import PVDRecipe
from .targets import expected_points

MULTIPLICATIONS_PER_SECOND = 5e10
"""Of one core in the convolutions of a forward pass: for the estimate of time only."""
SECONDS_PER_POINT = 8e-6
"""Of one core in everything else of a forward pass: for the estimate of time only."""
PAIRS_PER_SECOND = 1.2e9
"""Of one core, of a noisy point and what it may have been: for the estimate of time only."""
TRAINING_OVER_FORWARD = 2.6
"""Time of a training step over that of its forward pass: for the estimate of time only."""
PARALLEL_TRAINING = 1.6
"""How much faster two threads train than one: for the estimate of time only."""
AS_THEY_ARE = Moments((0.0, 0.0, 0.0), 1.0)
"""What samples of an imported model are put into place with where nothing else is said."""


@dataclass(frozen=True)
class FitReport:
    """What a model remembers of how it was made."""

    seed: int
    shapes: int
    """Training shapes learnt from."""
    moments: Moments
    """What samples are put back into the dataset's coordinates with: times the deviation, plus the mean."""
    extent: tuple[float, float, float] | None
    """Largest normalised coordinate of each axis in training, either way; not known of an imported model."""
    checkpoint_rule: str
    loss_curve: list[tuple[int, float]]


class PVD(Method):
    """Learns to take the noise from clouds of surface points."""

    name: ClassVar[str] = "pvd"
    title: ClassVar[str] = "PVD"
    output: ClassVar[Kind] = "points"
    version: ClassVar[int] = 4
    recipe_type: ClassVar[type[Recipe]] = PVDRecipe

    recipe: PVDRecipe
    report: FitReport
    denoiser: PVCNN2

    @classmethod
    def supports(cls, dataset: Dataset) -> str | None:
        """See `Method.supports`: still shapes only."""
        return "it makes still shapes, no sequences" if dataset.kind == "sequence" else None

    @classmethod
    def estimate_seconds(cls, dataset: Dataset, recipe: Recipe, count: int) -> float:
        """See `Method.estimate_seconds`: from the multiplications of the network's convolutions, and its points."""
        recipe = _own(recipe)
        shapes = len(dataset.ids("train"))
        training, sampling = recipe.training, recipe.sampling
        items = training.total_steps(shapes) * training.batch_size
        drawn = -(-count // sampling.block) * sampling.block

        def forward(points: int) -> float:
            work = multiplications(recipe.network.size, points)
            return work / MULTIPLICATIONS_PER_SECOND + points * SECONDS_PER_POINT

        pairs = recipe.data.points * recipe.data.pool * recipe.expected_targets
        step = TRAINING_OVER_FORWARD * forward(recipe.data.points) + pairs / PAIRS_PER_SECOND
        fitting = step * items / PARALLEL_TRAINING
        reading = 0.05 * shapes
        return 5 + reading + fitting + forward(sampling.points) * sampling.steps * drawn / 2

    def fit(self, dataset: Dataset, recipe: Recipe, context: Context) -> None:
        """See `Method.fit`."""
        self.recipe = _own(recipe)
        names = dataset.ids("train")
        seed = derive_seed(context.seed, "clouds")
        clouds = read_clouds(dataset, names, self.recipe.data, seed=seed, progress=context.progress)
        pools = torch.from_numpy(clouds.pools).to(context.device)
        self._build(context.device)
        self.denoiser.initialize(derive_seed(context.seed, "denoiser"))
        diffusion = self.recipe.diffusion.build()
        noise_seed = derive_seed(context.seed, "fixed noise")

        def loss(rows: Tensor, noise_generator: torch.Generator) -> Tensor:
            layout = (len(rows), self.recipe.data.points)
            chosen = torch.randint(pools.shape[1], layout, generator=noise_generator)
            steps = torch.randint(len(diffusion), layout[:1], generator=noise_generator)
            noise = torch.randn((len(rows), 3, layout[1]), generator=noise_generator)
            if self.recipe.fixed_noise:
                noise = with_fixed_noise(noise, rows, steps, noise_seed)
            rows, chosen, steps, noise = (values.to(context.device) for values in (rows, chosen, steps, noise))
            x0 = pools[rows[:, None], chosen].mT.contiguous()  # (B, 3, P)
            expected = partial(expected_points, pools=pools[rows]) if self.recipe.expected_targets else None
            return diffusion.losses(self.denoiser, x0, steps, noise, expected=expected).mean()

        with kernel_threads(self.recipe.training.threads):
            trained = train(
                self.denoiser,
                loss,
                self.recipe.training,
                items=len(names),
                seed=derive_seed(context.seed, "training"),
                workspace=context.workspace,
                progress=context.progress,
                description="training PVD",
                matrices=self.denoiser.matrices(),
            )
        self.denoiser.load_state_dict(trained.weights)
        self.report = FitReport(context.seed, len(names), clouds.moments, clouds.extent, trained.rule, trained.curve)

    def sample(self, indices: Sequence[int], seed: int, context: Context) -> Iterator[PointCloud]:
        """See `Method.sample`."""
        clip = self.report.extent if self.recipe.sampling.clip else None
        drawn = samples_in_blocks(
            denoise,
            lambda block: Block(self.denoiser, self.recipe, block, seed, context.device, clip),
            indices,
            self.recipe.sampling.block,
            context=context,
            description="denoising clouds",
        )
        for cloud in drawn:
            yield PointCloud(denormalise(cloud, self.report.moments))

    def save(self, folder: Path) -> None:
        """See `Method.save`: tensors have the original's names."""
        report = asdict(self.report) | {"moments": self.report.moments._asdict()}
        save_model(self, folder, report=report, tensors=self.denoiser.state_dict())

    @classmethod
    def load(cls, folder: Path, context: Context) -> Self:
        """See `Method.load`."""
        model = cls()
        with reading_model(cls, PVDRecipe, folder) as stored:
            model.recipe = stored.recipe
            mean, extent = stored.report["moments"]["mean"], stored.report["extent"]
            moments = Moments(_triple(mean), float(stored.report["moments"]["deviation"]))
            read = {"moments": moments, "extent": extent and _triple(extent)}
            model.report = FitReport(**stored.report | read)
            model._build(context.device)
            model.denoiser.load_state_dict(stored.tensors)
        return model

    @classmethod
    def import_original(
        cls, path: Path, folder: Path, context: Context, *, category: str | None = None, changes: Changes
    ) -> str:
        """See `Method.import_original`: a checkpoint of the released code, whose weights lie in `model_state`.

        The file holds neither the schedule, which the category decides, nor the mean and deviation of its training
        data; without `data.mean` and `data.deviation` among the changes samples stay in normalised coordinates.
        """
        checkpoint = read_checkpoint(path)
        state = checkpoint.get("model_state") if isinstance(checkpoint, dict) else None
        if state is None:
            raise HdbenchError(f"{path} holds no 'model_state'; expected a checkpoint of PVD's training code.")
        tensors = {
            name.removeprefix("model.").removeprefix("module."): tensor.float()
            for name, tensor in tensors_of(state, f"'model_state' in {path}").items()
        }
        model = cls()
        model.recipe = _own(cls.load_recipe("paper", () if category is None else (category,), changes=changes))
        model._build("meta")
        refuse_misfit(tensors, {name: value.shape for name, value in model.denoiser.state_dict().items()}, str(path))
        model.denoiser.load_state_dict(tensors, assign=True)
        moments = model.recipe.data.moments
        model.report = FitReport(0, 0, moments or AS_THEY_ARE, None, f"imported from {path.name}", [])
        model.save(folder)
        places = "the data's coordinates" if moments else "normalised coordinates (set data.mean and data.deviation)"
        return f"a denoiser of {sum(map(Tensor.numel, tensors.values())):,} parameters; its samples have {places}"

    def loss_curve(self) -> list[tuple[int, float]]:
        """See `Method.loss_curve`."""
        return self.report.loss_curve

    def _build(self, device: str) -> None:
        """A denoiser of the recipe's size, its parameters yet to come."""
        with torch.device(device):
            self.denoiser = PVCNN2(self.recipe.network.size).eval()


@contextmanager
def kernel_threads(count: int) -> Iterator[None]:
    """Run a block with as many threads in our kernels as in torch, or they wait for each other; no bit hangs on it."""
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def with_fixed_noise(noise: Tensor, rows: Tensor, steps: Tensor, seed: int) -> Tensor:
    """Noise (B, 3, P) in which the items `rows` (B,) at time step 0 have a noise of their own, from (seed, row)."""
    noise = noise.clone()
    for place in (steps == 0).nonzero()[:, 0].tolist():
        fixed = torch.Generator().manual_seed(derive_seed(seed, int(rows[place])))
        noise[place] = torch.randn(noise[place].shape, generator=fixed)
    return noise


@dataclass(frozen=True, eq=False)
class Block:
    """One unit of work: denoise this block of neighbouring samples."""

    denoiser: PVCNN2
    recipe: PVDRecipe
    number: int
    seed: int
    device: str
    clip: tuple[float, float, float] | None
    """Largest coordinate of each axis, either way, that a prediction may have."""


def denoise(block: Block) -> Float32:
    """Samples (block size, P, 3) in normalised coordinates. On the CPU one thread works, whatever there are."""
    sampling = block.recipe.sampling
    normal = block_noise(block.seed, "pvd", block.number, sampling.block, block.device)
    noise = partial(normal, 3, sampling.points)
    process = block.recipe.diffusion.build().respaced(sampling.steps)
    clip = None if block.clip is None else torch.tensor(block.clip, device=block.device)[:, None]
    threads = 1 if block.device == "cpu" else block.recipe.training.threads
    with torch.inference_mode(), kernel_threads(threads), fixed_threads(1):  # last: starting numba sets torch's
        trajectory = process.trajectory(
            block.denoiser,
            noise(),
            sampler=sampling.sampler,
            noise=noise,
            eta=sampling.eta,
            order=sampling.order,
            clip=clip,
        )
        return deque(trajectory, maxlen=1).pop().mT.contiguous().cpu().numpy()


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _own(recipe: Recipe) -> PVDRecipe:
    if not isinstance(recipe, PVDRecipe):
        raise TypeError(f"PVD needs a PVDRecipe, not a {type(recipe).__name__}")
    return recipe
