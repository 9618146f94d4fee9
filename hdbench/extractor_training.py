"""How the embedded extractor was made: PointNet++ trained to tell the kinds of procedural shapes apart.

Its classes are category and sub-type ("airplane/glider"). Clouds have unit deviation, as the metrics feed them, so
that FPD asks for features of what was trained on. The shapes come from a seed of their own and stand in no
data set that is scored. One thread, about twenty minutes; on one machine the same call makes the same bits:

    python -c "from hdbench.extractor_training import train_embedded; train_embedded()"
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from hdbench.datasets.procedural.dataset import MESH_CATEGORIES, VERSION, Procedural
from hdbench.extractors import EMBEDDED, save_extractor
from hdbench.features.extraction import one_thread
from hdbench.features.pointnet2 import PointNet2
from hdbench.geometry.normalisation import unit_deviation
from hdbench.geometry.sampling import sample_surface
from hdbench.progress import PlainProgress, Progress
from hdbench.seeds import derive_seed, generator
from hdbench.shapes import Mesh

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Settings:
    """Sizes and rates of the training."""

    shapes_per_category: int = 500
    """Of which the test split, three in twenty, only measures accuracy."""
    points: int = 2048
    """Of each cloud in a step: as many as protocols score."""
    pool: int = 8192
    """Surface points kept of each shape, from which every epoch draws anew."""
    epochs: int = 16
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    label_smoothing: float = 0.1
    stretch: float = 0.05
    """Deviation of the logarithm of random scales along the axes."""
    jitter: float = 0.02
    """Largest deviation of noise on the points; each cloud draws its own below it."""
    turn: float = 0.1
    """Deviation of random turns about the vertical, in radians."""
    scale: float = 0.05
    """Deviation of the logarithm of the final size: protocols differ in how they measure a deviation."""
    seed: int = 20_231_002


class LabelledClouds(NamedTuple):
    """Surface points with their classes."""

    pools: Float32
    """(N, pool, 3), as the shapes have them."""
    labels: Int64
    """(N,)."""


def train_embedded(
    folder: Path | None = None, *, settings: Settings | None = None, progress: Progress | None = None
) -> float:
    """Train the extractor, write it into `folder` (the package's own, if None), and return its held-out accuracy."""
    settings, progress = settings or Settings(), progress or PlainProgress()
    folder = folder or Path(__file__).parent / "features" / "embedded"
    # initial weights and dropout draw from torch's global state
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(settings.seed, "features", "torch"))
        classes, train, test = labelled_clouds(settings, progress)
        network = _fit(PointNet2(len(classes)), train, settings, progress)
        accuracy = _accuracy(network, test, settings)
    facts = {
        "version": 1,
        "classes": classes,
        "accuracy": round(accuracy, 4),
        "accuracy_of": f"{len(test.labels)} held-out shapes, {settings.points} points each",
        "made_by": "hdbench.extractor_training.train_embedded",
        "data": f"procedural, version {VERSION}, {len(train.labels)} shapes",
        "normalisation": "unit-deviation",
        "settings": vars(settings),
    }
    save_extractor(EMBEDDED, network, facts, folder, half=True)
    return accuracy


def labelled_clouds(settings: Settings, progress: Progress) -> tuple[list[str], LabelledClouds, LabelledClouds]:
    """Names of the classes, shapes to train on, and held-out shapes, of all procedural categories."""
    kinds: dict[str, list[tuple[str, Float32]]] = {"train": [], "test": []}
    with progress.task("shapes", len(MESH_CATEGORIES) * settings.shapes_per_category) as task:
        for category in MESH_CATEGORIES:
            dataset = Procedural(category, seed=settings.seed, size=settings.shapes_per_category)
            # The few validation shapes are trained on too: nothing is chosen by them.
            for split, target in (("train", "train"), ("val", "train"), ("test", "test")):
                for name in dataset.ids(split):  # type: ignore[arg-type]
                    seed = derive_seed(settings.seed, "features", name)
                    shape = dataset.shape(name)
                    assert isinstance(shape, Mesh)
                    points = sample_surface(shape, settings.pool, seed=seed)
                    kinds[target].append((f"{category}/{dataset.subtype(name)}", points))
                    task.advance()
    classes = sorted({kind for kind, _ in kinds["train"]})
    known = {target: [(kind, points) for kind, points in found if kind in classes] for target, found in kinds.items()}
    train, test = (
        LabelledClouds(
            np.stack([points for _, points in found]),
            np.array([classes.index(kind) for kind, _ in found], np.int64),
        )
        for found in (known["train"], known["test"])
    )
    return classes, train, test


def augmented(pools: Float32, settings: Settings, rng: np.random.Generator) -> Float32:
    """A draw of points of each pool, turned, stretched, with noise, and normalised: (N, pool, 3) to (N, points, 3)."""
    clouds = np.empty((len(pools), settings.points, 3), np.float32)
    for cloud, pool in zip(clouds, pools, strict=True):
        cloud[:] = pool[rng.choice(len(pool), settings.points, replace=False)]
        angle = settings.turn * rng.normal()
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        cloud[:] = cloud @ turn.T * np.exp(settings.stretch * rng.normal(size=3))
    clouds = unit_deviation(clouds)
    noise = settings.jitter * rng.uniform(size=(len(pools), 1, 1)) * rng.normal(size=clouds.shape)
    scale = np.exp(settings.scale * rng.normal(size=(len(pools), 1, 1)))
    return (unit_deviation((clouds + noise).astype(np.float32)) * scale).astype(np.float32)


def _fit(network: PointNet2, train: LabelledClouds, settings: Settings, progress: Progress) -> PointNet2:
    steps = settings.epochs * (len(train.labels) // settings.batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=max(steps, 2))
    network.train()
    with progress.task("training", steps) as task:
        for clouds, labels in _batches(train, settings):
            loss = functional.cross_entropy(
                network(clouds).log_probabilities, labels, label_smoothing=settings.label_smoothing
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            task.advance(note=f"loss {loss.item():.3f}")
    return network.eval()


def _batches(train: LabelledClouds, settings: Settings) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffled, augmented batches of every epoch; a short rest is left out."""
    rng = generator(settings.seed, "features", "batches")
    for _ in range(settings.epochs):
        order = rng.permutation(len(train.labels))
        for start in range(0, len(order) - settings.batch + 1, settings.batch):
            chosen = order[start : start + settings.batch]
            clouds = augmented(train.pools[chosen], settings, rng)
            yield torch.from_numpy(clouds), torch.from_numpy(train.labels[chosen])


def _accuracy(network: PointNet2, test: LabelledClouds, settings: Settings) -> float:
    """Share of held-out shapes, as metrics would see them, whose kind is told right."""
    clouds = torch.from_numpy(unit_deviation(test.pools[:, : settings.points]))
    with torch.inference_mode():
        told = torch.cat([network(part).log_probabilities.argmax(1) for part in clouds.split(settings.batch)])
    return float((told.numpy() == test.labels).mean())
