import math

import numpy as np
import pytest
import torch
from hdbench_baselines.training import TrainingRecipe, batch_at, fixed_threads, train
from torch import nn

from hdbench.errors import HdbenchError
from hdbench.progress import Progress

DATA = torch.linspace(-1, 1, 40)[:, None]
RECIPE = TrainingRecipe(
    steps=30, batch_size=8, learning_rate=1e-2, weight_decay=0.01, warmup_steps=3, decay="cosine", clip_norm=1.0,
    ema=0.9, checkpoint_steps=7,
)  # fmt: skip


class Killed(Exception):
    pass


def small_model():
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5, generator=generator)
    return model


def learn_square(folder, recipe=RECIPE, *, kill_at=None, seed=5):
    model, calls = small_model(), iter(range(10**9))

    def loss(rows, generator):
        if next(calls) == kill_at:
            raise Killed
        noisy = DATA[rows] + 0.01 * torch.randn(len(rows), 1, generator=generator)
        return (model(noisy) - noisy**2).square().mean()

    return train(
        model, loss, recipe, items=len(DATA), seed=seed, workspace=folder, progress=Progress(), matrices=["2.weight"]
    )


def same(a, b):
    return a.curve == b.curve and all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


@pytest.mark.parametrize("kill_at", [3, 7, 20, 29])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_interrupted_training_ends_with_the_same_bits(tmp_path, kill_at, optimizer):
    recipe = RECIPE.model_copy(update={"optimizer": optimizer})
    undisturbed = learn_square(tmp_path / "undisturbed", recipe)
    with pytest.raises(Killed):
        learn_square(tmp_path / "killed", recipe, kill_at=kill_at)
    resumed = learn_square(tmp_path / "killed", recipe)
    assert same(undisturbed, resumed)
    assert not list(tmp_path.rglob("*.tmp"))


def test_dropout_hangs_on_the_seed_alone(tmp_path):
    """It draws from torch's global state, which others draw from too."""

    def learn(folder, *, kill_at=None):
        torch.randn(3)
        model, dropout, calls = small_model(), nn.Dropout(0.3), iter(range(10**9))

        def loss(rows, generator):
            if next(calls) == kill_at:
                raise Killed
            return (model(dropout(DATA[rows])) - DATA[rows] ** 2).square().mean()

        return train(model, loss, RECIPE, items=len(DATA), seed=5, workspace=folder, progress=Progress())

    undisturbed = learn(tmp_path / "undisturbed")
    with pytest.raises(Killed):
        learn(tmp_path / "killed", kill_at=10)
    assert same(undisturbed, learn(tmp_path / "killed"))


def test_gradients_are_gone_afterwards(tmp_path):
    model = small_model()

    def loss(rows, generator):
        return model(DATA[rows]).square().mean()

    train(model, loss, RECIPE, items=len(DATA), seed=0, workspace=tmp_path, progress=Progress())
    assert [parameter.grad for parameter in model.parameters()] == [None] * 4


def test_finished_training_is_not_repeated(tmp_path):
    first = learn_square(tmp_path)
    assert same(first, learn_square(tmp_path, kill_at=0))


def test_training_hangs_on_its_seed(tmp_path):
    assert not same(learn_square(tmp_path / "a"), learn_square(tmp_path / "b", seed=6))


def test_training_lowers_the_loss_and_keeps_its_curve(tmp_path):
    trained = learn_square(tmp_path, RECIPE.model_copy(update={"steps": 400}))
    steps = [step for step, _ in trained.curve]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
    assert trained.curve[-1][1] < 0.2 * trained.curve[0][1]
    assert "0.9" in trained.rule
    assert "400" in trained.rule


def test_average_is_the_mean_of_what_it_saw(tmp_path):
    """Against a naive sum: with a rate of zero nothing moves, and the average is the start."""
    still = learn_square(tmp_path, RECIPE.model_copy(update={"learning_rate": 1e-30, "weight_decay": 0.0}))
    for name, tensor in small_model().state_dict().items():
        torch.testing.assert_close(still.weights[name], tensor, rtol=0, atol=1e-6)


def test_without_an_average_the_last_weights_are_kept(tmp_path):
    averaged = learn_square(tmp_path / "a")
    last = learn_square(tmp_path / "b", RECIPE.model_copy(update={"ema": None}))
    assert averaged.curve == last.curve
    assert not same(averaged, last)
    assert last.rule == "weights after the last step (30)"


