"""The models that come with hdbench: whole, small, described by their cards, and used by runs."""

import json
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from hdbench.benchmark import Plan, Run, make_entrant, open_limited
from hdbench.method import get_method
from hdbench.progress import Progress
from hdbench.zoo.card import card_text, written_prose
from hdbench.zoo.catalogue import entries, find_model, open_entry, own_folder
from hdbench.zoo.fetch import fetch
from hdbench.zoo.manifest import CARD, EMBEDDED, MANIFEST, Manifest

LARGEST, LARGEST_TOGETHER = 10e6, 80e6
"""Bytes of one model, and of all."""

OWN = sorted(path.parent for path in own_folder().glob(f"*/{MANIFEST}"))
of_each_model = pytest.mark.parametrize("folder", OWN, ids=lambda folder: folder.name)


def test_every_folder_is_a_model():
    folders = {path for path in own_folder().iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders == set(OWN)
    assert len(entries()) == len(OWN)


def test_together_they_are_small():
    assert sum(open_entry(folder).manifest.size for folder in OWN) <= LARGEST_TOGETHER


def test_what_they_consist_of_is_installed():
    project = Path(__file__).parents[2] / "pyproject.toml"
    patterns = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]["hdbench_zoo"]
    names = {f"any/{name}" for name in (MANIFEST, CARD, "model.json", "model.safetensors")}
    names |= {path.relative_to(own_folder()).as_posix() for folder in OWN for path in folder.iterdir()}
    assert {name for name in names if not any(fnmatch(name, pattern) for pattern in patterns)} == set()


@of_each_model
def test_it_is_whole_and_small(folder, workshop):
    entry = open_entry(folder)
    assert entry.manifest.sources[0] == EMBEDDED
    assert fetch(entry, store=workshop.store, progress=Progress()) == folder
    assert entry.manifest.size <= LARGEST
    named = {file.path for file in entry.manifest.files} | {MANIFEST, CARD}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == named


@of_each_model
def test_its_card_is_up_to_date(folder):
    manifest: Manifest = open_entry(folder).manifest
    card = (folder / CARD).read_text(encoding="utf-8")
    assert card == card_text(folder.name, manifest, prose=written_prose(folder))


@of_each_model
def test_it_states_scores(folder):
    assert {score.metric for score in open_entry(folder).manifest.expected} >= {"mmd_cd", "cov_cd", "nna_cd"}


@of_each_model
def test_a_run_with_its_preset_uses_it(folder, workshop):
    entry = open_entry(folder)
    manifest = entry.manifest
    preset, *changes = manifest.preset.split(" --set ")
    data = open_limited(
        manifest.dataset.name,
        manifest.category,
        manifest.dataset.limit,
        strict=False,
        store=workshop.store,
        progress=Progress(),
    )
    entrant = make_entrant(get_method(manifest.method), data, preset, tuple(changes))
    found = find_model(manifest.method, data, entrant.recipe, among=entries())
    assert found == entry, "the recipe or the data have changed since it was trained"
    stated = json.loads((folder / "model.json").read_text(encoding="utf-8"))["recipe"]
    assert type(entrant.recipe).model_validate(stated) == entrant.recipe, "its scores are those of other sampling"


def test_a_run_that_samples_otherwise_says_what_that_takes(workshop, tmp_path):
    seconds = []
    for changes in ((), ("sampling.steps=500",)):
        plan = Plan("chair", methods=("voxel",), changes=changes)
        run = Run(plan, store=workshop.store, folder=tmp_path / "run", progress=Progress())
        assert "voxel-chair" in run.outline()
        seconds.append(run._estimate_seconds(run.entrants[0], 64))
    assert seconds[1] > 5 * seconds[0]
