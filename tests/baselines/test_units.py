import os

import numpy as np
import pytest
import torch
from hdbench_baselines import units
from hdbench_baselines.units import block_noise, samples_in_blocks, tell_left_out

from hdbench.method import Context
from hdbench.progress import Progress

SIZE = 4


def denoise(block):
    return np.stack([np.full(2, SIZE * block + place, np.float32) for place in range(SIZE)])


def with_process(block):
    return np.full((SIZE, 1), os.getpid(), np.float32)


def drawn(folder, indices, function=denoise, *, workers=1, device="cpu"):
    context = Context(device, Progress(), folder, workers=workers, seed=0)
    return samples_in_blocks(function, int, indices, SIZE, context=context, description="denoising")


def test_noise_of_a_sample_hangs_on_its_index_alone():
    whole, second = block_noise(7, "dpc", 0, 8, "cpu"), block_noise(7, "dpc", 1, 4, "cpu")
    assert torch.equal(whole(2, 3)[4:], second(2, 3))
    assert torch.equal(whole(5)[4:], second(5))  # what comes next is new
    assert not torch.equal(block_noise(7, "pvd", 1, 4, "cpu")(2, 3), block_noise(7, "dpc", 1, 4, "cpu")(2, 3))
    rows = whole(1000)
    assert rows.shape == (8, 1000)
    torch.testing.assert_close(rows.std(1), torch.ones(8), atol=0.1, rtol=0)


@pytest.mark.parametrize("window", [3, 1024])
@pytest.mark.parametrize("indices", [[], [0], [9, 1, 1, 30, 0], list(range(11))])
def test_samples_come_as_asked_for(tmp_path, monkeypatch, indices, window):
    monkeypatch.setattr(units, "WINDOW", window)
    samples = list(drawn(tmp_path, indices))
    assert [sample.tolist() for sample in samples] == [[index, index] for index in indices]


def test_samples_come_as_asked_for_from_two_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(units, "WINDOW", 3)
    samples = list(drawn(tmp_path, [9, 1, 1, 30, 0], workers=2))
    assert [sample.tolist() for sample in samples] == [[index, index] for index in (9, 1, 1, 30, 0)]


def test_samples_are_handed_out_block_by_block(tmp_path):
    begun = []

    def counted(block):
        begun.append(block)
        return denoise(block)

    samples = drawn(tmp_path, range(12), counted)
    assert next(samples).tolist() == [0, 0]
    assert begun == [0]
    assert [int(sample[0]) for sample in samples] == [*range(1, 12)]
    assert begun == [0, 1, 2]


def test_blocks_on_a_gpu_are_drawn_by_this_process(tmp_path):
    found = {float(sample[0]) for sample in drawn(tmp_path, range(12), with_process, workers=2, device="cuda")}
    assert found == {float(np.float32(os.getpid()))}


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, []),
        (1, ["1 of 9 shapes are left out of the training of DPC: s0 (bent)"]),
        (7, ["7 of 9 shapes are left out of the training of DPC: s0, s1, s2, s3, s4 and 2 more"]),
    ],
)
def test_shapes_that_are_left_out_are_told(monkeypatch, count, told):
    said, progress = [], Progress()
    monkeypatch.setattr(progress, "say", said.append)
    tell_left_out({f"s{i}": "bent" for i in range(count)}, 9, "DPC", progress)
    assert [message if count == 1 else message.replace(" (bent)", "") for message in said] == told