@pytest.mark.parametrize(("items", "drop_last"), [(40, False), (43, False), (43, True), (5, True), (1, False)])
def test_each_pass_takes_every_item_once(items, drop_last):
    recipe = RECIPE.model_copy(update={"drop_last": drop_last})
    steps = recipe.steps_per_epoch(items)
    for epoch in range(2):
        taken = np.concatenate([batch_at(epoch * steps + k, items=items, recipe=recipe, seed=1) for k in range(steps)])
        assert len(set(taken)) == len(taken)
        assert len(taken) == (items // 8 * 8 if drop_last and items >= 8 else items)


def test_passes_differ():
    first, second = (batch_at(epoch * 5, items=40, recipe=RECIPE, seed=1) for epoch in range(2))
    assert not np.array_equal(first, second)


def test_rates():
    cosine = RECIPE.model_copy(update={"steps": 100})
    assert cosine.rate(0, 40) == pytest.approx(1e-2 / 3)
    assert cosine.rate(50, 40) == pytest.approx(0.5e-2)
    assert cosine.rate(99, 40) < 1e-5
    paper = TrainingRecipe(epochs=6000, decay="epochs", decay_factor=0.9, decay_epochs=200)
    assert paper.steps_per_epoch(2749) == 86
    assert paper.total_steps(2749) == 516_000
    assert paper.rate(200 * 86 - 1, 2749) == 2e-4
    assert paper.rate(200 * 86, 2749) == pytest.approx(1.8e-4)
    assert paper.rate(515_999, 2749) == pytest.approx(2e-4 * 0.9**29)


def test_length_must_be_given_once():
    for length in ({}, {"steps": 3, "epochs": 3}):
        with pytest.raises(ValueError, match="either"):
            TrainingRecipe(**length).total_steps(10)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    seen = []

    def fail():
        with fixed_threads(before + 1):
            seen.append(torch.get_num_threads())
            raise Killed

    with pytest.raises(Killed):
        fail()
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_muon_moves_the_matrices_named_and_no_others(tmp_path):
    recipe = RECIPE.model_copy(update={"steps": 1, "ema": None, "clip_norm": None, "weight_decay": 0.0})
    before = small_model().state_dict()
    adam = learn_square(tmp_path / "adam", recipe).weights
    muon = learn_square(tmp_path / "muon", recipe.model_copy(update={"optimizer": "muon", "muon_rate": 0.3})).weights
    assert [name for name in adam if not torch.equal(adam[name], muon[name])] == ["2.weight"]
    # a third of the rate in the first of three steps of warm-up; one row's orthogonal factor has length 1
    assert (muon["2.weight"] - before["2.weight"]).norm() == pytest.approx(0.1, rel=0.16)


def test_rates_on_a_straight_line():
    recipe = TrainingRecipe(steps=1, learning_rate=2e-3, decay="linear", decay_span=(200, 400), decay_factor=0.05)
    rates = [recipe.rate(step, 40) for step in (0, 200, 300, 400, 10_000)]
    assert rates == pytest.approx([2e-3, 2e-3, 1.05e-3, 1e-4, 1e-4])


def test_without_shuffling_every_pass_has_one_order():
    fixed = RECIPE.model_copy(update={"shuffle": False})
    first, second = (batch_at(epoch * 5, items=40, recipe=fixed, seed=1) for epoch in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, batch_at(0, items=40, recipe=RECIPE, seed=1))


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    model = small_model()

    def loss(rows, generator):
        return model(DATA[rows]).square().mean() * (math.inf if calls.append(0) or len(calls) == 9 else 1.0)

    calls = []
    with pytest.raises(HdbenchError, match=r"diverged: the loss is inf at step 9\. Lower learning_rate"):
        train(model, loss, RECIPE, items=len(DATA), seed=0, workspace=tmp_path, progress=Progress())
    assert all(parameter.isfinite().all() for parameter in model.parameters())


class TestOutOfMemory:
    """A loss that has memory for so many items."""

    def learn(self, folder, *, room, batch_size=24):
        model, tried = small_model(), []

        def loss(rows, generator):
            tried.append(len(rows))
            if len(rows) > room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMany more lines.")
            return model(DATA[rows]).square().mean()

        recipe = RECIPE.model_copy(update={"batch_size": batch_size})
        with pytest.raises(HdbenchError) as caught:
            train(model, loss, recipe, items=40, seed=0, workspace=folder, progress=Progress())
        assert "\n" not in str(caught.value)
        return str(caught.value), tried

    def test_names_the_batch_size_that_fits(self, tmp_path):
        message, tried = self.learn(tmp_path, room=7)
        assert tried == [24, 12, 6]
        assert "24 items" in message
        assert "batch_size = 6" in message

    def test_says_when_not_even_one_fits(self, tmp_path):
        message, tried = self.learn(tmp_path, room=0)
        assert tried == [24, 12, 6, 3, 1]
        assert "a single one does not fit" in message

    def test_leaves_no_spoilt_checkpoint(self, tmp_path):
        self.learn(tmp_path, room=7)
        assert not list(tmp_path.rglob("*.safetensors"))


def test_mixed_precision_is_off_on_the_cpu(tmp_path):
    full = learn_square(tmp_path / "a")
    assert same(full, learn_square(tmp_path / "b", RECIPE.model_copy(update={"mixed_precision": True})))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_interrupted_training_on_a_gpu(tmp_path, mixed_precision):
    recipe = RECIPE.model_copy(update={"mixed_precision": mixed_precision})

    def learn(folder, kill_at=None):
        model, calls, dtypes = small_model().cuda(), iter(range(10**9)), set()

        def loss(rows, generator):
            if next(calls) == kill_at:
                raise Killed
            output = model(DATA[rows].cuda())
            dtypes.add(output.dtype)
            return output.float().square().mean()

        trained = train(model, loss, recipe, items=40, seed=0, workspace=folder, progress=Progress())
        assert dtypes == {torch.bfloat16 if mixed_precision else torch.float32}
        return trained

    undisturbed = learn(tmp_path / "undisturbed")
    with pytest.raises(Killed):
        learn(tmp_path / "killed", kill_at=20)
    assert same(undisturbed, learn(tmp_path / "killed"))
