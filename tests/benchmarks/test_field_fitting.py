"""Fitting fields against the original recipe, in CPU time of one thread, in one run.

The original: about 78,400 Adam steps of 2,048 points on plain torch modules with autograd (what its patience makes of
a shape). They are timed on a subset of steps and multiplied up. On a thin-winged airplane all of them end at an IoU of
0.98 to 0.99, so ours is asked for 0.98. On a machine with a GPU, fits of hundreds of shapes in one computation are
measured as well.
"""

import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from hdbench_baselines.hyperdiffusion.fields import encode
from hdbench_baselines.hyperdiffusion.fitting import (
    FittingRecipe,
    PlacedShape,
    fit,
    labelled_points,
    volume_iou,
)
from hdbench_baselines.hyperdiffusion.recipe import HyperDiffusionRecipe
from hdbench_baselines.placement import place

from hdbench.datasets.procedural.dataset import Procedural
from hdbench.recipe import load_recipe

ORIGINAL_STEPS = 78_400
ORIGINAL_SECONDS_ON_A_GPU = 360  # per shape, as the paper says
STEPS_ON_A_GPU = 8000  # from random weights; after 2,500 the median IoU of eight airplanes is 0.977
PAPERS_FIELDS = FittingRecipe()  # the paper's architecture and points, our optimiser

pytestmark = pytest.mark.usefixtures("one_thread")


def prepared(recipe, count):
    """Points to fit to and held-out points of some airplanes."""
    dataset = Procedural("airplane")
    shapes = []
    for name in dataset.ids("train")[:count]:
        mesh = dataset.shape(name)
        placed = PlacedShape(dataset, name, (mesh,), place([mesh], recipe.placement), None)
        shapes.append(labelled_points(placed, recipe.model_copy(update={"held_out_points": 200_000}), seed=0))
    return shapes


@pytest.fixture(scope="module")
def airplane():
    return prepared(PAPERS_FIELDS, 1)[0]


def original_fit(labelled, steps):
    """The original's way: modules, encoding at every step, autograd, Adam."""
    layout = PAPERS_FIELDS.layout
    modules = [module for pair in pairwise((layout.features, *layout.hidden, 1)) for module in module_pair(*pair)]
    network = torch.nn.Sequential(*modules[:-1])
    torch.nn.utils.vector_to_parameters(layout.initial(np.random.default_rng(0)), network.parameters())
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    points = torch.from_numpy(labelled.points)
    targets = torch.from_numpy(labelled.occupied).float()
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(points), (2048,), generator=rng)
        logits = network(encode(points[rows], layout.octaves)).squeeze(1)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[rows], reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def module_pair(inputs, outputs):
    return torch.nn.Linear(inputs, outputs), torch.nn.ReLU()


@pytest.fixture(scope="module")
def original_way(airplane):
    """CPU seconds of the original's fit of one field: 3 x 150 of its steps, the fastest, multiplied up."""
    took = []
    for _ in range(3):
        start = time.process_time()
        original_fit(airplane[0], 150)
        took.append(time.process_time() - start)
    return min(took) / 150 * ORIGINAL_STEPS


def record(benchmark, **figures):
    benchmark.extra_info.update({name: float(f"{value:.4g}") for name, value in figures.items()})


def start_of(recipe):
    return recipe.layout.initial(np.random.default_rng(0))[None]


@pytest.mark.benchmark(group="one field", timer=time.process_time)
def test_papers_field(benchmark, airplane, original_way):
    labelled, held_out = airplane
    recipe = PAPERS_FIELDS
    (vector,) = benchmark.pedantic(
        fit, args=(start_of(recipe), [labelled], recipe), kwargs={"steps": recipe.steps, "seed": 0}, rounds=1
    )
    iou = volume_iou(recipe.layout, vector, held_out)
    ratio = original_way / benchmark.stats.stats.min
    record(benchmark, iou=iou, original_ratio=ratio, original_seconds=original_way)
    assert iou >= 0.98
    assert ratio >= 25


@pytest.mark.benchmark(group="one field", timer=time.process_time)
def test_default_field(benchmark, original_way):
    recipe = load_recipe(HyperDiffusionRecipe, "hdbench_baselines.hyperdiffusion", "default").fields
    ((labelled, held_out),) = prepared(recipe, 1)

    def all_rounds():
        vector = start_of(recipe)
        for turn in range(recipe.rounds):
            vector = fit(vector, [labelled], recipe, steps=recipe.steps, seed=turn)
        return vector[0]

    vector = benchmark.pedantic(all_rounds, rounds=3)
    iou = volume_iou(recipe.layout, vector, held_out)
    record(benchmark, iou=iou, original_ratio=original_way / benchmark.stats.stats.min)
    assert iou >= 0.9  # from random weights; a run starts from the category's common start


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.benchmark(group="hundreds of fields on a GPU")
def test_papers_fields_on_a_gpu(benchmark):
    """Wall time per field of the fit alone; making and labelling points is the CPUs' part, recorded beside it."""
    count, different = 256, 8
    start = time.perf_counter()
    shapes = prepared(PAPERS_FIELDS, different)
    labelling = (time.perf_counter() - start) / different
    labelled = [shapes[k % different][0] for k in range(count)]
    starts = start_of(PAPERS_FIELDS).cuda().expand(count, -1)

    def fit_all(steps=STEPS_ON_A_GPU):
        vectors = fit(starts, labelled, PAPERS_FIELDS, steps=steps, seed=0)
        torch.cuda.synchronize()
        return vectors

    fit_all(steps=20)
    torch.cuda.reset_peak_memory_stats()
    vectors = benchmark.pedantic(fit_all, rounds=1)
    ious = [volume_iou(PAPERS_FIELDS.layout, vectors[k], shapes[k][1]) for k in range(different)]
    each = benchmark.stats.stats.min / count
    record(benchmark, seconds_per_field=each, times_the_papers_six_minutes=ORIGINAL_SECONDS_ON_A_GPU / each)
    record(benchmark, median_iou=np.median(ious), labelling_cpu_seconds_per_field=labelling)
    record(benchmark, peak_gib=torch.cuda.max_memory_allocated() / 2**30)
    assert np.median(ious) >= 0.98
    assert ORIGINAL_SECONDS_ON_A_GPU / each >= 1000
